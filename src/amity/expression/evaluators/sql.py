"""How does one query answer many rules for everyone?

Each rule becomes a condition over one row a profile. What it asks of events becomes a feature: a
conditional aggregate of one pass over the events, shared by all rules that ask the same. Two events in a
relation become a sequence: a window when one must follow the other within a time, a join otherwise.
A rule that cannot be said so is refused by name (`UNSUPPORTED`), and no other rule with it.

The same tables of values hold as in `amity.expression.values`: null is no truth, so a condition may
be NULL where it is false, but not under a negation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import sqlglot.expressions as sge

from amity.expression.errors import UnsupportedHere
from amity.expression.evaluators.rows import calendar_now
from amity.expression.spans import constant, spans
from amity.expression.times import NEVER, moment_end, moment_start
from amity.expression.tree import (
    Call,
    Chain,
    Entries,
    Field,
    Items,
    Lambda,
    Let,
    Literal,
    Node,
    Occurs,
    Param,
    Var,
    conjunction,
    conjuncts,
    free,
    is_events,
    path_of,
    rename,
)
from amity.expression.values import INT64_MAX, INT64_MIN, kind, to_ms

Path = tuple[str, ...]
Types = Mapping[str, pa.DataType]

UNSUPPORTED: Mapping[str, str] = {
    "topN": "ranking needs the events one by one",
    "bottomN": "ranking needs the events one by one",
    "groupBy": "groups of events are no columns",
    "map": "lists made of lists are no columns",
    "mapEntry": "maps are no columns",
    "get": "maps are no columns",
    "keys": "maps are no columns",
    "values": "maps are no columns",
    "head": "the first of the events is no aggregate",
    "distinct": "distinct values of events are no column",
    "intersection": "lists made of lists are no columns",
    "subsetOf": "comparing two lists item by item",
    "supersetOf": "comparing two lists item by item",
    "chain": "more than two steps, or steps that count",
}
"""What this evaluator refuses, and why."""


@dataclass(frozen=True, slots=True)
class Sql:
    """An expression of the query with what is known of its values.

    `kind` is that of `amity.expression.values.kind`; an instant is a BIGINT of milliseconds. `type` is
    the type of the items of an array, or of an object.
    """

    sql: sge.Expr
    kind: str
    type: pa.DataType | None = None
    whole: bool = False
    """A number that is an int64."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """A variable that stands for a row of events under this alias."""

    alias: str


Env = Mapping[str, EventRow | Sql]


@dataclass(frozen=True, slots=True)
class Window:
    """Profiles for whom a `then` event follows a `first` event within `[0, within_ms)`."""

    first: sge.Expr
    then: sge.Expr
    within_ms: int


@dataclass(frozen=True, slots=True)
class Join:
    """Profiles with a pair of events, under the aliases `v` and `p`, for which this holds."""

    first: sge.Expr
    then: sge.Expr
    both: sge.Expr


@dataclass(slots=True)
class RuleCompiler:
    """Compiles the rules of one query.

    Attributes:
        now_ms: The instant of evaluation.
        profile: The types of the profile's columns.
        event: The types of the events' columns.
        audiences: The columns that hold the audiences compiled so far.
        attributes: Profile paths in use, as columns `p0`, `p1`, …
        columns: Event paths in use, as columns `c0`, `c1`, …
        features: Aggregates in use, as columns `f0`, `f1`, …
        sequences: Relations in use, as tables `s0`, `s1`, …
        conditions: Of the events that features look at; None = all events.
    """

    now_ms: int
    profile: Types
    event: Types
    audiences: dict[str, str] = field(default_factory=dict)
    attributes: dict[Path, str] = field(default_factory=dict)
    columns: dict[Path, str] = field(default_factory=dict)
    features: dict[sge.Expr, str] = field(default_factory=dict)
    sequences: dict[Window | Join, str] = field(default_factory=dict)
    conditions: list[sge.Expr] = field(default_factory=list)
    lambdas: int = 0

    def rule(self, node: Node) -> sge.Expr:
        """The condition of a rule over one profile."""
        return self.holds(node, {})

    def holds(self, node: Node, env: Env) -> sge.Expr:
        """Whether a node counts as true; may be NULL for false."""
        if isinstance(node, Call) and node.name in _LOGIC:
            return _LOGIC[node.name](self, node, env)
        return _truth(self.value(node, env))

    def surely(self, node: Node, env: Env) -> sge.Expr:
        """The same, never NULL."""
        return _coalesce(self.holds(node, env), sge.false())

    def value(self, node: Node, env: Env) -> Sql:
        """The value of a node."""
        compiler = _NODES.get(type(node))
        if compiler is None:
            raise UnsupportedHere(f"a {type(node).__name__} is no column")
        return compiler(self, node, env)

    def events_of(self, node: Node) -> tuple[str, tuple[Node, ...]] | None:
        """The variable and conditions of a selection of the profile's events."""
        if is_events(node):
            return "e", ()
        if not (isinstance(node, Call) and node.name == "filter"):
            return None
        inner = self.events_of(node.args[0])
        if inner is None:
            return None
        name, parts = inner
        return name, (*parts, *_body(node.args[1], name))

    def feature(self, aggregate: sge.Expr, parts: tuple[Node, ...], name: str) -> sge.Column:
        """The column of an aggregate over the events for which the conditions hold."""
        condition = self.event_condition(parts, name)
        if condition is None:
            self.conditions.append(sge.true())
            filtered = aggregate
        else:
            self.conditions.append(condition)
            filtered = sge.Filter(this=aggregate, expression=sge.Where(this=condition))
        column = self.features.setdefault(filtered, f"f{len(self.features)}")
        return sge.column(column)

    def event_condition(self, parts: tuple[Node, ...], name: str) -> sge.Expr | None:
        """The conditions on one event, of the table of events itself."""
        if not parts:
            return None
        return self.holds(conjunction(parts), {name: EventRow("")})

    def place(self) -> str:
        """A fresh variable of a SQL lambda."""
        self.lambdas += 1
        return f"x{self.lambdas}"

    def event_column(self, alias: str, path: Path) -> Sql:
        """A field of an event."""
        if path == ("timestamp",):
            return Sql(_column("ts", alias), "instant", whole=True)
        found = _typed(self.event, path)
        if found is None:
            return _NULL
        name = self.columns.setdefault(path, f"c{len(self.columns)}")
        return _sql_of(_column(name, alias), found)

    def profile_column(self, path: Path) -> Sql:
        """A field of the profile."""
        found = _typed(self.profile, path)
        if found is None:
            return _NULL
        name = self.attributes.setdefault(path, f"p{len(self.attributes)}")
        return _sql_of(sge.column(name), found)

    def item_test(self, array: Sql, node: Lambda, env: Env) -> sge.Expr:
        """The items of an array column for which a condition holds."""
        name = self.place()
        item = _sql_of(sge.column(name), array.type)
        inner: Env = {**env, node.names[0]: item}
        return _lambda(name, self.surely(node.body, inner))


_NULL = Sql(sge.null(), "null")


def _column(name: str, alias: str) -> sge.Column:
    return sge.column(name, table=alias or None)


def _body(test: Node, name: str) -> tuple[Node, ...]:
    assert isinstance(test, Lambda)  # noqa: S101 - the reader makes no other
    return conjuncts(rename(test.body, test.names[0], Var(name)))


def _typed(types: Types, path: Path) -> pa.DataType | None:
    """The type at a path; None when there is no such column, so that it is null."""
    found = types.get(path[0])
    for name in path[1:]:
        lists = 0
        while found is not None and pa.types.is_list(found):
            found, lists = found.value_type, lists + 1
        if found is None or not pa.types.is_struct(found):
            _check_missing(found, path)
            return None
        at = found.get_field_index(name)
        found = found.field(at).type if at >= 0 else None
        for _ in range(min(lists, 1)):
            found = None if found is None else pa.list_(_flat(found))
    return found


def _flat(found: pa.DataType) -> pa.DataType:
    return found.value_type if pa.types.is_list(found) else found


def _check_missing(found: pa.DataType | None, path: Path) -> None:
    if found is not None:
        raise UnsupportedHere(
            f"{'.'.join(path)} leads into a value that the lake holds as one text"
        )


def leaf(root: sge.Expr, found: pa.DataType | None, path: Path) -> sge.Expr:
    """The SQL that takes a path out of a column; NULL when the column does not have it."""
    for at, name in enumerate(path):
        if found is None:
            return sge.null()
        if pa.types.is_list(found):
            inner = leaf(sge.column("x"), found.value_type, path[at:])
            made: sge.Expr = sge.func("list_transform", root, _lambda("x", inner))
            nested = _typed({"r": found.value_type}, ("r", *path[at:]))
            return sge.func("flatten", made) if nested and pa.types.is_list(nested) else made
        if not pa.types.is_struct(found) or found.get_field_index(name) < 0:
            return sge.null()
        root = sge.func("struct_extract", root, sge.Literal.string(name))
        found = found.field(found.get_field_index(name)).type
    return root


def _sql_of(sql: sge.Expr, found: pa.DataType | None) -> Sql:
    if found is None or pa.types.is_null(found):
        return _NULL
    if pa.types.is_timestamp(found):
        return Sql(sge.func("epoch_ms", sql), "instant", whole=True)
    if pa.types.is_date(found):
        return Sql(sge.func("epoch_ms", sge.cast(sql, "TIMESTAMP")), "instant", whole=True)
    if pa.types.is_list(found):
        return Sql(sql, "array", found.value_type)
    if pa.types.is_struct(found):
        return Sql(sql, "object", found)
    for test, name in _SCALARS:
        if test(found):
            return Sql(sql, name, whole=pa.types.is_integer(found))
    raise UnsupportedHere(f"a column of type {found} has no value here")


_SCALARS: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_integer, "number"),
    (pa.types.is_floating, "number"),
    (pa.types.is_string, "string"),
    (pa.types.is_large_string, "string"),
)


def _lambda(name: str, body: sge.Expr) -> sge.Lambda:
    return sge.Lambda(this=body, expressions=[sge.to_identifier(name)])


def _coalesce(sql: sge.Expr, other: sge.Expr) -> sge.Expr:
    return sge.func("COALESCE", sql, other)


def _bigint(value: int) -> sge.Expr:
    return sge.cast(sge.Literal.number(value), "BIGINT")


def _truth(found: Sql) -> sge.Expr:
    if found.kind == "boolean":
        return found.sql
    if found.kind == "array":
        return sge.GT(this=sge.func("len", found.sql), expression=sge.Literal.number(0))
    return sge.false()


def _literal(_: RuleCompiler, node: Literal, __: Env) -> Sql:
    value = node.value
    if value is None:
        return _NULL
    if type(value) is str:
        return Sql(sge.Literal.string(value), "string")
    if type(value) is bool:
        return Sql(sge.Boolean(this=value), "boolean")
    if type(value) is float:
        return Sql(sge.cast(sge.Literal.number(repr(value)), "DOUBLE"), "number")
    return Sql(_bigint(int(value)), kind(value), whole=True)


def _field(compiler: RuleCompiler, node: Field, env: Env) -> Sql:
    root, path = path_of(node)
    if root == Param(1):
        return compiler.profile_column(path)
    if isinstance(root, Var):
        bound = env[root.name]
        if isinstance(bound, EventRow):
            return compiler.event_column(bound.alias, path)
        found = _typed({"r": bound.type} if bound.type else {}, ("r", *path))
        return _sql_of(leaf(bound.sql, bound.type, path), found)
    raise UnsupportedHere("fields of what a function gives are no columns")


def _var(_: RuleCompiler, node: Var, env: Env) -> Sql:
    bound = env[node.name]
    if isinstance(bound, EventRow):
        raise UnsupportedHere("an event as a whole is no column")
    return bound


def _let(compiler: RuleCompiler, node: Let, env: Env) -> Sql:
    return compiler.value(rename(node.body, node.name, node.value), env)


def _items(compiler: RuleCompiler, node: Items, env: Env) -> Sql:
    found = [compiler.value(item, env) for item in node.items]
    kinds = {one.kind for one in found}
    if len(kinds) != 1:
        raise UnsupportedHere("a list of values of different kinds")
    if not all(isinstance(item, Literal) for item in node.items):
        raise UnsupportedHere("a list of values that are no constants")
    types = {"string": pa.string(), "boolean": pa.bool_(), "instant": pa.int64()}
    whole = all(one.whole for one in found)
    number = pa.int64() if whole else pa.float64()
    array = sge.Array(expressions=[one.sql for one in found])
    return Sql(array, "array", types.get(kinds.pop(), number))


def _occurs(compiler: RuleCompiler, node: Occurs, env: Env) -> Sql:
    time = compiler.value(node.time, env)
    at = _instant(time)
    fixed = [constant(ref) for ref in node.refs]
    known = tuple(bound for bound in fixed if bound is not None)
    if len(known) == len(fixed):
        tests = [
            _between(
                at,
                None if low is None else _bigint(_clip(low.at(compiler.now_ms))),
                None if high is None else _bigint(_clip(high.at(compiler.now_ms))),
            )
            for low, high in spans(node, known)
        ]
        return Sql(_any(tests), "boolean")
    offsets = even(node)
    if offsets is None:
        raise UnsupportedHere("this occurs with a time of the data at both sides")
    ref = _instant(compiler.value(node.refs[0], env))
    tests = [
        _between(at, _moved(ref, first, -NEVER), _moved(ref, last, NEVER))
        for first, last in offsets
    ]
    return Sql(_any(tests), "boolean")


def _clip(at_ms: int) -> int:
    return max(min(at_ms, NEVER), -NEVER)


def even(node: Occurs) -> list[tuple[int, int]] | None:
    """How far from one reference the time may lie, when that is always equally far."""
    if node.form not in {"distance", "side"}:
        return None
    found: list[tuple[int, int]] = []
    for low, high in spans(node, ((moment_start("now", ""), moment_end("now", "")),)):
        first = -NEVER if low is None else low.fixed_ms()
        last = NEVER if high is None else high.fixed_ms()
        if first is None or last is None:
            return None
        found.append((first, last))
    return found


def _moved(ref: sge.Expr, by_ms: int, without: int) -> sge.Expr | None:
    if by_ms == without:
        return None
    return sge.Add(this=ref.copy(), expression=_bigint(by_ms))


def _instant(found: Sql) -> sge.Expr:
    if found.kind == "null":
        return sge.cast(sge.null(), "BIGINT")
    if found.kind == "instant" or found.whole:
        return found.sql
    raise UnsupportedHere(f"a {found.kind} where an instant is needed: the lake keeps it as text")


def _between(at: sge.Expr, low: sge.Expr | None, high: sge.Expr | None) -> sge.Expr:
    tests: list[sge.Expr] = []
    if low is not None:
        tests.append(sge.GTE(this=at.copy(), expression=low))
    if high is not None:
        tests.append(sge.LT(this=at.copy(), expression=high))
    return sge.paren(sge.and_(*tests)) if tests else at.is_(sge.null()).not_()


def _any(tests: list[sge.Expr]) -> sge.Expr:
    return tests[0] if len(tests) == 1 else sge.paren(sge.or_(*tests))


def _call(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    if node.name in UNSUPPORTED:
        raise UnsupportedHere(f"{node.name}: {UNSUPPORTED[node.name]}", function=node.name)
    return _CALLS[node.name](compiler, node, env)


def _logic_value(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    return Sql(compiler.surely(node, env), "boolean")


def _and(compiler: RuleCompiler, node: Call, env: Env) -> sge.Expr:
    return sge.paren(sge.and_(*[compiler.holds(arg, env) for arg in node.args]))


def _or(compiler: RuleCompiler, node: Call, env: Env) -> sge.Expr:
    return sge.paren(sge.or_(*[compiler.holds(arg, env) for arg in node.args]))


def _not(compiler: RuleCompiler, node: Call, env: Env) -> sge.Expr:
    return sge.not_(compiler.surely(node.args[0], env))


_LOGIC: dict[str, Callable[[RuleCompiler, Call, Env], sge.Expr]] = {
    "and": _and,
    "or": _or,
    "not": _not,
}


def _if(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    condition, then, otherwise = node.args
    one, two = compiler.value(then, env), compiler.value(otherwise, env)
    if one.kind != two.kind and "null" not in {one.kind, two.kind}:
        raise UnsupportedHere("if with values of two kinds")
    case = sge.Case().when(compiler.holds(condition, env), one.sql).else_(two.sql)
    shape = two if one.kind == "null" else one
    return Sql(case, shape.kind, shape.type, one.whole and two.whole)


def _in_segment(compiler: RuleCompiler, node: Call, _: Env) -> Sql:
    asked = node.args[0]
    name = asked.value if isinstance(asked, Literal) else None
    if name not in compiler.audiences:
        raise UnsupportedHere(f"inSegment({name!r}): that audience is not evaluated by this query")
    return Sql(sge.column(compiler.audiences[name]), "boolean")


def _current(compiler: RuleCompiler, node: Call, _: Env) -> Sql:
    return Sql(_bigint(calendar_now(node.name, compiler.now_ms)[0]), "number", whole=True)


def _part(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    at = _instant(compiler.value(node.args[0], env))
    parts = {"getYear": "year", "getMonth": "month", "getDayOfMonth": "day"}
    moment = sge.func("make_timestamp", sge.Mul(this=at, expression=_bigint(1_000)))
    got = sge.cast(sge.func(parts[node.name], moment), "BIGINT")
    return Sql(got, "number", whole=True)


def _compare(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    left, right = (compiler.value(arg, env) for arg in node.args)
    return Sql(_compared(compiler, node.name, left, right), "boolean")


_FLIPPED = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPERATIONS: dict[str, type[sge.Binary]] = {
    "=": sge.EQ,
    "!=": sge.NEQ,
    "<": sge.LT,
    "<=": sge.LTE,
    ">": sge.GT,
    ">=": sge.GTE,
}


def _compared(compiler: RuleCompiler, op: str, left: Sql, right: Sql) -> sge.Expr:
    if "null" in {left.kind, right.kind}:
        return sge.false()
    if left.kind == "array":
        name = compiler.place()
        item = _sql_of(sge.column(name), left.type)
        test = _coalesce(_compared(compiler, op, item, right), sge.false())
        return _some(left.sql, name, test)
    if right.kind == "array":
        return _compared(compiler, _FLIPPED[op], right, left)
    if "object" in {left.kind, right.kind}:
        raise UnsupportedHere("objects are not compared as a whole")
    left, right = _aligned(left, right)
    if left.kind != right.kind:
        return _incomparable(op, left, right)
    return sge.paren(_OPERATIONS[op](this=left.sql, expression=right.sql))


def _aligned(left: Sql, right: Sql) -> tuple[Sql, Sql]:
    """A constant text beside an instant is an instant."""
    kinds = {left.kind, right.kind}
    if kinds == {"instant", "string"}:
        return _as_instant(left), _as_instant(right)
    if kinds == {"instant", "number"} and left.whole and right.whole:
        return Sql(left.sql, "instant", whole=True), Sql(right.sql, "instant", whole=True)
    return left, right


def _as_instant(found: Sql) -> Sql:
    if found.kind == "instant":
        return found
    if not isinstance(found.sql, sge.Literal):
        raise UnsupportedHere("a date-time beside a text of the data")
    at_ms = to_ms(str(found.sql.this))
    return found if at_ms is None else Sql(_bigint(at_ms), "instant", whole=True)


def _incomparable(op: str, left: Sql, right: Sql) -> sge.Expr:
    if op != "!=":
        return sge.false()
    return sge.paren(sge.and_(*(one.sql.is_(sge.null()).not_() for one in (left, right))))


def _some(array: sge.Expr, name: str, test: sge.Expr) -> sge.Expr:
    kept = sge.func("list_filter", array, _lambda(name, test))
    return sge.GT(this=sge.func("len", kept), expression=sge.Literal.number(0))


def _member(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    value, among = (compiler.value(arg, env) for arg in node.args)
    if value.kind == "null" or among.kind == "null":
        return Sql(sge.false(), "boolean")
    if among.kind != "array":
        found = _compared(compiler, "=", value, among)
    elif isinstance(among.sql, sge.Array) and value.kind != "array":
        found = _listed(value, among)
    else:
        found = _compared(compiler, "=", among, value)
    if node.name == "in":
        return Sql(found, "boolean")
    there = [one.sql.is_(sge.null()).not_() for one in (value, among)]
    return Sql(sge.paren(sge.and_(*there, sge.not_(_coalesce(found, sge.false())))), "boolean")


def _listed(value: Sql, among: Sql) -> sge.Expr:
    item = _sql_of(sge.null(), among.type)
    left, right = _aligned(value, item) if item.kind != "string" else (value, item)
    if left.kind != right.kind:
        if {left.kind, right.kind} == {"instant", "string"}:
            raise UnsupportedHere("a date-time in a list of texts")
        return sge.false()
    return sge.In(this=value.sql, expressions=[one.copy() for one in among.sql.expressions])


def _arithmetic(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    left, right = (compiler.value(arg, env) for arg in node.args)
    if left.kind != "number" or right.kind != "number":
        return _NULL
    one, two = left.sql, right.sql
    if node.name in {"/", "%"}:
        two = sge.func("NULLIF", two, sge.Literal.number(0))
    if node.name == "/":
        quotient = sge.Div(this=sge.cast(one, "DOUBLE"), expression=sge.cast(two, "DOUBLE"))
        return Sql(_finite(quotient), "number")
    made = _ARITHMETIC[node.name](this=sge.paren(one), expression=sge.paren(two))
    if left.whole and right.whole:
        return Sql(sge.func("TRY", made), "number", whole=True)
    return Sql(_finite(made), "number")


_ARITHMETIC: dict[str, type[sge.Binary]] = {
    "+": sge.Add,
    "-": sge.Sub,
    "*": sge.Mul,
    "%": sge.Mod,
}


def _finite(number: sge.Expr) -> sge.Expr:
    return sge.Case().when(sge.func("isfinite", number), number.copy())


def _text(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    value, other = (compiler.value(arg, env) for arg in node.args[:2])
    folded = len(node.args) > 2 and node.args[2] == Literal(value=False)
    return Sql(_text_test(compiler, node.name, value, (other, folded)), "boolean")


def _text_test(compiler: RuleCompiler, name: str, value: Sql, how: tuple[Sql, bool]) -> sge.Expr:
    other, folded = how
    if value.kind == "array":
        place = compiler.place()
        item = _sql_of(sge.column(place), value.type)
        test = _coalesce(_text_test(compiler, name, item, how), sge.false())
        return _some(value.sql, place, test)
    if value.kind != "string" or other.kind != "string":
        return sge.false()
    one, two = value.sql, other.sql
    if folded:
        one, two = sge.func("lower", one), sge.func("lower", two)
    return _TEXTS[name](one, two)


def _negated(test: Callable[[Any, Any], sge.Expr]) -> Callable[[Any, Any], sge.Expr]:
    return lambda one, two: sge.not_(sge.paren(test(one, two)))


def _function(name: str) -> Callable[[Any, Any], sge.Expr]:
    return lambda one, two: sge.func(name, one, two)


_TEXTS: dict[str, Callable[[Any, Any], sge.Expr]] = {
    "like": lambda one, two: sge.Like(this=one, expression=two),
    "matches": _function("regexp_matches"),
    "startsWith": _function("starts_with"),
    "doesNotStartWith": _negated(_function("starts_with")),
    "endsWith": _function("suffix"),
    "doesNotEndWith": _negated(_function("suffix")),
    "contains": _function("contains"),
    "doesNotContain": _negated(_function("contains")),
    "equals": lambda one, two: sge.EQ(this=one, expression=two),
    "notEqualTo": lambda one, two: sge.NEQ(this=one, expression=two),
}


def _regex_group(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    value = compiler.value(node.args[0], env)
    constants = [arg for arg in node.args[1:] if isinstance(arg, Literal)]
    if value.kind != "string" or len(constants) < len(node.args) - 1:
        raise UnsupportedHere("regexGroup of what is no text column, or with a pattern of the data")
    regex = sge.Literal.string(str(constants[0].value))
    index = int(constants[1].value) if len(constants) > 1 else 0
    found = sge.func("regexp_matches", value.sql, regex)
    got = sge.func("regexp_extract", value.sql, regex.copy(), sge.Literal.number(index))
    return Sql(sge.Case().when(found, got), "string")


def _is_null(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    test = compiler.value(node.args[0], env).sql.is_(sge.null())
    return Sql(test if node.name == "isNull" else sge.not_(test), "boolean")


def _includes(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    array, value = (compiler.value(arg, env) for arg in node.args)
    if array.kind != "array" or value.kind == "array":
        raise UnsupportedHere("includes of what is no list column")
    return Sql(_compared(compiler, "=", array, value), "boolean")


def _intersects(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    left, right = (compiler.value(arg, env) for arg in node.args)
    if "null" in {left.kind, right.kind}:
        return Sql(sge.false(), "boolean")
    if left.kind != "array" or right.kind != "array" or left.type != right.type:
        raise UnsupportedHere("intersects of lists of different types")
    return Sql(sge.func("list_has_any", left.sql, right.sql), "boolean")


def _filter(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    selected = compiler.events_of(node)
    if selected is not None:
        return Sql(_event_count(compiler, selected), "boolean")
    array, test = node.args
    found = compiler.value(array, env)
    if found.kind == "null":
        return _NULL
    if found.kind != "array" or not isinstance(test, Lambda):
        raise UnsupportedHere("a filter of what is no list column")
    kept = sge.func("list_filter", found.sql, compiler.item_test(found, test, env))
    return Sql(kept, "array", found.type)


def _event_count(compiler: RuleCompiler, selected: tuple[str, tuple[Node, ...]]) -> sge.Expr:
    """Whether there is an event in a selection."""
    name, parts = selected
    column = compiler.feature(sge.Count(this=sge.Star()), parts, name)
    return sge.GT(this=column, expression=sge.Literal.number(0))


def _exists(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    array, test = node.args
    selected = compiler.events_of(array)
    if selected is None:
        return Sql(_truth(_filter(compiler, Call("filter", node.args), env)), "boolean")
    if env:
        raise UnsupportedHere("a look at all events for each of them")
    name, parts = selected
    parts = (*parts, *_body(test, name))
    inner = [part for part in parts if _looks_again(part)]
    if not inner:
        return Sql(_event_count(compiler, (name, parts)), "boolean")
    if len(inner) > 1:
        raise UnsupportedHere("more than two events in one relation")
    own = tuple(part for part in parts if part is not inner[0])
    return Sql(_sequence(compiler, name, own, inner[0]), "boolean")


def _looks_again(node: Node) -> bool:
    return isinstance(node, Call) and node.name == "exists" and is_events(node.args[0])


def _sequence(compiler: RuleCompiler, name: str, own: tuple[Node, ...], inner: Node) -> sge.Expr:
    assert isinstance(inner, Call)  # noqa: S101 - an exists
    test = inner.args[1]
    assert isinstance(test, Lambda)  # noqa: S101 - the reader makes no other
    other = test.names[0]
    parts = conjuncts(test.body)
    both = tuple(part for part in parts if name in free(part))
    alone = tuple(part for part in parts if name not in free(part))
    if any(_looks_again(part) for part in parts):
        raise UnsupportedHere("more than two events in one relation")
    first = compiler.event_condition(own, name)
    then = compiler.event_condition(alone, other)
    window = _window(both, name, other)
    if first is not None and then is not None and window is not None:
        relation: Window | Join = Window(first, then, window)
    else:
        env: Env = {name: EventRow("v"), other: EventRow("p")}
        relation = Join(
            compiler.holds(conjunction(own), {name: EventRow("v")}),
            compiler.holds(conjunction(alone), {other: EventRow("p")}),
            compiler.holds(conjunction(both), env),
        )
    table = compiler.sequences.setdefault(relation, f"s{len(compiler.sequences)}")
    return sge.column("n", table=table).is_(sge.null()).not_()


def _window(both: tuple[Node, ...], first: str, then: str) -> int | None:
    """`then` follows `first` within so many milliseconds, and nothing else relates them."""
    test = both[0] if len(both) == 1 else None
    if not isinstance(test, Occurs):
        return None
    if test.time != Field(Var(then), "timestamp"):
        return None
    if test.refs != (Field(Var(first), "timestamp"),):
        return None
    offsets = even(test)
    if offsets is None or len(offsets) != 1 or offsets[0][0] != 0:
        return None
    return offsets[0][1]


def _forall(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    array, test = node.args
    assert isinstance(test, Lambda)  # noqa: S101 - the reader makes no other
    against = Call("exists", (array, Lambda(test.names, Call("not", (test.body,)))))
    return Sql(sge.not_(_coalesce(_exists(compiler, against, env).sql, sge.false())), "boolean")


def _count(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    selected = compiler.events_of(node.args[0])
    if selected is not None:
        column = compiler.feature(sge.Count(this=sge.Star()), selected[1], selected[0])
        return Sql(_coalesce(column, _bigint(0)), "number", whole=True)
    found = compiler.value(node.args[0], env)
    if found.kind == "null":
        return Sql(_bigint(0), "number", whole=True)
    if found.kind != "array":
        raise UnsupportedHere("count of what is no list column")
    length = sge.cast(_coalesce(sge.func("len", found.sql), _bigint(0)), "BIGINT")
    return Sql(length, "number", whole=True)


def _aggregate(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    selected = compiler.events_of(node.args[0])
    if selected is None:
        return _list_aggregate(compiler, node, env)
    name, parts = selected
    if len(node.args) == 1:
        raise UnsupportedHere(f"{node.name} of events as a whole")
    of = node.args[1]
    assert isinstance(of, Lambda)  # noqa: S101 - the reader makes no other
    body = rename(of.body, of.names[0], Var(name))
    value = compiler.value(body, {name: EventRow("")})
    if value.kind == "array":
        raise UnsupportedHere(f"{node.name} of lists within events")
    if value.kind not in {"number", "instant", "string"} or (
        node.name in {"sum", "average"} and value.kind != "number"
    ):
        return _empty(node.name)
    column = compiler.feature(_aggregated(node.name, value), parts, name)
    return _totalled(node.name, column, value)


def _empty(name: str) -> Sql:
    return Sql(_bigint(0), "number", whole=True) if name == "sum" else _NULL


def _aggregated(name: str, value: Sql) -> sge.Expr:
    if name == "sum":
        return sge.func("sum" if value.whole else "fsum", value.sql)
    if name == "average":
        return sge.func("favg", sge.cast(value.sql, "DOUBLE"))
    return sge.func(name, value.sql)


def _totalled(name: str, column: sge.Expr, value: Sql) -> Sql:
    if name != "sum":
        return Sql(column, value.kind, whole=value.whole and name != "average")
    if not value.whole:
        return Sql(_finite(_coalesce(column, sge.cast(sge.Literal.number(0), "DOUBLE"))), "number")
    there = sge.Between(this=column.copy(), low=_bigint(INT64_MIN), high=_bigint(INT64_MAX))
    whole = sge.Case().when(there, sge.cast(column.copy(), "BIGINT"))
    none = column.copy().is_(sge.null())
    return Sql(sge.Case().when(none, _bigint(0)).else_(whole), "number", whole=True)


def _list_aggregate(compiler: RuleCompiler, node: Call, env: Env) -> Sql:
    array = compiler.value(node.args[0], env)
    if array.kind == "null":
        return _empty(node.name)
    if array.kind != "array":
        raise UnsupportedHere(f"{node.name} of what is no list column")
    name = compiler.place()
    item = _sql_of(sge.column(name), array.type)
    value = item
    if len(node.args) > 1:
        of = node.args[1]
        assert isinstance(of, Lambda)  # noqa: S101 - the reader makes no other
        value = compiler.value(of.body, {**env, of.names[0]: item})
    if value.kind not in {"number", "instant", "string"} or (
        node.name in {"sum", "average"} and value.kind != "number"
    ):
        return _empty(node.name)
    values = sge.func("list_transform", array.sql, _lambda(name, value.sql))
    how = _aggregated(node.name, value).sql("duckdb").partition("(")[0].lower()
    cast = sge.cast(values, "DOUBLE[]") if node.name == "average" else values
    column = sge.func("list_aggregate", cast, sge.Literal.string(how))
    return _totalled(node.name, column, value)


def _chain(compiler: RuleCompiler, node: Chain, _: Env) -> Sql:
    """Two steps in order: the earliest first one lies before the latest second one."""
    if len(node.steps) > 2 or any(step.count != 1 for step in node.steps):
        raise UnsupportedHere(f"chain: {UNSUPPORTED['chain']}", function="chain")
    stamp = Field(Var(node.timestamp.names[0]), "timestamp")
    if not is_events(node.array) or node.timestamp.body != stamp:
        raise UnsupportedHere("a chain of what are not the profile's events by their timestamp")
    edges: list[sge.Expr] = []
    for step, pick in zip(node.steps, ("min", "max"), strict=False):
        parts = _body(step.what, "e") + (_body(step.when, "e") if step.when else ())
        edges.append(compiler.feature(sge.func(pick, sge.column("ts")), parts, "e"))
    if len(edges) == 1:
        return Sql(edges[0].is_(sge.null()).not_(), "boolean")
    gap = max(node.steps[1].gap_ms, 1)
    least = sge.Add(this=edges[0], expression=_bigint(gap))
    return Sql(sge.paren(sge.GTE(this=edges[1], expression=least)), "boolean")


_CALLS: dict[str, Callable[[RuleCompiler, Call, Env], Sql]] = {
    **dict.fromkeys(_LOGIC, _logic_value),
    **dict.fromkeys(_OPERATIONS, _compare),
    **dict.fromkeys(("+", "-", "*", "/", "%"), _arithmetic),
    **dict.fromkeys(("in", "notIn"), _member),
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(("isNull", "isNotNull"), _is_null),
    **dict.fromkeys(("sum", "average", "min", "max"), _aggregate),
    **dict.fromkeys(("currentYear", "currentMonth", "currentDayOfMonth"), _current),
    **dict.fromkeys(("getYear", "getMonth", "getDayOfMonth"), _part),
    "if": _if,
    "inSegment": _in_segment,
    "regexGroup": _regex_group,
    "includes": _includes,
    "intersects": _intersects,
    "filter": _filter,
    "exists": _exists,
    "forall": _forall,
    "count": _count,
}


def _entries(_: RuleCompiler, __: Entries, ___: Env) -> Sql:
    raise UnsupportedHere("an object is no column")


_NODES: dict[type[Node], Callable[[RuleCompiler, Any, Env], Sql]] = {
    Literal: _literal,
    Field: _field,
    Var: _var,
    Let: _let,
    Items: _items,
    Entries: _entries,
    Occurs: _occurs,
    Call: _call,
    Chain: _chain,
}
