"""The three rules between the two sides, attacked by API, by file and by clock.

One organisational unit; no recipient from a segment file; log exports at least four hours apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from audience_flows import daily, local, open_flow, to_next_export
from small_campaign import SmallCampaign, door_of, running_campaign
from small_shop import SmallShop, open_shop

from amity.app.demo.campaign_client import WorkflowFailed
from amity.app.demo.campaign_graphs import chain, file_import
from amity.app.demo.client import Platform, Refused
from amity.kernel.clock import DAY_MS, HOUR_MS, SECOND_MS, RealSystemClock, from_iso, to_iso

RICH = "250K+"
LOGS = ("broadLog", "trackingLog", "nonDeliverable")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallCampaign]:
    """A server whose clock is played with."""
    with running_campaign(tmp_path_factory.mktemp("guardrails")) as running:
        yield running


@pytest.fixture
def rested(campaign: SmallCampaign) -> SmallCampaign:
    """The last export is five hours old."""
    campaign.platform.post("/admin/clock", {"advance": "PT5H"})
    return campaign


def refused(error: pytest.ExceptionInfo[Refused]) -> tuple[int, str]:
    """Status and words of a refusal."""
    return int(error.value.data["status"]), str(error.value.data["body"]["detail"])


# -- one organisational unit ------------------------------------------------------------------


def test_second_unit_is_refused_by_api(campaign: SmallCampaign) -> None:
    """A second unit is refused with the reason, whatever it is called and however often."""
    units = campaign.side.get("orgUnits")["orgUnits"]
    for name in ("Germany", "", "Test shop", "x" * 200):
        with pytest.raises(Refused) as error:
            campaign.side.post("orgUnits", {"name": name})
        assert refused(error)[0] in {403, 409, 422}
    with pytest.raises(Refused) as error:
        campaign.side.post("orgUnits", {"name": "Germany"})

    assert "1 organisational unit, not 2" in refused(error)[1]
    assert len(units) == 1
    assert campaign.side.get("orgUnits")["orgUnits"] == units


def test_people_of_another_sandbox_do_not_get_in(campaign: SmallCampaign) -> None:
    """The campaign serves the unit it was made for: another sandbox sees and changes nothing."""
    with campaign.server.client() as http:
        path = "/data/foundation/sandbox-management/sandboxes"
        http.post(path, json={"name": "other", "type": "development"}).raise_for_status()
    before = everybody(campaign)
    with campaign.server.client("other") as stranger:
        answers = [
            stranger.get("/campaign/recipients"),
            stranger.get("/campaign/deliveries"),
            stranger.get("/campaign/workflows"),
            stranger.get("/campaign/broadLogs"),
            stranger.post("/campaign/recipients", json={"email": "x@example.test"}),
            stranger.post("/campaign/exports/broadLog", json={}),
        ]

    assert [one.status_code for one in answers] == [403] * len(answers)
    assert everybody(campaign) == before


def test_unit_cannot_come_by_file_or_with_time(campaign: SmallCampaign) -> None:
    """A column of units finds no attribute to go to; a year later the rule still stands."""
    uploaded(campaign, "units.csv", b"externalId,orgUnit\np1,Germany\n")
    update = {
        "operation": "insertOrUpdate",
        "keys": [{"attribute": "externalId"}],
        "fields": [{"to": "externalId"}, {"to": "orgUnit"}],
    }
    graph = file_import(
        "units", source=("sftp", "shop/units.csv"), columns=("externalId", "orgUnit"), update=update
    )
    with pytest.raises(Refused) as error:
        campaign.side.workflow(graph)
    campaign.platform.post("/admin/clock", {"advance": "P365D"})
    with pytest.raises(Refused) as later:
        campaign.side.post("orgUnits", {"name": "Germany"})

    assert "orgUnit" in refused(error)[1]
    assert "1 organisational unit, not 2" in refused(later)[1]


# -- no recipient from a segment --------------------------------------------------------------

INSERT: dict[str, Any] = {
    "operation": "insertOrUpdate",
    "keys": [{"attribute": "externalId"}],
    "fields": [{"to": "externalId"}],
}


@pytest.fixture(scope="module")
def shop(campaign: SmallCampaign) -> Iterator[SmallShop]:
    """Two members of an audience, whose file lies at the exchange."""
    opened = open_shop(campaign.server)
    opened.load([opened.customer(name, RICH) for name in ("p1", "p2")])
    flow = open_flow(opened.platform, "Campaign", local("campaign"))
    daily(opened.platform, flow, opened.audiences["high_income"])
    to_next_export(opened.platform)
    campaign.recipient(1)
    yield opened
    opened.platform.close()


def attack(campaign: SmallCampaign, name: str, *steps: Any) -> str:
    """Run a workflow that must fail or create nobody; what its journal says."""
    workflow = campaign.side.workflow(chain(name, *steps))
    try:
        campaign.side.run(workflow)
    except WorkflowFailed as error:
        return error.message
    lines = campaign.side.get(f"workflows/{workflow}/journal")["journal"]
    return "; ".join(str(line["text"]) for line in lines)


def everybody(campaign: SmallCampaign) -> set[str]:
    """External ids of all recipients."""
    found = campaign.side.get("recipients", limit=1000)["recipients"]
    return {str(one["externalId"]) for one in found}


@pytest.mark.parametrize("operation", ["insert", "insertOrUpdate"])
def test_audience_file_creates_nobody(
    campaign: SmallCampaign, shop: SmallShop, operation: str
) -> None:
    """A workflow that would insert the members of an audience is refused, with the rule's reason."""
    column = f"_{shop.platform.tenant}_loyaltyId"
    columns = [{"name": "externalId", "source": column}]
    said = attack(
        campaign,
        f"attack-{operation}",
        (
            "transfer",
            "file_transfer",
            {"account": "exchange", "path": "campaign/manifest-*.json", "manifest": True},
        ),
        ("load", "load_file", {"audience": True, "columns": columns, "keys": ["externalId"]}),
        ("update", "update_data", {**INSERT, "operation": operation}),
    )

    assert everybody(campaign) == {"p1"}
    assert "segment" in said


def test_renamed_audience_file_creates_nobody(campaign: SmallCampaign, shop: SmallShop) -> None:
    """Its bytes under an innocent name on the SFTP server are still a segment file."""
    file = min((campaign.server.data / "exports" / "campaign").glob("*.txt"))
    uploaded(campaign, "people.txt", file.read_bytes())
    column = f"_{shop.platform.tenant}_loyaltyId"
    said = attack(
        campaign,
        "attack-renamed",
        ("transfer", "file_transfer", {"account": "sftp", "path": "shop/people.txt"}),
        (
            "load",
            "load_file",
            {
                "format": {"kind": "tab"},
                "columns": [{"name": "externalId", "source": column}],
                "keys": ["externalId"],
            },
        ),
        ("update", "update_data", INSERT),
    )

    assert everybody(campaign) == {"p1"}
    assert "segment" in said


def test_detours_and_time_create_nobody(campaign: SmallCampaign, shop: SmallShop) -> None:
    """Through an enrichment and a split, and ten days later: the origin goes along."""
    campaign.platform.advance(to_iso(from_iso(campaign.now()) + 10 * DAY_MS))
    column = f"_{shop.platform.tenant}_loyaltyId"
    reconcile = {"keys": [{"attribute": "externalId"}], "unreconciled": "keep"}
    said = attack(
        campaign,
        "attack-detour",
        (
            "transfer",
            "file_transfer",
            {"account": "exchange", "path": "campaign/manifest-*.json", "manifest": True},
        ),
        (
            "load",
            "load_file",
            {
                "audience": True,
                "columns": [{"name": "externalId", "source": column}],
                "keys": ["externalId"],
            },
        ),
        ("enrich", "enrichment", {"reconcile": reconcile}),
        ("update", "update_data", INSERT),
    )

    assert everybody(campaign) == {"p1"}
    assert "segment" in said


# -- four hours -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOGS)
def test_second_export_is_refused_by_api(rested: SmallCampaign, kind: str) -> None:
    """Within four hours it is refused with the next allowed time; at that time it is let through."""
    begun_ms = from_iso(rested.now())
    rested.side.post(f"exports/{kind}", {})
    rested.settle()
    allowed = to_iso(begun_ms + 4 * HOUR_MS)
    for at_ms in (0, HOUR_MS, 4 * HOUR_MS - SECOND_MS):
        rested.platform.advance(to_iso(begun_ms + at_ms))
        body = rested.side.export_refusal(kind)
        assert body is not None
        assert allowed in body["detail"]
    rested.platform.advance(allowed)

    assert rested.side.export_refusal(kind) is None


def test_restarts_and_kills_do_not_forget(rested: SmallCampaign) -> None:
    """The rule stands after the server was stopped, and after it was killed."""
    rested.side.post("exports/broadLog", {})
    rested.settle()
    for end in (rested.server.stop, rested.server.kill):
        end()
        rested.server.start()
        again = Platform(rested.server.url, rested.server.credentials, RealSystemClock())
        with pytest.raises(Refused) as error:
            again.post("/campaign/exports/broadLog", {})
        again.close()
        assert "4 h" in refused(error)[1]


def test_workflows_are_no_way_around(rested: SmallCampaign) -> None:
    """Neither the template nor a file that a workflow makes of the log comes sooner."""
    rested.side.post("exports/broadLog", {})
    rested.settle()
    folder = rested.server.data / "exports" / "campaign-logs"
    before = set(folder.iterdir())
    exported = attack(rested, "again", ("export", "log_export", {"kind": "broadLog"}))
    written = attack(
        rested,
        "by-hand",
        (
            "rows",
            "query",
            {
                "schema": "nms:broadLogRcp",
                "columns": [{"name": "address", "value": "@address"}],
            },
        ),
        ("file", "extraction", {"name": "broadlog"}),
        (
            "upload",
            "file_transfer",
            {"account": "exchange", "action": "upload", "path": "campaign-logs/"},
        ),
    )
    after = set(folder.iterdir())

    assert "4 h" in exported
    assert "4 h" in written
    assert after == before


def test_file_that_pretends_to_be_an_export_is_no_clock(rested: SmallCampaign) -> None:
    """Deleting or ageing the published files does not make the next export come sooner."""
    rested.side.post("exports/broadLog", {})
    rested.settle()
    folder = rested.server.data / "exports" / "campaign-logs"
    for manifest in folder.glob("*.json"):
        body = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**body, "exportedAt": "2001-01-01T00:00:00.000Z"}))
    for file in folder.glob("*.csv"):
        file.unlink()

    assert rested.side.export_refusal("broadLog") is not None


def test_crowd_gets_one_export(rested: SmallCampaign) -> None:
    """Twenty requests at once are one export and nineteen refusals."""

    def ask(_: int) -> int:
        with rested.server.client() as http:
            return http.post("/campaign/exports/trackingLog", json={}).status_code

    with ThreadPoolExecutor(20) as pool:
        codes = list(pool.map(ask, range(20)))

    assert sorted(codes).count(202) == 1
    assert set(codes) <= {202, 409, 429}


def uploaded(campaign: SmallCampaign, name: str, content: bytes) -> None:
    """A file put by SFTP into the folder of account ``shop``."""
    campaign.side.sftp_account("shop", "a password for tests")
    door_of(campaign.server, "shop", "a password for tests").put({name: content})


def test_refusals_are_problem_details(rested: SmallCampaign) -> None:
    """They carry the next allowed time as a member of their own, for programs."""
    allowed = to_iso(from_iso(rested.now()) + 4 * HOUR_MS)
    rested.side.post("exports/nonDeliverable", {})
    rested.settle()
    body = rested.side.export_refusal("nonDeliverable")

    assert body is not None
    assert body["type"].startswith("urn:amity:problem:")
    assert allowed in {str(value) for value in body.values()}
    assert httpx.get(rested.server.url + "/healthz").status_code == 200
