"""What does an event of an Edge client become before it is judged?

What the whole request shares is put into each event; what was left empty is left out; the data
stream's mapping, look-ups and obfuscation are applied. The same event sent twice gets the same
`_id`. Behaviour: platform-collect.md §7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from amity.kernel.clock import to_iso
from amity.kernel.ids import digest
from amity.platform.ingestion.datastreams import DataStream, FieldMapping
from amity.platform.ingestion.edge_identity import with_ecid

HEADER_CHARS_MAX = 1_024
_V6_KEPT_BITS = 48
"""Of an IPv6 address the last 80 bits go. Behaviour: platform-collect.md §7."""


class Client(NamedTuple):
    """What a request tells of the one who sends it, whatever its body says."""

    address: str = ""
    user_agent: str = ""
    accept_language: str = ""


class Sent(NamedTuple):
    """One request's events.

    Attributes:
        shared: XDM of the whole request.
        ecid: The visitor's device, "" when there is none.
        name: What names this request, the same when it is sent again.
        now_ms: Business time of receipt.
    """

    stream: DataStream
    shared: Mapping[str, Any]
    ecid: str
    client: Client
    name: str
    now_ms: int


def records_of(sent: Sent, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The XDM records of a request's events."""
    return [_record(sent, event, at) for at, event in enumerate(events)]


def pruned(value: Any) -> Any:
    """The value without members that say nothing: clients send "" where they know nothing.

    >>> pruned({"web": {"webReferrer": {"URL": ""}, "pages": 0}, "device": None})
    {'web': {'pages': 0}}
    """
    if not isinstance(value, dict):
        return [pruned(one) for one in value] if isinstance(value, list) else value
    found = {}
    for key, inner in value.items():
        kept = pruned(inner)
        if kept is None or kept == "" or (kept == {} and inner != {}):
            continue
        found[key] = kept
    return found


def with_shared(shared: Mapping[str, Any], xdm: Mapping[str, Any]) -> dict[str, Any]:
    """The event's XDM with what the request shares; identities of both, by namespace.

    >>> with_shared({"identityMap": {"A": [1]}, "x": 1}, {"identityMap": {"B": [2]}, "x": 2})
    {'identityMap': {'A': [1], 'B': [2]}, 'x': 2}
    """
    both = {**shared, **xdm}
    ours, theirs = shared.get("identityMap"), xdm.get("identityMap")
    if isinstance(ours, dict) and isinstance(theirs, dict):
        both["identityMap"] = {**ours, **theirs}
    return both


def obfuscated(address: str, how: str) -> str:
    """An address as far as it may be kept; "" for nothing of it.

    >>> obfuscated("203.0.113.9", "partial"), obfuscated("2001:db8:1:2:3::4", "partial")
    ('203.0.113.0', '2001:db8:1::')
    >>> obfuscated("203.0.113.9", "full"), obfuscated("garbage", "partial")
    ('', '')
    """
    if how == "none":
        return address
    found = _address(address)
    if how == "full" or found is None:
        return ""
    if isinstance(found, IPv4Address):
        return str(IPv4Address(int(found) & ~0xFF))
    dropped = 128 - _V6_KEPT_BITS
    return str(IPv6Address(int(found) >> dropped << dropped))


def _record(sent: Sent, event: Mapping[str, Any], at: int) -> dict[str, Any]:
    settings = sent.stream.settings
    xdm: dict[str, Any] = pruned(with_shared(sent.shared, event.get("xdm") or {}))
    _map(settings.mapping, event.get("data"), xdm)
    identities = with_ecid(xdm.get("identityMap"), sent.ecid)
    if identities:
        xdm["identityMap"] = identities
    else:
        xdm.pop("identityMap", None)
    xdm.setdefault("timestamp", to_iso(sent.now_ms))
    xdm.setdefault("_id", digest(sent.stream.id, sent.name, str(at)))
    _look_up(sent, xdm)
    return xdm


def _map(mapping: Sequence[FieldMapping], data: Any, xdm: dict[str, Any]) -> None:
    for one in mapping:
        value = data
        for part in one.source.split(".")[1:]:
            value = value.get(part) if isinstance(value, dict) else None
        value = pruned(value)
        if value is not None and value != "":
            _set(xdm, one.destination.split("."), value)


def _set(xdm: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        inner = xdm.get(part)
        if not isinstance(inner, dict):
            inner = xdm[part] = {}
        xdm = inner
    xdm[path[-1]] = value


def _look_up(sent: Sent, xdm: dict[str, Any]) -> None:
    settings, environment = sent.stream.settings, xdm.get("environment", {})
    if not isinstance(environment, dict):
        return
    if settings.lookups.device:
        browser = environment.setdefault("browserDetails", {})
        for key, value in (
            ("userAgent", sent.client.user_agent),
            ("acceptLanguage", sent.client.accept_language),
        ):
            if isinstance(browser, dict) and value:
                browser.setdefault(key, value[:HEADER_CHARS_MAX])
    if settings.lookups.network and not environment.keys() & {"ipV4", "ipV6"}:
        found = _address(sent.client.address)
        if found is not None:
            environment["ipV4" if isinstance(found, IPv4Address) else "ipV6"] = str(found)
    for key in environment.keys() & {"ipV4", "ipV6"}:
        kept = obfuscated(str(environment.pop(key)), settings.ip_obfuscation)
        if kept:
            environment[key] = kept
    if environment:
        xdm["environment"] = environment


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
