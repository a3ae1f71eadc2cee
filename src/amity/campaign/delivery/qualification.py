"""What does a server's "no" mean for the address?

`qualify` reads a reply's code, enhanced status (RFC 3463) and text into one of the documented failures.
`Qualifier` keeps every distinct text, with variables taken out, so that an operator can overrule what
the rules made of it. Behaviour: campaign.md §1.9; shape: docs/adr/0018-tracking-and-returns.md.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import re2
import sqlalchemy as sa

from amity.campaign.recipients.builtin import (
    BROAD_LOG_MSG,
    FAILURE_REASON,
    FAILURE_TYPE,
)

TEXT_CHARS_MAX = 1_000
"""How much of a server's text is kept. Ours."""

NORMALISED_CHARS_MAX = 400
"""Length of the column that holds the normalised text. Ours."""

COUNT_MAX = 100_000
"""Occurrences are counted up to here. Behaviour: campaign.md §1.9."""

TYPES = {value.name: int(value.value) for value in FAILURE_TYPE.values}
"""Name of a failure type → its number."""

REASONS = {value.name: int(value.value) for value in FAILURE_REASON.values}
"""Name of a failure reason → its number."""

TO_QUALIFY, KEEP, IGNORE = 0, 1, 2
"""What an operator thinks of a text: nothing yet, as it stands, no failure at all."""


class Failure(msgspec.Struct, frozen=True):
    """Why a message was not delivered: documented numbers, and what the server said."""

    type: int
    reason: int
    text: str

    @property
    def hard(self) -> bool:
        """Whether the address is to be given up at once."""
        return self.type == TYPES["hard"]


class Qualified(NamedTuple):
    """A failure and the row of nms:broadLogMsg that it was qualified by."""

    failure: Failure
    message_id: int


class _Rule(NamedTuple):
    pattern: Any
    type: Literal["soft", "hard", "ignored"]
    reason: str


def _rule(pattern: str, type: Literal["soft", "hard", "ignored"], reason: str) -> _Rule:
    return _Rule(re2.compile(f"(?i){pattern}"), type, reason)


_BY_TEXT = (
    # What a text says outright comes before the code: providers use one code for many things.
    _rule(
        r"mailbox (is )?full|over ?quota|quota (is |has been )?exceed|exceeded (its|the|storage) quota|"
        r"out of storage|storage space|insufficient (disk|system) storage|mailbox size limit|"
        r"inbox is full|overquota",
        "soft",
        "mailboxFull",
    ),
    _rule(
        r"(account|mailbox|user|recipient)( address)?( has been| is| was)? "
        r"(currently )?(disabled|suspended|inactive|deactivated|locked|closed)|"
        r"inactive (user|mailbox|account)|disabled (user|mailbox|account)",
        "hard",
        "accountDisabled",
    ),
    _rule(
        r"spam|block ?list|blocked (using|by|due|because)|black ?list|dnsbl|\brbl\b|reputation|"
        r"unsolicited|dmarc|\bdkim\b|\bspf\b|unauthenticated|not authenticated|policy reasons|"
        r"message (was )?(content )?(rejected|refused)|virus|rate limit",
        "soft",
        "refused",
    ),
    _rule(
        r"(user|recipient|mailbox|address|account)( address)?( you tried to reach)? "
        r"(unknown|not found|(does|do) not exist|doesn'?t exist|"
        r"(is )?unavailable|invalid|not (listed|known|valid|recognized|recognised))|"
        r"(unknown|invalid|no such|non-?existent|nonexistent) "
        r"(local )?(user|recipient|mailbox|address|account|person)|"
        r"no (such )?(user|mailbox|account|one)( by that name| with that name)?( here)?\b|"
        r"unrouteable address|that (e-?mail )?(account|address) (that you tried|does not)|"
        r"(user|recipient) (address )?rejected: (user )?(unknown|undeliverable|access denied)|"
        r"recipient ?not ?found|resolver\.adr\.\w*recip\w*notfound|"
        r"doesn'?t have a \S+ account|isn'?t in my control|addressee unknown",
        "hard",
        "userUnknown",
    ),
    _rule(
        r"(host|domain)( name)?( \S+)? (not found|unknown|does not exist|doesn'?t exist)|nxdomain|"
        r"(unknown|no such|invalid|bad) (host|domain)|domain (is )?(invalid|not found|unknown)|"
        r"name service error|couldn'?t find any host|no mx (record|host)|does not accept mail|"
        r"nullmx|name or service not known|unable to route",
        "soft",
        "invalidDomain",
    ),
    _rule(
        r"connection (timed? ?out|refused|reset|closed|lost|was dropped)|timed? ?out|"
        r"no route to host|network is unreachable|host unreachable|delivery time expired|"
        r"message expired|too long in (the )?queue|retry timeout exceeded|unable to connect|"
        r"couldn'?t (connect|establish)|grey-?list|try (again|later)|temporar",
        "soft",
        "unreachable",
    ),
)

_BY_STATUS = (
    # Without the class: the code says whether it may pass.
    (re2.compile(r"1\.(1|3|6)"), "hard", "userUnknown"),
    (re2.compile(r"1\.(2|10)|4\.4"), "soft", "invalidDomain"),
    (re2.compile(r"2\.1"), "hard", "accountDisabled"),
    (re2.compile(r"2\.2|3\.1"), "soft", "mailboxFull"),
    (re2.compile(r"4\.\d+|3\.[02]"), "soft", "unreachable"),
    (re2.compile(r"1\.[78]|2\.[034]|3\.[345]|5\.\d+|6\.\d+|7\.\d+"), "soft", "refused"),
)

_ENHANCED = re2.compile(r"^\s*([245])\.(\d{1,3}\.\d{1,3})")
_CONTROL = re2.compile(r"[\x00-\x1f\x7f-\x9f\s]+")
_ADDRESS = re2.compile(r"<?[\w.!#$%&'*+/=?^`{|}~-]+@[\w.-]+>?")
_URL = re2.compile(r"(?i)https?://\S+")
_VARIABLE = re2.compile(
    r"\[?\b\d{1,3}(?:\.\d{1,3}){3}\b\]?"  # an IP address
    r"|\b[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){3,}\b"
    r"|\b[0-9A-Za-z_-]*[0-9][0-9A-Za-z_-]*[A-Za-z_-][0-9A-Za-z_.-]*\b"  # ids with digits first
    r"|\b[0-9A-Za-z_-]*[A-Za-z_-][0-9A-Za-z_-]*[0-9][0-9A-Za-z_.-]*\b"
    r"|\b(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b"  # a host
    r"|\b\d{4,}\b"
)


class KnowsTables(Protocol):
    """Finds the tables of the campaign database."""

    def table(self, id: str) -> sa.Table: ...


def qualify(code: int, enhanced: str, text: str) -> Failure:
    """The documented failure of a reply.

    `code` is 0 where there was no reply. A code of the 400s may pass: what it says is never hard.

    >>> qualify(550, "5.1.1", "User unknown").reason
    1
    >>> qualify(450, "4.1.1", "User unknown") == Failure(1, 3, "User unknown")
    True
    >>> qualify(554, "5.7.26", "Unauthenticated mail").type
    1
    """
    return _qualify(code, enhanced, text)[0]


def _qualify(code: int, enhanced: str, text: str) -> tuple[Failure, bool]:
    """The failure, and whether a rule knew it."""
    said = cleaned(text)
    found = _by_text(said) or _by_status(enhanced, said)
    passing = code < 500 if code else not enhanced.strip().startswith("5")
    if found is None:
        default = "unreachable" if passing else "refused"
        return Failure(TYPES["soft"], REASONS[default], said), False
    kind, reason = found
    if passing and kind == "hard":
        # Servers defer unknown users, too, while they greylist or have lost their directory.
        kind, reason = "soft", "unreachable"
    return Failure(TYPES[kind], REASONS[reason], said), True


def _by_text(text: str) -> tuple[str, str] | None:
    for rule in _BY_TEXT:
        if rule.pattern.search(text):
            return rule.type, rule.reason
    return None


def _by_status(enhanced: str, text: str) -> tuple[str, str] | None:
    found = _ENHANCED.match(enhanced) or _ENHANCED.match(text)
    if found is None or found.group(1) == "2":
        return None
    for pattern, kind, reason in _BY_STATUS:
        if pattern.fullmatch(found.group(2)):
            return kind, reason
    return None


def cleaned(text: str) -> str:
    r"""A server's text on one line, without control characters, of bounded length.

    >>> cleaned("5.1.1 no\r\n such\x00 user ")
    '5.1.1 no such user'
    """
    return str(_CONTROL.sub(" ", text[: 4 * TEXT_CHARS_MAX])).strip()[:TEXT_CHARS_MAX]


def normalised(code: int, enhanced: str, text: str) -> str:
    """The text without what differs from message to message.

    >>> normalised(550, "5.1.1", "<ann@example.org>: no such user at mx7.example.org id A1B2C3")
    '550 5.1.1 *: no such user at #xxx# id #xxx#'
    >>> normalised(550, "5.1.1", "550 5.1.1 no such user")
    '550 5.1.1 no such user'
    """
    head = [part for part in (str(code) if code else "", enhanced.strip()) if part]
    said = cleaned(text)
    for part in head:
        said = said.removeprefix(f"{part} ")
    said = _URL.sub("#xxx#", said)
    said = _ADDRESS.sub("*", said)
    said = _VARIABLE.sub("#xxx#", said)
    return " ".join([*head, said]).strip()[:NORMALISED_CHARS_MAX] or "no text"


class Qualifier:
    """Qualifies replies and keeps what they said, each distinct text once.

    Args:
        schemas: Finds the table of qualifications.
    """

    def __init__(self, schemas: KnowsTables) -> None:
        self._schemas = schemas

    def qualify(
        self, connection: sa.Connection, *, code: int, enhanced: str, text: str, now_ms: int
    ) -> Qualified:
        """As `qualify`, unless an operator has said otherwise of this text; counts it."""
        table = self._table
        failure, known = _qualify(code, enhanced, text)
        said = normalised(code, enhanced, text)
        row = connection.execute(sa.select(table).where(table.c.text == said)).first()
        if row is None:
            return self._first(connection, said, failure, (KEEP if known else TO_QUALIFY, now_ms))
        found = row._mapping  # noqa: SLF001 - SQLAlchemy's public way to a row by column
        count = min(int(found[table.c.count]) + 1, COUNT_MAX)
        connection.execute(
            sa.update(table)
            .where(table.c.id == found[table.c.id])
            .values({table.c.count: count, table.c.lastModified: now_ms})
        )
        id = int(found[table.c.id])
        status = int(found[table.c.status])
        if status == IGNORE:
            ignored = Failure(TYPES["ignored"], REASONS["errorIgnored"], failure.text)
            return Qualified(ignored, id)
        if status == KEEP:
            kind, reason = int(found[table.c.failureType]), int(found[table.c.failureReason])
            return Qualified(Failure(kind, reason, failure.text), id)
        return Qualified(failure, id)

    def overrule(
        self, connection: sa.Connection, id: int, *, changes: dict[str, int], now_ms: int
    ) -> bool:
        """An operator's word on a text (`status`, `failureType`, `failureReason`); False: unknown."""
        table = self._table
        values = {table.c[name]: value for name, value in changes.items()}
        done = connection.execute(
            sa.update(table).where(table.c.id == id).values(values | {table.c.lastModified: now_ms})
        )
        return done.rowcount > 0

    @property
    def _table(self) -> sa.Table:
        return self._schemas.table(BROAD_LOG_MSG.id)

    def _first(
        self, connection: sa.Connection, said: str, failure: Failure, mark: tuple[int, int]
    ) -> Qualified:
        table = self._table
        status, now_ms = mark
        done = connection.execute(
            sa.insert(table).values(
                {
                    table.c.firstText: failure.text,
                    table.c.text: said,
                    table.c.count: 1,
                    table.c.status: status,
                    table.c.failureType: failure.type,
                    table.c.failureReason: failure.reason,
                    table.c.created: now_ms,
                    table.c.lastModified: now_ms,
                }
            )
        )
        key = done.inserted_primary_key
        return Qualified(failure, int(key[0]) if key else 0)
