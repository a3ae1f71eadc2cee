"""Deliveries from their target to their report: who is left out and why, proofs, seeds, HTTP, workflows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import sqlalchemy as sa
from campaign_side import CONTENT, START_MS, TARGETING, Campaign
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from routed import Client

from amity.access.principal import Principal
from amity.app.problems import install
from amity.campaign.delivery.analysis import Target
from amity.campaign.delivery.errors import BadContent, NotRendered, WrongState
from amity.campaign.delivery.model import Targeting
from amity.campaign.delivery.routes import router
from amity.campaign.delivery.shapes import NewDelivery, WantedTarget
from amity.campaign.recipients.org_units import OrgUnits
from amity.campaign.workflow.activities.delivery import SPEC, DeliveryConfig
from amity.campaign.workflow.activity import Column, Task, WorkTable
from amity.exchange.guardrails import check_org_units
from amity.kernel.scope import Scope
from amity.storage.sqlite.work_files import SqliteWorkFiles

SCOPE = Scope("A@AmityOrg", "prod")
EVERYBODY = WantedTarget(condition="@id > 0")


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return Campaign(tmp_path)


def _reasons(shown: dict[str, Any]) -> dict[str, int]:
    return {one["reason"]: one["count"] for one in shown["report"]["excluded"]}


def _prepared(campaign: Campaign, targeting: Targeting = TARGETING, **more: Any) -> dict[str, Any]:
    made = campaign.deliveries.create(NewDelivery(content=CONTENT, **more))
    return campaign.deliveries.prepare(made["id"], EVERYBODY, targeting)


def test_reasons_in_the_documented_order(campaign: Campaign) -> None:
    """Each is left out for the first reason that fits: no address, denylisted, quarantine, form, double."""
    campaign.people(
        {"email": "ok@x.example"},
        {"email": None, "blackList": True},
        {"email": "out@x.example", "blackList": True},
        {"email": "out2@x.example", "blackListEmail": True},
        {"email": "q@x.example"},
        {"email": "d@x.example"},
        {"email": "no at sign"},
        {"email": "OK@X.example"},
    )
    with campaign.raw.begin() as connection:
        for address in ("q@x.example",):
            campaign.quarantine.record(
                connection, address=address, failure_type=2, failure_reason=1, now_ms=START_MS
            )
        campaign.quarantine.denylist(connection, address="d@x.example", now_ms=START_MS)
    shown = _prepared(campaign)
    assert _reasons(shown) == {
        "addressNotSpecified": 1,
        "denylisted": 3,
        "quarantine": 1,
        "badQuality": 1,
        "duplicate": 1,
    }
    assert (shown["report"]["target"], shown["toDeliver"], shown["state"]) == (8, 1, "ready")
    assert len(campaign.results.exclusions(shown["id"])) == 7


PEOPLE = st.lists(
    st.fixed_dictionaries(
        {
            "email": st.sampled_from(["a@x.example", "A@x.example", "b@x.example", "", None, "bad", "c@x.example"]),
            "blackList": st.booleans(),
            "blackListEmail": st.booleans(),
        }
    ),
    max_size=25,
)  # fmt: skip


@pytest.mark.thorough
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PEOPLE, st.sampled_from([0, 1, 5]), st.sampled_from([0.0, 30.0, 100.0]), st.booleans())
def test_target_adds_up(
    campaign: Campaign,
    people: list[dict[str, Any]],
    limit: int,
    control: float,
    keep: bool,
) -> None:
    """Target = to deliver + excluded by reason, in the report and in the tables, whoever is in it."""
    with campaign.raw.begin() as connection:
        connection.execute(sa.delete(campaign.schemas.table("nms:recipient")))
    campaign.people(*people)
    wanted = Targeting(limit=limit, control_percent=control, keep_duplicates=keep)
    shown = _prepared(campaign, wanted)
    id, report = shown["id"], shown["report"]
    logs = campaign.results.logs(id, limit=1_000)
    left_out = campaign.results.exclusions(id, limit=1_000)
    assert report["target"] == len(people) == len(logs) + len(left_out)
    assert len(logs) == report["toDeliver"] == shown["toDeliver"]
    assert sum(_reasons(shown).values()) == len(left_out)
    assert not limit or len(logs) <= limit
    addresses = [log["address"] for log in logs]
    assert keep or len(set(addresses)) == len(addresses)


def test_choice_is_repeatable(campaign: Campaign) -> None:
    """The control group and the limit are drawn at random, and the same when it is analysed again."""
    campaign.crowd(100)
    made = campaign.deliveries.create(NewDelivery(content=CONTENT))
    wanted = Targeting(limit=20, control_percent=10)
    chosen = []
    for _ in range(2):
        shown = campaign.deliveries.prepare(made["id"], EVERYBODY, wanted)
        assert _reasons(shown) == {"control": 10, "limited": 70}
        chosen.append([log["recipientId"] for log in campaign.results.logs(made["id"])])
    assert chosen[0] == chosen[1]
    assert chosen[0] != sorted(chosen[0])[:20] or max(chosen[0]) - min(chosen[0]) > 20


def test_unsubscribed_from_the_service(campaign: Campaign) -> None:
    """Whoever left the service a delivery is sent for is left out; whoever came back is not."""
    one, two, three = campaign.people(*({"email": f"p{n}@x.example"} for n in range(3)))
    tables = {
        name: campaign.schemas.table(f"nms:{name}")
        for name in ("service", "subHisto", "subscription")
    }
    with campaign.raw.begin() as connection:
        made = connection.execute(
            sa.insert(tables["service"]).values(name="news")
        ).inserted_primary_key
        assert made is not None
        service = int(made[0])
        for person in (one, two):
            row = {"service_id": service, "recipient_id": person, "action": 0, "date": START_MS}
            connection.execute(sa.insert(tables["subHisto"]).values(row))
        connection.execute(
            sa.insert(tables["subscription"]).values(
                service_id=service, recipient_id=two, created=START_MS
            )
        )
    assert _reasons(_prepared(campaign)) == {}
    shown = _prepared(campaign, service="news")
    assert _reasons(shown) == {"denylisted": 1}
    assert [log["recipientId"] for log in campaign.results.logs(shown["id"])] == [two, three]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"subject": " "}, "subject is empty"),
        ({"from_address": ""}, "fromAddress is empty"),
        ({"from_address": "x\r\nBcc: a@b.example"}, "no address"),
        ({"html": "", "text": ""}, "neither HTML nor text"),
        ({"html": "<p>x</p>"}, "no unsubscription link"),
        ({"subject": "{{ recipient.nickName }}"}, "recipient has no 'nickName'"),
        ({"subject": "{{ customer.name }}"}, "unknown"),
        ({"html": '<a href="">x</a>{{ unsubscribeUrl }}'}, "no URL"),
        (
            {"html": '<a href="https://{{ recipient.city }}.example/">x</a>{{ unsubscribeUrl }}'},
            "host",
        ),
    ],
)
def test_content_checks(campaign: Campaign, changes: dict[str, str], why: str) -> None:
    """What cannot be sent is refused by the analysis with the rule's name; nothing is written."""
    campaign.crowd(2)
    content = msgspec.structs.replace(CONTENT, **changes)
    made = campaign.deliveries.create(NewDelivery(content=content))
    with pytest.raises(BadContent, match=why):
        campaign.deliveries.prepare(made["id"], EVERYBODY, Targeting())
    assert campaign.results.logs(made["id"]) == []
    assert campaign.deliveries.get(made["id"])["state"] == "edition"
    with pytest.raises(WrongState, match="analyse it first"):
        campaign.deliveries.start(made["id"])


def test_change_needs_another_analysis(campaign: Campaign) -> None:
    """A content that was changed is not sent before it is analysed again."""
    campaign.crowd(2)
    id = campaign.ready()
    other = msgspec.structs.replace(CONTENT, subject="Other")
    campaign.deliveries.update(id, NewDelivery(content=other))
    with pytest.raises(WrongState):
        campaign.deliveries.start(id)
    campaign.deliveries.prepare(id, EVERYBODY, Targeting())
    campaign.deliveries.start(id)
    campaign.drain()
    assert all(b"Subject: Other" in one.body for one in campaign.server.taken)
    with pytest.raises(WrongState):
        campaign.deliveries.update(id, NewDelivery(content=CONTENT))


def test_proof(campaign: Campaign) -> None:
    """A proof goes to those it names, with somebody's data and its number, whoever has opted out."""
    (ann,) = campaign.people({"email": "ann@x.example", "firstName": "Ann", "blackList": True})
    id = campaign.ready()
    for _ in range(2):
        campaign.deliveries.proof(id, ["boss@shop.example", "BOSS2@shop.example"], ann)
    campaign.drain()
    assert sorted(set(campaign.server.addresses())) == ["boss2@shop.example", "boss@shop.example"]
    subjects = [one.body.split(b"Subject: ")[1].split(b"\r\n")[0] for one in campaign.server.taken]
    assert sorted(subjects) == sorted([b"Proof #1 Hello Ann"] * 2 + [b"Proof #2 Hello Ann"] * 2)
    assert campaign.statuses(id) == {}
    with pytest.raises(BadContent, match="at most 100"):
        campaign.deliveries.proof(id, [f"a{n}@x.example" for n in range(101)], ann)


def test_seeds(campaign: Campaign) -> None:
    """Seeds get the message, too, and count nowhere."""
    campaign.crowd(3)
    seeds = campaign.schemas.table("nms:seedMember")
    with campaign.raw.begin() as connection:
        connection.execute(sa.insert(seeds).values(email="seed@shop.example", firstName="Seed"))
    id = campaign.started()
    campaign.drain()
    assert "seed@shop.example" in campaign.server.addresses()
    assert any(b"Hello Seed" in one.body for one in campaign.server.taken)
    found = campaign.results.indicators(id)
    assert (found["toDeliver"], found["success"], found["totalTarget"]) == (3, 3, 3)


def test_mirror_page_and_links(campaign: Campaign) -> None:
    """A mirror page is the message again; a URL of it is filled in for its recipient."""
    campaign.people({"email": "ann@x.example", "firstName": "Ann"})
    id = campaign.started()
    campaign.drain()
    (log,) = campaign.results.logs(id)
    html = campaign.pages.page(log["id"])
    assert "Dear Ann" in html
    assert "Dear Ann" in campaign.results.preview(id, log["recipientId"])["html"]
    url = campaign.pages.url(log["id"], "https://shop.example/{{ recipient.firstName }}")
    assert url == "https://shop.example/Ann"
    with pytest.raises(NotRendered):
        campaign.pages.url(log["id"], "https://shop.example/{{ recipient.nobody }}")


class _Gate:
    def authorize(self, _request: object, permission: str) -> Principal:
        return Principal(id="t", kind="local", scope=SCOPE, permissions=frozenset({permission}))


def _http(campaign: Campaign) -> Client:
    app = FastAPI()
    app.state.gate = _Gate()
    install(app)
    units = OrgUnits(tables=campaign.raw, scope=SCOPE, check=check_org_units, clock=campaign.clock)
    app.include_router(
        router(deliveries=campaign.deliveries, results=campaign.results, org_units=units)
    )
    return Client(app)


def test_by_http(campaign: Campaign) -> None:
    """A delivery is made, analysed, started, shown and forgotten by HTTP."""
    campaign.people({"email": "ann@x.example", "firstName": "Ann"}, {"email": ""})
    http = _http(campaign)
    body = {"label": "Autumn", "content": msgspec.to_builtins(CONTENT)}
    made = http.post("/campaign/deliveries", json=body)
    assert made.status_code == 201
    at = f"/campaign/deliveries/{made.json()['id']}"
    assert http.post(f"{at}/start").status_code == 409
    found = http.post(f"{at}/prepare", json={"target": {"condition": "@id > 0"}}).json()
    assert (found["state"], found["toDeliver"]) == ("ready", 1)
    assert http.post(f"{at}/start").json()["state"] == "start_pending"
    campaign.drain()
    assert http.get(f"{at}/logs").json()["logs"][0]["status"] == "sent"
    assert http.get(f"{at}/unknown").json() == {"logs": [], "after": None}
    assert http.get(f"{at}/exclusions").json()["exclusions"][0]["reason"] == "addressNotSpecified"
    assert http.get(f"{at}/indicators").json()["success"] == 1
    assert http.get(f"{at}/preview?recipient=1000").json()["subject"] == "Hello Ann"
    assert len(http.get("/campaign/deliveries").json()["deliveries"]) == 1
    assert http.patch(at, json={"label": "x"}).status_code == 409
    assert http.post("/campaign/deliveries", json={"colour": "red"}).status_code == 422
    assert http.get("/campaign/deliveries/77").status_code == 404
    for wrong in ({"colour": 1}, {"limit": -1}, {"controlPercent": 101}):
        asked = {"target": {"list": "x"}, "targeting": wrong}
        assert http.post(f"{at}/prepare", json=asked).status_code == 422
    assert http.post(f"{at}/proof", json={"addresses": ["a@b.example\r\n.x"]}).status_code == 422
    kept = http.delete(at)
    assert (kept.status_code, http.get(at).status_code) == (409, 200), "its mails need its logs"
    draft = http.post("/campaign/deliveries", json={}).json()["id"]
    assert http.delete(f"/campaign/deliveries/{draft}").status_code == 204
    assert http.get(f"/campaign/deliveries/{draft}").status_code == 404


def _task(campaign: Campaign, work: SqliteWorkFiles, rows: list[dict[str, Any]]) -> Task:
    columns = (Column(name="code"), Column(name="spent", type="double"))
    table = sa.Table(
        "rows",
        sa.MetaData(),
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("id", sa.Integer),
        sa.Column("code", sa.Text),
        sa.Column("spent", sa.Double),
    )
    with work.build("wkf1_1_out") as connection:
        table.create(connection)
        connection.execute(sa.insert(table), rows)
    population = WorkTable(
        name="wkf1_1_out", schema="nms:recipient", columns=columns, count=len(rows)
    )
    return Task(
        workflow=1,
        id=2,
        activity="send",
        inputs={"query": population},
        vars={},
        instance_vars={},
        memory={},
        now_ms=campaign.clock.now_ms(),
        attempt=1,
        work=work,
        journal=lambda _level, _text: None,
        stopped=lambda: False,
    )


class _Means:
    def __init__(self, campaign: Campaign) -> None:
        self.deliveries = campaign.deliveries


def _run(campaign: Campaign, tmp_path: Path, config: DeliveryConfig) -> None:
    ids = campaign.crowd(3)
    work = SqliteWorkFiles(tmp_path / "work", campaign.raw, tmp_path / "campaign.db")
    rows: list[dict[str, Any]] = [
        {"n": n, "id": id, "code": f"C{n}", "spent": n * 1.5} for n, id in enumerate(ids, 1)
    ]
    rows.append({"n": 4, "id": None, "code": "nobody", "spent": 0.0})
    task = _task(campaign, work, rows)
    done = cast("Any", SPEC.make(config, cast("Any", _Means(campaign))).run(task))
    assert done.outputs["out"].table == task.table
    with work.closing(inputs=done.effects_inputs) as connection:
        done.effects(connection)


def test_from_a_workflow(campaign: Campaign, tmp_path: Path) -> None:
    """The columns of the population are in the message; rows without a recipient are excluded."""
    content = msgspec.structs.replace(
        CONTENT, subject="{{ targetData.code }} {{ targetData.spent }}"
    )
    _run(
        campaign, tmp_path, DeliveryConfig(content=content, start="prepareAndStart", label="Autumn")
    )
    (made,) = campaign.deliveries.find()
    assert (made["internalName"], made["label"], made["workflowId"]) == ("wkf1_2_send", "Autumn", 1)
    assert _reasons(made) == {"addressNotSpecified": 1}
    campaign.drain()
    subjects = {one.body.split(b"Subject: ")[1].split(b"\r\n")[0] for one in campaign.server.taken}
    assert subjects == {b"C1 1.5", b"C2 3.0", b"C3 4.5"}


@pytest.mark.parametrize(("start", "state"), [("save", "edition"), ("prepare", "ready")])
def test_workflow_that_does_not_send(
    campaign: Campaign, tmp_path: Path, start: Any, state: str
) -> None:
    """A delivery that a workflow saves or analyses waits for somebody to start it."""
    _run(campaign, tmp_path, DeliveryConfig(content=CONTENT, start=start))
    campaign.drain()
    assert [one["state"] for one in campaign.deliveries.find()] == [state]
    assert campaign.server.taken == []


def test_target_of_any_source(campaign: Campaign) -> None:
    """A recipient that stands in the target twice is written to once."""
    (one,) = campaign.people({"email": "a@x.example", "firstName": "A"})
    rows = sa.union_all(
        *(sa.select(sa.literal(n).label("n"), sa.literal(one).label("id")) for n in (1, 2, 3))
    )
    made = campaign.deliveries.create(NewDelivery(content=CONTENT))
    with campaign.raw.begin() as connection:
        report = campaign.deliveries.prepare_in(
            connection,
            made["id"],
            Target(rows.subquery("r")),
            targeting=Targeting(),
            now_ms=START_MS,
        )
    assert (report.target, report.to_deliver) == (3, 1)
    assert [(one.reason, one.count) for one in report.excluded] == [("duplicate", 2)]
