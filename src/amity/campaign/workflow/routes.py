"""Which HTTP calls make, steer and show workflows?

Base `/campaign/workflows`; `{workflow}` is an id or a name. Commands are answered once they are
queued, like in the followed product. Behaviour: campaign.md §1.6.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Response

from amity.access.guard import needs
from amity.access.principal import Permission, Principal
from amity.campaign.workflow.commands import Method
from amity.campaign.workflow.errors import BadGraph, MaySendNothing
from amity.campaign.workflow.model import Graph
from amity.campaign.workflow.service import PREVIEW_ROWS_MAX, Workflows
from amity.kernel.asked import converted

PREFIX = "/campaign/workflows"

Json = dict[str, Any]
VIEW = [needs("view-workflows")]
EDIT = [needs("manage-workflows")]
Editor = Annotated[Principal, needs("manage-workflows")]
RUNS: frozenset[Method] = frozenset({"start", "resume", "restart"})
SENDS: Permission = "start-deliveries"
Limit = Annotated[int, Query(ge=1, le=1_000)]
Start = Annotated[int, Query(ge=0, le=1 << 62)]
Page = Annotated[int, Query(ge=1, le=PREVIEW_ROWS_MAX)]


def router(workflows: Workflows) -> APIRouter:
    """The routes of the workflows."""
    api = APIRouter(prefix=PREFIX, tags=["workflows"])
    _catalogue_routes(api, workflows)
    _graph_routes(api, workflows)
    _steering_routes(api, workflows)
    _history_routes(api, workflows)
    return api


def _graph(body: Json) -> Graph:
    return converted(body, Graph, BadGraph, what="this is no workflow")


def _catalogue_routes(api: APIRouter, workflows: Workflows) -> None:
    @api.get("/activityTypes", dependencies=VIEW)
    def activity_types() -> Json:
        return {"activityTypes": workflows.activity_types()}

    @api.get("/templates", dependencies=VIEW)
    def templates() -> Json:
        return {"templates": workflows.templates()}

    @api.post("/templates/{template}", status_code=201, dependencies=EDIT)
    def from_template(template: str, body: Annotated[Json, Body()]) -> Json:
        return workflows.from_template(template, body)

    @api.post("/validate", status_code=204, dependencies=VIEW)
    def validate(body: Annotated[Json, Body()]) -> Response:
        workflows.check(_graph(body))
        return Response(status_code=204)


def _graph_routes(api: APIRouter, workflows: Workflows) -> None:
    @api.get("", dependencies=VIEW)
    def find(
        state: Annotated[int | None, Query(ge=0, le=99)] = None,
        failed: Annotated[bool | None, Query()] = None,
        limit: Limit = 100,
        start: Start = 0,
    ) -> Json:
        found = workflows.find(state=state, failed=failed, limit=limit, start=start)
        return {"workflows": found}

    @api.post("", status_code=201, dependencies=EDIT)
    def create(body: Annotated[Json, Body()]) -> Json:
        return workflows.create(_graph(body))

    @api.get("/{workflow}", dependencies=VIEW)
    def get(workflow: str) -> Json:
        return workflows.get(workflows.id_of(workflow))

    @api.put("/{workflow}", dependencies=EDIT)
    def put(workflow: str, body: Annotated[Json, Body()]) -> Json:
        return workflows.update(workflows.id_of(workflow), _graph(body))

    @api.delete("/{workflow}", status_code=204, dependencies=EDIT)
    def delete(workflow: str) -> Response:
        workflows.delete(workflows.id_of(workflow))
        return Response(status_code=204)


def _steering_routes(api: APIRouter, workflows: Workflows) -> None:
    @api.post("/{workflow}/commands", status_code=202)
    def command(who: Editor, workflow: str, method: Annotated[Method, Body(embed=True)]) -> Json:
        id = workflows.id_of(workflow)
        if method in RUNS and SENDS not in who.permissions and workflows.sends(id):
            raise MaySendNothing(
                f"workflow {workflow[:80]!r} has a delivery: whoever lets it run needs {SENDS}"
            )
        return workflows.command(id, method)

    @api.post("/{workflow}/signals", status_code=202, dependencies=EDIT)
    def signal(
        workflow: str,
        activity: Annotated[str, Body()],
        vars: Annotated[Json | None, Body()] = None,
    ) -> Json:
        return workflows.signal(workflows.id_of(workflow), activity, vars or {})


def _history_routes(api: APIRouter, workflows: Workflows) -> None:
    @api.get("/{workflow}/journal", dependencies=VIEW)
    def journal(
        workflow: str,
        after: Start = 0,
        limit: Limit = 200,
        level: Literal["", "info", "warning", "error"] = "",
    ) -> Json:
        id = workflows.id_of(workflow)
        return {"journal": workflows.journal(id, after=after, limit=limit, level=level)}

    @api.get("/{workflow}/tasks", dependencies=VIEW)
    def tasks(workflow: str, limit: Limit = 200, before: Start = 0) -> Json:
        id = workflows.id_of(workflow)
        return {"tasks": workflows.tasks(id, limit=limit, before=before)}

    @api.get("/{workflow}/transitions", dependencies=VIEW)
    def transitions(workflow: str, limit: Limit = 200, before: Start = 0) -> Json:
        id = workflows.id_of(workflow)
        return {"transitions": workflows.transitions(id, limit=limit, before=before)}

    @api.get("/{workflow}/transitions/{transition}/rows", dependencies=VIEW)
    def rows(
        workflow: str,
        transition: int,
        limit: Page = 100,
        start: Start = 0,
    ) -> Json:
        return workflows.rows(
            transition, workflow=workflows.id_of(workflow), limit=limit, start=start
        )

    @api.get("/{workflow}/picture", dependencies=VIEW)
    def picture(workflow: str) -> Json:
        return workflows.picture(workflows.id_of(workflow))
