"""From the log to profiles and memberships on one core.

Ours: frames appended to the log, then the fused stages, until all is committed. The baseline is the
same store used plainly: read the document of each event's person, change it, write it back, a
thousand events a transaction. It keeps no events, no graph, no order.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson
from audiences import OWN as _OWN
from audiences import rules
from report import Row, medians
from shop import Shop, draws, event_frames, opened, past_frames, people_frames, person, set_up

from amity.app.assembly import Platform
from amity.app.core import WORKER_WRITER, Core
from amity.app.folder import DataFolder
from amity.app.garbage import collect_less
from amity.app.worker_side import stages
from amity.flow.runner import Runner
from amity.kernel.clock import RealSystemClock
from amity.kernel.scope import Scope
from amity.platform.segmentation.model import MEMBERSHIPS_TOPIC
from amity.storage.ports import Entry
from amity.storage.sqlite.state import SqliteState

RUNS = 3
PEOPLE = 20_000
EVENTS = 60_000
COMMIT_EVENTS = 1_000
_FRAMES_A_COMMIT = 10
_TABLE = "bench_document"
SYSTEM = RealSystemClock()


@dataclass
class Measured:
    """What one kind of run wrote, an event."""

    bytes_written: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A folder to start each run from, and what to do in it."""

    shop: Shop
    parts: int
    frames: Sequence[Entry]


class Documents(NamedTuple):
    """The baseline's store, and whose document each event changes."""

    state: SqliteState
    scope: Scope
    keys: Sequence[bytes]


def measure(folder: Path) -> list[Row]:
    """Ingest → profile, and → membership of a hundred audiences."""
    collect_less()
    rows = []
    for parts, work, hold in (
        (2, "ingest → profile", 0.5),
        (3, "ingest → profile → membership, 100 audiences", 0.35),
    ):
        prepared = _prepared(folder / f"parts-{parts}", parts)
        documents = _documents(folder / f"documents-{parts}.db", prepared.shop)
        written, plainly = Measured(), Measured()
        ours, baseline = medians(
            partial(_run, prepared, folder / "run", written),
            partial(_plain, documents, plainly),
            RUNS,
        )
        documents.state.close()
        note = (
            f"{PEOPLE:,} people of 1.5 kB, {EVENTS:,} events of 400 bytes; written an event: "
            f"{written.bytes_written:,.0f} bytes, baseline {plainly.bytes_written:,.0f}"
        )
        rows.append(
            Row(work=work, ours=ours, baseline=baseline, unit="events/s", hold=hold, note=note)
        )
    return rows


def define_audiences(platform: Platform, shop: Shop) -> None:
    """Create the hundred audiences."""
    ids: dict[str, str] = {}
    for name, text in rules().items():
        value = text
        for known, id in ids.items():
            value = value.replace(f'inSegment("{known}")', f'inSegment("{id}")')
        body = {
            "name": name,
            "schema": {"name": "_xdm.context.profile"},
            "expression": {"type": "PQL", "format": "pql/text", "value": value},
        }
        ids[name] = platform.audiences.create(shop.scope, body)["id"]


def _prepared(root: Path, parts: int) -> Prepared:
    shop = set_up(root)
    core, platform = shop.open()
    if parts > 2:
        define_audiences(platform, shop)
    runner = _runner(core, platform, parts)
    for frames in (people_frames(shop, PEOPLE), past_frames(shop, PEOPLE)):
        core.log.append(list(frames))
        _drain(runner)
    core.close()
    return Prepared(shop=shop, parts=parts, frames=list(event_frames(shop, PEOPLE, EVENTS)))


def _run(prepared: Prepared, at: Path, measured: Measured) -> float:
    shutil.rmtree(at, ignore_errors=True)
    shutil.copytree(prepared.shop.folder.root, at)
    core, platform = opened(DataFolder(at), WORKER_WRITER)
    runner = _runner(core, platform, prepared.parts)
    before, begun = _written(), SYSTEM.monotonic_s()
    frames = iter(prepared.frames)
    while together := list(islice(frames, _FRAMES_A_COMMIT)):
        core.log.append(together)
        runner.run_once(0)
    _drain(runner)
    took = SYSTEM.monotonic_s() - begun
    measured.bytes_written = (_written() - before) / EVENTS
    core.close()
    return EVENTS / took


def _runner(core: Core, platform: Platform, parts: int) -> Runner:
    return Runner(
        stages(platform)[:parts],
        log=core.log,
        state=core.state,
        name="platform",
        publish=frozenset({MEMBERSHIPS_TOPIC}),
    )


def _drain(runner: Runner) -> None:
    while runner.run_once(0):
        pass
    if runner.lag():
        raise AssertionError("the runner stopped before the end")


def _documents(path: Path, shop: Shop) -> Documents:
    state = SqliteState(path)
    with state.write() as writer:
        rows = [(_key(n), orjson.dumps(person(shop, n))) for n in range(PEOPLE)]
        writer.put_many(_TABLE, shop.scope, rows)
    return Documents(state, shop.scope, [_key(draw.who) for draw in draws(PEOPLE, EVENTS)])


def _plain(documents: Documents, measured: Measured) -> float:
    """Documents are read, changed and written once a transaction, however many events touch them."""
    before, begun = _written(), SYSTEM.monotonic_s()
    events = enumerate(documents.keys)
    while part := list(islice(events, COMMIT_EVENTS)):
        with documents.state.write() as writer:
            raw = writer.get_many(_TABLE, documents.scope, {key for _, key in part})
            held = {key: orjson.loads(value) for key, value in raw.items()}
            for n, key in part:
                document = held.setdefault(key, {_OWN: {"score": 0}})
                own = document[_OWN]
                own["score"] += 1
                own["since"] = f"event-{n:012}"
            items = [(key, orjson.dumps(document)) for key, document in held.items()]
            writer.put_many(_TABLE, documents.scope, items)
    took = SYSTEM.monotonic_s() - begun
    measured.bytes_written = (_written() - before) / EVENTS
    return EVENTS / took


def _key(n: int) -> bytes:
    return b"L%09d\x00" % n


def _written() -> int:
    """Bytes this process has handed to the kernel."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])
