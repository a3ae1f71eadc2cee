"""What happens when a signed link of a message is followed?

The signature is checked, the hit is durable in the log, then the answer goes out. Nothing here
writes to the campaign database: a click never waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from starlette.concurrency import run_in_threadpool

from amity.campaign.delivery.links import Link, LinkKind, LinkSigner
from amity.campaign.delivery.rewriting import URL_MIRROR, URL_OPEN, URL_OPT_OUT
from amity.campaign.tracking.limits import Flood
from amity.campaign.tracking.machines import is_machine, shortened
from amity.campaign.tracking.messages import About, Messages
from amity.campaign.tracking.model import (
    HITS_TOPIC,
    USER_AGENT_CHARS_MAX,
    Hit,
    HitKind,
    encoded,
)
from amity.kernel.clock import BusinessClock
from amity.kernel.ids import IdSource, digest
from amity.storage.keys import pack
from amity.storage.ports import Entry

Append = Callable[[Sequence[Entry]], Awaitable[None]]

NUMBERS: Mapping[HitKind, int] = {
    "open": URL_OPEN,
    "optOut": URL_OPT_OUT,
    "mirror": URL_MIRROR,
}
"""The URL of a delivery that a link without a number stands for."""

_CONTROL = dict.fromkeys([*range(32), 127])


class Pages(Protocol):
    """Makes messages again, as pages."""

    def page(self, broadlog_id: int) -> str:
        """The HTML of the message; `NotFound` when there is none."""


class Asking(NamedTuple):
    """Who follows a link, as far as the request tells."""

    user_agent: str
    ip: str
    machine: bool

    @classmethod
    def of(cls, headers: Mapping[str, str], peer: str) -> Asking:
        """From a request's headers (lower case) and its peer."""
        agent = headers.get("user-agent", "").translate(_CONTROL)[:USER_AGENT_CHARS_MAX]
        return cls(agent, shortened(peer), is_machine(agent, headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDoor:
    """Opens links and records hits.

    Attributes:
        signer: Opens links.
        messages: Knows where links lead.
        pages: Makes mirror pages.
        append: Returns once entries are durable in the log.
        clock: Stamps hits.
        ids: Names them.
    """

    signer: LinkSigner
    messages: Messages
    pages: Pages
    append: Append
    clock: BusinessClock
    ids: IdSource
    flood: Flood = field(default_factory=Flood)

    def opened(self, kind: LinkKind, token: str) -> Link:
        """What a token names; `BadLink` for any but a genuine one of this kind."""
        return self.signer.open(kind, token)

    async def target(self, link: Link) -> str:
        """Where a click leads: an address of the content and nothing else."""
        return await run_in_threadpool(self.messages.target, link)

    async def about(self, link: Link) -> About:
        """What the message was, for the page that asks."""
        return await run_in_threadpool(self.messages.about, link)

    async def mirror(self, link: Link) -> str:
        """The message as a page."""
        return await run_in_threadpool(self.pages.page, link.broadlog)

    async def record(self, kind: HitKind, link: Link, asking: Asking) -> None:
        """Make a hit durable, unless this link has been followed implausibly often."""
        now_ms = self.clock.now_ms()
        number = NUMBERS.get(kind, link.url)
        if self.flood.take((link.kind, link.broadlog, number), now_ms):
            await self._append(self._hit(self.ids.hex(32), kind, link, asking))

    async def opt_out(self, link: Link, asking: Asking, how: str) -> None:
        """Make an opt-out durable; the same message opts out once, however often it is asked.

        It is a person's act, whichever program carries it: providers post for their users.
        """
        name = digest("optOut", str(link.delivery), str(link.broadlog))
        acted = asking._replace(machine=False)
        await self._append(self._hit(name, "optOut", link, acted, how=how))

    def _hit(self, name: str, kind: HitKind, link: Link, asking: Asking, *, how: str = "") -> Hit:
        return Hit(
            id=name,
            kind=kind,
            broadlog=link.broadlog,
            delivery=link.delivery,
            url=NUMBERS.get(kind, link.url),
            at_ms=self.clock.now_ms(),
            user_agent=asking.user_agent,
            ip=asking.ip,
            machine=asking.machine,
            how=how,
        )

    async def _append(self, hit: Hit) -> None:
        await self.append([Entry(HITS_TOPIC, pack(hit.broadlog), encoded(hit))])
