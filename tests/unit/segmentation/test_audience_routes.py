"""Definitions, audiences, jobs, schedules, previews and explanations over HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow as pa
import pytest
from fastapi import FastAPI, Request

from amity.access.principal import Permission, Principal
from amity.app import problems
from amity.flow.runner import Runner
from amity.flow.sink import SinkRunner
from amity.kernel.clock import DAY_MS, RealSystemClock, VirtualBusinessClock, from_iso, to_iso
from amity.kernel.ids import ProfileId, SeededIds
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.identity.model import Identity
from amity.platform.profile.model import CHANGES_TOPIC, EventRef, ProfileChanged
from amity.platform.schema.model import PROFILE_CLASS, ResolvedSchema
from amity.platform.segmentation.batch import BatchEvaluation
from amity.platform.segmentation.daily import SCHEDULES_TOPIC, JobStarter, ScheduleStage
from amity.platform.segmentation.jobs import Jobs
from amity.platform.segmentation.model import DEFINITIONS_TOPIC, DefinitionChanged
from amity.platform.segmentation.previews import Previews
from amity.platform.segmentation.routes import PREFIX, router
from amity.platform.segmentation.schedules import Schedules
from amity.platform.segmentation.service import Audiences
from amity.platform.segmentation.stage import SegmentationStage
from amity.platform.segmentation.store import Members
from amity.storage.delta.lake import DeltaLake
from amity.storage.ports import Entry, LakeTable, Reader
from amity.testing.memory import MemoryDocuments, MemoryLog, MemoryState

SCOPE = Scope("A@AmityOrg", "prod")
NOW = from_iso("2017-11-01T00:00:00Z")
ANN, BOB = Identity("ShopId", "ann"), Identity("ShopId", "bob")
META: dict[str, Any] = {"_amity_partition": 0, "_amity_offset": 0, "_amity_n": 0}
UNION = {
    "type": "object",
    "properties": {"tier": {"type": "string"}, "age": {"type": "integer"}},
}
EVENT = {
    "type": "object",
    "properties": {
        "_id": {"type": "string"},
        "eventType": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
    },
}


class Open:
    """A gate that lets one caller in."""

    def authorize(self, request: Request, permission: Permission) -> Principal:
        return Principal(
            id="c", kind="api_client", scope=SCOPE, permissions=frozenset({permission})
        )


class Shop:
    """Two people, their profile store, lake, catalog and schemas."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualBusinessClock(NOW)
        self.log, self.state = MemoryLog(), MemoryState()
        self.documents = MemoryDocuments(self.clock)
        self.lake = DeltaLake(folder)
        self.used: str | None = None
        self.views = {ANN: {"tier": "gold", "age": 40}, BOB: {"tier": "silver"}}
        self.bodies = {
            ANN: [{"_id": f"a{n}", "eventType": "buy", "timestamp": to_iso(NOW - n * DAY_MS)}
                  for n in range(3)],
            BOB: [{"_id": "b", "eventType": "view", "timestamp": to_iso(NOW)}],
        }  # fmt: skip
        self.evaluated: list[tuple[str, ...]] = []
        self.audiences = Audiences(
            documents=self.documents,
            ids=SeededIds(random.Random(1)),
            clock=self.clock,
            announce=self.announce,
            schemas=self,
            uses=[self],
        )
        stage = SegmentationStage(rules=self.audiences, profiles=self)
        self.runner = Runner([stage], log=self.log, state=self.state, name="w")
        self.members = Members(self.state)

    def app(self) -> FastAPI:
        ports: dict[str, Any] = {
            "documents": self.documents,
            "ids": SeededIds(random.Random(2)),
            "clock": self.clock,
        }
        more: dict[str, Any] = {
            "audiences": self.audiences,
            "members": self.members,
            "state": self.state,
        }
        batch = BatchEvaluation(
            lake=self.lake, datasets=self, audiences=self.audiences, state=self.state
        )
        self.jobs = jobs = Jobs(
            **ports, **more, system=RealSystemClock(), batch=batch, submit=now,
            reevaluate=self.reevaluate,
            evaluated=lambda _, ids, __: self.evaluated.append(ids),
        )  # fmt: skip
        api = FastAPI()
        problems.install(api)
        api.state.gate = Open()
        api.include_router(
            router(
                **more,
                people=self,
                clock=self.clock,
                jobs=jobs,
                schedules=Schedules(**ports, announce=lambda m: self.say(SCHEDULES_TOPIC, m)),
                previews=Previews(**ports, **more, people=self, submit=now),
            )
        )
        return api

    def announce(self, change: DefinitionChanged) -> None:
        self.say(DEFINITIONS_TOPIC, change)

    def reevaluate(self, messages: Sequence[ProfileChanged]) -> None:
        for message in messages:
            self.say(CHANGES_TOPIC, message)

    def say(self, topic: str, message: Any) -> None:
        self.log.append([Entry(topic, b"k", msgspec.msgpack.encode(message))])

    def settle(self) -> None:
        while self.runner.run_once(self.clock.now_ms()):
            pass
        self.runner.fire_due(self.clock.now_ms())

    def ingest(self) -> None:
        for who, view in self.views.items():
            events = tuple(self.events_at(who))
            message = ProfileChanged(
                SCOPE.key, ProfileId(who.xid), NOW, events=events, attributes=view
            )
            self.say(CHANGES_TOPIC, message)
        self.settle()

    def fill_lake(self) -> None:
        people = [
            {**view, **META, "_amity_identity": f"{who.ns}:{who.id}", "_amity_received": 1}
            for who, view in self.views.items()
        ]
        events = [
            {**body, **META, "_amity_identity": f"{who.ns}:{who.id}",
             "_amity_time": from_iso(body["timestamp"]), "_amity_received": 1}
            for who, bodies in self.bodies.items()
            for body in bodies
        ]  # fmt: skip
        for name, rows in (("people", people), ("events", events)):
            table = pa.Table.from_pylist(rows)
            self.lake.append(LakeTable(SCOPE, name), table, app="t", version=1)

    def events_at(self, who: Identity) -> Iterator[EventRef]:
        for body in self.bodies[who]:
            yield EventRef(body["_id"], from_iso(body["timestamp"]), "events", body)

    def who(self, profile: ProfileId) -> Identity | None:
        return next((one for one in self.views if one.xid == profile), None)

    def view(self, reader: Reader, scope: Scope, profile: ProfileId) -> Mapping[str, Any]:
        who = self.who(profile)
        return self.views[who] if who else {}

    def events(self, reader: Reader, scope: Scope, profile: ProfileId) -> Iterable[EventRef]:
        who = self.who(profile)
        return list(self.events_at(who)) if who else []

    def iterate(self, scope: Scope, start: str = "", limit: int = 1_000) -> list[ProfileId]:
        return sorted(ProfileId(one.xid) for one in self.views if one.xid >= start)[:limit]

    def profile_of(self, scope: Scope, identity: Identity) -> ProfileId:
        return ProfileId(identity.xid)

    def datasets(self, scope: Scope) -> list[Dataset]:
        return [
            Dataset(id=name, name=name, schema_id=name, profile_enabled=True)
            for name in ("people", "events", "empty")
        ]

    def schema_of(self, scope: Scope, dataset_id: str) -> ResolvedSchema:
        return schema("time-series" if dataset_id == "events" else "record", {})

    def union(self, scope: Scope, class_id: str) -> ResolvedSchema:
        return schema("record", UNION if class_id == PROFILE_CLASS else EVENT)

    def audience_used(self, scope: Scope, audience: str) -> str | None:
        return self.used


def now(work: Callable[[], None]) -> None:
    work()


def schema(behavior: Any, body: dict[str, Any]) -> ResolvedSchema:
    return ResolvedSchema(
        id="s", alt_id="s", title="s", version="1.0", class_id=PROFILE_CLASS,
        behavior=behavior, json_schema=body,
    )  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


class Client:
    """Calls an application without a socket; paths are relative to the service."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return await client.request(method, PREFIX + path, **more)

        return asyncio.run(send())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.call("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.call("POST", path, **more)

    def patch(self, path: str, **more: Any) -> httpx.Response:
        return self.call("PATCH", path, **more)

    def put(self, path: str, **more: Any) -> httpx.Response:
        return self.call("PUT", path, **more)

    def delete(self, path: str) -> httpx.Response:
        return self.call("DELETE", path)


@pytest.fixture
def client(shop: Shop) -> Client:
    return Client(shop.app())


def definition(name: str, value: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "description": "d",
        "schema": {"name": "_xdm.context.profile"},
        "expression": {"type": "PQL", "format": "pql/text", "value": value},
        "ttlInDays": 30,
        **more,
    }


def made(client: Client, name: str, value: str, **more: Any) -> dict[str, Any]:
    answer = client.post("/segment/definitions", json=definition(name, value, **more))
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Location"].endswith(answer.json()["id"])
    found: dict[str, Any] = answer.json()
    return found


def test_a_definition_is_made_read_changed_and_deleted(client: Client, shop: Shop) -> None:
    """And its members come and go with it."""
    shop.ingest()
    gold = made(client, "Gold", 'tier = "gold"')
    shop.settle()
    totals = shop.members.totals(SCOPE, gold["id"])
    changed = client.patch(
        f"/segment/definitions/{gold['id']}", json=definition("Silver", 'tier = "silver"')
    ).json()
    shop.settle()
    with shop.state.read() as reader:
        inside = [one.profile for one in shop.members.members(reader, SCOPE, gold["id"])]
    deleted = client.delete(f"/segment/definitions/{gold['id']}")
    shop.settle()

    assert totals.realized == 1
    assert (changed["name"], changed["id"]) == ("Silver", gold["id"])
    assert inside == [BOB.xid]
    assert deleted.status_code == 200
    assert shop.members.totals(SCOPE, gold["id"]).realized == 0
    assert client.get(f"/segment/definitions/{gold['id']}").status_code == 404


def test_lists_and_bulk_have_the_documented_shape(client: Client) -> None:
    """Pages, filters and 207."""
    one = made(client, "One", 'tier = "a"', evaluationInfo={"continuous": {"enabled": True}})
    two = made(client, "Two", "xEvent.count() > 3")
    listed = client.get("/segment/definitions", params={"limit": 1}).json()
    streaming = client.get(
        "/segment/definitions", params={"evaluationInfo.continuous.enabled": "True"}
    ).json()
    bulk = client.post(
        "/segment/definitions/bulk-get", json={"ids": [{"id": one["id"]}, {"id": "no"}]}
    )
    audiences = client.get(
        "/audiences", params={"name": "tw", "property": f"audienceId=={two['id']}"}
    ).json()

    assert (len(listed["segments"]), listed["page"]["totalPages"]) == (1, 2)
    assert [body["id"] for body in streaming["segments"]] == [one["id"]]
    assert bulk.status_code == 207
    assert bulk.json()["results"]["no"]["status"] == 404
    assert [body["id"] for body in audiences["children"]] == [two["id"]]
    assert audiences["_page"]["next"] == 0
    assert two["evaluationInfo"]["batch"]["enabled"]


def test_a_sorted_list_says_how_it_is_sorted(client: Client) -> None:
    """`page` tells the field and direction asked for; without any, newest first."""
    for name in ("b", "a", "c"):
        made(client, name, 'tier = "a"')
    up = client.get("/segment/definitions", params={"sort": "name:asc"}).json()
    down = client.get("/segment/definitions", params={"sort": "name:desc"}).json()
    plain = client.get("/segment/definitions").json()

    assert [one["name"] for one in up["segments"]] == ["a", "b", "c"]
    assert (up["page"]["sortField"], up["page"]["sort"]) == ("name", "asc")
    assert (down["page"]["sortField"], down["page"]["sort"]) == ("name", "desc")
    assert (plain["page"]["sortField"], plain["page"]["sort"]) == ("creationTime", "desc")


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"name": ""}, 400, "name"),
        ({"name": "Taken"}, 422, "Taken"),
        ({"expression": {"type": "ARL", "value": "x"}}, 400, "PQL"),
        ({"expression": {"value": "tier == 1"}}, 400, "line 1, column 7"),
        ({"expression": {"value": 'tierr = "x"'}}, 400, "tierr"),
        ({"expression": {"value": "tier > 3"}}, 400, "string with a number"),
        ({"expression": {"value": 'inSegment("gone")'}}, 400, "gone"),
        ({"schema": {}}, 400, "schema"),
        ({"lifecycleState": "deleted"}, 400, "lifecycleState"),
    ],
)
def test_what_is_wrong_is_said(
    client: Client, change: dict[str, Any], status: int, says: str
) -> None:
    """What, where and what to do."""
    made(client, "Taken", 'tier = "a"')
    answer = client.post("/segment/definitions", json=definition("x", 'tier = "b"') | change)

    assert answer.status_code == status
    assert says in answer.json()["detail"]


def test_audiences_in_use_stay_and_circles_are_refused(client: Client, shop: Shop) -> None:
    """By other audiences, or by later stages."""
    one = made(client, "One", 'tier = "a"')
    two = made(client, "Two", f'inSegment("{one["id"]}")')
    circle = client.patch(
        f"/segment/definitions/{one['id']}",
        json={"expression": {"value": f'inSegment("{two["id"]}")'}},
    )
    kept = client.delete(f"/audiences/{one['id']}")
    shop.used = "destination flow f"
    held = client.delete(f"/audiences/{two['id']}")

    assert (circle.status_code, "circle" in circle.json()["detail"]) == (400, True)
    assert (kept.status_code, two["id"] in kept.json()["detail"]) == (400, True)
    assert "destination flow f" in held.json()["detail"]
    assert client.get(f"/audiences/{one['id']}").json()["dependencies"] == [two["id"]]


def test_audiences_are_made_patched_and_put(client: Client, shop: Shop) -> None:
    """The other form of the same thing, with its lifecycle and etag."""
    shop.ingest()
    body = definition("Gold", 'tier = "gold"')
    one = client.post("/audiences", json=body)
    shop.settle()
    id = one.json()["id"]
    resting = client.patch(
        f"/audiences/{id}", json=[{"op": "add", "path": "/lifecycleState", "value": "inactive"}]
    )
    shop.settle()
    stale = client.put(f"/audiences/{id}", json={"name": "Newer"})
    late = client.patch(
        f"/audiences/{id}",
        json=[{"op": "add", "path": "/name", "value": "x"}],
        headers={"If-Match": resting.json()["_etag"]},
    )

    assert one.status_code == 201
    assert resting.status_code == 201
    assert shop.members.totals(SCOPE, id).realized == 0
    assert (stale.status_code, stale.json()["name"]) == (201, "Newer")
    assert late.status_code == 412
    assert client.delete(f"/audiences/{id}").status_code == 204


def test_conversion_goes_both_ways(client: Client) -> None:
    """Text to JSON and back, without an id."""
    there = client.post("/segment/conversion", json=definition("x", 'tier = "b"')).json()
    back = client.post("/segment/conversion", json=there).json()

    assert there["expression"]["format"] == "pql/json"
    assert back["expression"] == definition("x", 'tier = "b"')["expression"]
    assert "id" not in back


def test_a_person_is_explained(client: Client, shop: Shop) -> None:
    """Part by part, with values, since when and until when."""
    shop.ingest()
    rule = 'tier = "gold" and xEvent[eventType = "buy" and timestamp occurs <= 2 days before now].count() >= 2'
    one = made(client, "Gold", rule)
    shop.settle()
    path = f"/segment/definitions/{one['id']}/explain"
    ann = client.get(path, params={"entityId": "ann", "entityIdNS": "ShopId"}).json()
    bob = client.get(path, params={"entityId": "bob", "entityIdNS": "ShopId"}).json()
    nobody = client.get(path, params={"entityId": "zoe", "entityIdNS": "ShopId"})

    assert (ann["member"], ann["since"], ann["cause"]) == (True, to_iso(NOW), "definition")
    assert ann["changesAt"] == to_iso(NOW + DAY_MS)
    assert [part["holds"] for part in ann["rule"]["parts"]] == [True, True]
    assert (bob["member"], bob["rule"]["parts"][0]["values"]) == (False, {"tier": "silver"})
    assert nobody.status_code == 404


def test_a_job_evaluates_the_lake_and_sets_right_what_differs(client: Client, shop: Shop) -> None:
    """Its metrics count members; streaming follows by the cause `batch`."""
    shop.fill_lake()
    gold = made(client, "Gold", 'tier = "gold"')
    buyers = made(client, "Buyers", 'xEvent[eventType = "buy"].count() >= 3')
    ranked = made(client, "Ranked", 'xEvent.topN(timestamp, 1).exists(eventType = "buy")')
    job = client.post("/segment/jobs", json=[{"segmentId": "*"}]).json()
    done = client.get(f"/segment/jobs/{job['id']}").json()
    shop.settle()
    again = client.post("/segment/jobs", json=[{"segmentId": gold["id"]}]).json()
    settled = client.get(f"/segment/jobs/{again['id']}").json()

    assert done["status"] == "SUCCEEDED", done
    assert done["metrics"]["segmentedProfileCounter"] == {gold["id"]: 1, buyers["id"]: 1}
    assert done["metrics"]["totalProfiles"] == 2
    assert "topN" in done["metrics"]["evaluatedContinuouslyOnly"][ranked["id"]]
    assert done["metrics"]["evaluatedAnew"] == 1
    assert settled["metrics"]["evaluatedAnew"] == 0
    assert shop.members.totals(SCOPE, gold["id"]).realized == 1
    assert shop.evaluated[-1] == (gold["id"],)
    assert len(client.get("/segment/jobs", params={"status": "SUCCEEDED"}).json()["children"]) == 2
    assert client.delete(f"/segment/jobs/{job['id']}").status_code == 409
    assert client.post("/segment/jobs", json=[{"segmentId": "no"}]).status_code == 404


def test_one_daily_schedule(client: Client, shop: Shop) -> None:
    """Made, activated, run every day once, and refused when it is not daily."""
    made(client, "Gold", 'tier = "gold"')
    runner = Runner([ScheduleStage()], log=shop.log, state=shop.state, name="s")
    starter = SinkRunner(JobStarter(shop.jobs), log=shop.log, state=shop.state)
    body = {
        "name": "daily",
        "type": "batch_segmentation",
        "properties": {"segments": ["*"]},
        "schedule": "0 0 1 * * ?",
    }
    one = client.post("/config/schedules", json=body).json()
    path = f"/config/schedules/{one['id']}"
    patched = client.patch(path, json=[{"op": "add", "path": "/state", "value": "active"}])
    bad = client.patch(path, json=[{"op": "add", "path": "/schedule", "value": "0 * * * * ?"}])

    assert client.post("/config/schedules", json=body).status_code == 409
    assert (patched.status_code, bad.status_code) == (204, 400)
    assert client.get(path).json()["state"] == "active"
    while runner.run_once(NOW):
        pass
    runner.fire_due(NOW + 2 * DAY_MS)
    while starter.run_once(NOW):
        pass

    jobs = client.get("/segment/jobs").json()["children"]
    assert [(job["source"], job["status"]) for job in jobs] == [("scheduler", "SUCCEEDED")] * 2
    assert client.get("/config/schedules").json()["children"][0]["frequency"] == "daily"
    assert client.delete(path).status_code == 204


def test_a_preview_counts_everyone(client: Client, shop: Shop) -> None:
    """The same id asks for the estimate."""
    shop.ingest()
    preview = client.post("/preview", json={"predicateExpression": 'tier = "gold"'})
    id = preview.json()["previewId"]
    estimate = client.get(f"/estimate/{id}").json()

    assert preview.status_code == 201
    assert (estimate["estimatedSize"], estimate["state"]) == (1, "RESULT_READY")
    assert client.get(f"/preview/{id}").json()["results"] == [{"XID_PROFILE_ID": ANN.xid}]
    assert client.post("/preview", json={"predicateExpression": "tier ="}).status_code == 400
    assert client.delete(f"/preview/{id}").status_code == 200
    assert client.get(f"/estimate/{id}").status_code == 404
