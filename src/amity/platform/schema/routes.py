"""HTTP of the schema registry. Behaviour: platform-collect.md §1, §2."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.routing import APIRoute

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.kernel.errors import AmityError
from amity.platform.schema.accept import list_ids_only, lookup_wants
from amity.platform.schema.descriptors import REQUIRED
from amity.platform.schema.errors import ResourceNotFound
from amity.platform.schema.listing import ListQuery, page_of
from amity.platform.schema.names import PATHS, UNION_SUFFIX
from amity.platform.schema.render import Renderer, history_entry
from amity.platform.schema.sample import sample_of
from amity.platform.schema.service import SchemaRegistry
from amity.platform.schema.transfer import exported, imported

BASE = "/data/foundation/schemaregistry"
Container = Literal["global", "tenant"]
Viewer = Annotated[Principal, needs("view-schemas")]
Manager = Annotated[Principal, needs("manage-schemas")]
Accept = Annotated[str, Header()]
Properties = Annotated[list[str] | None, Query()]
OWN_PATHS = ("classes", "fieldgroups", "mixins", "datatypes", "schemas")


def router(registry: SchemaRegistry) -> APIRouter:
    """`/data/foundation/schemaregistry/…`."""
    routes = APIRouter(prefix=BASE, tags=["schema registry"], route_class=_reported(registry))
    _stats(routes, registry)
    _unions(routes, registry)
    _descriptors(routes, registry)
    _calls(routes, registry)
    for path in OWN_PATHS:
        _lists(routes, registry, path)
        _own(routes, registry, path)
    _lists(routes, registry, "behaviors")
    return routes


def _reported(registry: SchemaRegistry) -> type[APIRoute]:
    """Routes whose errors carry the registry's `report`."""

    class Reported(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    return await inner(request)
                except AmityError as error:
                    error.data.setdefault("report", registry.report(error.message))
                    raise

            return handle

    return Reported


def _stats(routes: APIRouter, registry: SchemaRegistry) -> None:
    @routes.get("/stats")
    def stats(principal: Viewer) -> dict[str, Any]:
        """The organisation's namespace and how much there is."""
        snapshot = registry.snapshot(principal.scope)
        own = [each for each in snapshot.stored.values() if not each.standard]
        renderer = Renderer(principal.scope, snapshot, registry.tenant)
        newest = sorted(own, key=lambda each: -each.created_ms)[:10]
        usage: dict[str, int] = {}
        for each in own:
            if each.kind == "schema":
                name = snapshot.class_of(each)
                usage[name] = usage.get(name, 0) + 1
        return {
            "imsOrg": principal.scope.org,
            "tenantId": registry.tenant,
            "counts": {
                "schemas": sum(each.kind == "schema" for each in own),
                "mixins": sum(each.kind == "field_group" for each in own),
                "datatypes": sum(each.kind == "data_type" for each in own),
                "classes": sum(each.kind == "class" for each in own),
                "unions": len(renderer.unions()),
            },
            "classUsage": usage,
            "recentlyCreatedResources": [renderer.brief(each) for each in newest],
        }


def _lists(routes: APIRouter, registry: SchemaRegistry, path: str) -> None:
    kind = PATHS[path]

    @routes.get(f"/{{container}}/{path}", name=f"list {path}")
    def find(
        container: Container,
        principal: Viewer,
        accept: Accept = "",
        property: Properties = None,
        orderby: str = "",
        start: str = "",
        limit: int | None = None,
    ) -> dict[str, Any]:
        """List resources of a kind, by key-set pages."""
        brief = list_ids_only(accept)
        snapshot = registry.snapshot(principal.scope)
        renderer = Renderer(principal.scope, snapshot, registry.tenant)
        chosen = [
            each for each in snapshot.of_kind(kind) if each.standard == (container == "global")
        ]
        query = ListQuery(tuple(property or ()), orderby, start, limit)
        page = page_of((renderer.plain(each) for each in chosen), query)
        results = page.items
        if brief:
            results = [renderer.brief(snapshot.find(each["$id"])) for each in page.items]
        return _page(results, page.orderby, page.next, f"{BASE}/{container}/{path}")

    @routes.get(f"/{{container}}/{path}/{{id:path}}", name=f"get {path}")
    def get(
        container: Container, id: str, principal: Viewer, accept: Accept = ""
    ) -> dict[str, Any]:
        """One resource, in the form the Accept header asks for."""
        wanted = lookup_wants(accept)
        snapshot = registry.snapshot(principal.scope)
        renderer = Renderer(principal.scope, snapshot, registry.tenant)
        if kind == "schema" and id.endswith(UNION_SUFFIX):
            return renderer.union(id.removesuffix(UNION_SUFFIX), wanted)
        found = registry.find(principal.scope, id, kind)
        if container == "global" and not found.standard:
            raise ResourceNotFound(f"{id!r} is a resource of the tenant, not a global one", id=id)
        return renderer.lookup(found, wanted)


def _own(routes: APIRouter, registry: SchemaRegistry, path: str) -> None:
    kind = PATHS[path]

    def shown(principal: Principal, id: str) -> dict[str, Any]:
        snapshot = registry.snapshot(principal.scope)
        return Renderer(principal.scope, snapshot, registry.tenant).plain(snapshot.find(id))

    @routes.post(f"/tenant/{path}", status_code=201, name=f"create {path}")
    def create(principal: Manager, body: Annotated[Any, Body()]) -> dict[str, Any]:
        """Create a resource."""
        made = registry.create(principal.scope, kind, body, actor=principal.id)
        return shown(principal, made.id)

    @routes.put(f"/tenant/{path}/{{id:path}}", name=f"replace {path}")
    def replace(id: str, principal: Manager, body: Annotated[Any, Body()]) -> dict[str, Any]:
        """Give a resource a new definition."""
        registry.replace(principal.scope, kind, id, body, actor=principal.id)
        return shown(principal, id)

    @routes.patch(f"/tenant/{path}/{{id:path}}", name=f"change {path}")
    def patch(id: str, principal: Manager, body: Annotated[Any, Body()]) -> dict[str, Any]:
        """Apply a JSON Patch."""
        registry.patch(principal.scope, kind, id, body, actor=principal.id)
        return shown(principal, id)

    @routes.delete(f"/tenant/{path}/{{id:path}}", status_code=204, name=f"delete {path}")
    def delete(id: str, principal: Manager) -> None:
        """Delete a resource that nothing is made of."""
        registry.delete(principal.scope, kind, id, actor=principal.id)


def _unions(routes: APIRouter, registry: SchemaRegistry) -> None:
    @routes.get("/{container}/unions")
    def find(
        container: Container, principal: Viewer, property: Properties = None
    ) -> dict[str, Any]:
        """The unions of the classes that have schemas enabled for Profile."""
        snapshot = registry.snapshot(principal.scope)
        unions = Renderer(principal.scope, snapshot, registry.tenant).unions()
        page = page_of(unions, ListQuery(tuple(property or ()), "title"))
        return _page(page.items, page.orderby, page.next, f"{BASE}/{container}/unions")

    @routes.get("/{container}/unions/{id:path}", name="get union")
    def get(
        container: Container, id: str, principal: Viewer, accept: Accept = ""
    ) -> dict[str, Any]:
        """The union of one class, by the class's URI with `__union` or without."""
        snapshot = registry.snapshot(principal.scope)
        of = id.removesuffix(UNION_SUFFIX)
        if snapshot.find(of).kind != "class":
            raise ResourceNotFound(f"{of!r} is no class: {container} unions are made of classes")
        renderer = Renderer(principal.scope, snapshot, registry.tenant)
        return renderer.union(of, lookup_wants(accept))


def _descriptors(routes: APIRouter, registry: SchemaRegistry) -> None:
    @routes.get("/tenant/descriptors", response_model=None)
    def find(
        principal: Viewer,
        accept: Accept = "",
        property: Properties = None,
        orderby: str = "",
        start: str = "",
        limit: int | None = None,
    ) -> dict[str, Any]:
        """All descriptors: paged (`xdm-v2`), or grouped by type."""
        media = accept.split(";")[0]
        conditions = tuple(part for each in property or () for part in each.split(","))
        query = ListQuery(conditions, orderby or "@id", start, limit)
        page = page_of(registry.descriptors(principal.scope), query)
        shaped = [_descriptor_form(each, media) for each in page.items]
        if "xdm-v2" in media:
            return _page(shaped, page.orderby, page.next, f"{BASE}/tenant/descriptors")
        groups: dict[str, Any] = {}
        for each, form in zip(page.items, shaped, strict=True):
            groups.setdefault(each["@type"], []).append(form)
        return {kind: groups[kind] for kind in REQUIRED if kind in groups}

    @routes.get("/tenant/descriptors/{id}")
    def get(id: str, principal: Viewer) -> dict[str, Any]:
        """One descriptor."""
        return registry.descriptor(principal.scope, id)

    @routes.post("/tenant/descriptors", status_code=201)
    def create(principal: Manager, body: Annotated[Any, Body()]) -> dict[str, Any]:
        """Say something about a schema's field."""
        return registry.create_descriptor(principal.scope, body, actor=principal.id)

    @routes.put("/tenant/descriptors/{id}", status_code=201)
    def replace(id: str, principal: Manager, body: Annotated[Any, Body()]) -> dict[str, Any]:
        """Say something else instead."""
        made = registry.replace_descriptor(principal.scope, id, body, actor=principal.id)
        return {"@id": made["@id"]}

    @routes.delete("/tenant/descriptors/{id}", status_code=204)
    def delete(id: str, principal: Manager) -> None:
        """Take back what was said."""
        registry.delete_descriptor(principal.scope, id, actor=principal.id)


def _calls(routes: APIRouter, registry: SchemaRegistry) -> None:
    @routes.get("/rpc/sampledata/{id:path}")
    def sample(id: str, principal: Viewer) -> Any:
        """A record that the schema allows."""
        full = registry.snapshot(principal.scope).full(id)
        return sample_of(full, registry.now_ms())

    @routes.get("/rpc/auditlog/{id:path}", response_model=None)
    def history(id: str, principal: Viewer) -> list[dict[str, Any]]:
        """Who changed what, the newest first."""
        found = registry.history(principal.scope, id)
        return [history_entry(each, id) for each in found]

    @routes.get("/rpc/export/{id:path}", response_model=None)
    def export(id: str, principal: Viewer) -> list[dict[str, Any]]:
        """A resource with everything it is made of."""
        return exported(registry, principal.scope, id)

    @routes.post("/rpc/import", response_model=None)
    @routes.post("/rpc/export", response_model=None)  # where the Python client sends it
    def take(principal: Manager, body: Annotated[Any, Body()]) -> list[dict[str, Any]]:
        """Create exported resources here."""
        made = imported(registry, principal.scope, body, actor=principal.id)
        snapshot = registry.snapshot(principal.scope)
        renderer = Renderer(principal.scope, snapshot, registry.tenant)
        return [renderer.plain(each) for each in made]


def _descriptor_form(descriptor: dict[str, Any], media: str) -> Any:
    if "-id" in media:
        return descriptor["@id"]
    if "-link" in media:
        return f"{BASE}/tenant/descriptors/{descriptor['@id']}"
    return descriptor


def _page(results: list[Any], orderby: str, following: str | None, href: str) -> dict[str, Any]:
    links: dict[str, Any] = {
        "next": None
        if following is None
        else {"href": f"{href}?orderby={orderby}&start={following}"},
        "global_schemas": {"href": f"{BASE}/global/schemas"},
    }
    page = {"orderby": orderby, "next": following, "count": len(results)}
    return {"results": results, "_page": page, "_links": links}
