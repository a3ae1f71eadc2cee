"""Update data: how do the rows of a population get into a table made from a schema?

Everything is decided in the draft: whose record a row is, what would change, what cannot be kept and
why. The transaction that ends the task only carries it out. What differs in nothing is not written, and
a row of a segment file never creates a recipient. Behaviour: campaign.md §1.3; guardrail: §2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import sqlalchemy as sa

from amity.campaign.recipients.conditions import Conditions, Rows
from amity.campaign.recipients.model import Attribute, Schema
from amity.campaign.workflow.activity import ActivitySpec, Done, Out, Task, WorkTable
from amity.campaign.workflow.errors import BadOptions, ChangedMeanwhile, NotNow
from amity.campaign.workflow.incoming import Incoming, Refused
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.population import (
    asked,
    left_counts,
    left_rows,
    left_table,
    made_rows,
    names,
    rows_table,
)
from amity.campaign.workflow.reconciling import (
    MATCHED,
    MISSING,
    ByKey,
    Reconciler,
    as_kept,
)

RECIPIENT, REJECTS = "nms:recipient", "rejects"
KEPT_BY_SYSTEM = frozenset(
    f"nms:{name}"
    for name in ("delivery", "broadLogRcp", "broadLogMsg", "excludeLogRcp", "trackingLogRcp")
) | {"nms:trackingUrl", "nms:subHisto", "nms:address"}
"""A message sent stays sent, an address denied stays denied: no workflow writes here."""

IN = "t1"
PART_ROWS = 5_000
INSERT, UPDATE, DELETE, SAME = "i", "u", "d", "="

NOT_RECONCILED = "not reconciled: no record"
EXISTS = "there is already a record with this key"
LATER_ROW = "a later row is about the same record"
TAKEN = "another record has the same {}"
UNKNOWN_LINK = "{}: no such record"


class FieldMap(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """``{"to": "firstName", "value": "@first"}``: what an attribute becomes."""

    to: str
    """An attribute, or a link (``store-id``)."""

    value: str = ""
    """An expression over the row; "" is the column of the attribute's name."""

    by: str = ""
    """For a link: the attribute of its target that the value is of; "" = it is its id."""

    when: str = ""
    """A condition over the row: where it does not hold, the attribute is left alone."""

    keep_if_empty: bool = False
    """An empty value leaves the attribute alone, instead of emptying it."""


class UpdateDataConfig(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"
):
    """Which table, whose records, and what becomes of them."""

    schema: str = RECIPIENT
    operation: Literal["insert", "update", "insertOrUpdate", "delete"]
    keys: tuple[ByKey, ...] = ()
    """How records are found, in the order in which they are tried; none: the population's own."""

    together: bool = False
    """All keys make one: every one of them must be equal."""

    fields: tuple[FieldMap, ...] = ()
    rejects: bool = False
    """What cannot be written leaves by a transition, with the reason; else it is left out with it."""


class _Target(NamedTuple):
    """The table that is written."""

    schema: Schema
    table: sa.Table
    attributes: tuple[Attribute, ...]
    """Of the fields, in their order; a link's is a number."""

    changes: sa.Table


class _Part(NamedTuple):
    """Some rows: those that are written, those that are left out with the reason."""

    rows: list[tuple[Any, ...]]
    left: list[tuple[int, str]]


class _Draft(NamedTuple):
    task: Task
    connection: sa.Connection
    before: WorkTable
    source: sa.Table
    rows: Rows
    target: _Target


class UpdateData:
    """Writes the rows of a population into a table."""

    def __init__(self, config: UpdateDataConfig, means: Means) -> None:
        self._config = config
        self._means = means
        self._conditions: Conditions = means.conditions
        schema = means.schemas.schema(config.schema)
        if config.schema in KEPT_BY_SYSTEM:
            raise BadOptions(f"{config.schema} is kept by the system: a workflow only reads it")
        if not schema.autopk:
            raise BadOptions(f"{config.schema} has no ids; lists are kept by list_update")
        if not config.fields and config.operation != "delete":
            raise BadOptions("say what is written: fields")
        self._reconciler = None
        if config.keys:
            self._reconciler = Reconciler(
                means.conditions,
                means.schemas,
                schema=config.schema,
                keys=config.keys,
                together=config.together,
            )
        elif config.operation not in {"update", "delete"}:
            raise BadOptions("say by what records are found: keys")
        keys = _keys_of_new(config)
        self._fields = (*keys, *config.fields)
        self._of_new = len(keys)
        self._conditional = [
            at for at, one in enumerate(self._fields) if one.when or one.keep_if_empty
        ]
        self._target()

    def run(self, task: Task) -> Done:
        """Decide everything in the draft; what is left is one statement for each operation."""
        before = task.table
        with task.work.build(task.name("out"), inputs={IN: before.name}) as connection:
            source, target = rows_table(before.columns, IN), self._target()
            draft = _Draft(task, connection, before, source, asked(before, source), target)
            self._match(draft)
            target.changes.create(connection)
            left_table().create(connection)
            self._stage(draft)
            self._judge(draft)
            counts = self._counts(draft)
            self._guard(draft, counts.get(INSERT, 0))
            self._number(draft, counts.get(INSERT, 0))
            excluded = left_counts(connection, left_table())
            self._fill(draft)
        count = before.count - sum(one.count for one in excluded)
        out = msgspec.structs.replace(
            before, name=task.name("out"), schema=self._config.schema, count=count
        )
        task.journal("info", _told(self._config.schema, counts))
        outputs = {"out": Out(table=out, vars={name: counts.get(op, 0) for op, name in _TOLD})}
        if self._config.rejects:
            outputs[REJECTS] = Out(table=left_rows(task, before, REJECTS))
        return Done(
            outputs=outputs,
            excluded=() if self._config.rejects else excluded,
            effects=lambda connection: self._carry_out(connection, task, counts),
            effects_inputs={IN: out.name},
        )

    def _target(self) -> _Target:
        schema = self._means.schemas.schema(self._config.schema)
        table = self._means.schemas.table(self._config.schema)
        attributes = tuple(_attribute(schema, field.to) for field in self._fields)
        if self._config.operation in {"insert", "insertOrUpdate"}:
            given = {field.to for field in self._fields}
            for one in schema.attributes:
                if one.required and one.default is None and one.name not in given:
                    raise BadOptions(f"{schema.id}, {one.name}: it is required; add it to fields")
        columns = [table.c[_code(field.to)] for field in self._fields]
        changes = sa.Table(
            "changes",
            sa.MetaData(),
            sa.Column("n", sa.Integer, primary_key=True),
            sa.Column("id", sa.BigInteger),
            sa.Column("op", sa.String(1)),
            *(
                sa.Column(f"k{at}", _plain(table.c[_code(key.attribute)]))
                for at, key in enumerate(self._config.keys)
            ),
            *(sa.Column(f"f{at}", _plain(column)) for at, column in enumerate(columns)),
            *(sa.Column(f"s{at}", sa.Integer) for at in self._conditional),
        )
        return _Target(schema, table, attributes, changes)

    def _match(self, draft: _Draft) -> None:
        """Row → record, or why there is none."""
        if self._reconciler is not None:
            self._reconciler.match(draft.connection, draft.source, draft.rows, draft.task.now_ms)
            return
        MATCHED.create(draft.connection)
        own = draft.before.schema == self._config.schema
        table = draft.target.table
        joined = draft.source.outerjoin(
            table, table.c.id == draft.source.c.id if own else sa.false()
        )
        why = sa.case((table.c.id.is_(None), NOT_RECONCILED))
        found = sa.select(draft.source.c.n, table.c.id, why).select_from(joined)
        names_ = ["n", "id", "reason"]
        draft.connection.execute(sa.insert(MATCHED).from_select(names_, found))

    def _stage(self, draft: _Draft) -> None:
        """Put each row's values into the form in which they are kept, or leave the row out."""
        target, connection = draft.target, draft.connection
        incoming = [Incoming(target.schema, one) for one in target.attributes]
        put = str(
            sa.insert(target.changes)
            .values(dict.fromkeys(names(target.changes)))
            .compile(dialect=connection.dialect)
        )
        leave = str(
            sa.insert(left_table()).values(n=None, reason=None).compile(dialect=connection.dialect)
        )
        rows = connection.execution_options(yield_per=PART_ROWS).execute(self._asked(draft))
        for part in rows.partitions(PART_ROWS):
            made = self._made(list(zip(*part, strict=True)), incoming)
            if made.left:
                connection.exec_driver_sql(leave, made.left)
            if made.rows:
                connection.exec_driver_sql(put, made.rows)
            if draft.task.stopped():
                raise NotNow("stopped while rows were looked at: nothing was written")

    def _asked(self, draft: _Draft) -> sa.Select[Any]:
        """``n``, the record, the reason, the keys, the values, and which of them count."""
        now_ms, rows = draft.task.now_ms, draft.rows
        keys = self._reconciler.values(rows, now_ms) if self._reconciler else []
        values = [self._value(draft, field) for field in self._fields]
        flags = [self._flag(draft, at, values[at]) for at in self._conditional]
        chosen = sa.select(draft.source.c.n, MATCHED.c.id, MATCHED.c.reason, *keys, *values, *flags)
        joined = draft.source.join(MATCHED, MATCHED.c.n == draft.source.c.n)
        return chosen.select_from(joined).order_by(draft.source.c.n)

    def _value(self, draft: _Draft, field: FieldMap) -> sa.ColumnElement[Any]:
        text = field.value or f"[targetData/@{field.to}]"
        value = self._conditions.value(text, draft.rows, draft.task.now_ms).sql
        if not field.by:
            return value
        link = next(one for one in draft.target.schema.links if f"{one.name}-id" == field.to)
        linked = self._means.schemas.table(link.target).alias()
        kept = as_kept(self._means.schemas.schema(link.target), field.by, value)
        found = sa.select(sa.func.min(linked.c.id)).where(linked.c[_code(field.by)] == kept)
        id = found.correlate_except(linked).scalar_subquery()
        return sa.case(
            (sa.func.coalesce(value, "") == "", sa.null()), else_=sa.func.coalesce(id, -1)
        )

    def _flag(self, draft: _Draft, at: int, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """1 where the value counts, 0 where the attribute is left alone."""
        field = self._fields[at]
        wanted: list[sa.ColumnElement[bool]] = []
        if at < self._of_new:
            wanted.append(MATCHED.c.id.is_(None))
        if field.keep_if_empty:
            wanted.append(sa.func.coalesce(value, "") != "")
        if field.when:
            wanted.append(self._conditions.where(field.when, draft.rows, draft.task.now_ms))
        return sa.case((sa.and_(*wanted), 1), else_=0)

    def _made(self, columns: Sequence[Sequence[Any]], incoming: Sequence[Incoming]) -> _Part:
        """A part of the rows, ready to be written to the draft."""
        ns, ids, reasons, *rest = columns
        keys, many = len(self._config.keys), len(incoming)
        values = [
            one.kept(column) for one, column in zip(incoming, rest[keys : keys + many], strict=True)
        ]
        flags = dict(zip(self._conditional, rest[keys + many :], strict=True))
        refusing = {at: values[at] for at, one in enumerate(incoming) if one.refused}
        part = _Part([], [])
        rows = zip(ns, ids, reasons, *rest[:keys], *values, *flags.values(), strict=True)
        for at, (n, id, reason, *kept) in enumerate(rows):
            op, why = self._operation(id, reason)
            if refusing and op in {INSERT, UPDATE}:
                why = _refusal(refusing, flags, at)
            if why:
                part.left.append((n, why))
            else:
                part.rows.append((n, id, op, *kept))
        return part

    def _operation(self, id: int | None, reason: str | None) -> tuple[str, str]:
        """What is done with a row, or why nothing is."""
        operation = self._config.operation
        if id is None:
            creates = operation in {"insert", "insertOrUpdate"} and reason == MISSING
            return (INSERT, "") if creates else ("", reason or MISSING)
        if operation == "insert":
            return "", EXISTS
        return (DELETE if operation == "delete" else UPDATE), ""

    def _judge(self, draft: _Draft) -> None:
        """Leave out what would meet another row or record; mark what would change nothing."""
        connection, changes = draft.connection, draft.target.changes
        for why, rows in self._objections(draft):
            known = sa.select(left_table().c.n)
            fresh = sa.select(rows.c.n, sa.literal(why)).where(rows.c.n.not_in(known)).distinct()
            noted = sa.insert(left_table()).from_select(["n", "reason"], fresh)
            if connection.execute(noted).rowcount:
                gone = changes.c.n.in_(sa.select(left_table().c.n))
                connection.execute(sa.delete(changes).where(gone))
        if self._config.operation in {"update", "insertOrUpdate"}:
            table = draft.target.table
            changed = sa.select(table.c.id).where(
                table.c.id == changes.c.id, self._differs(draft.target, changes)
            )
            same = sa.update(changes).where(changes.c.op == UPDATE, ~changed.exists())
            connection.execute(same.values(op=SAME))

    def _objections(self, draft: _Draft) -> Iterator[tuple[str, sa.Subquery]]:
        """Why rows cannot be written, and which."""
        target, changes = draft.target, draft.target.changes
        yield LATER_ROW, _earlier(changes, [changes.c.id], changes.c.id.is_not(None))
        keys = [changes.c[f"k{at}"] for at in range(len(self._config.keys))]
        for some in [keys] if self._config.together else [[key] for key in keys]:
            if some:
                there = sa.and_(*(sa.func.coalesce(key, "") != "" for key in some))
                yield LATER_ROW, _earlier(changes, some, (changes.c.op == INSERT) & there)
        yield from self._taken(target)
        for at, field in enumerate(self._fields):
            for link in target.schema.links:
                if field.to == f"{link.name}-id":
                    linked = self._means.schemas.table(link.target)
                    value = changes.c[f"f{at}"]
                    there = sa.select(linked.c.id).where(linked.c.id == value).exists()
                    lost = sa.select(changes.c.n).where(value.is_not(None), ~there)
                    yield UNKNOWN_LINK.format(field.to), lost.subquery()

    def _taken(self, target: _Target) -> Iterator[tuple[str, sa.Subquery]]:
        """Keys of the schema that another record or row has; the one rows are found by is clear."""
        at = {field.to: place for place, field in enumerate(self._fields)}
        table, changes = target.table, target.changes
        found_by = tuple(key.attribute for key in self._config.keys)
        for key in target.schema.keys:
            if key.fields == found_by or not set(key.fields) <= set(at):
                continue
            mine = [changes.c[f"f{at[one]}"] for one in key.fields]
            pairs = zip(key.fields, mine, strict=True)
            same = [table.c[_code(one)] == value for one, value in pairs]
            why = TAKEN.format(", ".join(key.fields))
            other = sa.select(table.c.id).where(*same, table.c.id.is_distinct_from(changes.c.id))
            writes = changes.c.op.in_([INSERT, UPDATE])
            yield why, sa.select(changes.c.n).where(writes, other.exists()).subquery()
            there = sa.and_(writes, *(value.is_not(None) for value in mine))
            yield why, _earlier(changes, mine, there)

    def _differs(self, target: _Target, changes: sa.Table) -> sa.ColumnElement[bool]:
        """Whether a record would become another one."""
        differences = []
        for at, field in enumerate(self._fields):
            old = sa.type_coerce(target.table.c[_code(field.to)], changes.c[f"f{at}"].type)
            differs = old.is_distinct_from(changes.c[f"f{at}"])
            counts = changes.c[f"s{at}"] == 1 if at in self._conditional else sa.true()
            differences.append(sa.and_(counts, differs))
        return sa.or_(*differences)

    def _counts(self, draft: _Draft) -> dict[str, int]:
        op = draft.target.changes.c.op
        counts = draft.connection.execute(sa.select(op, sa.func.count()).group_by(op))
        return {str(name): int(count) for name, count in counts}

    def _guard(self, draft: _Draft, inserts: int) -> None:
        """What a segment file names is never created, in whichever table: no way round."""
        if draft.before.origin == "segment":
            file = str(draft.task.vars.get("filename") or draft.before.name)
            self._means.check_creates_no_recipient(file, inserts)

    def _number(self, draft: _Draft, inserts: int) -> None:
        """Give new records their ids, so that what follows in the graph knows them."""
        if not inserts:
            return
        changes, sequence = draft.target.changes, _SEQUENCE
        used = sa.update(sequence).where(sequence.c.name == draft.target.table.name)
        with self._means.tables.begin() as connection:
            taken = used.values(seq=sequence.c.seq + inserts).returning(sequence.c.seq)
            before = int(connection.execute(taken).scalar_one()) - inserts
        rank = sa.func.row_number().over(order_by=changes.c.n)
        ranked = sa.select(changes.c.n, rank.label("rank")).where(changes.c.op == INSERT)
        numbered = ranked.subquery()
        given = sa.update(changes).where(changes.c.n == numbered.c.n)
        draft.connection.execute(given.values(id=numbered.c.rank + before))

    def _fill(self, draft: _Draft) -> None:
        changes, source = draft.target.changes, draft.source
        table = made_rows(draft.connection, draft.before.columns)
        old = [source.c[one.name] for one in draft.before.columns]
        chosen = sa.select(source.c.n, changes.c.id, *old).order_by(source.c.n)
        chosen = chosen.select_from(source.join(changes, changes.c.n == source.c.n))
        draft.connection.execute(sa.insert(table).from_select(names(table), chosen))

    def _carry_out(self, connection: sa.Connection, task: Task, counts: Mapping[str, int]) -> None:
        """Write what the draft says, in the transaction that ends the task.

        Records are as new as this: the draft may have taken hours, and who asks for what is new must
        find them.
        """
        target, now_ms = self._target(), self._means.clock.now_ms()
        changes = target.changes.to_metadata(sa.MetaData(), schema=IN)
        if counts.get(DELETE):
            ids = sa.select(changes.c.id).where(changes.c.op == DELETE)
            connection.execute(sa.delete(target.table).where(target.table.c.id.in_(ids)))
        if counts.get(UPDATE):
            changed = self._changed(target, changes, now_ms)
            _same_as_decided(connection.execute(changed).rowcount, counts[UPDATE])
        if counts.get(INSERT):
            self._check_still_new(connection, target, changes)
            connection.execute(self._inserted(target, changes, task.workflow, now_ms))

    def _changed(self, target: _Target, changes: sa.Table, now_ms: int) -> sa.Update:
        table = target.table
        values: dict[str, Any] = {}
        value: Any
        for at, field in enumerate(self._fields):
            column, value = table.c[_code(field.to)], changes.c[f"f{at}"]
            if at in self._conditional:
                value = sa.case((changes.c[f"s{at}"] == 1, value), else_=column)
            values[column.key] = value
        if "lastModified" in table.c:
            values["lastModified"] = now_ms
        at_record = (table.c.id == changes.c.id, changes.c.op == UPDATE)
        return sa.update(table).where(*at_record).values(values)

    def _inserted(
        self, target: _Target, changes: sa.Table, workflow: int, now_ms: int
    ) -> sa.Insert:
        table = target.table
        values: dict[str, Any] = {"id": changes.c.id}
        for at, field in enumerate(self._fields):
            value: Any = changes.c[f"f{at}"]
            if at in self._conditional:
                value = sa.case((changes.c[f"s{at}"] == 1, value))
            values[_code(field.to)] = value
        stamps: dict[str, Any] = {"created": now_ms, "lastModified": now_ms}
        if target.schema.id == RECIPIENT:
            stamps["origin"] = f"workflow {workflow}"
        for name, stamp in stamps.items():
            if name in table.c and name not in values:
                values[name] = sa.literal(stamp)
        new = sa.select(*values.values()).where(changes.c.op == INSERT).order_by(changes.c.n)
        return sa.insert(table).from_select([table.c[name] for name in values], new)

    def _check_still_new(
        self, connection: sa.Connection, target: _Target, changes: sa.Table
    ) -> None:
        """Nobody has created one of the records since the draft looked."""
        keys = [
            (target.table.c[_code(key.attribute)], changes.c[f"k{at}"])
            for at, key in enumerate(self._config.keys)
        ]
        for some in [keys] if self._config.together else [[pair] for pair in keys]:
            there = sa.and_(*(column == value for column, value in some))
            new = changes.join(target.table, there)
            found = (
                sa.select(changes.c.n)
                .select_from(new)
                .where(changes.c.op == INSERT, *(value != "" for _, value in some))
                .limit(1)
            )
            _same_as_decided(len(connection.execute(found).all()), 0)


_SEQUENCE = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq", sa.BigInteger))
"""Ids that were given once are not given again, also where the draft comes to nothing."""

_TOLD = ((INSERT, "inserted"), (UPDATE, "updated"), (DELETE, "deleted"), (SAME, "unchanged"))


def _told(schema: str, counts: Mapping[str, int]) -> str:
    return f"{schema}: " + ", ".join(f"{counts.get(op, 0)} {name}" for op, name in _TOLD)


def _same_as_decided(found: int, decided: int) -> None:
    if found != decided:
        raise ChangedMeanwhile(
            "records were created or removed while the draft was made: it is made again"
        )


def _earlier(
    changes: sa.Table, by: Sequence[sa.ColumnElement[Any]], where: sa.ColumnElement[bool]
) -> sa.Subquery:
    """The rows that a later one has the same values as."""
    rank = sa.func.row_number().over(partition_by=by, order_by=changes.c.n.desc())
    ranked = sa.select(changes.c.n, rank.label("rank")).where(where).subquery()
    return sa.select(ranked.c.n).where(ranked.c.rank > 1).subquery()


def _refusal(
    refusing: Mapping[int, Sequence[Any]], flags: Mapping[int, Sequence[Any]], at: int
) -> str:
    """Why the values of a row cannot be kept; those that do not count are no matter."""
    for field, values in refusing.items():
        if isinstance(values[at], Refused) and (field not in flags or flags[field][at]):
            return str(values[at])
    return ""


def _keys_of_new(config: UpdateDataConfig) -> tuple[FieldMap, ...]:
    """A new record gets the keys it would have been found by, where no field says more."""
    if config.operation not in {"insert", "insertOrUpdate"}:
        return ()
    given = {field.to for field in config.fields}
    return tuple(
        FieldMap(to=key.attribute, value=key.expression, keep_if_empty=True)
        for key in config.keys
        if key.attribute not in given
    )


def _code(name: str) -> str:
    return name.replace("-", "_")


def _attribute(schema: Schema, name: str) -> Attribute:
    """The attribute that a field writes; a link's is the number of a record."""
    if name in _NEVER:
        raise BadOptions(f"{schema.id}, {name}: it is set by the system; take it out of fields")
    for one in schema.attributes:
        if one.name == name:
            return one
    if any(name == f"{link.name}-id" for link in schema.links):
        return Attribute(name=name, type="int64")
    known = [one.name for one in schema.attributes] + [f"{one.name}-id" for one in schema.links]
    raise BadOptions(f"{schema.id} has no attribute {name!r}; there are: {', '.join(known)}")


_NEVER = frozenset({"id", "created", "lastModified"})


def _plain(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    """The column's type without what a driver makes of it."""
    return sa.Integer() if isinstance(column.type, sa.Boolean) else column.type


SPEC = ActivitySpec(
    name="update_data",
    label="Update data",
    summary="Writes the rows of a population into a table.",
    config=UpdateDataConfig,
    make=UpdateData,
    effect="transactional",
    transitions=lambda config: ("out", REJECTS) if config.rejects else ("out",),
)
