"""How do schemas move from one organisation or sandbox to another?

An export holds the resource and everything it is made of; the tenant's name is replaced by a
placeholder. Behaviour: platform-collect.md §2 (`/rpc/export`, `/rpc/import`).
"""

from __future__ import annotations

import json
from typing import Any

from amity.kernel.errors import AmityError
from amity.kernel.scope import Scope
from amity.platform.schema.definitions import kept_body
from amity.platform.schema.errors import ImportRefused
from amity.platform.schema.names import PATHS, SEGMENTS, Kind, alt_id
from amity.platform.schema.service import SchemaRegistry
from amity.platform.schema.snapshot import Stored

PLACEHOLDER = "<XDM_TENANTID_PLACEHOLDER>"


def exported(registry: SchemaRegistry, scope: Scope, id: str) -> list[dict[str, Any]]:
    """The tenant's resources that a resource is made of, the parts first, itself last."""
    snapshot = registry.snapshot(scope)
    root = snapshot.find(id)
    chain = [snapshot.get(each) for each in reversed(snapshot.extends(root))]
    parts = [each for each in (*chain, root) if each is not None and not each.standard]
    text = json.dumps([_outgoing(each) for each in parts])
    for before, after in _names(registry.tenant):
        text = text.replace(before, after)
    result: list[dict[str, Any]] = json.loads(text)
    return result


def imported(
    registry: SchemaRegistry, scope: Scope, resources: Any, *, actor: str = ""
) -> list[Stored]:
    """Create exported resources here, all or none, under their old ids with our tenant's name."""
    if not isinstance(resources, list) or not resources:
        raise ImportRefused("send the list of resources that /rpc/export answers")
    for at, resource in enumerate(resources):
        _check(resource, at)
    text = json.dumps(resources)
    for before, after in _names(registry.tenant):
        text = text.replace(after, before)
    made: list[Stored] = []
    try:
        for resource in json.loads(text):
            made.append(_create(registry, scope, resource, actor))  # noqa: PERF401 - undone below
    except AmityError as error:
        for each in reversed(made):
            registry.delete(scope, each.kind, each.id, actor=actor)
        reason = error.message
        raise ImportRefused(f"Import Resource Failed: {reason}. Nothing was imported") from error
    return made


def _check(resource: Any, at: int) -> None:
    if not isinstance(resource, dict):
        raise ImportRefused(f"/{at} is no resource: a resource is an object as exported")
    for name in ("$id", "meta:resourceType"):
        if not isinstance(resource.get(name), str):
            raise ImportRefused(f"/{at}/{name} is missing: send what /rpc/export answers")
    if resource["meta:resourceType"] not in PATHS:
        known = ", ".join(PATHS)
        raise ImportRefused(
            f"/{at}/meta:resourceType {resource['meta:resourceType'][:40]!r} is none of {known}"
        )


def _create(registry: SchemaRegistry, scope: Scope, resource: dict[str, Any], actor: str) -> Stored:
    kind: Kind = PATHS[resource["meta:resourceType"]]
    id = resource["$id"]
    if registry.snapshot(scope).get(id) is not None:
        raise ImportRefused(f"{alt_id(id)} exists already")
    return registry.create(scope, kind, kept_body(resource), actor=actor, id=id)


def _outgoing(stored: Stored) -> dict[str, Any]:
    head = {"meta:altId": stored.alt_id, "meta:resourceType": SEGMENTS[stored.kind]}
    return {**stored.body, **head, "version": stored.version_text}


def _names(tenant: str) -> tuple[tuple[str, str], ...]:
    return (
        (f'"_{tenant}"', f'"_{PLACEHOLDER}"'),
        (f"https://ns.adobe.com/{tenant}/", f"https://ns.adobe.com/{PLACEHOLDER}/"),
        (f'"_{tenant}.', f'"_{PLACEHOLDER}.'),
        (f"/_{tenant}/", f"/_{PLACEHOLDER}/"),
    )
