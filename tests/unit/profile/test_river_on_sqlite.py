"""Identity and profile under the real runner, on real files: fused and unfused agree."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from river import SCOPE, River, Stamped, customer, visit

from amity.flow.runner import Runner
from amity.platform.identity.model import Identity
from amity.platform.ingestion.model import ENCODER, INGEST_TOPIC, Frame
from amity.storage.ports import Entry
from amity.storage.sqlite.log import SqliteLog
from amity.storage.sqlite.state import SqliteState


def traffic(seed: int) -> list[Stamped]:
    """Customers, anonymous visits, sign-ins on shared devices, in any order, some twice."""
    rng = random.Random(seed)
    people = [f"c{n}" for n in range(12)]
    devices = [Identity("Web", f"d{n}") for n in range(15)]
    records = [
        customer(n, rng.choice(people), received_ms=1_000 + n, **{f"f{n % 3}": n})
        for n in range(30)
    ]
    for n in range(100, 260):
        ids = [rng.choice(devices)]
        if rng.random() < 0.3:
            ids.append(Identity("CRM", rng.choice(people)))
        records.append(visit(n, rng.randint(0, 500), *ids, received_ms=2_000 + n))
    records += rng.sample(records, 40)
    rng.shuffle(records)
    return records


def entry(record: Stamped) -> Entry:
    message = record.message()
    frame = Frame(
        record.scope.key,
        record.dataset,
        record.dataset,
        message.behavior,
        record.received_ms,
        "inlet",
        [orjson.dumps(record.body)],
    )
    return Entry(INGEST_TOPIC, str(record.n).encode(), ENCODER.encode(frame))


def drain(runners: list[Runner]) -> None:
    for _ in range(1_000):
        if sum(runner.run_once(0, 37) for runner in runners) == 0:
            return
    raise AssertionError("the river does not come to rest")


def outcome(folder: Path, seed: int, *, fused: bool) -> tuple[dict[str, Any], dict[str, int]]:
    log, state = SqliteLog(folder, writer=1), SqliteState(folder / "state-0.db")
    river = River(state, fused=fused)
    log.append([entry(record) for record in traffic(seed)])
    stages = [river.identity, river.profile]
    if fused:
        runners = [Runner(stages, log=log, state=state, name="river")]
    else:
        runners = [Runner([one], log=log, state=state, name=one.name) for one in stages]
    drain(runners)
    found = river.everything(), river.profiles.counts(SCOPE)
    log.close()
    state.close()
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_fused_and_unfused_agree(tmp_path: Path, seed: int) -> None:
    """The same log gives the same people, views, events and numbers either way."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    fused, counts = outcome(tmp_path / "a", seed, fused=True)
    unfused, other_counts = outcome(tmp_path / "b", seed, fused=False)

    assert fused == unfused
    assert counts == other_counts
    assert counts["profiles"] == len(fused)
    assert counts["events"] == 160
