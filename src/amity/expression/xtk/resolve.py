"""What does a campaign condition ask of the rows it is put to?

Names become fields of known types, and every conversion becomes a call of its own: what is left means
the same to each evaluator, without types. Constants are worked out here, the clock among them, so that
``@created >= DaysAgo(30)`` compares a column with a number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol

from amity.expression.errors import ExpressionError, TypeFault, UnknownFunction
from amity.expression.syntax.xtk import Parsed
from amity.expression.tree import Call, Field, Lambda, Literal, Node, Param, Var, path_of
from amity.expression.xtk.functions import (
    FUNCTIONS,
    Type,
    XtkFunction,
    day_start,
    to_datetime,
)
from amity.expression.xtk.rows import apply, operate

COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})
MIDNIGHT = "midnight"
CONCAT = "concat"
"""Names that no text can call: a date as an instant, and ``+`` of strings."""

_NUMBERS = frozenset({"long", "double", "boolean"})
_TIMES = frozenset({"date", "datetime"})
_AGO = {
    "daysago": "AddDays",
    "hoursago": "AddHours",
    "minutesago": "AddMinutes",
    "monthsago": "AddMonths",
}
_OLD = {"daysold": "DaysDiff", "yearsold": "YearsDiff"}


class FieldType(NamedTuple):
    """Of which type a field is; `names`: the numbers that its enumeration's names stand for."""

    type: Type
    names: Mapping[str, int | str] = {}


class Fields(Protocol):
    """The fields of a row."""

    def field(self, path: tuple[str, ...]) -> FieldType:
        """The type of a field; `UnknownField` says which there are."""

    def records(self, schema: str) -> Fields:
        """The fields of the records of a schema that link to the row."""


class Typed(NamedTuple):
    """A tree that needs no types any more, and the type of its value."""

    node: Node
    type: Type
    names: Mapping[str, int | str] = {}


def resolve(parsed: Parsed, fields: Fields, now_ms: int) -> Typed:
    """The typed tree of an expression.

    Raises:
        UnknownField: For a name that the rows do not have, with its place.
        UnknownFunction: For a function that there is not, or with other arguments.
        TypeFault: For values that do not go together.
    """
    return _Resolver(parsed.places, now_ms).visit(parsed.node, {Param(1): fields})


def condition(parsed: Parsed, fields: Fields, now_ms: int) -> Node:
    """The typed tree of a condition; a number alone holds unless it is 0."""
    return _Resolver(parsed.places, now_ms).condition(parsed.node, {Param(1): fields})


Env = Mapping[Node, Fields]


class _Resolver:
    def __init__(self, places: Mapping[Node, tuple[int, int]], now_ms: int) -> None:
        self._places = places
        self._now_ms = now_ms

    def visit(self, node: Any, env: Env) -> Typed:
        if isinstance(node, Literal):
            return _constant(node.value)
        if isinstance(node, Field):
            return self._field(node, env)
        form = _FORMS.get(node.name)
        if form is not None:
            return form(self, node, env)
        return self._function(node, env)

    def condition(self, node: Node, env: Env) -> Node:
        typed = self.visit(node, env)
        if typed.type == "condition":
            return typed.node
        if typed.type in _NUMBERS:
            return Call("!=", (typed.node, Literal(0)))
        raise self._fault(node, f"a {typed.type} is no condition; compare it with something")

    def _field(self, node: Field, env: Env) -> Typed:
        root, path = path_of(node)
        try:
            found = env[root].field(path)
        except ExpressionError as error:
            raise type(error)(f"{error.message}{self._at(node)}", **self._place(node)) from error
        return Typed(node, found.type, found.names)

    def junction(self, node: Call, env: Env) -> Typed:
        parts = tuple(self.condition(part, env) for part in node.args)
        return Typed(Call(node.name, parts), "condition")

    def comparison(self, node: Call, env: Env) -> Typed:
        left, right = (self.visit(part, env) for part in node.args)
        return Typed(Call(node.name, self._pair(node, left, right)), "condition")

    def membership(self, node: Call, env: Env) -> Typed:
        left, *items = (self.visit(part, env) for part in node.args)
        pairs = [self._pair(node, left, item) for item in items]
        if len({one for one, _ in pairs}) > 1:
            raise self._fault(node, "the values of a list are of one type")
        return Typed(Call(node.name, (pairs[0][0], *(two for _, two in pairs))), "condition")

    def like(self, node: Call, env: Env) -> Typed:
        value, form = (self.visit(part, env) for part in node.args)
        if value.type != "string":
            raise self._fault(node, f"LIKE looks into strings, not a {value.type}")
        if form.type != "string" or not isinstance(form.node, Literal):
            raise self._fault(
                node, "LIKE takes a constant: 'north%', where % is any run and _ one character"
            )
        return Typed(Call(node.name, (value.node, form.node)), "condition")

    def nullness(self, node: Call, env: Env) -> Typed:
        typed = self.visit(node.args[0], env)
        if typed.type == "condition":
            raise self._fault(node, "a condition is never NULL")
        return Typed(Call(node.name, (typed.node,)), "condition")

    def exists(self, node: Call, env: Env) -> Typed:
        schema: Any
        test: Any
        schema, test = node.args
        root: Node = Var(f"_{int(test.names[0][1:]) - 1}")
        around = env.get(root) or env[Param(1)]
        try:
            records = around.records(schema.value)
        except ExpressionError as error:
            raise type(error)(f"{error.message}{self._at(node)}", **self._place(node)) from error
        if test.body == Literal(value=True):
            return Typed(node, "condition")
        body = self.condition(test.body, {**env, Var(test.names[0]): records})
        return Typed(Call("exists", (schema, Lambda(test.names, body))), "condition")

    def arithmetic(self, node: Call, env: Env) -> Typed:
        left, right = (self.visit(part, env) for part in node.args)
        if node.name == "+" and left.type == right.type == "string":
            return _folded(Call(CONCAT, (left.node, right.node)), "string", operate)
        if not {left.type, right.type} <= _NUMBERS:
            hint = "; times are moved by AddDays" if _TIMES & {left.type, right.type} else ""
            raise self._fault(
                node, f"{node.name} does not go with {left.type} and {right.type}{hint}"
            )
        whole = {left.type, right.type} <= {"long", "boolean"} and node.name != "/"
        if node.name == "%" and not whole:
            raise self._fault(node, "% takes whole numbers")
        return _folded(
            Call(node.name, (left.node, right.node)), "long" if whole else "double", operate
        )

    def _function(self, node: Call, env: Env) -> Typed:
        name = node.name.lower()
        if name == "getdate" and not node.args:
            return Typed(Literal(self._now_ms), "datetime")
        if name in _AGO and len(node.args) == 1:
            args = (Literal(self._now_ms), Call("-", (Literal(0), node.args[0])))
            return self._called(
                FUNCTIONS[_AGO[name].lower()], node, (_now(args[0]), self.visit(args[1], env))
            )
        if name in _OLD and len(node.args) == 1:
            given = (_now(Literal(self._now_ms)), self.visit(node.args[0], env))
            return self._called(FUNCTIONS[_OLD[name].lower()], node, given)
        function = FUNCTIONS.get(name)
        if function is None:
            known = ", ".join(one.name for one in FUNCTIONS.values())
            raise UnknownFunction(
                f"there is no function {node.name!r}{self._at(node)}; there are: {known}",
                **self._place(node),
            )
        if function.name == "Iif" and len(node.args) == len(function.takes):
            test = Typed(self.condition(node.args[0], env), "condition")
            return self._called(
                function, node, (test, *(self.visit(a, env) for a in node.args[1:]))
            )
        if function.name in {"ToDateTime", "ToDate"}:
            return self._to_time(function, node, env)
        return self._called(function, node, tuple(self.visit(arg, env) for arg in node.args))

    def _to_time(self, function: XtkFunction, node: Call, env: Env) -> Typed:
        """A constant text is read here; a date is not moved by being made a date."""
        given = tuple(self.visit(arg, env) for arg in node.args)
        if len(given) == 1 and given[0].type == "date" and function.name == "ToDate":
            return given[0]
        if len(given) == 1 and _is_text(given[0]) and function.name == "ToDate":
            return Typed(Literal(self._day(node, given[0].node)), "date")
        return self._called(function, node, given)

    def _called(self, function: XtkFunction, node: Call, given: tuple[Typed, ...]) -> Typed:
        least = len(function.takes)
        if len(given) < least or (len(given) > least and not function.more):
            raise UnknownFunction(
                f"{function.name} is called as {function.signature}{self._at(node)}",
                **self._place(node),
            )
        takes = (*function.takes, *function.takes[-1:] * (len(given) - least))
        args = list(given)
        for at, (kind, typed) in enumerate(zip(takes, given, strict=True)):
            args[at] = self._taken(function, node, kind, typed)
        kind_of_all = self._common(
            node, [a for a, k in zip(args, takes, strict=True) if k == "same"]
        )
        call = Call(function.name, tuple(arg.node for arg in args))
        gives = function.gives or kind_of_all or args[-1].type
        return _folded(call, gives, apply)

    def _taken(self, function: XtkFunction, node: Call, kind: str, typed: Typed) -> Typed:
        if kind == "time":
            return Typed(self._as_time(node, typed), "datetime")
        fits = {
            "long": {"long", "boolean"},
            "number": _NUMBERS,
            "string": {"string"},
            "any": {"long", "double", "boolean", "string"},
            "same": {"long", "double", "boolean", "string", "date", "datetime"},
            "condition": {"condition"},
        }[kind]
        if typed.type not in fits:
            raise self._fault(node, f"{function.signature} does not take a {typed.type}")
        return typed

    def _common(self, node: Call, args: list[Typed]) -> Type | None:
        """The one type of the arguments that must be of one."""
        kinds = {arg.type for arg in args}
        if len(kinds) < 2:
            return next(iter(kinds), None)
        if kinds <= _NUMBERS:
            return "double" if "double" in kinds else "long"
        raise self._fault(
            node, f"{node.name} takes values of one type, not {' and '.join(sorted(kinds))}"
        )

    def _pair(self, node: Call, left: Typed, right: Typed) -> tuple[Node, Node]:
        left, right = self._named(node, left, right), self._named(node, right, left)
        kinds = {left.type, right.type}
        if kinds <= _NUMBERS or kinds in ({"string"}, {"date"}):
            return left.node, right.node
        if kinds == {"date", "string"} and (_is_text(left) or _is_text(right)):
            return self._as_day(node, left), self._as_day(node, right)
        if "datetime" in kinds and _is_whole(left if right.type == "datetime" else right):
            return left.node, right.node
        if kinds & _TIMES:
            return self._as_time(node, left), self._as_time(node, right)
        raise self._fault(
            node, f"{node.name} compares a {left.type} with a {right.type}{_advice(kinds)}"
        )

    def _named(self, node: Call, typed: Typed, other: Typed) -> Typed:
        """A name of the other side's enumeration as its value."""
        if not other.names or not _is_text(typed) or other.type == "string":
            return typed
        name = typed.node.value if isinstance(typed.node, Literal) else ""
        if name not in other.names:
            raise self._fault(
                node, f"{name!r} is no value here; there are: {', '.join(other.names)}"
            )
        return _constant(other.names[name])

    def _as_day(self, node: Call, typed: Typed) -> Node:
        return Literal(self._day(node, typed.node)) if typed.type == "string" else typed.node

    def _day(self, node: Call, text: Any) -> str:
        if day_start(text.value) is None:
            raise self._fault(node, f"{text.value!r} is no date; write #2017-10-30#")
        return str(text.value)

    def _as_time(self, node: Call, typed: Typed) -> Node:
        if typed.type == "datetime":
            return typed.node
        if typed.type == "date":
            return _folded(Call(MIDNIGHT, (typed.node,)), "datetime", operate).node
        if _is_text(typed) and isinstance(typed.node, Literal):
            at_ms = to_datetime(typed.node.value)
            if at_ms is not None:
                return Literal(at_ms)
            raise self._fault(
                node,
                f"{typed.node.value!r} is no time; write #2017-10-30# or #2017-10-30 18:00:00#",
            )
        raise self._fault(node, f"a {typed.type} is no time{_advice({typed.type})}")

    def _place(self, node: Node) -> dict[str, Any]:
        line, column = self._places.get(node, (0, 0))
        return {"line": line, "column": column} if line else {}

    def _at(self, node: Node) -> str:
        line, column = self._places.get(node, (0, 0))
        return f" (line {line}, column {column})" if line else ""

    def _fault(self, node: Node, text: str) -> TypeFault:
        return TypeFault(f"{text}{self._at(node)}", **self._place(node))


_FORMS: dict[str, Callable[[_Resolver, Call, Env], Typed]] = {
    **dict.fromkeys(("and", "or", "not"), _Resolver.junction),
    **dict.fromkeys(COMPARISONS, _Resolver.comparison),
    **dict.fromkeys(("in", "notIn"), _Resolver.membership),
    **dict.fromkeys(("like", "notLike"), _Resolver.like),
    **dict.fromkeys(("isNull", "isNotNull"), _Resolver.nullness),
    **dict.fromkeys(("+", "-", "*", "/", "%"), _Resolver.arithmetic),
    "exists": _Resolver.exists,
}


def _constant(value: Any) -> Typed:
    if isinstance(value, bool):
        return Typed(Literal(int(value)), "boolean")
    kind: Type = "string" if isinstance(value, str) else "long"
    return Typed(Literal(value), "double" if isinstance(value, float) else kind)


def _now(at: Literal) -> Typed:
    return Typed(at, "datetime")


def _is_text(typed: Typed) -> bool:
    return typed.type == "string" and isinstance(typed.node, Literal)


def _is_whole(typed: Typed) -> bool:
    return typed.type == "long" and isinstance(typed.node, Literal)


def _advice(kinds: Collection[str]) -> str:
    if "string" in kinds and _NUMBERS.intersection(kinds):
        return "; make the string a number by ToInteger(…), or write the constant in quotes"
    if "condition" in kinds:
        return "; a condition becomes a value by Iif(condition, 1, 0)"
    return ""


def _folded(call: Call, kind: Type, work_out: Callable[[str, list[Any]], Any]) -> Typed:
    """The call, or its value where it is known."""
    values = [arg.value for arg in call.args if isinstance(arg, Literal)]
    if len(values) < len(call.args):
        return Typed(call, kind)
    return Typed(Literal(work_out(call.name, values)), kind)
