"""How is an Edge client answered?

Handles and cookies as documented, problems with their codes, and the headers that let a page of
another origin read the answer. Nothing a sender wrote gets into a header unless it is of the plain
form that it must have. Behaviour: platform-collect.md §7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import re2

from amity.kernel.errors import AmityError, Transient
from amity.platform.ingestion.errors import EdgeRefused
from amity.platform.ingestion.reception import Verdict

REGIONS = ("or2", "va6", "irl1", "ind1", "jpn3", "sgp3", "aus3")
ERROR_TYPES = "https://ns.adobe.com/aep/errors/"
IDENTITY_S = 34_128_000
CONSENT_S = 15_552_000
CLUSTER_S = 1_800

_ORIGIN = re2.compile(rb"null|https?://[A-Za-z0-9.\-\[\]:]{1,260}")
_DOMAIN = re2.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,8}")
_JSON = (b"content-type", b"application/json; charset=utf-8")
_PROBLEM = (b"content-type", b"application/problem+json; charset=utf-8")


class Stored(NamedTuple):
    """Something that the client is to keep."""

    key: str
    value: str
    max_age_s: int


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: Any = None
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Report(NamedTuple):
    """What a problem says of its request."""

    request_id: str
    config_id: str = ""
    org_id: str = ""


def prefix(org: str) -> str:
    """How the names of an organisation's cookies begin.

    >>> prefix("ABC@AmityOrg")
    'kndctr_ABC_AmityOrg_'
    """
    return f"kndctr_{org.replace('@', '_')}_"


def handles(
    request_id: str,
    payloads: Mapping[str, Sequence[Any]],
    stored: Sequence[Stored],
    cookie_domain: str,
) -> Reply:
    """A 200 with handles; what the client is to keep goes into cookies if its domain is ours."""
    headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)
    found = dict(payloads)
    if cookie_domain:
        headers += tuple((b"set-cookie", _cookie(one, cookie_domain)) for one in stored)
    elif stored:
        found["state:store"] = [
            {
                "key": one.key,
                "value": one.value,
                "maxAge": one.max_age_s,
                "attrs": {"SameSite": "None"},
            }
            for one in stored
        ]
    handle = [{"type": kind, "payload": list(payload)} for kind, payload in found.items()]
    return Reply(200, {"requestId": request_id, "handle": handle}, headers)


def with_refusals(reply: Reply, verdicts: Iterable[Verdict]) -> Reply:
    """207 with an error an event that was refused; the reply itself when none was."""
    errors = [
        {
            "type": "urn:amity:problem:refused-record",
            "status": 422,
            "title": "Refused Record",
            "detail": verdict.violations[0].message,
            "report": {
                "eventIndex": at,
                "path": verdict.violations[0].path,
                "code": verdict.violations[0].code,
            },
        }
        for at, verdict in enumerate(verdicts)
        if not verdict.accepted
    ]
    if not errors:
        return reply
    body = {**(reply.body or {}), "errors": errors}
    return Reply(207, body, reply.headers or (_JSON,))


def ignored(reply: Reply) -> Reply:
    """The reply with the warning that a visitor has not consented."""
    warning = {
        "type": f"{ERROR_TYPES}EXEG-0301-200",
        "status": 200,
        "title": "Request ignored",
        "detail": "The visitor has not consented to collection: the events were not taken.",
    }
    return reply._replace(body={**reply.body, "warnings": [warning]})


def problem(error: AmityError, report: Report) -> Reply:
    """An error as documented; errors of ours keep their own type."""
    if isinstance(error, EdgeRefused):
        kind, title = f"{ERROR_TYPES}{error.code}", error.title
    else:
        kind, title = f"urn:amity:problem:{type(error).__name__}", type(error).__name__
    told = {"requestId": report.request_id, "configId": report.config_id, "orgId": report.org_id}
    body = {
        "type": kind,
        "status": error.status,
        "title": title,
        "detail": error.message,
        "report": {key: value for key, value in told.items() if value},
    }
    headers: tuple[tuple[bytes, bytes], ...] = (_PROBLEM,)
    if isinstance(error, Transient):
        headers += ((b"retry-after", str(error.retry_after_s).encode()),)
    return Reply(error.status, body, headers)


@lru_cache(maxsize=1024)
def cross_origin(origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that let a page of `origin` read the answer and send cookies.

    >>> cross_origin(b"https://shop.test, https://other.test")
    ((b'vary', b'Origin'),)
    """
    vary = ((b"vary", b"Origin"),)
    if not _ORIGIN.fullmatch(origin):
        return vary
    return (
        *vary,
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"retry-after, x-request-id"),
    )


PREFLIGHT = Reply(
    204,
    None,
    (
        (b"access-control-allow-methods", b"POST, OPTIONS"),
        (
            b"access-control-allow-headers",
            b"authorization, content-type, content-encoding, x-api-key, x-gw-ims-org-id",
        ),
        (b"access-control-max-age", b"86400"),
    ),
)


def first_party_domain(state: Any, host: bytes) -> str:
    """The domain that cookies are set for, where the page says one that this host lies in.

    >>> first_party_domain({"cookiesEnabled": True, "domain": "shop.test"}, b"edge.shop.test:8443")
    'shop.test'
    >>> first_party_domain({"cookiesEnabled": True, "domain": "shop.test"}, b"edge.example.test")
    ''
    """
    if not isinstance(state, dict) or state.get("cookiesEnabled") is not True:
        return ""
    domain = state.get("domain")
    if not isinstance(domain, str) or not _DOMAIN.fullmatch(domain.lower()):
        return ""
    name = host.decode("latin-1").lower().rsplit(":", 1)[0]
    inside = name == domain.lower() or name.endswith(f".{domain.lower()}")
    return domain.lower() if inside else ""


def _cookie(one: Stored, domain: str) -> bytes:
    text = (
        f"{one.key}={one.value}; Path=/; Domain={domain}; Max-Age={one.max_age_s}; "
        "Secure; SameSite=None"
    )
    return text.encode("latin-1")


def state_of(meta: Any, cookies: bytes) -> dict[str, str]:
    """What a client gives back of what it was told to keep; its cookies fill in."""
    found: dict[str, str] = {}
    for part in cookies.decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        found.setdefault(name, value)
    state = meta.get("state") if isinstance(meta, dict) else None
    entries = state.get("entries") if isinstance(state, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            key, kept = entry.get("key"), entry.get("value")
            if isinstance(key, str) and isinstance(kept, str):
                found[key] = kept
    return found
