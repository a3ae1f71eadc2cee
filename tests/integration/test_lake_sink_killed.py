"""`kill -9` while frames go into the lake loses none and doubles none."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import orjson
import sqlglot

from amity.kernel.scope import Scope
from amity.platform.ingestion.model import ENCODER, INGEST_TOPIC, Frame
from amity.storage.delta.lake import DeltaLake
from amity.storage.ports import Entry, LakeTable
from amity.storage.sqlite.log import SqliteLog

_PROD = Scope("A@Org", "prod")
_FRAMES = 60
_WORKER = """
import sys
from pathlib import Path
from amity.flow.sink import SinkRunner
from amity.platform.ingestion.identities import identities_of
from amity.platform.ingestion.lake_sink import LakeSink
from amity.platform.schema.model import ResolvedSchema
from amity.storage.delta.lake import DeltaLake
from amity.storage.sqlite.log import SqliteLog
from amity.storage.sqlite.state import SqliteState

class Batches:
    def finished(self, scope, batch):
        print("finished", batch, flush=True)

folder = Path(sys.argv[1])
fields = {"_id": {"type": "string"}, "n": {"type": "integer"}}
schema = ResolvedSchema(id="s", alt_id="s", title="s", version="1", class_id="c",
    behavior="time-series", json_schema={"type": "object", "properties": fields})
state = SqliteState(folder / "state.db")
sink = LakeSink(lake=DeltaLake(folder / "lake"), state=state, resolve=lambda *_: schema,
    identities=identities_of, batches=Batches())
runner = SinkRunner(sink, log=SqliteLog(folder, writer=1), state=state)
while runner.lag():
    runner.run_once(0, limit=3)
    print("moved", flush=True)
"""


def test_a_killed_worker_leaves_the_lake_exact(tmp_path: Path) -> None:
    """Killed five times at random moments; then every record is there once, and the batch ends."""
    rng = random.Random(7)
    log = SqliteLog(tmp_path, writer=0)
    for at in range(_FRAMES):
        bodies = [{"_id": f"{at}-{n}", "n": n} for n in range(5)] + [{"n": at}]
        log.append([_entry(at, bodies, batch="b1" if at % 2 else "")])
    log.append([_entry(1, [], batch="b1")])

    for _ in range(5):
        with _worker(tmp_path) as process:
            assert process.stdout is not None
            for _ in range(rng.randint(1, 4)):
                process.stdout.readline()
            try:
                process.wait(rng.uniform(0, 0.03))
            except subprocess.TimeoutExpired:
                process.kill()
    with _worker(tmp_path) as process:
        said = process.communicate(timeout=60)[0].split()
        assert process.returncode == 0
    assert "finished" in said

    statement = sqlglot.parse_one(
        "SELECT count(*) AS rows, count(DISTINCT _id) AS ids, count(*) FILTER (_id IS NULL) AS bare, "
        "count(DISTINCT _amity_offset * 64 + _amity_n) AS places FROM t",
        dialect="duckdb",
    )
    lake = DeltaLake(tmp_path / "lake")
    (found,) = lake.query(statement, {"t": LakeTable(_PROD, "d")}).to_pylist()
    assert found == {
        "rows": 6 * _FRAMES,
        "ids": 5 * _FRAMES,
        "bare": _FRAMES,
        "places": 6 * _FRAMES,
    }


def _entry(at: int, bodies: list[dict[str, object]], batch: str) -> Entry:
    records = [orjson.dumps(body) for body in bodies]
    frame = Frame(_PROD.key, "d", "s", "time-series", 1, "in", records, batch)
    return Entry(INGEST_TOPIC, (batch or f"k{at}").encode(), ENCODER.encode(frame))


def _worker(folder: Path) -> subprocess.Popen[str]:
    # Compiled once, wherever the packages lie: the next one starts in a third of the time.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **compiled},
    )
