"""What runs in the campaign's worker, and on which topics?

The workflow engine, the sender, and sinks for what comes back. It has a state file of its own and
reads the platform's only to learn which ticks of a virtual clock are done there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amity.app.campaign_core import CampaignOptions
from amity.app.core import CAMPAIGN_WRITER, open_core
from amity.app.folder import DataFolder, cleared
from amity.app.loop import Beside, Hosts, Loop, done_tick
from amity.app.worker_side import only_worker
from amity.storage.sqlite.state import SqliteState
from amity.transports.outbound import Outbound


@contextmanager
def build_campaign_worker(
    folder: DataFolder, *, clock: str, options: CampaignOptions, outbound: Outbound  # noqa: ARG001
) -> Iterator[Loop]:
    """The loop over the campaign's hosts; waits for a former worker to end."""
    with only_worker(folder, "campaign"):
        cleared(folder.campaign_spool)
        core = open_core(folder, clock=clock, writer=CAMPAIGN_WRITER, outbound=outbound)
        state = SqliteState(folder.campaign_state)

        def done_at_the_platform() -> int:
            done = done_tick(core.state)
            return -1 if done is None else done[0]

        try:
            yield Loop(
                Hosts(),
                clock=core.clock,
                system=core.system,
                log=core.log,
                state=state,
                beside=Beside(ticks_up_to=done_at_the_platform),
            )
        finally:
            state.close()
            core.close()
