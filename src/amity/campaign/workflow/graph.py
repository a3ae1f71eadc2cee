"""Can this graph be run, and what is each of its boxes?

Everything that can be told before a run is told when a graph is saved, with the activity, the field
and what to do. Behaviour: campaign.md §1.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import re2

from amity.campaign.workflow.activity import Activity, ActivitySpec
from amity.campaign.workflow.errors import BadGraph, BadOptions
from amity.campaign.workflow.model import ERROR_OUTPUT, Arrow, Graph, Step
from amity.campaign.workflow.time_zone import zone
from amity.kernel.errors import AmityError
from amity.kernel.registry import Spec

Activities = Mapping[str, Spec[Activity]]

ACTIVITIES_MAX = 200
"""Activities of one workflow. Ours: more is a maze nobody can read."""

_NAME = re2.compile(r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A graph that can be run: each activity with its spec and its typed options."""

    graph: Graph
    specs: Mapping[str, ActivitySpec]
    configs: Mapping[str, Any]

    def outputs(self, name: str) -> tuple[str, ...]:
        """The outbound transitions of an activity, in their order."""
        own = self.specs[name].transitions(self.configs[name])
        transition = self.graph.step(name).on_error == "transition"
        return (*own, ERROR_OUTPUT) if transition else own

    def joins(self, name: str) -> bool:
        """Whether it waits for all its inbound transitions."""
        return not self.specs[name].each


def plan(graph: Graph, activities: Activities) -> Plan:
    """Check a graph against the activities there are; raises `BadGraph`."""
    _check_names(graph)
    specs = {step.name: _spec(step, activities) for step in graph.activities}
    configs = {step.name: _config(step, specs[step.name]) for step in graph.activities}
    made = Plan(graph=graph, specs=specs, configs=configs)
    _check_arrows(made)
    _check_inputs(made)
    _check_loops(made)
    _check_starts(made)
    return made


def check_options(made: Plan, means: Any) -> None:
    """Make every activity once, so that what its options cannot be is told now."""
    for name, spec in made.specs.items():
        try:
            spec.make(made.configs[name], means)
        except AmityError as error:
            raise BadGraph(f"activity {name!r}: {error.message}", activity=name) from error


def _check_names(graph: Graph) -> None:
    if not _NAME.match(graph.name):
        raise BadGraph(f"{graph.name[:80]!r} is no name; write letters, digits, _ and - only")
    if not graph.activities:
        raise BadGraph(f"workflow {graph.name} has no activities; add at least one")
    if len(graph.activities) > ACTIVITIES_MAX:
        raise BadGraph(
            f"{len(graph.activities)} activities are more than {ACTIVITIES_MAX}: make two workflows"
        )
    names = [step.name for step in graph.activities]
    for name in names:
        if not _NAME.match(name):
            raise BadGraph(f"{name[:80]!r} is no name; write letters, digits, _ and - only")
        if names.count(name) > 1:
            raise BadGraph(f"two activities are named {name!r}; give one another name")
    if graph.history_days < 0 or graph.error_handling.consecutive < 0:
        raise BadGraph("historyDays and errorHandling.consecutive are 0 or more")
    try:
        zone(graph.time_zone)
    except BadOptions as error:
        raise BadGraph(f"timeZone: {error.message}") from error


def _spec(step: Step, activities: Activities) -> ActivitySpec:
    spec = activities[step.type] if step.type in set(activities) else None
    if not isinstance(spec, ActivitySpec):
        raise BadGraph(
            f"activity {step.name!r}: there is no type {step.type[:80]!r}; "
            f"known: {', '.join(sorted(activities))}",
            activity=step.name,
        )
    return spec


def _config(step: Step, spec: ActivitySpec) -> Any:
    try:
        return msgspec.convert(step.options, spec.config)
    except msgspec.ValidationError as error:
        raise BadGraph(
            f"activity {step.name!r} ({step.type}), options: {error}", activity=step.name
        ) from error


def _check_arrows(made: Plan) -> None:
    seen: set[tuple[str, str]] = set()
    for arrow in made.graph.transitions:
        for name in (arrow.start, arrow.end):
            if name not in made.specs:
                raise BadGraph(f"{_told(arrow)}: there is no activity {name[:80]!r}")
        known = made.outputs(arrow.start)
        if arrow.output not in known:
            raise BadGraph(
                f"{_told(arrow)}: {arrow.start!r} has no output {arrow.output[:80]!r}; "
                f"it has {', '.join(known) or 'none'}",
                activity=arrow.start,
            )
        if (arrow.start, arrow.output) in seen:
            raise BadGraph(
                f"{_told(arrow)}: output {arrow.output!r} leads somewhere already; put a fork between",
                activity=arrow.start,
            )
        seen.add((arrow.start, arrow.output))


def _told(arrow: Arrow) -> str:
    return f"transition from {arrow.start[:80]!r} to {arrow.end[:80]!r}"


def _check_inputs(made: Plan) -> None:
    for name, spec in made.specs.items():
        fewest, most = spec.inputs
        count = len(made.graph.into(name))
        if count < fewest or (most is not None and count > most):
            if most is None:
                wanted = f"{fewest} or more"
            else:
                wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise BadGraph(
                f"activity {name!r} ({spec.name}) takes {wanted} inbound transitions, not {count}",
                activity=name,
            )
        if spec.persistent and count:
            raise BadGraph(f"activity {name!r} starts by itself: nothing may lead to it")


def _check_loops(made: Plan) -> None:
    """A loop leads through something that takes time, and through nothing that waits for all."""
    for loop in _loops(made.graph):
        path = " → ".join([*loop, loop[0]])
        joins = [name for name in loop if made.joins(name) and len(made.graph.into(name)) > 1]
        if joins:
            raise BadGraph(
                f"the loop {path} never runs: {joins[0]!r} waits for all that lead to it",
                activity=joins[0],
            )
        if not any(made.specs[name].pauses for name in loop):
            raise BadGraph(f"the loop {path} would never rest: put a wait into it")


def _loops(graph: Graph) -> Iterable[list[str]]:
    """One loop through each activity that lies on one and is not yet in another: depth first."""
    after = {step.name: [a.end for a in graph.out_of(step.name)] for step in graph.activities}
    done: set[str] = set()
    for root in after:
        path: list[str] = []
        todo = [(root, False)]
        while todo:
            name, leaving = todo.pop()
            if leaving:
                path.pop()
                done.add(name)
            elif name in path:
                yield path[path.index(name) :]
            elif name not in done:
                path.append(name)
                todo.append((name, True))
                todo.extend((end, False) for end in after[name])


def _check_starts(made: Plan) -> None:
    """Every run of a scheduler is a run of its own: what it leads to meets no other beginning."""
    initial = [step.name for step in made.graph.initial()]
    if not initial:
        raise BadGraph("every activity has an inbound transition: nothing would start")
    reached = {name: _reached(made.graph, name) for name in initial}
    for name in initial:
        if not made.specs[name].persistent:
            continue
        for other in initial:
            met = [] if other == name else sorted(reached[name] & reached[other])
            if met:
                raise BadGraph(
                    f"{met[0]!r} follows {name!r}, which starts runs of its own, and {other!r}: "
                    "they never meet in one run; lead both from one beginning",
                    activity=met[0],
                )


def _reached(graph: Graph, name: str) -> set[str]:
    found: set[str] = set()
    todo = [name]
    while todo:
        for arrow in graph.out_of(todo.pop()):
            if arrow.end not in found:
                found.add(arrow.end)
                todo.append(arrow.end)
    return found
