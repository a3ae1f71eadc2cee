"""Which HTTP call exports a file now?

Flows and runs have the routes of the flow service. Behaviour: platform-activation.md §4.7.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter

from amity.access.guard import needs
from amity.access.principal import Principal
from amity.platform.activation.adhoc import AdhocRuns
from amity.platform.activation.errors import CannotRunNow

PREFIX = "/data/core/activation/disflowprovider"


def router(adhoc: AdhocRuns, public_url: str) -> APIRouter:
    """`POST …/adhocrun`."""
    api = APIRouter(prefix=PREFIX, tags=["activation"])
    base = public_url.rstrip("/")

    @api.post("/adhocrun")
    def adhocrun(
        principal: Annotated[Principal, needs("activate-destinations")], body: dict[str, Any]
    ) -> dict[str, Any]:
        orders = adhoc.order(principal.scope, _wanted(body))
        return {
            "order": [
                {
                    "segment": order.audience,
                    "order": order.flow,
                    "statusURL": f"{base}/data/foundation/flowservice/runs/{order.run}",
                }
                for order in orders
            ]
        }

    return api


def _wanted(body: dict[str, Any]) -> dict[str, list[str]]:
    info = body.get("activationInfo")
    if not isinstance(info, dict) or not info:
        raise CannotRunNow('send {"activationInfo": {"<destination id>": ["<audience id>"]}}')
    for flow, audiences in info.items():
        well_formed = isinstance(audiences, list) and all(isinstance(one, str) for one in audiences)
        if not well_formed or not audiences:
            raise CannotRunNow(
                f"activationInfo/{flow} must list audience ids; datasets are not exported here"
            )
    return info
