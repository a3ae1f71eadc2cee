"""How does SQL say what a condition means?

Each entry says in SQLite's words what `amity.expression.xtk.rows` says in Python; property tests hold
them equal. NULL counts as false: only `NOT` needs to be told, so that indexes stay usable elsewhere.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from amity.expression.times import date_ms
from amity.expression.xtk.functions import DECIMAL_CHARS_MAX
from amity.kernel.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

Sql = sa.ColumnElement[Any]

_FIRST_MS = date_ms(1000, 1, 1)
_LAST_MS = date_ms(9999, 12, 31) + DAY_MS
_WHOLE_CHARS_MAX = 18
_MONTHS_MAX = 12_000
_INT64 = float(1 << 63)
_GLOB = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}
_DAY_GLOB = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"


def _not(condition: Sql) -> Sql:
    return sa.func.coalesce(sa.type_coerce(condition, sa.Integer), 0) == 0


def _like(text: Sql, form: Any) -> Sql:
    """`GLOB` minds case and uses indexes; the form is a constant."""
    glob = "".join(_GLOB.get(char, char) for char in form.value)
    return text.op("GLOB", is_comparison=True)(glob)


def _int(value: Sql) -> Sql:
    return sa.type_coerce(value, sa.BigInteger)


def _op(sign: str) -> Callable[[Sql, Sql], Sql]:
    return lambda left, right: _int(left.op(sign)(right))


def _divided(left: Sql, right: Sql) -> Sql:
    return sa.type_coerce(sa.cast(left, sa.Double).op("/")(right), sa.Double)


def _floored(value: Sql, size: int) -> Sql:
    """Whole units, rounded down also below zero."""
    rest = value.op("%")(size).op("+")(size).op("%")(size)
    return value.op("-")(rest).op("/")(size)


def _within(at_ms: Sql, made: Sql) -> Sql:
    return sa.case((sa.and_(at_ms >= _FIRST_MS, at_ms < _LAST_MS), made))


def _written(form: str, at_ms: Sql) -> Sql:
    return sa.func.strftime(form, _floored(at_ms, SECOND_MS), "unixepoch")


def _part(form: str) -> Callable[[Sql], Sql]:
    return lambda at: _within(_int(at), sa.cast(_written(form, _int(at)), sa.Integer))


def _to_date(at: Sql) -> Sql:
    return _within(_int(at), sa.type_coerce(_written("%Y-%m-%d", _int(at)), sa.Text))


def _midnight(day: Sql) -> Sql:
    made = sa.func.unixepoch(day).op("*")(SECOND_MS)
    right = sa.and_(
        day.op("GLOB", is_comparison=True)(_DAY_GLOB),
        sa.func.strftime("%Y-%m-%d", day) == day,
        day >= "0001-01-01",
    )
    return sa.case((right, _int(made)))


def _add(size_ms: int) -> Callable[[Sql, Sql], Sql]:
    return lambda at, amount: _int(_int(at).op("+")(amount.op("*")(size_ms)))


def _add_months(at: Sql, amount: Sql) -> Sql:
    at = _int(at)
    seconds = _floored(at, SECOND_MS)
    move = sa.cast(amount, sa.Text).op("||")(" months")
    moved = sa.func.unixepoch(seconds, "unixepoch", move, "floor").op("*")(SECOND_MS)
    made = _int(moved.op("+")(at.op("-")(seconds.op("*")(SECOND_MS))))
    fits = amount.between(-_MONTHS_MAX, _MONTHS_MAX)
    return sa.case((fits, _within(at, _within(made, made))))


def _days_diff(later: Sql, earlier: Sql) -> Sql:
    return _int(_floored(_int(later).op("-")(earlier), DAY_MS))


def _years_diff(later: Sql, earlier: Sql) -> Sql:
    year, day = _part("%Y"), _part("%m%d")
    before = sa.case((day(later) < day(earlier), 1), else_=0)
    return year(later).op("-")(year(earlier)).op("-")(before)


def _most(value: Sql, least: int) -> Sql:
    return sa.func.max(value, least)


def _digits(value: Sql) -> tuple[Sql, Sql]:
    """A numeral without spaces around, and without its sign."""
    text = sa.func.trim(value)
    signed = sa.func.substr(text, 1, 1).in_(("+", "-"))
    return text, sa.case((signed, sa.func.substr(text, 2)), else_=text)


def _is_text(value: Sql) -> Sql:
    return sa.func.typeof(value) == "text"


def _to_integer(value: Sql) -> Sql:
    text, digits = _digits(value)
    whole = sa.and_(
        digits != "",
        sa.func.length(digits) <= _WHOLE_CHARS_MAX,
        sa.not_(digits.op("GLOB", is_comparison=True)("*[^0-9]*")),
    )
    return sa.case(
        (sa.and_(_is_text(value), whole), sa.cast(text, sa.BigInteger)),
        (_is_text(value), sa.null()),
        (_abs(value) < _INT64, sa.cast(value, sa.BigInteger)),
    )


def _to_double(value: Sql) -> Sql:
    text, digits = _digits(value)
    points = sa.func.length(digits) - sa.func.length(sa.func.replace(digits, ".", ""))
    decimal = sa.and_(
        digits.op("GLOB", is_comparison=True)("*[0-9]*"),
        sa.func.length(text) <= DECIMAL_CHARS_MAX,
        points <= 1,
        sa.not_(digits.op("GLOB", is_comparison=True)("*[^0-9.]*")),
    )
    return sa.case(
        (sa.and_(_is_text(value), decimal), sa.cast(text, sa.Double)),
        (_is_text(value), sa.null()),
        else_=sa.cast(value, sa.Double),
    )


def _abs(value: Sql) -> Sql:
    """`abs` of the least integer is an error in SQL; 0 minus it is a double."""
    return sa.case((value < 0, sa.literal(0).op("-")(value)), else_=value)


CALLS: Mapping[str, Callable[..., Sql]] = {
    "and": sa.and_,
    "or": sa.or_,
    "not": _not,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, *items: value.in_(items),
    "notIn": lambda value, *items: value.not_in(items),
    "like": _like,
    "notLike": lambda text, form: sa.not_(_like(text, form)),
    "isNull": lambda value: value.is_(sa.null()),
    "isNotNull": lambda value: value.is_not(sa.null()),
    "+": _op("+"),
    "-": _op("-"),
    "*": _op("*"),
    "/": _divided,
    "%": _op("%"),
    "concat": lambda left, right: sa.type_coerce(left.op("||")(right), sa.Text),
    "midnight": _midnight,
    "AddDays": _add(DAY_MS),
    "AddHours": _add(HOUR_MS),
    "AddMinutes": _add(MINUTE_MS),
    "AddMonths": _add_months,
    "DaysDiff": _days_diff,
    "YearsDiff": _years_diff,
    "Year": _part("%Y"),
    "Month": _part("%m"),
    "Day": _part("%d"),
    "Hour": _part("%H"),
    "ToDate": _to_date,
    "ToDateTime": _int,
    "Lower": sa.func.lower,
    "Upper": sa.func.upper,
    "Length": sa.func.length,
    "Substring": lambda text, start, length: sa.func.substr(
        text, _most(start, 1), _most(length, 0)
    ),
    "Left": lambda text, length: sa.func.substr(text, 1, _most(length, 0)),
    "Trim": sa.func.trim,
    "ToInteger": _to_integer,
    "ToDouble": _to_double,
    "Abs": _abs,
    "Round": sa.func.round,
    "Coalesce": sa.func.coalesce,
    "Iif": lambda test, then, otherwise: sa.case((test, then), else_=otherwise),
}
"""By the names of resolved trees."""
