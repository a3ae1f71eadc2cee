"""From memberships to files: full, incremental, governed, counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shop import SCOPE, LinesFiles, Shop, mapped

from amity.access.principal import Permission, Principal
from amity.app.problems import install
from amity.platform.activation.adhoc import AdhocRuns
from amity.platform.activation.errors import BadConnection, BadFlow, CannotRunNow
from amity.platform.activation.exporter import EXPORT_TRIES_MAX
from amity.platform.activation.routes import router
from amity.platform.governance.errors import ViolationsError
from amity.transports.errors import StoreUnavailable

SELECTORS = "/transformations/0/params/segmentSelectors/selectors"
LABELLED = {("personalEmail", "address"): frozenset({"C4"})}
EMAIL_POLICY = "corepolicy_0003"


@pytest.fixture(params=["memory", "sqlite"])
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    made = Shop(tmp_path, sqlite=request.param == "sqlite")
    yield made
    made.log.close()
    made.state.close()


def label_field(shop: Shop, *, on: bool = True) -> None:
    shop.customers = msgspec.structs.replace(shop.customers, fields=LABELLED if on else {})


def test_first_all_members_then_what_changed(shop: Shop) -> None:
    """The first file has the members, later ones who came and who left; nobody else."""
    for id in ("ann", "bob", "cat", "dan"):
        shop.person(id)
    shop.member("ann")
    shop.member("bob")
    flow = shop.flow("rich")
    shop.until("2024-01-05T12:00:00Z")
    shop.member("bob", "exited")
    shop.member("cat")
    shop.member("dan")
    shop.member("dan", "exited")
    shop.until("2024-01-06T12:00:00Z")
    shop.until("2024-01-07T12:00:00Z")

    assert shop.told() == [
        [("ann", "active"), ("bob", "active")],
        [("bob", "expired"), ("cat", "active")],
        [],
    ]
    ledgers = [run["ledger"] for run in shop.runs(flow)]
    assert ledgers[1] == {"qualified": 3, "written": 2, "rows": 2, "excluded": {"never_sent": 1}}
    assert {"success"} == {run["metrics"]["statusSummary"]["status"] for run in shop.runs(flow)}


def test_without_status_nobody_is_told_to_have_left(shop: Shop) -> None:
    """Exits are not written when the status is not mapped, nor into full files."""
    for id in ("ann", "bob"):
        shop.person(id)
        shop.member(id)
    shop.flow("rich", paths=("_shop.id",))
    shop.until("2024-01-05T12:00:00Z")
    shop.member("bob", "exited")
    shop.until("2024-01-06T12:00:00Z")

    assert shop.files() == [[{"_shop_id": "ann"}, {"_shop_id": "bob"}], []]


def test_attributes_are_current_and_do_not_qualify(shop: Shop) -> None:
    """A changed attribute brings nobody into an incremental file; rows have today's values."""
    shop.person("ann")
    shop.member("ann")
    shop.flow("rich")
    shop.person("ann", personalEmail={"address": "new@example.test"})
    shop.until("2024-01-05T12:00:00Z")
    shop.person("ann", personalEmail={"address": "newer@example.test"})
    shop.until("2024-01-06T12:00:00Z")

    assert [[row["personalEmail_address"] for row in file] for file in shop.files()] == [
        ["new@example.test"],
        [],
    ]


def test_an_order_carried_out_twice_leaves_one_file_set(shop: Shop) -> None:
    """After a crash the order comes again: the same names, the same rows, nothing told twice."""
    shop.person("ann")
    shop.member("ann")
    shop.flow("rich")
    shop.until("2024-01-05T12:00:00Z")
    before = shop.files()
    for topic in shop.exporter.consumes:
        shop.exporter.handle(shop.log.poll(topic, {}, 10), shop.clock.now_ms())
    shop.until("2024-01-06T12:00:00Z")

    assert [[("ann", "active")], []] == shop.told()
    assert before == shop.files()[:1]


def test_a_crash_before_the_note_writes_the_same_again(shop: Shop) -> None:
    """Files published, note lost: the order repeated writes the same names over."""
    shop.person("ann")
    shop.member("ann")
    shop.flow("rich")
    shop.runner.run_once(shop.clock.now_ms())
    shop.until("2024-01-05T05:59:59Z")
    shop.clock.advance_to(shop.runner.next_due() or 0)
    shop.runner.fire_due(shop.clock.now_ms())
    (record,) = shop.log.poll("platform.exports", {}, 10)
    forgetful, shop.exporter._state = shop.exporter._state, _Amnesia(shop.state)
    with pytest.raises(RuntimeError):
        shop.exporter.handle([record], 0)
    shop.exporter._state = forgetful
    shop.drain()

    assert [[("ann", "active")]] == shop.told()


class _Amnesia:
    """A state in which nothing can be noted, as when the process is killed before it."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def read(self) -> Any:
        return self._state.read()

    def write(self) -> Any:
        raise RuntimeError("killed")


def test_refused_when_mapped_and_let_through_once_unlabelled(shop: Shop) -> None:
    """A violating mapping is refused whole; without the label the same request goes through."""
    shop.book.save_core(SCOPE, [EMAIL_POLICY])
    label_field(shop)
    flow = shop.flow()
    add = {"op": "add", "path": f"{SELECTORS}/-", "value": mapped("rich")}

    with pytest.raises(ViolationsError, match=r"personalEmail\.address .*C4"):
        shop.patch(flow, add)
    assert shop.activations.active(SCOPE) == []

    label_field(shop, on=False)
    shop.patch(flow, add)
    assert len(shop.activations.active(SCOPE)) == 1


def test_a_label_pauses_and_its_removal_catches_up(shop: Shop) -> None:
    """Labelled after mapping: no byte, the run says why; unlabelled: everything since is told."""
    shop.book.save_core(SCOPE, [EMAIL_POLICY])
    shop.person("ann")
    shop.person("bob")
    shop.member("ann")
    flow = shop.flow("rich")
    shop.until("2024-01-05T12:00:00Z")
    label_field(shop)
    shop.member("bob")
    shop.until("2024-01-06T12:00:00Z")
    paused = shop.runs(flow)[-1]
    label_field(shop, on=False)
    shop.until("2024-01-07T12:00:00Z")

    assert [[("ann", "active")], [("bob", "active")]] == shop.told()
    assert (paused["state"], paused["metrics"]["statusSummary"]["status"]) == ("paused", "failed")
    (error,) = paused["metrics"]["statusSummary"]["errors"]
    assert "dataset 'Customers' → merge policy 'Default' → audience 'Rich'" in error["message"]
    assert error["lineage"][0]["field"] == "personalEmail.address"


def test_consent_leaves_people_out_and_counts_them(shop: Shop) -> None:
    """Email Targeting asks for the e-mail consent: a refusal is excluded, the unknown passes."""
    shop.person("ann")
    shop.person("bob", consents={"marketing": {"any": {"val": "n"}}})
    shop.person("cat", consents={"marketing": {"any": {"val": "y"}, "email": {"val": "n"}}})
    for id in ("ann", "bob", "cat"):
        shop.member(id)
    flow = shop.flow("rich")
    shop.until("2024-01-05T12:00:00Z")

    assert shop.told() == [[("ann", "active")]]
    record = shop.runs(flow)[0]["metrics"]["recordSummary"]
    assert (record["inputRecordCount"], record["createdRecordCount"]) == (3, 1)
    assert [(one["code"], one["count"]) for one in record["skippedInfo"]] == [
        ("AMITY-ACTIVATION-3", 2)
    ]


def test_a_merged_person_leaves_under_the_new_name(shop: Shop) -> None:
    """Who was told as one profile and merged away is told to have left, unless the merged stays."""
    for id in ("ann", "anna", "bob", "bobby"):
        shop.person(id)
    for id in ("ann", "bob"):
        shop.member(id)
    flow = shop.flow("rich")
    shop.until("2024-01-05T12:00:00Z")
    shop.homes = {"ann": "anna", "bob": "bobby"}
    shop.member("ann", "exited")
    shop.member("bob", "exited")
    shop.member("bobby")
    shop.until("2024-01-06T12:00:00Z")

    assert shop.told()[1] == [("anna", "expired"), ("bobby", "active")]
    assert shop.runs(flow)[1]["ledger"]["excluded"] == {"merged": 1}


def test_one_row_a_key_over_the_whole_file(shop: Shop) -> None:
    """Two profiles with one key give one row, the one whose membership changed last."""
    shop.person("ann")
    shop.person("bob", personalEmail={"address": "ann@example.test"})
    shop.member("ann")
    shop.until("2024-01-04T01:00:00Z")
    shop.member("bob")
    keys = [{"fieldType": "ATTRIBUTE", "attributePath": "personalEmail.address"}]
    flow = shop.flow("rich", primaryFields=keys, mandatoryFields=["_shop.id"])
    shop.until("2024-01-05T12:00:00Z")

    assert shop.told() == [[("bob", "active")]]
    assert shop.runs(flow)[0]["ledger"]["excluded"] == {"duplicate": 1}


def test_failures_are_runs(shop: Shop) -> None:
    """What cannot be exported stands in the run with what to do; the flow goes on."""
    flow = shop.flow("rich", paths=())
    shop.until("2024-01-05T12:00:00Z")

    (error,) = shop.runs(flow)[0]["metrics"]["statusSummary"]["errors"]
    assert "maps no attribute" in error["message"]


def test_an_unreachable_destination_does_not_hold_the_others_up(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some tries the run has failed and the order is let go; nothing counts as told."""
    shop.person("ann")
    shop.member("ann")
    flow = shop.flow("rich")
    monkeypatch.setattr(LinesFiles, "publish", _unreachable)
    shop.until("2024-01-05T05:00:00Z")
    shop.clock.advance_to(shop.runner.next_due() or 0)
    shop.runner.fire_due(shop.clock.now_ms())
    (record,) = shop.log.poll("platform.exports", {}, 10)
    for _ in range(EXPORT_TRIES_MAX - 1):
        with pytest.raises(StoreUnavailable):
            shop.exporter.handle([record], 0)
    shop.exporter.handle([record], 0)
    (error,) = shop.runs(flow)[0]["metrics"]["statusSummary"]["errors"]
    monkeypatch.undo()
    shop.until("2024-01-06T12:00:00Z")

    assert (error["code"], "given up" in error["message"]) == ("AMITY-ACTIVATION-UNREACHABLE", True)
    assert [[("ann", "active")], []] == shop.told()


def _unreachable(files: LinesFiles) -> Any:
    raise StoreUnavailable("no answer")


def test_on_demand_for_a_flow_that_went_to_sleep(shop: Shop) -> None:
    """The run ends as failed instead of going on for ever."""
    flow = shop.flow("rich")
    shop.until("2024-01-05T12:00:00Z")
    (order,) = adhoc(shop).order(SCOPE, {flow: ["rich"]})
    shop.flows.set_state(SCOPE, flow, "disabled")
    shop.drain()

    assert shop.flows.run(SCOPE, order.run)["metrics"]["statusSummary"]["status"] == "failed"


def test_disabled_and_deleted_flows_export_nothing(shop: Shop) -> None:
    """Neither leaves a file, and deleting leaves no timer."""
    shop.member("ann")
    flow, other = shop.flow("rich"), shop.flow("rich")
    shop.flows.set_state(SCOPE, flow, "disabled")
    shop.flows.delete(SCOPE, "flows", other)
    shop.until("2024-01-08T00:00:00Z")

    assert shop.files() == []
    assert shop.runner.next_due() is None


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ({"op": "add", "path": f"{SELECTORS}/-", "value": mapped("gone")}, "no audience gone"),
        ({"op": "add", "path": f"{SELECTORS}/-", "value": mapped("rich")}, "mapped twice"),
        (
            {
                "op": "add",
                "path": f"{SELECTORS}/-",
                "value": mapped(
                    "poor", "DAILY_FULL_EXPORT", frequency="ONCE", startDate="2023-01-01"
                ),
            },
            "which is over",
        ),
        (
            {
                "op": "add",
                "path": "/transformations/0/params/primaryFields",
                "value": [
                    {"fieldType": "IDENTITY", "identityNamespace": "Email"},
                    {"fieldType": "ATTRIBUTE", "attributePath": "_shop.id"},
                ],
            },
            "never a mix",
        ),
        (
            {"op": "add", "path": f"{SELECTORS}/0/value/filenameTemplate", "value": "x.csv"},
            "must hold",
        ),
    ],
)
def test_flows_that_are_refused(shop: Shop, operation: dict[str, Any], said: str) -> None:
    """A flow that cannot be carried out is refused with what is wrong, and not saved."""
    flow = shop.flow("rich")
    before = shop.flows.get(SCOPE, "flows", flow).body

    with pytest.raises(BadFlow, match=said):
        shop.patch(flow, operation)

    assert before == shop.flows.get(SCOPE, "flows", flow).body


def test_what_the_server_adds(shop: Shop) -> None:
    """Defaults, times and the documented mapping are filled in."""
    flow = shop.flow()
    value = {"type": "PLATFORM_SEGMENT", "value": {"id": "rich"}}
    shop.patch(flow, {"op": "add", "path": f"{SELECTORS}/-", "value": value})

    params = shop.flows.get(SCOPE, "flows", flow).body["transformations"][0]["params"]
    assert params["segmentSelectors"]["selectors"][0]["value"] == {
        "id": "rich",
        "name": "Rich",
        "exportMode": "DAILY_FULL_EXPORT",
        "schedule": {"frequency": "DAILY", "startTime": "00:00", "startDate": "2024-01-04"},
        "createTime": "1704326400",
        "updateTime": "1704326400",
    }
    mapping = params["profileSelectors"]["selectors"][0]["value"]["mapping"]
    assert (mapping["sourceType"], mapping["destination"]) == ("text/x.schema-path", "_shop.id")


def test_connections_are_checked(shop: Shop) -> None:
    """An unknown or incomplete way to sign in is refused at once."""
    spec = {"id": next(iter(shop.kind.spec_ids - {"8a9c3494-9708-43d7-ae3f-cda01e5030e1"}))}
    for auth in ({"specName": "Magic"}, {"specName": "Key", "params": {}}):
        with pytest.raises(BadConnection):
            shop.flows.create(SCOPE, "connections", {"connectionSpec": spec, "auth": auth})


def adhoc(shop: Shop) -> AdhocRuns:
    return AdhocRuns(
        activations=shop.activations,
        runs=shop.flows,
        governance=shop.governance,
        ids=shop.flows._ids,
        clock=shop.clock,
        append=shop.log.append,
    )


def test_on_demand_is_full_and_extra(shop: Shop) -> None:
    """A file on demand holds the members and does not move what the schedule has told."""
    shop.person("ann")
    shop.person("bob")
    shop.member("ann")
    flow = shop.flow("rich")
    shop.until("2024-01-05T12:00:00Z")
    shop.member("bob")
    (order,) = adhoc(shop).order(SCOPE, {flow: ["rich"]})
    with pytest.raises(CannotRunNow, match="Run already going on for audience rich"):
        adhoc(shop).order(SCOPE, {flow: ["rich"]})
    shop.until("2024-01-06T12:00:00Z")

    assert shop.flows.run(SCOPE, order.run)["metrics"]["statusSummary"]["status"] == "success"
    assert shop.told() == [
        [("ann", "active")],
        [("ann", "active"), ("bob", "active")],
        [("bob", "active")],
    ]
    with pytest.raises(CannotRunNow, match="not part of this dataflow"):
        adhoc(shop).order(SCOPE, {flow: ["poor"]})


async def test_on_demand_over_http(shop: Shop) -> None:
    """The documented call answers where the run can be followed; datasets are refused."""
    app = FastAPI()
    app.state.gate = Everyone()
    install(app)
    app.include_router(router(adhoc(shop), "http://127.0.0.1:9/"))
    flow = shop.flow("rich")
    shop.until("2024-01-05T12:00:00Z")
    url = "/data/core/activation/disflowprovider/adhocrun"
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9") as client:
        good = await client.post(url, json={"activationInfo": {flow: ["rich"]}})
        bad = await client.post(url, json={"activationInfo": {"destinations": [{"datasets": []}]}})

    (order,) = good.json()["order"]
    run = order["statusURL"].rpartition("/runs/")[2]
    assert (order["segment"], order["order"]) == ("rich", flow)
    assert shop.flows.run(SCOPE, run)["metrics"]["statusSummary"]["status"] == "inProgress"
    assert (bad.status_code, "datasets are not exported" in bad.json()["detail"]) == (400, True)


class Everyone:
    """A gate that lets everyone in."""

    def authorize(self, request: Request, permission: Permission) -> Principal:
        del request, permission
        return Principal(id="me", kind="api_client", scope=SCOPE, permissions=frozenset())


CONSENTS = st.sampled_from(
    [{}, {"marketing": {"any": {"val": "n"}}}, {"marketing": {"email": {"val": "y"}}}]
)
CHANGES = st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans(), st.booleans()), max_size=20)


@pytest.mark.thorough
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=CHANGES,
    consents=st.dictionaries(st.sampled_from("abcde"), CONSENTS),
    keyed=st.booleans(),
)
def test_files_lead_to_the_members_and_ledgers_add_up(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[str, bool, bool]],
    consents: dict[str, Any],
    keyed: bool,
) -> None:
    """Full then incrementals, read in order, give the members who consent; every run adds up."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    for id in "abcde":
        shop.person(id, consents=consents.get(id, {}))
    keys = [{"fieldType": "ATTRIBUTE", "attributePath": "_shop.id"}]
    flow = shop.flow("rich", **({"primaryFields": keys} if keyed else {}))
    inside: set[str] = set()
    hour = 0
    for id, enters, pauses in changes:
        shop.member(id, "realized" if enters else "exited")
        (inside.add if enters else inside.discard)(id)
        if pauses:
            hour += 24
            shop.until(f"2024-01-{4 + hour // 24:02d}T12:00:00Z")
    shop.until("2024-01-31T12:00:00Z")

    told: set[str] = set()
    for file in shop.told():
        for id, status in file:
            (told.add if status == "active" else told.discard)(id)
    refused = {id for id, one in consents.items() if one.get("marketing", {}).get("any")}
    assert inside - refused - {"f"} == told
    for run in shop.runs(flow):
        ledger = run["ledger"]
        assert ledger["qualified"] == ledger["written"] + sum(ledger["excluded"].values())
