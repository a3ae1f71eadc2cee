"""The 26 worked examples of the linking rules, as a table. Behaviour: platform-audiences.md §2.4."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from amity.platform.identity.model import Identity
from amity.platform.identity.simulate import parse_events

BASES = {
    "P": """\
CRMID: Tom, Email: aa, Phone: 123
CRMID: Tom, ECID: 111
CRMID: Tom, ECID: 222, IDFA: A
CRMID: Summer, Email: dd, Phone: 765
CRMID: Summer, ECID: 333
CRMID: Summer, ECID: 444, GAID: B
""",
    "Q": """\
CRMID: Tom, loginID: A
CRMID: Tom, loginID: B
loginID: A, ECID: 111
CRMID: Summer, loginID: C
CRMID: Summer, loginID: D
loginID: C, ECID: 222
""",
}
BASES["R"] = (
    "CRMID: Tom, Email: aa, Phone: 123\nCRMID: Summer, Email: dd, Phone: 765\n" + BASES["Q"]
)


class Case(NamedTuple):
    name: str
    settings: dict[str, Any]
    events: str
    graphs: list[list[Identity]]


def settings_of(text: str) -> dict[str, Any]:
    """`CRMID*, ECID` as a settings body."""
    codes = [part.strip() for part in text.split(",")]
    return {
        "namespaces": [
            {"code": code.rstrip("*"), "unique": code.endswith("*"), "priority": at}
            for at, code in enumerate(codes, 1)
        ]
    }


def case_of(block: str) -> Case:
    name, rules, *rest = block.strip().splitlines()
    base = ""
    if rest[0].startswith("base: "):
        base = BASES[rest.pop(0).removeprefix("base: ")]
    at = rest.index("->")
    graphs = sorted(sorted(graph) for graph in parse_events("\n".join(rest[at + 1 :])))
    events = base + "\n".join(rest[:at])
    return Case(name, settings_of(rules.removeprefix("rules: ")), events, graphs)


def cases() -> list[Case]:
    text = (Path(__file__).parent / "fixtures" / "graphs.txt").read_text()
    return [case_of(block) for block in text.split("\n## ")[1:]]
