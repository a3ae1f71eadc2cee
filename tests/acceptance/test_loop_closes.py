"""The whole loop over other people's servers: Azurite, OpenSSH and Postfix. Everybody is followed.

Audience files go to a container and come from there, recipients from an OpenSSH server, mail through
Postfix into mailboxes, what it cannot deliver comes back as its own delivery status notifications, the
logs go through the container to the platform. Where a server cannot be run here, the nearest thing
stands for it: a folder, Amity's own SFTP server, the mailboxes' own server.
"""

from __future__ import annotations

import csv
import io
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from audience_flows import Place, daily, file_sets, local, open_flow, to_next_export
from azure.storage.blob import ContainerClient
from small_campaign import BOUNCES, HTML, SmallCampaign, running_campaign
from small_shop import LOYALTY, SmallShop, open_shop
from waiting import eventually

from amity.app.demo.campaign_graphs import chain
from amity.testing.azurite import azurite_available, start_azurite
from amity.testing.openssh import openssh_available, start_openssh
from amity.testing.postfix import postfix_available, start_postfix
from amity.testing.server import free_port
from amity.testing.smtp_sink import Rule, ThreadedSink

RICH, POOR = "250K+", "Under 15K"
CONDUCTS = ("clicks", "opens", "unsubscribes", "complains", "unknown", "silent")
PEOPLE = {f"p{n}": CONDUCTS[n % len(CONDUCTS)] for n in range(12)}
"""Members and recipients, and what each does."""

STRANGER = "p12"
"""A member, but no recipient."""

OUTSIDER = "p13"
"""A recipient, but no member."""

LIST = "Rich people"
AUDIENCE_FOLDER, LOG_FOLDER = "audiences", "campaign-logs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a real blob service."""

    connection: str
    client: ContainerClient

    @property
    def place(self) -> Place:
        """Where the audience's files go."""
        params = {"mode": "AZURE_BLOB", "container": self.client.container_name}
        return Place(
            auth={"specName": "Azure Blob", "params": {"connectionString": self.connection}},
            params={**params, "path": AUDIENCE_FOLDER, "format": "CSV", "preset": "campaign_v7"},
        )

    @property
    def account(self) -> str:
        """The same place as the campaign side knows it."""
        return "blob"

    @property
    def source(self) -> dict[str, Any]:
        """And as the platform's source does."""
        auth = {"specName": "ConnectionString", "params": {"connectionString": self.connection}}
        return {"auth": auth, "container": self.client.container_name}

    def names(self, prefix: str) -> list[str]:
        """What lies there."""
        return list(self.client.list_blob_names(name_starts_with=f"{prefix}/"))

    def fetch(self, name: str) -> bytes:
        """One blob."""
        return self.client.download_blob(name).readall()


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The installation's own folder stands for the container."""

    exports: Path

    @property
    def place(self) -> Place:
        """A folder below it."""
        return local(AUDIENCE_FOLDER)

    @property
    def account(self) -> str:
        """The same folder as the campaign side knows it."""
        return "exchange"

    @property
    def source(self) -> dict[str, Any]:
        """What the platform reads by itself."""
        return {}

    def names(self, prefix: str) -> list[str]:
        """What lies there."""
        found = (self.exports / prefix).rglob("*")
        return [str(file.relative_to(self.exports)) for file in found if file.is_file()]

    def fetch(self, name: str) -> bytes:
        """One file."""
        return (self.exports / name).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Both sides, the servers between them, and what was made."""

    campaign: SmallCampaign
    shop: SmallShop
    blobs: Container | Folder
    files: Mapping[str, Any]
    """Name and folder of the account the recipients' file lies at."""

    through_postfix: bool
    audiences: dict[str, str]


@contextmanager
def servers(folder: Path) -> Iterator[Loop]:
    """Everything, running."""
    with ExitStack() as running:
        gone = [Rule(to=f"{one}@*", answer="unknown") for one in who("unknown")]
        sink = running.enter_context(ThreadedSink(folder / "mail", *gone))
        smtp, bounce_port = sink.address, free_port()
        if postfix_available():
            postfix = running.enter_context(
                start_postfix(
                    relay=sink.address,
                    bounces=f"127.0.0.1:{bounce_port}",
                    bounce_domain=BOUNCES,
                )
            )
            smtp = postfix.address
        campaign = running.enter_context(
            running_campaign(folder, smtp=smtp, sink=sink, bounce_port=bounce_port)
        )
        shop = open_shop(campaign.server)
        running.callback(shop.platform.close)
        blobs = running.enter_context(blob_service(folder, campaign))
        yield Loop(
            campaign=campaign,
            shop=shop,
            blobs=blobs,
            files=running.enter_context(file_server(folder, campaign)),
            through_postfix=postfix_available(),
            audiences={},
        )


@contextmanager
def blob_service(folder: Path, campaign: SmallCampaign) -> Iterator[Container | Folder]:
    """Azurite with an empty container, known to the campaign side as ``blob``."""
    if not azurite_available():
        yield Folder(exports=campaign.server.data / "exports")
        return
    with start_azurite(folder / "azurite") as azurite:
        connection = azurite.connection_string
        with ContainerClient.from_connection_string(connection, "exchange") as client:
            client.create_container()
            params = {"connectionString": connection, "container": client.container_name}
            campaign.side.put("externalAccounts/blob", {"kind": "azure_blob", "params": params})
            yield Container(connection=connection, client=client)


@contextmanager
def file_server(folder: Path, campaign: SmallCampaign) -> Iterator[Mapping[str, Any]]:
    """OpenSSH with the recipients' file on it."""
    content = recipients_file()
    if not openssh_available():
        place = campaign.server.data / "sftp" / "shop"
        place.mkdir(parents=True)
        (place / "recipients.csv").write_bytes(content)
        yield {"account": "sftp", "path": "shop/recipients.csv"}
        return
    with start_openssh(folder / "ssh") as ssh:
        (ssh.root / "recipients.csv").write_bytes(content)
        params = {
            "host": ssh.host,
            "port": ssh.port,
            "username": ssh.user,
            "privateKey": ssh.key,
            "hostKey": ssh.host_key,
            "folder": str(ssh.root),
        }
        campaign.side.put("externalAccounts/partner", {"kind": "sftp", "params": params})
        yield {"account": "partner", "path": "recipients.csv"}


def recipients_file() -> bytes:
    """Everybody but the stranger."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["externalId", "email", "firstName", "lastName"])
    for name in (*PEOPLE, OUTSIDER):
        writer.writerow([name, f"{name}@example.test", "Ann", f"Number {name}"])
    return out.getvalue().encode()


def who(*conducts: str) -> set[str]:
    """Those who do one of these."""
    return {name for name, conduct in PEOPLE.items() if conduct in conducts}


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """The loop after one round: sent, answered, exported, read."""
    folder = tmp_path_factory.mktemp("loop")
    folder.chmod(0o755)
    with servers(folder) as loop:
        set_up(loop)
        bring_people(loop)
        send(loop)
        answer(loop)
        go_back(loop)
        yield loop


def set_up(loop: Loop) -> None:
    """What both sides must know, and the people of the platform."""
    platform, source = loop.shop.platform, loop.blobs.source
    order = {"externalNamespace": LOYALTY, "frequency": "hour", "interval": 1, "path": LOG_FOLDER}
    platform.post("/data/core/exchange/setup", {**order, **source})
    rule = 'xEvent[eventType = "directMarketing.emailClicked"].count() >= 1'
    loop.audiences["answered"] = platform.audience("Answered", "Answered", rule)
    rich = [loop.shop.customer(name, RICH) for name in (*PEOPLE, STRANGER)]
    loop.shop.load([*rich, loop.shop.customer(OUTSIDER, POOR)])


def bring_people(loop: Loop) -> None:
    """Recipients from the SFTP server, the audience's members from the container."""
    side, platform = loop.campaign.side, loop.shop.platform
    columns = [{"name": name} for name in ("externalId", "email", "firstName", "lastName")]
    profiles = {"path": loop.files["path"], "columns": columns}
    config = {"name": "people", "account": loop.files["account"], "profiles": profiles}
    people = side.from_template("import_recipients", config)
    side.command(people, "start")
    # A file at somebody else's server is looked at twice: it may still be growing.
    platform.post("/admin/clock", {"advance": "PT5M"})
    flow = open_flow(platform, "Campaign", loop.blobs.place)
    daily(platform, flow, loop.shop.audiences["high_income"])
    to_next_export(platform)
    audience = side.from_template(
        "import_audiences",
        {
            "name": "audience",
            "list": LIST,
            "account": loop.blobs.account,
            "folder": AUDIENCE_FOLDER,
            "keys": {"externalId": f"_{platform.tenant}_loyaltyId"},
        },
    )
    side.command(audience, "start")
    loop.campaign.settle()


def send(loop: Loop) -> None:
    """A workflow writes to the members of the list; every mail has its end."""
    side = loop.campaign.side
    content = {"fromAddress": "news@shop.example.test", "subject": "An offer", "html": HTML}
    steps = (
        ("members", "query", {"where": f"InList('{LIST}')"}),
        ("send", "delivery", {"content": content, "start": "prepareAndStart"}),
    )
    side.run(side.workflow(chain("offer", *steps)))
    loop.campaign.settle()
    eventually(loop.campaign.sink.count, lambda found: found == len(PEOPLE) - len(who("unknown")))
    if loop.through_postfix:
        eventually(lambda: loop.campaign.rows("returns"), lambda found: len(found) == 2)


def answer(loop: Loop) -> None:
    """Everybody does what they do, by their own letters."""
    reader, letters = loop.campaign.reader, loop.campaign.letters()
    for name, conduct in PEOPLE.items():
        letter = letters.get(f"{name}@example.test")
        match conduct:
            case "clicks" if letter:
                reader.open(letter)
                reader.click(letter)
            case "opens" if letter:
                reader.open(letter)
            case "unsubscribes" if letter:
                reader.unsubscribe(letter)
            case "complains" if letter:
                reader.complain(letter)
            case _:
                continue
    loop.campaign.settle()


def go_back(loop: Loop) -> None:
    """The logs go to the platform."""
    for kind in ("broadLog", "trackingLog", "nonDeliverable"):
        body = {"account": loop.blobs.account, "folder": LOG_FOLDER}
        loop.campaign.side.post(f"exports/{kind}", body)
    loop.campaign.settle()
    loop.shop.platform.post("/admin/clock", {"advance": "PT2H"})


EXPECTED_LOG = {
    "clicks": ("sent", "undefined"),
    "opens": ("sent", "undefined"),
    "unsubscribes": ("sent", "undefined"),
    "silent": ("sent", "undefined"),
    "complains": ("failed", "denylisted"),
    "unknown": ("failed", "userUnknown"),
}
EXPECTED_HITS = {"clicks": {"open", "click"}, "opens": {"open"}, "unsubscribes": {"optOut"}}
EXPECTED_EVENTS = {
    "clicks": {"emailSent", "emailOpened", "emailClicked"},
    "opens": {"emailSent", "emailOpened"},
    "unsubscribes": {"emailSent", "emailUnsubscribed"},
    "silent": {"emailSent"},
    "complains": {"emailBounced"},
    "unknown": {"emailBounced"},
}


def test_files_of_the_audience_are_its_members(loop: Loop, tmp_path: Path) -> None:
    """The container holds every member once, the list those of them who are recipients."""
    (full,) = file_sets(loop.blobs.names(AUDIENCE_FOLDER), loop.blobs.fetch, tmp_path)
    members = loop.campaign.side.get(f"lists/{LIST}/members", limit=100)["recipients"]

    assert full.standing() == dict.fromkeys((*PEOPLE, STRANGER), "active")
    assert {one["externalId"] for one in members} == set(PEOPLE)


def test_stranger_is_told_of_and_never_made(loop: Loop) -> None:
    """Who is in the audience and no recipient stands in the file of unknown people."""
    found = loop.campaign.side.get("recipients", externalId=STRANGER)
    files = list((loop.campaign.server.data / "sftp" / "rejects").glob("audience_unknown*"))

    assert found["total"] == 0
    assert len(files) == 1
    assert STRANGER in files[0].read_text()
    assert not any(name in files[0].read_text() for name in (f"{one}@" for one in PEOPLE))


@pytest.mark.parametrize("name", PEOPLE)
def test_everything_agrees_about_a_person(loop: Loop, name: str) -> None:
    """Mailbox, campaign database, log files and profile say the same of each person."""
    conduct = PEOPLE[name]
    mails = loop.campaign.sink.to(f"{name}@example.test")
    row = campaign_row(loop, name)
    profile = loop.shop.platform.profiles(LOYALTY, [name])[name]
    consents = profile["entity"].get("consents", {}).get("marketing", {}).get("email", {})
    opted_out = conduct in {"unsubscribes", "complains"}

    assert len(mails) == (0 if conduct == "unknown" else 1)
    assert row["log"] == EXPECTED_LOG[conduct]
    assert row["hits"] == EXPECTED_HITS.get(conduct, set())
    assert row["closed"] == opted_out
    assert row["address"] == {"unknown": "quarantine", "complains": "denylisted"}.get(conduct, "")
    assert shipped_of(loop, "broadLog", name) == Counter([EXPECTED_LOG[conduct][0]])
    assert set(shipped_of(loop, "trackingLog", name)) == EXPECTED_HITS.get(conduct, set())
    assert events_of(loop, name) == Counter(EXPECTED_EVENTS[conduct])
    assert consents.get("val", "y") == ("n" if opted_out else "y")
    assert loop.shop.platform is not None
    assert (membership(profile, loop.audiences["answered"]) == "realized") == (conduct == "clicks")


def test_outsider_was_left_alone(loop: Loop) -> None:
    """A recipient who is no member has no log, no mail and no event."""
    row = campaign_row(loop, OUTSIDER)

    assert loop.campaign.sink.to(f"{OUTSIDER}@example.test") == []
    assert row == {"log": None, "hits": set(), "closed": False, "address": ""}
    assert events_of(loop, OUTSIDER) == Counter()


def test_second_delivery_leaves_out_who_was_lost(loop: Loop) -> None:
    """Opted out, complained, bounced: each is excluded with the reason; nobody else is."""
    side, before = loop.campaign.side, loop.campaign.sink.count()
    delivery = side.post("deliveries", {"internalName": "again", "content": second_content()})
    report = side.post(f"deliveries/{delivery['id']}/prepare", {"target": {"list": LIST}})
    side.post(f"deliveries/{delivery['id']}/start", {})
    loop.campaign.settle()
    left = side.get(f"deliveries/{delivery['id']}/exclusions")["exclusions"]
    wanted = len(PEOPLE) - len(who("unknown", "unsubscribes", "complains"))
    eventually(loop.campaign.sink.count, lambda found: found == before + wanted)
    reasons = {one["address"].partition("@")[0]: one["reason"] for one in left}

    assert reasons == {
        **dict.fromkeys(who("unsubscribes", "complains"), "denylisted"),
        **dict.fromkeys(who("unknown"), "quarantine"),
    }
    assert report["report"]["target"] == len(PEOPLE)
    assert report["report"]["toDeliver"] == wanted
    assert set(loop.campaign.letters(after=before)) == {
        f"{one}@example.test" for one in who("clicks", "opens", "silent")
    }


def second_content() -> dict[str, Any]:
    """The same once more."""
    return {"fromAddress": "news@shop.example.test", "subject": "Once more", "html": HTML}


def campaign_row(loop: Loop, name: str) -> dict[str, Any]:
    """What the campaign database holds of a person, read past all of our code but names."""
    path = loop.campaign.server.data / "campaign.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        query = "SELECT iRecipientId, iBlackListEmail FROM NmsRecipient WHERE sExternalId = ?"
        ((id, closed),) = database.execute(query, [name]).fetchall()
    logs = [one for one in loop.campaign.rows("broadLogs", recipientId=id) if one["deliveryId"]]
    first = min(logs, key=lambda one: one["id"], default=None)
    hits = {one["type"] for one in loop.campaign.rows("trackingLogs", recipientId=id)}
    known = loop.campaign.side.get("quarantine", limit=100)["addresses"]
    status = {one["address"]: one["status"] for one in known}.get(f"{name}@example.test", "")
    return {
        "log": (first["status"], first["failureReason"]) if first else None,
        "hits": hits,
        "closed": bool(closed),
        "address": status if status in {"quarantine", "denylisted"} else "",
    }


def shipped_of(loop: Loop, kind: str, name: str) -> Counter[str]:
    """Status or type of a person's rows in the log files."""
    found: Counter[str] = Counter()
    column = "status" if kind == "broadLog" else "type"
    for path in loop.blobs.names(LOG_FOLDER):
        if path.rpartition("/")[2].startswith(f"{kind}_"):
            rows = csv.DictReader(io.StringIO(loop.blobs.fetch(path).decode()))
            found.update(row[column] for row in rows if row["externalId"] == name)
    return found


def events_of(loop: Loop, name: str) -> Counter[str]:
    """Kinds of the campaign's events on a person's profile."""
    found = loop.shop.platform.events(LOYALTY, name)
    kinds = [str(one["entity"].get("eventType", "")) for one in found]
    prefix = "directMarketing."
    return Counter(kind.removeprefix(prefix) for kind in kinds if kind.startswith(prefix))


def membership(profile: Mapping[str, Any], audience: str) -> str:
    """Where a profile stands in an audience."""
    found = profile["entity"].get("segmentMembership", {}).get("ups", {})
    return str(found.get(audience, {}).get("status", ""))
