"""Does the flow come out the same whatever goes wrong on the way?

A seed makes input and mishaps: crashes at any commit or publish, records sent twice, records out of
order, clock jumps, stages fused or not, batches of any size. After recovery the tables must equal
those of an undisturbed run. A failing seed prints itself and replays:

    python -m amity.testing.simulator --seed 42
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from amity.flow.retention import Retention
from amity.flow.runner import Runner
from amity.flow.stage import Stage
from amity.kernel.errors import AmityError
from amity.storage.ports import Entry, Log, LogRecord, Reader, Writer
from amity.storage.sqlite.log import SqliteLog
from amity.storage.sqlite.state import SqliteState

Dump = dict[str, Any]
"""Table → its rows in a form that can be compared and printed."""


class Input(NamedTuple):
    """A record to send, and its business time of receipt (the one its body is stamped with)."""

    entry: Entry
    at_ms: int


class Scenario(Protocol):
    """What is simulated. Made anew for every run, so it may keep nothing between runs.

    Its stages must give the same end whatever the order and repetition of its inputs.
    """

    name: str

    publish: frozenset[str]
    """Topics heard among the stages that leave too."""

    def stages(self) -> Sequence[Stage[Any, Any]]:
        """Fresh stages in the order of the flow."""

    def inputs(self, rng: random.Random) -> Sequence[Input]:
        """Records in order of receipt."""

    def horizon_ms(self, inputs: Sequence[Input], rng: random.Random) -> int:
        """Business time at which the tables are compared; not before any input."""

    def dump(self, reader: Reader) -> Dump:
        """What must come out equal."""


CRASHES_MAX = 40
"""Crashes of one run, so that a world that dies at every other step gets somewhere. Ours."""


class Crash(BaseException):
    """The process dies here. No `Exception`, so that nothing in the flow can handle it."""


class Diverged(AmityError):
    """A disturbed run has not come out like the undisturbed one."""


class Mishaps(NamedTuple):
    """What a seed does to a run."""

    fused: bool
    batch_max: int
    crash_rate: float
    duplicate_rate: float
    disorder: int
    jump_rate: float


def mishaps_of(rng: random.Random) -> Mishaps:
    """The mishaps of a seed."""
    return Mishaps(
        fused=rng.random() < 0.5,
        batch_max=rng.choice([1, 3, 10, 1_000]),
        crash_rate=rng.choice([0.0, 0.05, 0.2, 0.4]),
        duplicate_rate=rng.choice([0.0, 0.1, 0.5]),
        disorder=rng.choice([0, 3, 1_000]),
        jump_rate=rng.choice([0.0, 0.2]),
    )


class Fate:
    """Decides where the process dies."""

    def __init__(self, rng: random.Random, rate: float) -> None:
        self._rng = rng
        self.rate = rate
        self.crashes = 0

    def strike(self) -> None:
        """Perhaps die."""
        if self.crashes < CRASHES_MAX and self.rate and self._rng.random() < self.rate:
            self.crashes += 1
            raise Crash


class MortalLog:
    """A log whose process may die before or after an append."""

    def __init__(self, log: Log, fate: Fate) -> None:
        self._log = log
        self._fate = fate

    def append(self, entries: Sequence[Entry]) -> list[tuple[int, int]]:
        """Append, if it lives."""
        self._fate.strike()
        places = self._log.append(entries)
        self._fate.strike()
        return places

    def poll(self, topic: str, positions: Mapping[int, int], limit: int) -> list[LogRecord]:
        """As the log itself."""
        return self._log.poll(topic, positions, limit)

    def ends(self, topic: str) -> dict[int, int]:
        """As the log itself."""
        return self._log.ends(topic)

    def trim(self, topic: str, positions: Mapping[int, int]) -> None:
        """Forget, if it lives."""
        self._fate.strike()
        self._log.trim(topic, positions)
        self._fate.strike()

    def close(self) -> None:
        """As the log itself."""
        self._log.close()


class MortalState:
    """A state whose process may die before a transaction, in it, and after its commit."""

    def __init__(self, state: SqliteState, fate: Fate) -> None:
        self._state = state
        self._fate = fate

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """A transaction, if it lives."""
        self._fate.strike()
        with self._state.write() as writer:
            yield writer
            self._fate.strike()
        self._fate.strike()

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """As the state itself."""
        with self._state.read() as reader:
            yield reader

    def close(self) -> None:
        """As the state itself."""
        self._state.close()


class World:
    """The worker's process over real files, which may die and be started again.

    Args:
        folder: Holds log and state.
        scenario: Gives the stages.
        fate: Where it dies.
        fused: All stages in one runner, or one each.
    """

    # The crashes are exceptions, no dying machines: the files need not be synchronised.
    SYNCHRONOUS = "OFF"

    def __init__(self, folder: Path, scenario: Scenario, fate: Fate, *, fused: bool) -> None:
        self._folder = folder
        self._scenario = scenario
        self._fate = fate
        self._fused = fused
        self._door = SqliteLog(folder, writer=0, synchronous=self.SYNCHRONOUS)
        self._log: SqliteLog | None = None
        self._state: SqliteState | None = None
        self._runners: list[Runner] = []
        self._start()

    def send(self, entries: Sequence[Entry]) -> None:
        """Append as the door does; the door's process never dies here."""
        self._door.append(entries)

    def turn(self, now_ms: int, limit: int) -> int:
        """Let every runner handle one batch, and the log forget what all are past; what moved."""
        moved = self._living(
            lambda: sum(runner.run_once(now_ms, limit) for runner in self._runners)
        )
        self._living(self._trim)
        return moved

    def drain(self, now_ms: int, limit: int) -> None:
        """Until nothing moves."""
        while self.turn(now_ms, limit):
            pass

    def advance(self, to_ms: int, limit: int) -> None:
        """Drain, then fire what is due up to `to_ms`, in order over all runners."""
        self.drain(to_ms, limit)
        while (due := self._next_due()) is not None and due <= to_ms:
            self._living(partial(self._fire, due))
            self.drain(due, limit)

    def dump(self) -> Dump:
        """The scenario's tables."""
        assert self._state is not None  # noqa: S101 - set by _start
        with self._state.read() as reader:
            return self._scenario.dump(reader)

    def loose_ends(self) -> list[str]:
        """What should have been done and was not."""
        found = [f"{runner.name} is not quiet" for runner in self._runners if not runner.quiet()]
        found += [f"{runner.name} lags" for runner in self._runners if runner.lag()]
        return found

    def close(self) -> None:
        """Let go of the files."""
        self._stop()
        self._door.close()

    def _trim(self) -> int:
        assert self._log is not None  # noqa: S101 - set by _start
        Retention(MortalLog(self._log, self._fate), self._runners).trim()
        return 0

    def _fire(self, to_ms: int) -> int:
        return sum(runner.fire_due(to_ms) for runner in self._runners)

    def _next_due(self) -> int | None:
        dues = [due for runner in self._runners if (due := runner.next_due()) is not None]
        return min(dues, default=None)

    def _living(self, act: Callable[[], int]) -> int:
        try:
            return act()
        except Crash:
            self._stop()
            self._start()
            return 1

    def _stop(self) -> None:
        self._runners = []
        if self._log is not None:
            self._log.close()
        if self._state is not None:
            self._state.close()

    def _start(self) -> None:
        self._log = SqliteLog(self._folder, writer=1, synchronous=self.SYNCHRONOUS)
        self._state = SqliteState(self._folder / "state-0.db", synchronous=self.SYNCHRONOUS)
        log, state = MortalLog(self._log, self._fate), MortalState(self._state, self._fate)
        stages = self._scenario.stages()
        groups = [list(stages)] if self._fused else [[stage] for stage in stages]
        while True:
            try:
                self._runners = [
                    Runner(
                        group,
                        log=log,
                        state=state,
                        name="+".join(stage.name for stage in group),
                        publish=self._scenario.publish,
                    )
                    for group in groups
                ]
            except Crash:
                continue
            return


def run(seed: int, scenario: Scenario) -> str:
    """Simulate one seed; what it did, in a line. Raises `Diverged` naming the seed."""
    rng = random.Random(seed)  # noqa: S311 - repeatable, no secret
    inputs = list(scenario.inputs(rng))
    horizon_ms = scenario.horizon_ms(inputs, rng)
    mishaps = mishaps_of(rng)
    with tempfile.TemporaryDirectory(prefix="amity-simulator-") as folder:
        wanted = _undisturbed(Path(folder) / "calm", scenario, inputs, horizon_ms)
        fate = Fate(rng, mishaps.crash_rate)
        world = World(Path(folder) / "storm", scenario, fate, fused=mishaps.fused)
        try:
            _disturb(world, fate, _shaken(inputs, mishaps, rng), (horizon_ms, mishaps, rng))
            found, loose = world.dump(), world.loose_ends()
        finally:
            world.close()
    differences = [*loose, *_differences(wanted, found)]
    if differences:
        raise Diverged(
            f"seed {seed} of {scenario.name} ({mishaps}): "
            + "; ".join(differences[:10])
            + f"\nreplay: python -m amity.testing.simulator --scenario {_path_of(scenario)}"
            f" --seed {seed}",
            seed=seed,
        )
    return f"seed {seed}: {len(inputs)} inputs, {fate.crashes} crashes, {mishaps}"


def _undisturbed(
    folder: Path, scenario: Scenario, inputs: Sequence[Input], horizon_ms: int
) -> Dump:
    world = World(folder, scenario, Fate(random.Random(0), 0.0), fused=True)  # noqa: S311
    try:
        for sent in inputs:
            world.send([sent.entry])
        world.advance(horizon_ms, 1_000)
        return world.dump()
    finally:
        world.close()


def _shaken(inputs: Sequence[Input], mishaps: Mishaps, rng: random.Random) -> list[Input]:
    """Some twice, none further from its place than the disorder allows."""
    twice = [sent for sent in inputs if rng.random() < mishaps.duplicate_rate]
    ranked = [
        (at + rng.uniform(0, mishaps.disorder), sent)
        for copies in (inputs, twice)
        for at, sent in enumerate(copies)
    ]
    return [sent for _, sent in sorted(ranked, key=lambda pair: pair[0])]


def _disturb(
    world: World,
    fate: Fate,
    inputs: list[Input],
    plan: tuple[int, Mishaps, random.Random],
) -> None:
    horizon_ms, mishaps, rng = plan
    now_ms = 0
    at = 0
    while at < len(inputs):
        count = rng.randint(1, 12)
        chunk = inputs[at : at + count]
        at += count
        world.send([sent.entry for sent in chunk])
        now_ms = max(now_ms, *(sent.at_ms for sent in chunk))
        for _ in range(rng.randint(0, 3)):
            # A clock set back reaches the runner too; it goes by what it knows.
            world.turn(now_ms - rng.choice([0, 0, 5_000]), mishaps.batch_max)
        if rng.random() < mishaps.jump_rate:
            now_ms = rng.randint(min(now_ms, horizon_ms), horizon_ms)
            world.advance(now_ms, mishaps.batch_max)
    world.advance(horizon_ms, mishaps.batch_max)
    fate.rate = 0.0
    world.advance(horizon_ms, mishaps.batch_max)


def _differences(wanted: Dump, found: Dump) -> list[str]:
    lines = []
    for table in sorted({*wanted, *found}):
        left, right = wanted.get(table, {}), found.get(table, {})
        if left == right:
            continue
        if not (isinstance(left, dict) and isinstance(right, dict)):
            lines.append(f"{table}: {left!r} became {right!r}")
            continue
        keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
        lines += [f"{table}[{key!r}]: {left.get(key)!r} became {right.get(key)!r}" for key in keys]
    return lines


def _path_of(scenario: Scenario) -> str:
    made = type(scenario)
    return f"{made.__module__}:{made.__qualname__}"


def load_scenario(path: str) -> Scenario:
    """The scenario that ``module:Class`` names."""
    module, _, name = path.partition(":")
    scenario: Scenario = getattr(importlib.import_module(module), name)()
    return scenario


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one seed, or many; 1 when one diverged."""
    parser = argparse.ArgumentParser(prog="amity.testing.simulator")
    parser.add_argument("--scenario", default="amity.testing.counting:CountingScenario")
    parser.add_argument("--seed", type=int, help="run this one and say what it did")
    parser.add_argument("--seeds", type=int, default=200, help="run 0 to this")
    options = parser.parse_args(arguments)
    seeds = range(options.seeds) if options.seed is None else [options.seed]
    failed = 0
    for seed in seeds:
        try:
            told = run(seed, load_scenario(options.scenario))
        except Diverged as error:
            failed += 1
            sys.stderr.write(f"{error.message}\n")
        else:
            if options.seed is not None or seed % 100 == 99:
                sys.stdout.write(f"{told}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{len(seeds) - failed} of {len(seeds)} seeds came out equal\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
