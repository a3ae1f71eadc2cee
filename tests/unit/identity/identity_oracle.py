"""The linking rules as plainly as they can be written: the oracle of the incremental graph."""

from __future__ import annotations

from itertools import combinations

import networkx as nx

from amity.platform.identity.model import Identity
from amity.platform.identity.rules import Rules

Record = tuple[int, str, tuple[Identity, ...]]


def _clash(rules: Rules, identities: set[Identity]) -> bool:
    return any(
        len({value for ns, value in identities if ns == unique}) > 1 for unique in rules.unique
    )


def naive_graphs(records: set[Record], rules: Rules) -> list[list[Identity]]:
    """The graphs after all records in (event time, id) order, from scratch."""
    graph: nx.Graph[Identity] = nx.Graph()
    order = 0
    linking = {
        (at_ms, id, tuple(one for one in identities if rules.links(one.ns)))
        for at_ms, id, identities in records
    }
    for at_ms, _, identities in sorted(linking, key=lambda r: (r[0], r[1], _name(r[2]))):
        order += 1
        held = set(identities)
        if len(held) < 2 or _clash(rules, held):
            continue
        touched = set(held)
        for one in held & set(graph):
            touched |= nx.node_connected_component(graph, one)
        for one, other in combinations(held, 2):
            first = graph.edges[one, other]["first"] if graph.has_edge(one, other) else at_ms
            graph.add_edge(one, other, first=first, last=order)
        if _clash(rules, touched):
            _rebuild(graph, touched, order, rules)
        _evict(graph, held, rules)
    return sorted(sorted(c) for c in nx.connected_components(graph) if len(c) > 1)


def _name(identities: tuple[Identity, ...]) -> str:
    from amity.platform.identity.graph import set_name

    return set_name(tuple(sorted(set(identities))))


def _rebuild(graph: nx.Graph[Identity], touched: set[Identity], now: int, rules: Rules) -> None:
    edges = [(min(e[:2]), max(e[:2]), e[2]) for e in graph.edges(touched, data=True)]
    graph.remove_nodes_from(touched)

    def total(edge: tuple[Identity, Identity, dict[str, int]]) -> float:
        return rules.priority(edge[0].ns) + rules.priority(edge[1].ns)

    latest = [edge for edge in edges if edge[2]["last"] == now]
    rest = [edge for edge in edges if edge[2]["last"] != now]
    rest.sort(key=lambda edge: (edge[0], edge[1]), reverse=True)
    rest.sort(key=lambda edge: edge[2]["last"], reverse=True)
    rest.sort(key=total)
    for one, other, data in latest + rest:
        together = {one, other}
        for end in (one, other):
            if end in graph:
                together |= nx.node_connected_component(graph, end)
        if not _clash(rules, together):
            graph.add_edge(one, other, **data)


def _evict(graph: nx.Graph[Identity], held: set[Identity], rules: Rules) -> None:
    while len(members := nx.node_connected_component(graph, next(iter(held)))) > 50:
        oldest = min(
            members - held,
            key=lambda one: (
                rules.leaves_first(one),
                min(data["first"] for _, _, data in graph.edges(one, data=True)),
                one.xid,
            ),
        )
        graph.remove_node(oldest)
        graph.remove_nodes_from([one for one in list(graph) if not graph[one]])
