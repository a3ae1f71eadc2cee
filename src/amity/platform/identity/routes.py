"""What does HTTP offer of identities? Namespaces, linking rules, simulation, graphs.

Behaviour: platform-audiences.md §1.1, §1.3, §2.1; settings and simulation are ours (no public
settings API is seen).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.platform.identity.errors import InvalidEvents, InvalidInput
from amity.platform.identity.namespaces import Namespaces
from amity.platform.identity.service import Graphs, check_many
from amity.platform.identity.settings import IdentitySettings
from amity.platform.identity.simulate import graphs_of, parse_events

View = Annotated[Principal, needs("view-identity-namespaces")]
Manage = Annotated[Principal, needs("manage-identity-namespaces")]
ViewGraph = Annotated[Principal, needs("view-identity-graph")]
JsonBody = Annotated[dict[str, Any], Body()]

EVENTS_MAX = 100_000
"""Events in one simulation. Ours."""


def router(*, namespaces: Namespaces, settings: IdentitySettings, graphs: Graphs) -> APIRouter:
    """All routes of the identity stage."""
    routes = APIRouter(prefix="/data/core", tags=["identity"])
    _namespaces(routes, namespaces)
    _rules(routes, settings)
    _graphs(routes, graphs)
    return routes


def _namespaces(routes: APIRouter, namespaces: Namespaces) -> None:
    @routes.get("/idnamespace/identities")
    def list_namespaces(who: View) -> list[dict[str, Any]]:
        return namespaces.all(who.scope)

    @routes.get("/idnamespace/orgs/{org}/identities", deprecated=True)
    def list_of_org(who: View, org: str) -> list[dict[str, Any]]:
        return namespaces.all(who.scope) if org == who.scope.org else []

    @routes.post("/idnamespace/identities", status_code=201)
    def create_namespace(who: Manage, body: JsonBody) -> dict[str, Any]:
        return namespaces.create(who.scope, body)

    @routes.get("/idnamespace/identities/{number}")
    def get_namespace(who: View, number: int) -> dict[str, Any]:
        return namespaces.get(who.scope, number)

    @routes.get("/idnamespace/orgs/{org}/identities/{number}", deprecated=True)
    def get_of_org(who: View, org: str, number: int) -> dict[str, Any]:
        del org
        return namespaces.get(who.scope, number)

    @routes.put("/idnamespace/identities/{number}")
    def put_namespace(who: Manage, number: int, body: JsonBody) -> dict[str, Any]:
        return namespaces.update(who.scope, number, body)


def _rules(routes: APIRouter, settings: IdentitySettings) -> None:
    @routes.get("/identity/settings")
    def get_settings(who: View) -> dict[str, Any]:
        return settings.get(who.scope)

    @routes.put("/identity/settings")
    def put_settings(who: Manage, body: JsonBody) -> dict[str, Any]:
        return settings.put(who.scope, body)

    @routes.post("/identity/simulate")
    def simulate(who: View, body: JsonBody) -> dict[str, Any]:
        text, given = body.get("events"), body.get("settings")
        if not isinstance(text, str):
            raise InvalidEvents("events must be a text: one event a line, NS: value, NS: value")
        events = parse_events(text)
        if len(events) > EVENTS_MAX:
            raise InvalidEvents(f"{len(events)} events are too many: at most {EVENTS_MAX}")
        if given is None:
            rules = settings.rules(who.scope)
        elif isinstance(given, dict):
            rules = settings.rules_of(who.scope, given)
        else:
            raise InvalidEvents('settings must be an object: {"namespaces": [...]}')
        graphs = graphs_of(events, rules)
        return {"graphs": [[one._asdict() for one in graph] for graph in graphs]}


def _graphs(routes: APIRouter, graphs: Graphs) -> None:
    @routes.get("/identity/identity")
    def get_xid(
        who: ViewGraph,
        id: str = "",
        namespace: Annotated[str, Query()] = "",
        nsid: Annotated[str, Query()] = "",
    ) -> dict[str, Any]:
        return {"xid": graphs.xid(who.scope, namespace=namespace, nsid=nsid, id=id)}

    @routes.post("/identity/v2/graph")
    def post_graph(who: ViewGraph, body: JsonBody) -> dict[str, Any]:
        return graphs.graph(who.scope, body)

    @routes.get("/identity/cluster/members", deprecated=True)
    def get_cluster(
        who: ViewGraph,
        xid: str = "",
        id: str = "",
        namespace: str = "",
        ns: str = "",
        nsid: str = "",
        ns_id: Annotated[str, Query(alias="nsId")] = "",
    ) -> dict[str, Any]:
        asked: dict[str, Any] = {"xid": xid}
        if not xid:
            if not id:
                raise InvalidInput("name the identity: xid, or nsid or namespace with id")
            asked = {"ns": namespace or ns, "nsid": nsid or ns_id, "id": id}
        return _clusters(graphs.cluster(who.scope, [asked]))

    @routes.post("/identity/clusters/members", deprecated=True)
    def post_clusters(who: ViewGraph, body: JsonBody) -> dict[str, Any]:
        asked = [
            {"xid": one} if isinstance(one, str) else one
            for one in body.get("xids")
            or body.get("compositeXids")
            or body.get("compositeXidsWithNamespace")
            or ()
        ]
        check_many(asked)
        return _clusters(graphs.cluster(who.scope, asked))


def _clusters(entries: list[dict[str, Any]]) -> dict[str, Any]:
    clusters = []
    for entry in entries:
        if entry.get("xid"):
            named: dict[str, Any] = {"xid": entry["xid"]}
        else:
            named = {
                "compositeXid": {
                    name: value for name, value in entry.items() if name != "members" and value
                }
            }
        clusters.append({**named, "members": entry["members"]})
    return {"version": "1.1.0", "clusters": clusters, "unprocessedRecords": []}
