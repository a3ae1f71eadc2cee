"""A campaign on a running server, over its API: recipients, a list, a delivery, mailboxes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amity.app.demo.campaign_client import CampaignSide, SftpDoor
from amity.app.demo.client import Platform
from amity.app.demo.letters import Letter, Reader, read_letter
from amity.kernel.clock import RealSystemClock
from amity.testing.server import RunningServer
from amity.testing.smtp_sink import SmtpSink, ThreadedSink

START = "2017-10-30T00:00:00Z"
BOUNCES = "bounces.example.test"
HTML = (
    '<html><body><p>Hello {{ recipient.firstName }},</p><p><a href="https://shop.example.test/'
    'offer?for={{ recipient.externalId }}">an offer</a></p><p><a href="{{ mirrorPageUrl }}">page</a>'
    ' <a href="{{ unsubscribeUrl }}">unsubscribe</a></p></body></html>'
)
CONTENT = {
    "fromAddress": "news@shop.example.test",
    "fromName": "The shop",
    "subject": "Something for {{ recipient.firstName }}",
    "html": HTML,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallCampaign:
    """The campaign side of a server, its mail server, and its recipients' hands."""

    server: RunningServer
    sink: SmtpSink
    platform: Platform
    side: CampaignSide
    reader: Reader

    def recipient(self, number: int, **more: Any) -> int:
        """A new recipient; its id."""
        body = {"externalId": f"p{number}", "email": f"p{number}@example.test", **more}
        return int(self.side.post("recipients", body)["id"])

    def send(self, name: str, recipients: Sequence[int], **content: Any) -> int:
        """Make, analyse and start a delivery; its id."""
        body = {"internalName": name, "content": {**CONTENT, **content}}
        id = int(self.side.post("deliveries", body)["id"])
        target = {"target": {"recipients": list(recipients)}}
        self.side.post(f"deliveries/{id}/prepare", target)
        self.side.post(f"deliveries/{id}/start", {})
        return id

    def logs(self, delivery: int) -> dict[int, dict[str, Any]]:
        """Recipient → the log of its message."""
        found = self.side.get(f"deliveries/{delivery}/logs", limit=1000)["logs"]
        return {one["recipientId"]: one for one in found}

    def settle(self) -> None:
        """Return once all that is due by now has been done."""
        self.platform.advance(self.now())

    def now(self) -> str:
        """Business time."""
        return str(self.platform.get("/admin/clock")["now"])

    def letters(self, after: int = 0) -> dict[str, Letter]:
        """Address → the last letter in its mailbox."""
        return {mail.recipients[0]: read_letter(mail) for mail in self.sink.mails(after=after)}

    def rows(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Rows of a log, newest first."""
        found: list[dict[str, Any]] = self.side.get(path, limit=1000, **params)["items"]
        return found


@contextmanager
def running_campaign(
    folder: Path,
    *,
    clock: str = START,
    smtp: str = "",
    sink: SmtpSink | None = None,
    bounce_port: int = 0,
) -> Iterator[SmallCampaign]:
    """A server with all doors open, and a sink unless there is one already that `smtp` leads to."""
    if sink is None:
        with (
            ThreadedSink(folder / "mail") as own,
            running_campaign(folder, clock=clock, smtp=own.address, sink=own) as campaign,
        ):
            yield campaign
        return
    doors = [
        *("--smtp", smtp, "--sftp-port", "0"),
        *("--bounce-port", str(bounce_port), "--bounce-domain", BOUNCES),
    ]
    with ExitStack() as running:
        server = running.enter_context(RunningServer(folder / "data", clock=clock, arguments=doors))
        platform = Platform(server.url, server.credentials, RealSystemClock())
        running.callback(platform.close)
        reader = Reader(endpoints(server)["bounce"])
        running.callback(reader.close)
        side = CampaignSide(platform, RealSystemClock())
        yield SmallCampaign(server=server, sink=sink, platform=platform, side=side, reader=reader)


def door_of(server: RunningServer, account: str, password: str) -> SftpDoor:
    """The server's own SFTP door, for an account."""
    return SftpDoor(
        address=endpoints(server)["sftp"],
        host_key=server.data / "keys" / "sftp_host_key",
        account=account,
        password=password,
    )


def endpoints(server: RunningServer) -> dict[str, str]:
    """Where it listens."""
    found: dict[str, str] = json.loads((server.data / "endpoints.json").read_text())
    return found
