"""Which functions look into strings?

Regular expressions are RE2 everywhere, so that no pattern can stall the server. `matches` finds
(does not anchor), as the followed system's own example tells it. [PROP]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import re2

from amity.expression.errors import TypeFault
from amity.expression.function import Function
from amity.expression.values import Value, fold

Test = Callable[[str, str], bool]


@lru_cache(maxsize=1_024)
def pattern(regex: str) -> Any:
    """The compiled pattern; refuses what RE2 does not know."""
    try:
        return re2.compile(regex, _OPTIONS)
    except re2.error as error:
        raise TypeFault(
            f"{regex!r} is no regular expression that RE2 knows ({error}); "
            "look-around and back references are not supported",
            pattern=regex,
        ) from error


_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


@lru_cache(maxsize=1_024)
def like_pattern(form: str) -> str:
    r"""The regular expression of a `like` form: `%` any run, `_` one character.

    >>> like_pattern("a_%")
    '(?s)^a..*$'
    """
    parts = (_WILD.get(char) or re2.escape(char) for char in form)
    return f"(?s)^{''.join(parts)}$"


_WILD = {"%": ".*", "_": "."}


def _like(value: Value, form: Value) -> bool:
    return _each(value, form, lambda text, like: bool(pattern(like_pattern(like)).search(text)))


def _matches(value: Value, regex: Value) -> bool:
    return _each(value, regex, lambda text, expr: _search(expr, text) is not None)


def _search(regex: str, text: str) -> Any:
    """What a pattern finds. One that comes from the data and is none finds nothing."""
    try:
        return pattern(regex).search(text)
    except TypeFault:
        return None


def _each(value: Value, other: Value, test: Test) -> bool:
    if type(value) is list:
        return any(_each(item, other, test) for item in value)
    return type(value) is str and type(other) is str and test(value, other)


def _cased(test: Test) -> Callable[..., bool]:
    def apply(value: Value, other: Value, case_sensitive: Value = True) -> bool:  # noqa: FBT002 - the language's own default
        if case_sensitive is not False:
            return _each(value, other, test)
        return _each(value, other, lambda text, part: test(fold(text), fold(part)))

    return apply


def _group(value: Value, regex: Value, index: Value = 0) -> Value:
    if type(value) is not str or type(regex) is not str or type(index) is not int:
        return None
    found = _search(regex, value)
    return found.group(index) if found and 0 <= index <= found.re.groups else None


def _text(name: str, summary: str, test: Test) -> Function:
    return Function(
        name=name,
        signature=f"string.{name}(part, caseSensitive = true) -> boolean",
        summary=summary,
        example=f'personalEmail.address.{name}("x", false)',
        gives="boolean",
        arity=(2, 3),
        apply=_cased(test),
    )


FUNCTIONS = (
    Function(
        name="like",
        signature="string like form -> boolean",
        summary="The string has the form: `%` stands for any run, `_` for one character.",
        example='homeAddress.city like "San%"',
        gives="boolean",
        arity=(2, 2),
        apply=_like,
    ),
    Function(
        name="matches",
        signature="string.matches(regex) -> boolean",
        summary="The regular expression finds a place in the string.",
        example='person.name.firstName.matches("(?i)^John")',
        gives="boolean",
        arity=(2, 2),
        apply=_matches,
    ),
    Function(
        name="regexGroup",
        signature="string.regexGroup(regex, group) -> string",
        summary="What a group of the regular expression caught; null when it finds nothing.",
        example='personalEmail.address.regexGroup("@(\\\\w+)", 1) = "example"',
        gives="string",
        arity=(2, 3),
        apply=_group,
    ),
    _text("startsWith", "It begins so.", str.startswith),
    _text(
        "doesNotStartWith", "It is there and does not begin so.", lambda s, p: not s.startswith(p)
    ),
    _text("endsWith", "It ends so.", str.endswith),
    _text("doesNotEndWith", "It is there and does not end so.", lambda s, p: not s.endswith(p)),
    _text("contains", "It holds the part.", lambda s, p: p in s),
    _text("doesNotContain", "It is there and does not hold the part.", lambda s, p: p not in s),
    _text("equals", "The strings are equal.", lambda s, p: s == p),
    _text("notEqualTo", "The strings are there and differ.", lambda s, p: s != p),
)
