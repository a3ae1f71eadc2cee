"""What runs in the worker process, and on which topics?

One runner hosts identity, profile and segmentation fused into one transaction; activation and the
failed records have runners of their own; three sinks carry records out: batches into the log,
frames into the lake, export orders into files.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amity.app.assembly import Platform, assemble
from amity.app.core import WORKER_WRITER, Core, open_core
from amity.app.folder import DataFolder, cleared
from amity.app.loop import Hosts, Loop
from amity.app.segmentation_jobs import build_jobs
from amity.flow.failures import FailuresStage
from amity.flow.runner import Runner
from amity.flow.sink import Sink, SinkRunner
from amity.kernel.scope import Scope
from amity.platform.activation.destination import Means
from amity.platform.activation.destinations import DESTINATIONS
from amity.platform.activation.exporter import Exporter
from amity.platform.activation.people import ProfilePeople
from amity.platform.activation.stage import ActivationStage
from amity.platform.identity.records import event_home
from amity.platform.identity.settings import IdentitySettings
from amity.platform.identity.stage import IdentityStage
from amity.platform.ingestion.batch_files import BatchFiles
from amity.platform.ingestion.batch_loader import BatchLoader
from amity.platform.ingestion.batches import BatchEnds
from amity.platform.ingestion.identities import RecordIdentities, identities_of
from amity.platform.ingestion.lake_sink import LakeSink, PrimaryOf
from amity.platform.ingestion.preferences import PreferencesSink
from amity.platform.ingestion.reception import Reception
from amity.platform.ingestion.source import SourceMeans
from amity.platform.ingestion.source_reader import SourceReader
from amity.platform.ingestion.source_stage import SourceStage
from amity.platform.ingestion.sources import SOURCES
from amity.platform.profile.stage import ProfileStage
from amity.platform.schema.arrow import arrow_schema
from amity.platform.schema.model import ResolvedSchema
from amity.platform.segmentation.daily import JobStarter, ScheduleStage
from amity.platform.segmentation.model import MEMBERSHIPS_TOPIC
from amity.platform.segmentation.stage import SegmentationStage
from amity.transports.outbound import Outbound


@contextmanager
def build_worker(
    folder: DataFolder, *, clock: str, public_url: str, outbound: Outbound
) -> Iterator[Loop]:
    """The loop over all stages and sinks of a data folder; waits for a former worker to end."""
    with only_worker(folder, "worker"):
        cleared(folder.work)
        core = open_core(folder, clock=clock, writer=WORKER_WRITER, outbound=outbound)
        platform = assemble(
            core,
            tenant=folder.organisation()["tenant"],
            public_url=public_url,
            append=core.log.append,
        )
        try:
            yield build_loop(core, platform)
        finally:
            core.close()


def stages(platform: Platform) -> list[Any]:
    """Identity, profile and segmentation, in the order of the flow."""
    return [
        IdentityStage(
            schemas=platform.registry, datasets=platform.catalog, settings=platform.settings
        ),
        ProfileStage(policies=platform.policies, fused=True),
        SegmentationStage(rules=platform.audiences, profiles=platform.profiles),
    ]


def lake_primary(settings: IdentitySettings) -> PrimaryOf:
    """Rows of events are filed under the identity that the profile files them under."""

    def primary(
        scope: Scope, found: RecordIdentities, schema: ResolvedSchema
    ) -> tuple[str, str] | None:
        if schema.behavior == "time-series" and len(found.all) > 1:
            return event_home(found, settings.rules(scope))
        return found.primary

    return primary


def build_loop(core: Core, platform: Platform) -> Loop:
    """All hosts, ready to turn."""
    log, state = core.log, core.state
    timed = [
        Runner(
            stages(platform),
            log=log,
            state=state,
            name="platform",
            publish=frozenset({MEMBERSHIPS_TOPIC}),
        ),
        Runner([ActivationStage()], log=log, state=state, name="activation"),
        Runner([ScheduleStage()], log=log, state=state, name="schedules"),
        Runner([SourceStage()], log=log, state=state, name="source_schedules"),
        Runner([FailuresStage()], log=log, state=state, name="failures"),
    ]
    lake = LakeSink(
        lake=core.lake,
        state=core.state,
        resolve=platform.registry.resolved,
        identities=identities_of,
        primary=lake_primary(platform.settings),
        batches=BatchEnds(catalog=platform.catalog, clock=core.clock),
    )
    sinks: list[Sink] = [
        _batch_loader(core, platform, lake),
        *_sources(core, platform),
        JobStarter(build_jobs(core, platform, log.append, lambda work: work())),
        Exporter(
            state=core.state,
            flows=platform.flows,
            people=ProfilePeople(
                state=core.state, profiles=platform.profiles, policies=platform.policies
            ),
            governance=platform.governance,
            specs=DESTINATIONS,
            means=Means(exports=core.folder.exports, work=core.folder.work, outbound=core.outbound),
            clock=core.clock,
        ),
    ]
    hosts = Hosts(
        timed,
        [SinkRunner(sink, log=log, state=state, system=core.system) for sink in sinks],
        [SinkRunner(lake, log=log, state=state, system=core.system)],
    )
    return Loop(
        hosts,
        clock=core.clock,
        system=core.system,
        log=log,
        state=state,
    )


def _sources(core: Core, platform: Platform) -> list[Sink]:
    """Who fetches records, and who hears of opt-outs at once."""
    organisation = core.folder.organisation()
    reception = Reception(
        validators=platform.validators, clock=core.clock, ids=core.ids, tenant=platform.tenant
    )
    return [
        SourceReader(
            state=core.state,
            flows=platform.flows,
            specs=SOURCES,
            means=SourceMeans(
                exports=core.folder.exports,
                work=core.folder.work,
                outbound=core.outbound,
                tenant=platform.tenant,
                home=Scope(organisation["org_id"], organisation["sandbox"]),
            ),
            reception=reception,
            append=core.log.append,
            clock=core.clock,
        ),
        PreferencesSink(place=platform.setup, reception=reception, append=core.log.append),
    ]


def _batch_loader(core: Core, platform: Platform, lake: LakeSink) -> BatchLoader:
    return BatchLoader(
        catalog=platform.catalog,
        files=BatchFiles(core.folder.batches),
        validators=platform.validators,
        append=core.log.append,
        take_out=lake.take_out,
        columns=arrow_schema,
    )


@contextmanager
def only_worker(folder: DataFolder, role: str) -> Iterator[None]:
    """Be the only worker of this role on this folder; waits for a former one to end."""
    lock = os.open(folder.root / f"{role}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
