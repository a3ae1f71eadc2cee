"""Who is linked to whom, and since when?

Reads of the graph for the identity APIs. Behaviour: platform-audiences.md §1.2, §1.3.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

from amity.kernel.scope import Scope
from amity.platform.identity.errors import InvalidInput
from amity.platform.identity.graph import Link, Pair
from amity.platform.identity.model import Identity
from amity.platform.identity.namespaces import Namespaces
from amity.platform.identity.step import Component, links_of
from amity.platform.identity.store import (
    components_of,
    datasets_of_set,
    identity_of_xid,
    profile_of,
    set_bounds,
)
from amity.storage.ports import Reader, State

XIDS_MAX = 1_000
"""Identities in one request. Behaviour: platform-audiences.md §1.3."""

Echo = Callable[[Identity], dict[str, Any]]
"""Shows an identity in the form the request used."""


class Graphs:
    """Answers the graph APIs."""

    def __init__(self, *, state: State, namespaces: Namespaces) -> None:
        self._state = state
        self._namespaces = namespaces

    def xid(self, scope: Scope, *, namespace: str, nsid: str, id: str) -> str:
        """The xid of a value in a namespace; a code wins over an id."""
        if not id:
            raise InvalidInput("id is required")
        return self._identity(scope, {"ns": namespace, "nsid": nsid, "id": id}).xid

    def cluster(self, scope: Scope, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One entry for each input, in its own form."""
        entries = []
        with self._state.read() as reader:
            for one in asked:
                identity = self._asked(reader, scope, one)
                linked = self._linked(reader, scope, identity) if identity else []
                shown = [self._echo(scope, one)(each) for each in linked]
                entries.append({**one, "members": shown})
        return entries

    def graph(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of the current graph call: sets of members, or vertices and edges."""
        projection = body.get("projection_type")
        if projection not in {"set", "graph"}:
            raise InvalidInput(f"projection_type {projection!r}: it is set or graph")
        asked, form = _asked_for(body)
        meta = bool(body.get("require_edge_meta_data"))
        graphs: list[dict[str, Any]] = []
        unprocessed: list[Any] = []
        with self._state.read() as reader:
            for one in asked:
                identity = self._asked(reader, scope, one)
                component = self._component(reader, scope, identity) if identity else None
                if component is None:
                    unprocessed.append(one if form == "composite_xid" else one["xid"])
                    continue
                echo = self._echo(scope, one)
                shown = one if form == "composite_xid" else one["xid"]
                if projection == "set":
                    content: dict[str, Any] = {
                        "members": [echo(each) for each in component.members]
                    }
                else:
                    content = self._drawn((reader, scope), component, echo, meta=meta)
                graphs.append({form: shown, **content})
        return {
            "version": "2.0",
            "graphs": graphs,
            f"unprocessed_{form}s": unprocessed,
            "algo_type": "STITCH_ALL",
        }

    def _drawn(
        self, at: tuple[Reader, Scope], component: Component, echo: Echo, *, meta: bool
    ) -> dict[str, Any]:
        reader, scope = at
        links, datasets = _links(reader, scope, component)
        newest: dict[Identity, int] = {}
        edges = []
        for pair, link in sorted(links.items()):
            for identity in pair:
                newest[identity] = max(newest.get(identity, link.first_ms), link.last.at_ms)
            edge = {
                "composite_xid_pair": [echo(identity) for identity in pair],
                "first_established_ts": link.first_ms,
                "last_established_ts": link.last.at_ms,
            }
            if meta:
                edge |= {"dataset_ids": sorted(datasets.get(pair, ())), "batch_ids": []}
            edges.append(edge)
        vertices = [
            {"composite_xid": echo(one), "last_updated_ts": newest.get(one, 0)}
            for one in component.members
        ]
        return {"vertices": vertices, "edges": edges}

    def _asked(self, reader: Reader, scope: Scope, one: dict[str, Any]) -> Identity | None:
        if one.get("xid"):
            return identity_of_xid(reader, scope, str(one["xid"]))
        return self._identity(scope, one)

    def _identity(self, scope: Scope, one: dict[str, Any]) -> Identity:
        code = one.get("ns") or one.get("namespace") or ""
        number = one.get("nsid") if one.get("nsid") is not None else one.get("nsId")
        if code:
            found = self._namespaces.by_code(scope, self._namespaces.written(scope, str(code)))
        else:
            found = self._namespaces.by_number(scope, str(number))
        if found is None:
            raise InvalidInput(
                f"namespace {code or number!r} is unknown; GET /data/core/idnamespace/identities "
                "lists them"
            )
        return Identity(found["code"], str(one.get("id", "")))

    def _echo(self, scope: Scope, one: dict[str, Any]) -> Echo:
        if one.get("xid"):
            return lambda identity: {"xid": identity.xid}
        if one.get("ns") or one.get("namespace"):
            return lambda identity: {"ns": identity.ns, "id": identity.id}
        numbers = {each["code"]: each["id"] for each in self._namespaces.all(scope)}
        return lambda identity: {"nsid": numbers.get(identity.ns), "id": identity.id}

    def _linked(self, reader: Reader, scope: Scope, identity: Identity) -> list[Identity]:
        component = self._component(reader, scope, identity)
        return [] if component is None else list(component.members)

    def _component(self, reader: Reader, scope: Scope, identity: Identity) -> Component | None:
        home = profile_of(reader, scope, identity)
        found = components_of(reader, scope, (home,)).get(home)
        return found if found is not None and len(found.members) > 1 else None


def _links(
    reader: Reader, scope: Scope, component: Component
) -> tuple[dict[Pair, Link], dict[Pair, set[str]]]:
    """The links of a graph as they stand now, and the datasets that show them."""
    links = dict(links_of(component))
    datasets: dict[Pair, set[str]] = {}
    for link_pair, link in links.items():
        datasets[link_pair] = datasets_of_set(reader, scope, link.last.set)
    for name, held in component.sets.items():
        bounds = set_bounds(reader, scope, name, held.since)
        if bounds is None:
            continue
        first, last = bounds
        shown_by = datasets_of_set(reader, scope, name)
        for pair in combinations(held.identities, 2):
            old = links.get(pair, Link(first.at_ms, last))
            links[pair] = Link(min(old.first_ms, first.at_ms), max(old.last, last))
            datasets.setdefault(pair, set()).update(shown_by)
    return links, datasets


def _asked_for(body: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The identities of a request and their form; clients also write `composite_xid`."""
    composite = body.get("composite_xids") or body.get("composite_xid")
    if composite is not None:
        asked = composite if isinstance(composite, list) else [composite]
        form = "composite_xid"
    else:
        asked = [{"xid": xid} for xid in body.get("xids") or ()]
        form = "xid"
    check_many(asked)
    return asked, form


def check_many(asked: list[Any]) -> None:
    """Refuse none and too many."""
    if not asked:
        raise InvalidInput("name the identities: composite_xids or xids")
    if len(asked) > XIDS_MAX:
        raise InvalidInput(f"limit of {XIDS_MAX} XIDs / compositeXids: {len(asked)} are given")
    if not all(isinstance(one, dict) for one in asked):
        raise InvalidInput('an identity is an object: {"ns": "CRMID", "id": "Tom"}')
