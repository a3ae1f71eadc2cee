"""Which HTTP calls start exports of the logs and show them? Base `/campaign/exports`."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Query

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.campaign.exports.model import DEFAULT_ACCOUNT, DEFAULT_FOLDER, Order, log_kind
from amity.campaign.exports.service import LogExports
from amity.kernel.asked import converted
from amity.kernel.errors import Invalid
from amity.kernel.ids import IdSource

PAGE_MAX = 200
T = TypeVar("T")
Exporter = Annotated[Principal, needs("export-logs")]


class ExportBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may say of an export that it starts."""

    account: str = DEFAULT_ACCOUNT
    folder: str = DEFAULT_FOLDER


class SwitchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a kind is exported."""

    enabled: bool


def router(exports: LogExports, ids: IdSource) -> APIRouter:
    """`/campaign/exports`."""
    routes = APIRouter(prefix="/campaign/exports", tags=["campaign exports"])

    @routes.get("")
    def find(
        principal: Exporter,  # noqa: ARG001 - one campaign database, one scope
        kind: str = "",
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> dict[str, Any]:
        found = [export.body() for export in exports.exports(limit, kind)]
        return {"kinds": exports.kinds(), "items": found}

    @routes.get("/{id}")
    def get(principal: Exporter, id: str) -> dict[str, Any]:  # noqa: ARG001
        return exports.export(id).body()

    @routes.post("/{kind}", status_code=202)
    def start(principal: Exporter, kind: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        wanted = _read(body or {}, ExportBody)
        order = Order(
            kind=log_kind(kind),
            key=f"api {ids.hex(32)}",
            by=f"client {principal.id}",
            account=wanted.account,
            folder=wanted.folder.strip("/"),
        )
        return exports.begin(order).body()

    @routes.put("/{kind}")
    def switch(principal: Exporter, kind: str, body: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
        exports.switch(kind, enabled=_read(body, SwitchBody).enabled)
        return {"kinds": exports.kinds()}

    return routes


def _read(body: dict[str, Any], form: type[T]) -> T:
    return converted(body, form, Invalid)
