"""What is the one query that evaluates all audiences over the lake?

One pass over the events of all datasets fills every conditional aggregate; sequences take a window
over the few events they speak of; attributes are merged as the default merge policy merges them
(the fragment updated last wins, field by field). Out comes a bit mask a person; people are numbered.
Measured choice: engines.md A.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import pyarrow as pa
import sqlglot.expressions as sge

from amity.expression.errors import UnsupportedHere
from amity.expression.evaluators.sql import Join, RuleCompiler, Window, leaf
from amity.expression.tree import Node
from amity.kernel.limits import LOG_PARTITIONS

MASK_BITS = 62
"""Audiences in one mask: a BIGINT with its sign left alone."""

MEMBER = "member"
"""The table that tells the number of the person behind an identity: `identity`, `n`."""

HOMES = "homes"
"""The table of all linked identities: `identity`, `home` (profile id)."""

_META = "_amity_"


class Table(NamedTuple):
    """A table of the lake under the name it has in the query."""

    name: str
    schema: pa.Schema


class Fused(NamedTuple):
    """The query, what its bits mean, and the audiences it cannot evaluate, with the reason."""

    statement: sge.Select
    audiences: tuple[str, ...]
    refused: Mapping[str, str]


def fused(
    rules: Sequence[tuple[str, Node]],
    *,
    profiles: Sequence[Table],
    events: Sequence[Table],
    now_ms: int,
) -> Fused:
    """The query for these rules, each after those it asks for.

    Args:
        rules: Audiences and their rules.
        profiles: The lake tables of records.
        events: The lake tables of events.
        now_ms: The instant of evaluation.
    """
    compiler = RuleCompiler(now_ms, _types(profiles), _types(events))
    compiled: list[tuple[str, sge.Expr]] = []
    refused: dict[str, str] = {}
    for id, rule in rules:
        before = _marks(compiler)
        try:
            condition = compiler.rule(rule)
        except UnsupportedHere as error:
            _back(compiler, before)
            refused[id] = error.message
            continue
        compiler.audiences[id] = f"a{len(compiled)}"
        compiled.append((id, condition))
    statement = _statement(compiler, [condition for _, condition in compiled], profiles, events)
    return Fused(statement, tuple(id for id, _ in compiled), refused)


def identities(tables: Sequence[Table]) -> sge.Select:
    """The query for every identity that the tables speak of."""
    parts: list[sge.Query] = [
        sge.select("_amity_identity").distinct().from_(table.name) for table in tables
    ]
    union = reduce(sge.union, parts)
    return sge.select("*").from_(union.subquery("spoken_of"))


def with_homes(spoken_of: sge.Select) -> sge.Select:
    """The identities, each with its profile id by the table `HOMES`, if it is there."""
    identity = sge.column("_amity_identity", table="one")
    same = sge.column("identity", table=HOMES).eq(identity)
    return (
        sge.select(sge.alias_(identity, "identity"), sge.column("home", table=HOMES))
        .from_(spoken_of.subquery("one"))
        .join(HOMES, on=same, join_type="left")
        .where(identity.neq(sge.Literal.string("")))
    )


def _marks(compiler: RuleCompiler) -> tuple[int, ...]:
    return (
        len(compiler.attributes), len(compiler.columns), len(compiler.features),
        len(compiler.sequences), len(compiler.conditions),
    )  # fmt: skip


def _back(compiler: RuleCompiler, marks: tuple[int, ...]) -> None:
    """Forget what a refused rule has asked for."""
    kept: tuple[dict[Any, str], ...] = (
        compiler.attributes,
        compiler.columns,
        compiler.features,
        compiler.sequences,
    )
    for found, size in zip(kept, marks, strict=False):
        while len(found) > size:
            found.popitem()
    del compiler.conditions[marks[-1] :]


def _types(tables: Iterable[Table]) -> dict[str, pa.DataType]:
    """The columns of all tables together."""
    found: dict[str, pa.DataType] = {}
    for table in tables:
        for one in table.schema:
            if not one.name.startswith(_META):
                known = found.get(one.name)
                found[one.name] = one.type if known is None else _both(known, one.type)
    return found


def _both(one: pa.DataType, two: pa.DataType) -> pa.DataType:
    """A type that holds both; what does not go together becomes a type no rule can read."""
    if one == two:
        return one
    if pa.types.is_struct(one) and pa.types.is_struct(two):
        fields = {field.name: field.type for field in one}
        for field in two:
            known = fields.get(field.name)
            fields[field.name] = field.type if known is None else _both(known, field.type)
        return pa.struct(list(fields.items()))
    if pa.types.is_list(one) and pa.types.is_list(two):
        return pa.list_(_both(one.value_type, two.value_type))
    return pa.binary()


def _statement(
    compiler: RuleCompiler,
    conditions: Sequence[sge.Expr],
    profiles: Sequence[Table],
    events: Sequence[Table],
) -> sge.Select:
    people = sge.select("n").distinct().from_(MEMBER)
    query = sge.select(
        sge.column("n", table="people"),
        *[sge.alias_(one, f"a{at}") for at, one in enumerate(conditions)],
    ).from_("people")
    statement = sge.select("n", *_masks(len(conditions))).from_("judged")
    statement = statement.with_("people", as_=people)
    if compiler.attributes:
        statement = statement.with_("attributes", as_=_attributes(compiler, profiles))
        query = query.join("attributes", using=["n"], join_type="left")
    if compiler.features or compiler.sequences:
        seen = [sge.Table(this=sge.to_identifier("events"))]
        statement = statement.with_("events", as_=_events(compiler, events))
        if compiler.features:
            aggregates = [sge.alias_(one, name) for one, name in compiler.features.items()]
            features = sge.select("n", *aggregates).from_(seen[0]).group_by("n")
            statement = statement.with_("features", as_=features)
            query = query.join("features", using=["n"], join_type="left")
        for relation, name in compiler.sequences.items():
            statement = statement.with_(name, as_=_sequence(relation))
            query = query.join(
                name,
                on=sge.column("n", table="people").eq(sge.column("n", table=name)),
                join_type="left",
            )
    statement = statement.with_("judged", as_=query)
    masks = [sge.column(f"m{at}") for at in range(-(-len(conditions) // MASK_BITS))]
    inside = sge.or_(*[mask.neq(0) for mask in masks]) if masks else sge.false()
    return sge.select("*").from_(statement.subquery("masked")).where(inside)


def _masks(count: int) -> list[sge.Expr]:
    masks: list[sge.Expr] = []
    for first in range(0, count, MASK_BITS):
        bits: list[sge.Expr] = [
            sge.Case()
            .when(sge.column(f"a{at}"), sge.cast(sge.Literal.number(1 << at - first), "BIGINT"))
            .else_(sge.cast(sge.Literal.number(0), "BIGINT"))
            for at in range(first, min(first + MASK_BITS, count))
        ]
        total = reduce(lambda one, two: sge.Add(this=one, expression=two), bits)
        masks.append(sge.alias_(total, f"m{first // MASK_BITS}"))
    return masks


def _member_join(source: sge.Select) -> sge.Select:
    return source.join(
        MEMBER,
        on=sge.column("identity", table=MEMBER).eq(sge.column("_amity_identity", table="t")),
    )


def _events(compiler: RuleCompiler, tables: Sequence[Table]) -> sge.Query:
    """The events that some rule looks at, with the fields that some rule reads."""
    parts: list[sge.Query] = []
    for table in tables:
        fields = [sge.alias_(_leaf(table, path), name) for path, name in compiler.columns.items()]
        stamp = sge.alias_(sge.column("_amity_time", table="t"), "ts")
        source = sge.select(sge.column("n", table=MEMBER), stamp, *fields).from_(
            sge.alias_(sge.to_table(table.name), "t", table=True)
        )
        parts.append(_member_join(source))
    if not parts:
        nothing = [sge.alias_(sge.null(), name) for name in compiler.columns.values()]
        stamp = sge.alias_(sge.cast(sge.null(), "BIGINT"), "ts")
        return sge.select("n", stamp, *nothing).from_(MEMBER).where(sge.false())
    union = reduce(lambda one, two: sge.union(one, two, distinct=False), parts)
    wanted = list(compiler.conditions)
    for relation in compiler.sequences:
        if isinstance(relation, Window):
            wanted += [relation.first, relation.then]
        else:
            wanted.append(sge.true())
    looked = sge.select("*").from_(union.subquery("seen"))
    low = _lowest(wanted)
    if low is not None:
        looked = looked.where(sge.column("ts") >= sge.cast(sge.Literal.number(low), "BIGINT"))
    if sge.true() in wanted:
        return looked
    return looked.where(sge.or_(*[one.copy() for one in dict.fromkeys(wanted)]))


def _lowest(conditions: Sequence[sge.Expr]) -> int | None:
    """The earliest event that any condition lets in; None when one of them has no such bound."""
    bounds = [_low(condition) for condition in conditions]
    known = [bound for bound in bounds if bound is not None]
    return min(known) if known and len(known) == len(bounds) else None


def _low(condition: sge.Expr) -> int | None:
    found = [
        int(part.expression.this.this)
        for part in _all_of(condition)
        if isinstance(part, sge.GTE)
        and part.this == sge.column("ts")
        and isinstance(part.expression, sge.Cast)
        and isinstance(part.expression.this, sge.Literal)
    ]
    return max(found, default=None)


def _all_of(condition: sge.Expr) -> Iterable[sge.Expr]:
    """The parts that must all hold."""
    if isinstance(condition, sge.Paren):
        yield from _all_of(condition.this)
    elif isinstance(condition, sge.And):
        yield from _all_of(condition.this)
        yield from _all_of(condition.expression)
    else:
        yield condition


def _leaf(table: Table, path: tuple[str, ...]) -> sge.Expr:
    at = table.schema.get_field_index(path[0])
    if at < 0:
        return sge.null()
    root = sge.column(path[0], table="t", quoted=True)
    return leaf(root, table.schema.field(at).type, path[1:])


def _sequence(relation: Window | Join) -> sge.Select:
    if isinstance(relation, Join):
        return (
            sge.select(sge.column("n", table="v"))
            .distinct()
            .from_(sge.alias_(sge.to_table("events"), "v", table=True))
            .join(
                sge.alias_(sge.to_table("events"), "p", table=True),
                on=sge.column("n", table="v").eq(sge.column("n", table="p")),
            )
            .where(relation.first, relation.then, relation.both)
        )
    # The nearest `first` at or before a `then` decides: one sort a person, no join.
    spoken = (
        sge.select(
            "n",
            "ts",
            sge.alias_(relation.then, "is_then"),
            sge.alias_(sge.Case().when(relation.first, sge.column("ts")), "first_ts"),
        )
        .from_("events")
        .where(sge.or_(relation.first.copy(), relation.then.copy()))
    )
    newest = sge.Window(
        this=sge.Max(this=sge.column("first_ts")),
        partition_by=[sge.column("n")],
        order=sge.Order(expressions=[sge.Ordered(this=sge.column("ts"), nulls_first=False)]),
        spec=sge.WindowSpec(
            kind="RANGE", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW"
        ),
    )
    followed = sge.select("n", "ts", "is_then", sge.alias_(newest, "newest_ts")).from_(
        spoken.subquery("spoken")
    )
    within = sge.Literal.number(relation.within_ms)
    apart = sge.Sub(this=sge.column("ts"), expression=sge.column("newest_ts"))
    return (
        sge.select("n")
        .distinct()
        .from_(followed.subquery("followed"))
        .where(sge.column("is_then"), sge.LT(this=apart, expression=within))
    )


def _attributes(compiler: RuleCompiler, tables: Sequence[Table]) -> sge.Query:
    """Fields merged twice: a fragment's newest value each, then the fragment updated last."""
    names = list(compiler.attributes.values())
    order = _stamp()
    parts: list[sge.Query] = []
    for table in tables:
        newest = [
            sge.alias_(sge.func("arg_max", _leaf(table, path), order.copy()), name)
            for path, name in compiler.attributes.items()
        ]
        source = sge.select(
            sge.column("_amity_identity", table="t"),
            sge.alias_(sge.func("max", order.copy()), "updated"),
            *newest,
        ).from_(sge.alias_(sge.to_table(table.name), "t", table=True))
        parts.append(source.group_by(sge.column("_amity_identity", table="t")))
    if not parts:
        nothing = [sge.alias_(sge.null(), name) for name in names]
        return sge.select("n", *nothing).from_(MEMBER).where(sge.false())
    union = reduce(lambda one, two: sge.union(one, two, distinct=False), parts)
    merged = [
        sge.alias_(sge.func("arg_max", sge.column(name), sge.column("updated")), name)
        for name in names
    ]
    fragments = sge.select(sge.column("n", table=MEMBER), *merged).from_(union.subquery("t"))
    return _member_join(fragments).group_by(sge.column("n", table=MEMBER))


def _stamp() -> sge.Expr:
    """The place in the order of receipt as one number: a row of five costs three times as much.

    The order is that of the profile store (`profile.fragment.ReceiptStamp`).
    """
    received, partition, offset, n = (
        sge.column(f"_amity_{name}", table="t") for name in ("received", "partition", "offset", "n")
    )
    partitions = sge.Literal.number(LOG_PARTITIONS)
    writer = sge.IntDiv(this=partition.copy(), expression=partitions.copy())
    places = (
        (received, 82),
        (writer, 68),
        (offset, 20),
        (sge.Mod(this=partition, expression=partitions), 14),
        (n, 0),
    )
    parts: list[sge.Expr] = [
        sge.Mul(
            this=sge.cast(place, "HUGEINT"),
            expression=sge.cast(sge.Literal.number(1 << bits), "HUGEINT"),
        )
        for place, bits in places
    ]
    return reduce(lambda one, two: sge.Add(this=one, expression=two), parts)
