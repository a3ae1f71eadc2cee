"""What runs in the campaign's worker, and on which topics?

The workflow engine, the sender, log exports, and sinks for what comes back. It has a state file of
its own and reads the platform's only to learn which ticks of a virtual clock are done there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from amity.app.campaign_assembly import Campaign, assemble_campaign
from amity.app.campaign_core import CampaignOptions, open_campaign
from amity.app.core import CAMPAIGN_WRITER, Core, open_core
from amity.app.folder import DataFolder, cleared
from amity.app.loop import Beside, Hosts, Loop, TimedHost, done_tick
from amity.app.worker_side import only_worker
from amity.campaign.delivery.channels import CHANNELS
from amity.campaign.delivery.claims import Claims
from amity.campaign.delivery.message import Writer
from amity.campaign.delivery.sender import Sender
from amity.campaign.exports.host import ExportHost
from amity.campaign.exports.opt_outs import OptOutStream
from amity.campaign.recipients.upkeep import Upkeep
from amity.campaign.tracking.hits_sink import HitsSink
from amity.campaign.tracking.returns_sink import Effects, ReturnsSink
from amity.campaign.workflow.activities import ACTIVITIES
from amity.campaign.workflow.engine import Engine
from amity.exchange.preferences import PREFERENCES_TOPIC
from amity.flow.sink import Sink, SinkRunner
from amity.storage.ports import State
from amity.storage.sqlite.state import SqliteState
from amity.transports.outbound import Outbound


@contextmanager
def build_campaign_worker(
    folder: DataFolder, *, clock: str, options: CampaignOptions, outbound: Outbound
) -> Iterator[Loop]:
    """The loop over the campaign's hosts; waits for a former worker to end."""
    with only_worker(folder, "campaign"):
        cleared(folder.campaign_spool)
        core = open_core(folder, clock=clock, writer=CAMPAIGN_WRITER, outbound=outbound)
        state = SqliteState(folder.campaign_state)
        try:
            campaign = assemble_campaign(open_campaign(core, options))
            with _engine(campaign) as engine, _senders(campaign) as senders:
                yield build_loop(campaign, state, [engine, *senders])
        finally:
            state.close()
            core.close()


def build_loop(campaign: Campaign, state: State, busy: Sequence[TimedHost]) -> Loop:
    """All hosts, ready to turn.

    Args:
        campaign: The services.
        state: This worker's own.
        busy: The hosts with work under way beside the loop: the engine and the sender.
    """
    core = campaign.ports.core
    sinks = [
        SinkRunner(sink, log=core.log, state=state, system=core.system) for sink in _sinks(campaign)
    ]
    return Loop(
        Hosts([*busy, *_timed(campaign)], sinks),
        clock=core.clock,
        system=core.system,
        log=core.log,
        state=state,
        beside=beside_the_platform(core),
    )


def beside_the_platform(core: Core) -> Beside:
    """The platform's worker does a tick first, and hears of opt-outs at once."""

    def done_there() -> int:
        done = done_tick(core.state)
        return -1 if done is None else done[0]

    def told() -> int:
        return sum(core.log.ends(PREFERENCES_TOPIC).values())

    return Beside(ticks_up_to=done_there, told=told)


def _timed(campaign: Campaign) -> list[TimedHost]:
    ports = campaign.ports
    core = ports.core
    return [
        Upkeep(
            tables=ports.tables,
            quarantine=campaign.quarantine,
            services=campaign.recipients.services,
        ),
        ExportHost(exports=campaign.exports, system=core.system),
        OptOutStream(
            tables=ports.tables,
            schemas=campaign.schemas,
            append=core.log.append,
            scope=ports.scope,
        ),
    ]


@contextmanager
def _engine(campaign: Campaign) -> Iterator[Engine]:
    """The workflow engine; what runs at the end is waited for."""
    ports = campaign.ports
    engine = Engine(
        tables=ports.tables,
        work=ports.work,
        activities=ACTIVITIES,
        means=campaign.means,
        clock=ports.core.clock,
        system=ports.core.system,
    )
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _senders(campaign: Campaign) -> Iterator[list[Sender]]:
    """The sender, where there is a mail server; an end leaves no message unknown if it can."""
    senders = [_sender(campaign)] if campaign.ports.options.smtp else []
    try:
        yield senders
    finally:
        for sender in senders:
            sender.close(campaign.ports.core.clock.now_ms())


def _sender(campaign: Campaign) -> Sender:
    ports = campaign.ports
    core, options = ports.core, ports.options
    host, _, port = options.smtp.rpartition(":")
    mail = CHANNELS["email"]
    return Sender(
        tables=ports.tables,
        claims=Claims(
            schemas=campaign.schemas,
            persons=campaign.persons,
            quarantine=campaign.quarantine,
            qualifier=campaign.qualifier,
        ),
        contents=campaign.contents,
        persons=campaign.persons,
        writer=Writer(campaign.signer, bounce_domain=options.bounce_domain, dkim=campaign.dkim),
        channel=mail.make(mail.config(host=host.strip("[]"), port=int(port))),
        ids=core.ids,
    )


def _sinks(campaign: Campaign) -> list[Sink]:
    ports = campaign.ports
    effects = Effects(
        schemas=campaign.schemas,
        recipients=campaign.recipients,
        quarantine=campaign.quarantine,
        qualifier=campaign.qualifier,
        signer=campaign.signer,
    )
    return [
        HitsSink(tables=ports.tables, schemas=campaign.schemas, recipients=campaign.recipients),
        ReturnsSink(
            tables=ports.tables,
            effects=effects,
            append=ports.core.log.append,
            scope=ports.scope,
        ),
    ]
