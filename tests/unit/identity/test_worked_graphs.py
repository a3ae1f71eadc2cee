"""The 26 worked examples of the linking rules hold by simulation."""

from __future__ import annotations

from typing import Any

import pytest
from worked_graphs import Case, cases, settings_of

from amity.kernel.clock import VirtualBusinessClock
from amity.kernel.scope import Scope
from amity.platform.identity.model import Identity
from amity.platform.identity.namespaces import Namespaces
from amity.platform.identity.rules import Rules
from amity.platform.identity.settings import IdentitySettings
from amity.platform.identity.simulate import graphs_of, parse_events
from amity.testing.memory import MemoryDocuments

SCOPE = Scope("A@AmityOrg", "prod")


def rules_of(settings: dict[str, Any]) -> Rules:
    documents = MemoryDocuments(VirtualBusinessClock(0))
    service = IdentitySettings(documents=documents, namespaces=Namespaces(documents=documents))
    return service.rules_of(SCOPE, settings)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_worked_graph(case: Case) -> None:
    """The events of the row give the graphs of the row."""
    actual = graphs_of(parse_events(case.events), rules_of(case.settings))

    assert case.graphs == actual


def full_graph(first: str) -> list[str]:
    """Fifty identities around one person, the oldest one being `first`."""
    return [f"CRMID: Tom, {first}", *(f"CRMID: Tom, ECID: {n:03d}" for n in range(48))]


def test_oldest_cookie_leaves_before_an_older_device() -> None:
    """Row 26: of a full graph the oldest ECID leaves, not the device that is older still."""
    rules = rules_of(settings_of("CRMID*, GAID, ECID"))
    events = [*full_graph("GAID: g"), "CRMID: Tom, ECID: new"]

    (graph,) = graphs_of(parse_events("\n".join(events)), rules)

    assert len(graph) == 50
    assert Identity("GAID", "g") in graph
    assert Identity("ECID", "new") in graph
    assert Identity("ECID", "000") not in graph


def test_device_leaves_when_no_cookie_but_the_new_one_is_there() -> None:
    """Type beats age: with devices only, the oldest device leaves and the new cookie stays."""
    rules = rules_of(settings_of("CRMID*, GAID, ECID"))
    events = [f"CRMID: Tom, GAID: {n:03d}" for n in range(49)]

    (graph,) = graphs_of(parse_events("\n".join([*events, "CRMID: Tom, ECID: new"])), rules)

    assert Identity("ECID", "new") in graph
    assert Identity("GAID", "000") not in graph


def test_person_leaves_last() -> None:
    """With people only, the oldest person identity leaves."""
    rules = rules_of(settings_of("CRMID*, Email"))
    events = [f"CRMID: Tom, Email: {n:03d}" for n in range(50)]

    (graph,) = graphs_of(parse_events("\n".join(events)), rules)

    assert len(graph) == 50
    assert Identity("CRMID", "Tom") not in graph or Identity("Email", "000") not in graph


def test_graph_splits_when_the_one_that_leaves_held_it_together() -> None:
    """Row 26: the ECID that leaves had joined two CRMIDs: two graphs."""
    rules = rules_of(settings_of("CRMID, GAID, ECID"))
    events = [
        "CRMID: Tom, ECID: hub",
        "CRMID: Summer, ECID: hub",
        *(f"CRMID: Tom, ECID: t{n:02d}" for n in range(24)),
        *(f"CRMID: Summer, ECID: s{n:02d}" for n in range(23)),
        "CRMID: Summer, ECID: new",
    ]

    graphs = graphs_of(parse_events("\n".join(events)), rules)

    assert [25, 25] == sorted(len(graph) for graph in graphs)


def test_forty_nine_are_left_alone() -> None:
    """A graph of fifty loses nobody."""
    rules = rules_of(settings_of("CRMID*, GAID, ECID"))

    (graph,) = graphs_of(parse_events("\n".join(full_graph("GAID: g"))), rules)

    assert len(graph) == 50
