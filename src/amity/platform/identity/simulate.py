"""What would the graphs be, had these events happened?

Rules and limits apply, value checks do not; nothing is stored. Also the words of graph text:
one event a line, `NS: value, NS: value`.
"""

from __future__ import annotations

from collections.abc import Iterable

from amity.platform.identity.errors import InvalidEvents
from amity.platform.identity.graph import Graph, sighting
from amity.platform.identity.model import Identity
from amity.platform.identity.rules import Rules


def parse_events(text: str) -> list[list[Identity]]:
    """The identities of each line; blank lines and lines that begin with # are left out.

    >>> parse_events("CRMID: Tom, ECID: 111")
    [[Identity(ns='CRMID', id='Tom'), Identity(ns='ECID', id='111')]]
    """
    events = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            events.append([_identity(part, number) for part in line.split(",") if part.strip()])
    return events


def graphs_of(events: Iterable[Iterable[Identity]], rules: Rules) -> list[list[Identity]]:
    """The graphs of two and more identities after these events, each and all of them sorted."""
    graph = Graph(rules)
    for number, identities in enumerate(events, 1):
        seen = sighting(number, "", (one for one in identities if rules.links(one.ns)))
        if len(seen.identities) > 1:
            graph.see(seen)
    return sorted(sorted(found) for found in graph.components() if len(found) > 1)


def _identity(text: str, line: int) -> Identity:
    code, colon, value = text.partition(":")
    if not (colon and code.strip() and value.strip()):
        raise InvalidEvents(
            f"line {line}: {text.strip()!r} is no identity; write NS: value, NS: value",
            line=line,
        )
    return Identity(code.strip(), value.strip())
