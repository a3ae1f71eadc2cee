"""Which HTTP calls set the way back from the campaign side up? Base `/data/core/exchange`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.kernel.asked import converted
from amity.kernel.errors import Invalid
from amity.platform.catalog.flow_service import FlowService
from amity.platform.ingestion.campaign_setup import CampaignSetup, SetupOrder

Manager = Annotated[Principal, needs("manage-sources")]


def router(setup: CampaignSetup, flows: FlowService) -> APIRouter:
    """`/data/core/exchange/setup`."""
    routes = APIRouter(prefix="/data/core/exchange", tags=["exchange"])

    @routes.post("/setup")
    def set_up(principal: Manager, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return setup.set_up(flows, principal.scope, converted(body or {}, SetupOrder, Invalid))

    return routes
