"""What is an activity to the engine?

The port of the plug-ins in `activities/`. A transition is a work table built in a file of its own
(or nothing but variables); running an activity builds the tables of its outbound transitions, then
the engine marks the task done, names the tables and starts the successors in one small transaction.
Behaviour: campaign.md §1.5, §1.6; shape: docs/adr on the workflow engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import msgspec
import sqlalchemy as sa

from amity.kernel.clock import LATEST_MS
from amity.kernel.registry import Spec
from amity.storage.ports import WorkFiles

Effect = Literal["transactional", "named", "intent"]
"""How an activity touches what lies outside its tables, and so what a crash can do.

`transactional`: by `Done.effects`, in the transaction that marks the task done. `named`: by files
whose names depend on the task alone, so that writing one again replaces it. `intent`: messages; what
was about to be sent is written down first and never done twice.
"""

SIGNALLED = LATEST_MS
"""A time that never comes: only a signal makes the task run again."""

ColumnType = Literal["long", "double", "string", "date", "datetime", "boolean"]


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a work table; `label` is what a file called it."""

    name: str
    type: ColumnType = "string"
    label: str = ""
    logs: tuple[str, ...] = ()
    """Schemas of logs that it may have been read from, whatever ``id`` refers to now: a file of it is
    an export of those logs."""


class WorkTable(msgspec.Struct, frozen=True, kw_only=True):
    """The population of a transition: table ``rows`` of the work file `name`.

    ``rows`` has ``n`` (integer primary key, order of arrival), ``id`` (key in the targeting
    dimension, NULL for a row that is not reconciled) and the columns.
    """

    name: str
    schema: str = ""
    """Targeting dimension that ``id`` refers to (``nms:recipient``); "" while there is none."""

    columns: tuple[Column, ...] = ()
    count: int = 0
    origin: Literal["", "segment"] = ""
    """`segment`: rows that come from a segment file, directly or through other tables. Such rows
    never create a recipient. An activity passes the origin of its inputs on (any segment wins)."""


class Exclusion(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that came in and go out nowhere, and why: in = out + excluded."""

    reason: str
    count: int


class Out(msgspec.Struct, frozen=True, kw_only=True):
    """What goes along one outbound transition."""

    table: WorkTable | None = None
    vars: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What an activity is given.

    Attributes:
        workflow: Id of the workflow.
        id: Id of the task; the same again when it is run again after a crash.
        activity: Name of the activity in the graph.
        inputs: Inbound transition's activity name → its table, for those that have one; of two
            transitions from the same activity each is ``activity.output``.
        vars: Event variables of the inbound transitions.
        instance_vars: Variables of the workflow instance.
        memory: What this activity kept at its last end (`Done.memory`), e.g. an incremental cursor.
        now_ms: Business time at which the task was begun; the same when it is run again after a
            crash, a later one after `Later` or a transient error.
        attempt: 1 at first; counts the tries that ended in a transient error.
        since_ms: Business time at which the task was begun first, before any `Later`.
        due_ms: The `at_ms` of the `Again` that made this task; None for one that was started.
        time_zone: The workflow's, a name of the IANA database.
        busy: An earlier run that this activity started is not over: a scheduler skips.
        signal: What somebody outside has sent to this activity, oldest first, one at a time; it is
            used up by `Done` and `Again`.
        journal: Writes a line into the workflow's journal: level, text.
        stopped: True once an operator has asked to stop; long work looks from time to time.
    """

    workflow: int
    id: int
    activity: str
    inputs: Mapping[str, WorkTable]
    vars: Mapping[str, Any]
    instance_vars: Mapping[str, Any]
    memory: Mapping[str, Any]
    now_ms: int
    attempt: int
    work: WorkFiles
    journal: Callable[[Literal["info", "warning", "error"], str], None]
    stopped: Callable[[], bool]
    since_ms: int = 0
    due_ms: int | None = None
    time_zone: str = "UTC"
    busy: bool = False
    signal: Mapping[str, Any] | None = None

    @property
    def table(self) -> WorkTable:
        """The only inbound table; refused with a clear text when there is none or several."""
        if len(self.inputs) != 1:
            from amity.campaign.workflow.errors import WrongInputs

            raise WrongInputs(
                f"activity {self.activity!r} takes one population, not {len(self.inputs)}: "
                "connect exactly one transition that carries one"
            )
        return next(iter(self.inputs.values()))

    @property
    def population(self) -> WorkTable | None:
        """The only inbound table, if there is one: what an activity passes on that changes none."""
        return self.table if self.inputs else None

    def name(self, transition: str) -> str:
        """The work file for an outbound transition: depends on the task alone."""
        return f"wkf{self.workflow}_{self.id}_{transition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The task is done.

    Attributes:
        outputs: Outbound transition → what goes along it; a transition left out is not taken.
        excluded: Rows of the inputs that go nowhere, by reason. Where a table goes out, the rows of
            the inputs must be the rows that go out and those excluded, or the task fails.
        came_in: How many rows of the inputs that equation is about, where not simply all: the main
            set of an exclusion, every copy of a fork, a row once per subset that overlaps.
        effects: Written to the campaign database in the transaction that marks the task done, with
            the inputs' work files attached under the aliases of `effects_inputs`.
        effects_inputs: Alias → work file.
        memory: Kept for this activity's next task in the same workflow; None keeps what is there.
        instance_vars: Set on the workflow instance.
        label: Shown at the transition, after the count.
    """

    outputs: Mapping[str, Out] = field(default_factory=dict)
    excluded: Sequence[Exclusion] = ()
    came_in: int | None = None
    effects: Callable[[sa.Connection], object] | None = None
    effects_inputs: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, Any] | None = None
    instance_vars: Mapping[str, Any] = field(default_factory=dict)
    label: str = "Ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Not yet: run the same task again at `at_ms` (business time). Nothing is held meanwhile.

    At `SIGNALLED` it runs again only when a signal comes; before that a signal comes too.
    """

    at_ms: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Take `outputs` now, as a run of their own, and run this activity anew at `at_ms`: a scheduler.

    What lies after it until nothing is left to do is one run.
    """

    at_ms: int | None
    """None: never again. `SIGNALLED`: when a signal comes."""

    outputs: Mapping[str, Out] = field(default_factory=dict)
    memory: Mapping[str, Any] | None = None


Result = Done | Later | Again


class Activity(Protocol):
    """One box of a workflow's graph, made from its options."""

    def run(self, task: Task) -> Result:
        """Do the work. May be called again for the same task after a crash, from another thread.

        `Terminal` errors stop the workflow as its error handling says; `Transient` ones are tried
        again later.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivitySpec(Spec[Activity]):
    """What is known of an activity before it is made; `name` is its kind in a graph.

    `config` is a msgspec Struct in camelCase (frozen, `forbid_unknown_fields`). `make` takes it and
    `means`, the services an installation lends its activities.
    """

    label: str
    effect: Effect
    inputs: tuple[int, int | None] = (1, 1)
    """Fewest and most inbound transitions; None: any number."""

    transitions: Callable[[Any], tuple[str, ...]] = lambda _config: ("out",)
    """The outbound transitions that this configuration has."""

    persistent: bool = False
    """Starts by itself and stays: a scheduler."""

    each: bool = False
    """Runs for each inbound transition by itself, instead of once when all have come."""

    pauses: bool = False
    """Takes time, so a loop may lead through it."""
