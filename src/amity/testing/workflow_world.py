"""What do random workflows do, by the book?

Small activities whose outcome depends on nothing but their inputs, graphs drawn from a seed, and a
naive interpreter that says what must go along every transition and what must be in the campaign
database. `workflow_simulator` runs the same graphs on the engine and kills it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from amity.campaign.workflow.activities import ACTIVITIES
from amity.campaign.workflow.activity import (
    Activity,
    ActivitySpec,
    Done,
    Exclusion,
    Out,
    Task,
    WorkTable,
)
from amity.campaign.workflow.agenda import BACK_OFF_MS
from amity.campaign.workflow.model import Arrow, Graph, Step
from amity.kernel.clock import MINUTE_MS
from amity.kernel.errors import Unavailable
from amity.kernel.registry import Spec

SCHEMA = "sim:thing"
SLOT_MINUTES = 60
SLOTS = 4
"""Slots of a scheduler before the end of the simulated time."""

EFFECTS = sa.Table(
    "SimEffect",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("activity", sa.Text, nullable=False),
    sa.Column("thing", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)
"""No key, so that what is done twice is seen twice."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of all activities of the simulation."""

    count: int = 0
    divisor: int = 1
    rest: bool = False
    fails: int = 0


class Simulated:
    """An activity of the simulation; `means` is not used."""

    def __init__(self, options: Options, means: Any) -> None:  # noqa: ARG002
        self.options = options


class Make(Simulated):
    """A population out of nothing: the things 0, 1, 2 and so on."""

    def run(self, task: Task) -> Done:
        """Build it."""
        things = [{"id": thing} for thing in range(self.options.count)]
        with task.work.build(task.name("out")) as connection:
            rows = _rows(None)
            connection.execute(sa.schema.CreateTable(rows))
            if things:
                connection.execute(sa.insert(rows), things)
        table = _table(task, "out", len(things))
        came = sum(one.count for one in task.inputs.values())
        gone = [Exclusion(reason="left behind", count=came)] if came else []
        return Done(outputs={"out": Out(table=table)}, excluded=gone, came_in=came + table.count)


class Keep(Simulated):
    """The things that a number divides; the rest goes another way or nowhere."""

    def run(self, task: Task) -> Done:
        """Build one or two work tables."""
        kept = self._built(task, "out", divided=True)
        left = task.table.count - kept.count
        if not self.options.rest:
            excluded = [Exclusion(reason="not divided", count=left)] if left else []
            return Done(outputs={"out": Out(table=kept)}, excluded=excluded)
        rest = self._built(task, "rest", divided=False)
        return Done(outputs={"out": Out(table=kept), "rest": Out(table=rest)})

    def _built(self, task: Task, output: str, *, divided: bool) -> WorkTable:
        source = _rows("t1")
        divides = source.c.id % self.options.divisor == 0
        where = divides if divided else sa.not_(divides)
        with task.work.build(task.name(output), inputs={"t1": task.table.name}) as connection:
            rows = _rows(None)
            connection.execute(sa.schema.CreateTable(rows))
            query = sa.select(source.c.id).where(where).order_by(source.c.n)
            connection.execute(sa.insert(rows).from_select(["id"], query))
            count = connection.execute(sa.select(sa.func.count()).select_from(rows)).scalar_one()
        return _table(task, output, count)


class Unite(Simulated):
    """All things of all inputs, each once."""

    def run(self, task: Task) -> Done:
        """Build it; what comes twice is excluded."""
        aliases = {f"t{n}": table.name for n, table in enumerate(task.inputs.values())}
        parts = [sa.select(_rows(alias).c.id) for alias in aliases]
        with task.work.build(task.name("out"), inputs=aliases) as connection:
            rows = _rows(None)
            connection.execute(sa.schema.CreateTable(rows))
            united = sa.union(*parts).subquery()
            query = sa.select(united.c.id).order_by(united.c.id)
            connection.execute(sa.insert(rows).from_select(["id"], query))
            count = connection.execute(sa.select(sa.func.count()).select_from(rows)).scalar_one()
        twice = sum(table.count for table in task.inputs.values()) - count
        excluded = [Exclusion(reason="twice", count=twice)] if twice else []
        return Done(outputs={"out": Out(table=_table(task, "out", count))}, excluded=excluded)


class Put(Simulated):
    """Writes its things into the campaign database and counts them in its memory."""

    def run(self, task: Task) -> Done:
        """Ask for an effect."""

        def effects(connection: sa.Connection) -> None:
            source = _rows("t1").c.id
            query = sa.select(sa.literal(task.activity), source).order_by(source)
            connection.execute(sa.insert(EFFECTS).from_select(["activity", "thing"], query))

        task.journal("info", f"puts {task.table.count} things")
        return Done(
            outputs={"out": Out(table=task.table)},
            effects=effects,
            effects_inputs={"t1": task.table.name},
            memory={"total": task.memory.get("total", 0) + task.table.count},
        )


class Flaky(Simulated):
    """Comes to nothing some times before it works."""

    def run(self, task: Task) -> Done:
        """Pass on what came, at last."""
        if task.attempt <= self.options.fails:
            raise Unavailable(f"not at try {task.attempt}")
        return Done(outputs={"out": Out(table=task.table)})


def _spec(name: str, make: Callable[..., Activity], **more: Any) -> ActivitySpec:
    known: dict[str, Any] = {"label": name, "summary": name, "config": Options, "make": make}
    return ActivitySpec(name=name, effect="transactional", **(known | more))


OWN = {
    spec.name: spec
    for spec in (
        _spec("make", Make, inputs=(0, 1)),
        _spec("keep", Keep, transitions=lambda o: ("out", "rest") if o.rest else ("out",)),
        _spec("unite", Unite, inputs=(2, None)),
        _spec("put", Put),
        _spec("flaky", Flaky),
    )
}


def activities() -> Mapping[str, Spec[Activity]]:
    """Those of the simulation beside the built-in ones that steer."""
    return {**{name: ACTIVITIES[name] for name in ACTIVITIES}, **OWN}


def _rows(schema: str | None) -> sa.Table:
    return sa.Table(
        "rows",
        sa.MetaData(),
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("id", sa.Integer),
        schema=schema,
    )


def _table(task: Task, output: str, count: int) -> WorkTable:
    return WorkTable(name=task.name(output), schema=SCHEMA, count=count)


# --- Graphs ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Drawing:
    """A graph in the making: what has been drawn, and the outputs that lead nowhere yet."""

    rng: random.Random
    steps: list[Step] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    loose: list[tuple[str, str]] = field(default_factory=list)

    def add(
        self, type: str, options: dict[str, Any], outputs: Sequence[str], came: int = 1
    ) -> None:
        """Draw a box behind `came` loose outputs."""
        name = f"{type}{len(self.steps)}"
        self.steps.append(Step(name=name, type=type, options=options))
        for _ in range(came):
            start, output = self.loose.pop(self.rng.randrange(len(self.loose)))
            self.arrows.append(Arrow(start=start, output=output, end=name))
        self.loose += [(name, output) for output in outputs]

    def draw(self) -> None:
        """Draw one more box, of any kind."""
        rng = self.rng
        match rng.choice(("keep", "rest", "fork", "unite", "join", "put", "wait", "flaky", "test")):
            case "keep":
                self.add("keep", {"divisor": rng.randint(1, 4)}, ["out"])
            case "rest":
                self.add("keep", {"divisor": rng.randint(1, 4), "rest": True}, ["out", "rest"])
            case "fork":
                self.add("fork", {"transitions": ["a", "b"]}, ["a", "b"])
            case "unite" if len(self.loose) > 1:
                self.add("unite", {}, ["out"], came=2)
            case "join" if len(self.loose) > 1:
                self.add("and_join", {}, ["out"], came=2)
            case "wait":
                self.add("wait", {"duration": f"PT{rng.choice((7, 40, 60, 90))}M"}, ["out"])
            case "flaky":
                self.add("flaky", {"fails": rng.randint(1, 2)}, ["out"])
            case "test":
                when = [{"var": "recCount", "op": ">=", "value": rng.randint(1, 6)}]
                ways = [{"transition": "big", "when": when}]
                self.add("test", {"ways": ways, "default": "small"}, ["big", "small"])
            case _:
                self.add("put", {}, ["out"])


def random_graph(rng: random.Random, boxes: int) -> Graph:
    """A graph that the engine takes, of about as many boxes."""
    drawing = _Drawing(rng)
    if drawing.rng.random() < 0.4:
        drawing.add("scheduler", {"every": f"PT{SLOT_MINUTES}M"}, ["out"], came=0)
    else:
        drawing.add("start", {}, ["out"], came=0)
    drawing.add("make", {"count": drawing.rng.randint(0, 12)}, ["out"])
    for _ in range(boxes):
        if drawing.loose:
            drawing.draw()
    if drawing.loose and drawing.rng.random() < 0.5:
        drawing.add("end", {}, [], came=drawing.rng.randint(1, len(drawing.loose)))
    return Graph(
        name="random",
        activities=tuple(drawing.steps),
        transitions=tuple(drawing.arrows),
        keep_results=drawing.rng.random() < 0.2,
    )


# --- By the book -----------------------------------------------------------------------------


class Expected(NamedTuple):
    """What must come out.

    Attributes:
        passed: How often how many rows went from which output.
        effects: How often an activity put a thing.
        skipped: Slots of the scheduler that found a run not over.
        finished: The workflow is over at the end of the simulated time.
    """

    passed: Counter[tuple[str, str, int | None]]
    effects: Counter[tuple[str, int]]
    skipped: int
    finished: bool


class _Token(NamedTuple):
    at: int
    things: list[int] | None


@dataclass(slots=True)
class _Run:
    """One run, one box after another in the order of drawing, which is one of the flow."""

    graph: Graph
    begun: int
    until: int
    passed: Counter[tuple[str, str, int | None]] = field(default_factory=Counter)
    effects: Counter[tuple[str, int]] = field(default_factory=Counter)
    ended: int = 0

    def go(self) -> None:
        """Follow every token; what would happen after the end of time does not."""
        tokens: dict[tuple[str, str], _Token] = {}
        self.ended = self.begun
        for step in self.graph.activities:
            into = [(arrow.start, arrow.output) for arrow in self.graph.into(step.name)]
            came = [tokens[key] for key in into if key in tokens]
            for group in self._tasks(step, came, len(into)):
                tokens |= self._do(step, group)

    def _tasks(self, step: Step, came: list[_Token], wanted: int) -> list[list[_Token]]:
        if step.type in ("start", "scheduler"):
            return [[]]
        if step.type in ("end", "test", "wait"):
            return [[token] for token in came]
        return [came] if len(came) == wanted else []

    def _do(self, step: Step, came: list[_Token]) -> dict[tuple[str, str], _Token]:
        at = max((token.at for token in came), default=self.begun) + _takes(step)
        self.ended = max(self.ended, at)
        if at > self.until:
            return {}
        out: dict[tuple[str, str], _Token] = {}
        for output, things in _outputs(step, [token.things or [] for token in came]).items():
            self.passed[step.name, output, None if things is None else len(things)] += 1
            out[step.name, output] = _Token(at, things)
        if step.type == "put":
            self.effects.update((step.name, thing) for thing in came[0].things or [])
        return out


def expected(graph: Graph, begun: int, until: int) -> Expected:
    """What the engine must do between two times, told in the simplest way."""
    total = Expected(Counter(), Counter(), 0, finished=False)
    if graph.activities[0].type == "start":
        run = _Run(graph, begun, until)
        run.go()
        return Expected(run.passed, run.effects, 0, finished=run.ended <= until)
    skipped, busy = 0, -1
    for slot in range(begun + SLOT_MINUTES * MINUTE_MS, until + 1, SLOT_MINUTES * MINUTE_MS):
        if slot <= busy:
            skipped += 1
            continue
        run = _Run(graph, slot, until)
        run.go()
        total.passed.update(run.passed)
        total.effects.update(run.effects)
        busy = run.ended if run.ended > slot else -1
    return Expected(total.passed, total.effects, skipped, finished=False)


def _takes(step: Step) -> int:
    if step.type == "wait":
        return int(step.options["duration"][2:-1]) * MINUTE_MS
    fails: int = step.options.get("fails", 0)
    return sum(BACK_OFF_MS * 2**n for n in range(fails))


def _outputs(step: Step, came: list[list[int]]) -> dict[str, list[int] | None]:
    first = came[0] if came else []
    options = step.options
    found: dict[str, list[int] | None] = {"out": first}
    match step.type:
        case "start" | "scheduler":
            found = {"out": None}
        case "make":
            found = {"out": list(range(options["count"]))}
        case "keep":
            found = {"out": [thing for thing in first if thing % options["divisor"] == 0]}
            if options.get("rest"):
                found["rest"] = [thing for thing in first if thing % options["divisor"]]
        case "fork":
            found = {"a": first, "b": first}
        case "unite":
            found = {"out": sorted({thing for things in came for thing in things})}
        case "test":
            least = options["ways"][0]["when"][0]["value"]
            found = {"big" if len(first) >= least else "small": first}
        case "end":
            found = {}
        case _:
            pass
    return found
