"""Who writes the files?

A sink on the export orders. It asks governance once more, writes the people asked for in batches,
publishes the manifest last, files the run, and only then notes what the destination has been told.
Carrying an order out again after a crash writes the same names and leaves one file set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from amity.kernel.clock import BusinessClock
from amity.kernel.errors import Corrupt, NotFound, Terminal, Transient
from amity.kernel.scope import Scope
from amity.platform.activation import runs, store
from amity.platform.activation.destination import FileSet, Job, Means, Published
from amity.platform.activation.errors import ExportRefused
from amity.platform.activation.flow_body import DestinationFlow, MappedAudience, read_flow
from amity.platform.activation.model import (
    EXPORTS_TOPIC,
    ORDER_DECODER,
    ExportOrder,
    Member,
    Qualified,
)
from amity.platform.activation.people import People, Seen
from amity.platform.activation.rows import Ledger, Reason, Row, RowMaker
from amity.platform.activation.spool import Spool, batch_of, schema_of
from amity.platform.activation.targets import Plugins, Target, find_target, specs_of
from amity.platform.governance.lineage import AudienceFacts
from amity.platform.governance.service import Governance
from amity.storage.ports import LogRecord, Reader, State

EXPORT_TRIES_MAX = 5
"""Tries of an order whose destination cannot be reached, before the others go on. Ours."""

_Ended = tuple[dict[str, Any] | None, int | None]


class Flows(Protocol):
    """What the exporter asks of the flow service."""

    def opened(self, scope: Scope, noun: Any, id: str) -> dict[str, Any]:
        """An object with its secrets in clear; raises `NotFound`."""

    def put_run(self, scope: Scope, run: dict[str, Any]) -> None: ...

    def run(self, scope: Scope, id: str) -> dict[str, Any]:
        """One run; raises `NotFound`."""


class _Task(NamedTuple):
    """An order with all that it leads to."""

    scope: Scope
    order: ExportOrder
    flow: DestinationFlow
    audience: MappedAudience
    facts: AudienceFacts
    target: Target


class _Asked(NamedTuple):
    """Who qualifies, page by page, and where they are counted."""

    pages: Iterator[list[Qualified]]
    ledger: Ledger


class Exporter:
    """Writes file sets.

    Args:
        state: Holds the members; told revisions are noted in it.
        flows: Flows, connections and runs.
        people: Current profile views.
        governance: Asked right before bytes are written; knows the audiences.
        specs: The registry of destinations.
        means: What is lent to destinations.
        clock: Stamps runs.
    """

    name = "exporter"
    consumes = (EXPORTS_TOPIC,)

    def __init__(
        self,
        *,
        state: State,
        flows: Flows,
        people: People,
        governance: Governance,
        specs: Plugins,
        means: Means,
        clock: BusinessClock,
    ) -> None:
        self._state = state
        self._flows = flows
        self._people = people
        self._governance = governance
        self._specs = specs_of(specs)
        self._means = means
        self._clock = clock
        self._connections = _Opened(flows)
        self._tries: dict[str, int] = {}

    def handle(self, records: Sequence[LogRecord], now_ms: int) -> None:
        """Carry out orders one by one."""
        del now_ms
        for record in records:
            try:
                order = ORDER_DECODER.decode(record.body)
            except msgspec.DecodeError as error:
                raise Corrupt(f"no order to export: {error}") from error
            self.export(order)

    def export(self, order: ExportOrder) -> None:
        """Carry one order out, once: an order whose run has ended well is done."""
        scope = Scope.parse(order.scope)
        if self._done(scope, order):
            return
        span = runs.Span(self._clock.now_ms())
        try:
            run, revision = self._attempt(scope, order, span)
        except Terminal as error:
            code = error.code or "AMITY-ACTIVATION-FAILED"
            run, revision = runs.failed(order, self._ended(span), code, error.message), None
        except Transient as error:
            self._try_again(order, error)
            run, revision = self._given_up(order, span, error), None
        self._tries.pop(order.run, None)
        if run is not None:
            self._flows.put_run(scope, run)
        if revision is not None and not order.on_demand:
            with self._state.write() as writer:
                store.put_exported(writer, scope, order, revision)

    def _attempt(self, scope: Scope, order: ExportOrder, span: runs.Span) -> _Ended:
        """The run, and the revision told; None for what is not to be filed or noted."""
        task = self._task(scope, order)
        if task is None:
            if not order.on_demand:
                return None, None
            raise ExportRefused(
                f"flow {order.flow} is gone, disabled or no longer maps audience {order.audience}"
            )
        self._flows.put_run(scope, runs.started(order, span))
        return self._carry_out(task, span)

    def _try_again(self, order: ExportOrder, error: Transient) -> None:
        """Raise for another try, unless one destination has held the others up long enough."""
        self._tries[order.run] = self._tries.get(order.run, 0) + 1
        if self._tries[order.run] < EXPORT_TRIES_MAX:
            raise error

    def _given_up(self, order: ExportOrder, span: runs.Span, error: Transient) -> dict[str, Any]:
        message = (
            f"given up after {EXPORT_TRIES_MAX} tries: {error.message}; "
            "the next scheduled run sends what this one owes"
        )
        return runs.failed(order, self._ended(span), "AMITY-ACTIVATION-UNREACHABLE", message)

    def _ended(self, span: runs.Span) -> runs.Span:
        return span._replace(completed_ms=self._clock.now_ms())

    def _done(self, scope: Scope, order: ExportOrder) -> bool:
        if order.on_demand:
            return self._succeeded(scope, order)
        with self._state.read() as reader:
            told = store.exported(reader, scope, order)
        return told is not None and told.at_ms >= order.scheduled_ms

    def _succeeded(self, scope: Scope, order: ExportOrder) -> bool:
        try:
            return runs.status_of(self._flows.run(scope, order.run)) == runs.SUCCESS
        except NotFound:
            return False

    def _task(self, scope: Scope, order: ExportOrder) -> _Task | None:
        """None when the flow has gone, sleeps, or no longer maps the audience: nothing to do."""
        try:
            body = self._flows.opened(scope, "flows", order.flow)
        except NotFound:
            return None
        flow = read_flow(body)
        audience = flow.audience(order.audience)
        if audience is None or not flow.enabled:
            return None
        facts = self._governance.audience(scope, order.audience)
        if facts is None:
            raise ExportRefused(
                f"audience {order.audience} is gone; take it out of flow {flow.name!r}"
            )
        target = find_target(scope, body, self._specs, self._connections)
        return _Task(scope, order, flow, audience, facts, target)

    def _carry_out(self, task: _Task, span: runs.Span) -> _Ended:
        """The run, and the revision told; None when nothing was."""
        if not task.flow.columns:
            raise ExportRefused(
                f"flow {task.flow.name!r} maps no attribute: there is nothing to send"
            )
        (activation,) = (
            one
            for one in task.flow.activations(task.target.name)
            if one.audience == task.order.audience
        )
        violations = self._governance.verify(task.scope, activation)
        if violations:
            return runs.paused(task.order, self._ended(span), violations), None
        ledger = Ledger()
        with self._state.read() as reader:
            revision = store.head(reader, task.scope, task.order.audience).revision
            published = self._write(reader, task, revision, ledger)
        if not ledger.adds_up:
            raise ExportRefused(
                f"the ledger of run {task.order.run} does not add up: {ledger.body()}"
            )
        return runs.succeeded(task.order, self._ended(span), ledger, published), revision

    def _write(self, reader: Reader, task: _Task, revision: int, ledger: Ledger) -> Published:
        told = store.exported(reader, task.scope, task.order)
        since = 0 if told is None or task.order.mode == "full" else told.revision
        job = _job(task, since, revision)
        destination = task.target.open(self._means)
        purposes = self._governance.purposes(task.scope, task.flow.actions)
        maker = RowMaker(task.flow, purposes, destination.words)
        files = destination.open(job)
        try:
            pages = self._pages(
                reader, task, maker, _Asked(_asked(reader, task, since, ledger), ledger)
            )
            if task.flow.key is not None and task.flow.key.paths:
                _write_best(pages, files, job, (self._means.work, ledger))
            else:
                _write_all(pages, files, job, ledger)
            return files.publish()
        except BaseException:
            files.discard()
            raise

    def _pages(
        self, reader: Reader, task: _Task, maker: RowMaker, asked: _Asked
    ) -> Iterator[list[list[Row]]]:
        """The rows of each person, page by page; those without are counted by reason."""
        for people in asked.pages:
            ids = [person.profile for person in people]
            seen = self._people.views(task.scope, ids, task.facts.merge_policy)
            page = []
            for person in people:
                found = _rows(reader, task, maker, (person, seen.get(person.profile)))
                if isinstance(found, str):
                    asked.ledger.excluded[found] += 1
                else:
                    page.append(found)
            yield page


class _Opened:
    """Connections with their secrets in clear."""

    def __init__(self, flows: Flows) -> None:
        self._flows = flows

    def target(self, scope: Scope, id: str) -> Mapping[str, Any] | None:
        return self._find(scope, "targetConnections", id)

    def base(self, scope: Scope, id: str) -> Mapping[str, Any] | None:
        return self._find(scope, "connections", id)

    def _find(self, scope: Scope, noun: str, id: str) -> Mapping[str, Any] | None:
        try:
            return self._flows.opened(scope, noun, id)
        except NotFound:
            return None


def _rows(
    reader: Reader, task: _Task, maker: RowMaker, who: tuple[Qualified, Seen | None]
) -> list[Row] | Reason:
    """A profile that was merged into another leaves under the name of that one, unless it stays."""
    person, seen = who
    if seen is None:
        return "no_profile"
    if seen.home != person.profile:
        other = store.member(reader, task.scope, task.order.audience, seen.home)
        if person.active or (other is not None and other.active):
            return "merged"
    return maker.rows(person, seen.view)


def _asked(reader: Reader, task: _Task, since: int, ledger: Ledger) -> Iterator[list[Qualified]]:
    """Who qualifies: all members, or those whose membership has changed since."""
    audience = task.order.audience
    if since == 0:
        for people in store.everyone(reader, task.scope, audience):
            ledger.qualified += len(people)
            yield people
        return
    for page in store.changed(reader, task.scope, audience, since):
        asked = [one for one in page if task.flow.reports_status or one[0].active]
        known = [person for person, member in asked if person.active or _knows(member, since)]
        ledger.qualified += len(asked)
        ledger.excluded["never_sent"] += len(asked) - len(known)
        yield known


def _knows(member: Member, told: int) -> bool:
    """Whether a destination told up to `told` may know this person."""
    return member.first_revision <= told


def _write_all(pages: Iterator[list[list[Row]]], files: FileSet, job: Job, ledger: Ledger) -> None:
    schema = schema_of(job.columns)
    for page in pages:
        rows = [row for found in page for row in found]
        ledger.written += len(page)
        ledger.rows += len(rows)
        if rows:
            files.write(batch_of(rows, schema))


def _write_best(
    pages: Iterator[list[list[Row]]],
    files: FileSet,
    job: Job,
    means: tuple[Path, Ledger],
) -> None:
    """One row a key; with an attribute key a person has one row, so rows are people."""
    work, ledger = means
    people = 0
    with Spool(job.columns, work) as spool:
        for page in pages:
            people += len(page)
            spool.add([row for found in page for row in found])
        for batch in spool.winners():
            ledger.written += batch.num_rows
            if batch.num_rows:
                files.write(batch)
    ledger.rows = ledger.written
    ledger.excluded["duplicate"] += people - ledger.written


def _job(task: _Task, since: int, until: int) -> Job:
    return Job(
        org=task.scope.org,
        sandbox=task.scope.sandbox,
        destination=task.target.name,
        flow=task.flow.id,
        flow_name=task.flow.name,
        audience=task.audience.id,
        audience_name=task.audience.name,
        merge_policy=task.facts.merge_policy,
        merge_policy_name=task.facts.merge_policy_name,
        run=task.order.run,
        scheduled_ms=task.order.scheduled_ms,
        mode="full" if since == 0 else "incremental",
        since_revision=since,
        until_revision=until,
        filename=task.audience.filename,
        columns=tuple(column.header for column in task.flow.columns),
    )
