"""How is a template filled in for one person?

Liquid says what a template means, with limits: no tag opens a file, no filter tells the machine's time,
no loop runs for ever. Most of a mail is fixed text with names in it; that much is put together without
Liquid, and whatever is less plain, or could be an error, is left to it. See docs/adr/0017-delivery.md.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import liquid
from liquid.ast import Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import OutputNode
from liquid.exceptions import FilterArgumentError, LiquidError
from liquid.expression import Expression
from liquid.stringify import to_liquid_string
from liquid.undefined import StrictDefaultUndefined

from amity.campaign.delivery.errors import BadContent, NotRendered
from amity.campaign.delivery.rewriting import (
    LINK_VARIABLE,
    MIRROR_VARIABLE,
    UNSUBSCRIBE_VARIABLE,
    pieces,
    with_links,
)

LOOPS_MAX = 10_000
"""Rounds of all loops of one message. Ours."""

OUTPUT_BYTES_MAX = 2 << 20
"""Longest part of a message. Ours."""

FILTER_WORK_MAX = 16 << 20
"""What one filter may grow a value to, at worst. Ours."""

FILTER_WORK_IN_ALL_MAX = 4 << 20
"""Characters and items that all filters of a part may look at: half a second. Ours."""

NAMESPACES: Final = frozenset(
    {
        "recipient",
        "targetData",
        "delivery",
        MIRROR_VARIABLE,
        UNSUBSCRIBE_VARIABLE,
    }
)
"""What a template may speak of."""

_BYTES_A_CHARACTER = 4
_MISSING: Final = object()


class Template:
    """A template of one part, read once; `BadContent` where it is none.

    Args:
        part: Its name in errors.
        source: Liquid, with a message's own links set in.
        html: Whether values are escaped.
    """

    def __init__(self, part: str, source: str, *, html: bool) -> None:
        try:
            self._liquid = (_HTML if html else _TEXT).from_string(source, name=part)
        except LiquidError as error:
            raise BadContent(f"{part}: {_told(error)}", part=part) from error
        self._html = html
        self._plan = _plan(self._liquid.nodes)

    def variables(self) -> set[str]:
        """The variables it speaks of: ``recipient.firstName``."""
        found: set[str] = set()
        for name, places in self._liquid.analyze(include_partials=False).globals.items():
            found |= {".".join(map(str, one.segments)) for one in places} or {name}
        return found

    def made(self, values: Mapping[str, Any]) -> str:
        """What it says to one person; `NotRendered` says what the person lacks."""
        _WORK.done = 0
        if self._plan is not None:
            quick = self._put_together(self._plan, values)
            if quick is not None:
                return quick
        return self.by_liquid(values)

    def by_liquid(self, values: Mapping[str, Any]) -> str:
        """The same, as Liquid says it: what `made` must be equal to."""
        part = self._liquid.name
        _WORK.done = 0
        try:
            made = self._liquid.render(values)
        except LiquidError as error:
            raise NotRendered(f"{part}: {_told(error)}") from error
        except (ArithmeticError, RecursionError, TypeError, ValueError, MemoryError) as error:
            # A value of a kind that a filter does not expect is this recipient's trouble alone.
            raise NotRendered(f"{part}: {type(error).__name__}: {error}") from error
        return with_links(made, values.get(LINK_VARIABLE, {}))

    def _put_together(self, plan: _Plan, values: Mapping[str, Any]) -> str | None:
        """The parts in a row; None where Liquid must say what is to be said or what is wrong."""
        said: list[str] = []
        for path in plan.paths:
            value = _value(path, values)
            if value is _MISSING:
                return None
            said.append(self._shown(value))
        try:
            if plan.filtered:
                context = liquid.RenderContext(self._liquid, globals={**values, "partial": False})
                said += [self._shown(one.evaluate(context)) for one in plan.filtered]
        except Exception:  # noqa: BLE001 - Liquid says it again, with the place
            return None
        parts = plan.parts.copy()
        for at, slot in plan.slots:
            parts[at] = said[slot]
        links: Mapping[str, str] = values.get(LINK_VARIABLE, {})
        for at, name in plan.links:
            parts[at] = links.get(name, "")
        made = "".join(parts)
        return made if len(made) * _BYTES_A_CHARACTER <= OUTPUT_BYTES_MAX else None

    def _shown(self, value: Any) -> str:
        """A value as text."""
        if type(value) is not str or self._html:
            value = str(to_liquid_string(value, self._html))
        return _lines(value) if "\r" in value else value


class _Plan(NamedTuple):
    """A template without tags: what stands where."""

    parts: list[str]
    """All of it, with places left free."""

    slots: list[tuple[int, int]]
    """Place → which value, of `paths` and then of `filtered`."""

    links: list[tuple[int, str]]
    """Place → which of the message's own links."""

    paths: list[tuple[str, ...]]
    filtered: list[Expression]


def _plan(nodes: Sequence[Node]) -> _Plan | None:
    """How to put a template together, unless it has tags."""
    plan = _Plan([], [], [], [], [])
    outputs: list[tuple[int, tuple[str, ...] | Expression]] = []
    for node in nodes:
        if type(node) is ContentNode:
            for text, link in pieces(_lines(node.text)):
                if link:
                    plan.links.append((len(plan.parts), link))
                plan.parts.append(text)
        elif type(node) is OutputNode:
            outputs.append((len(plan.parts), _path(node.expression) or node.expression))
            plan.parts.append("")
        else:
            return None
    plan.paths.extend({what for _, what in outputs if isinstance(what, tuple)})
    for at, what in outputs:
        if isinstance(what, tuple):
            plan.slots.append((at, plan.paths.index(what)))
        else:
            plan.slots.append((at, len(plan.paths) + len(plan.filtered)))
            plan.filtered.append(what)
    return plan


def _path(expression: Expression) -> tuple[str, ...] | None:
    """The names of a plain variable, ``recipient.firstName``."""
    if type(expression) is not FilteredExpression or expression.filters:
        return None
    left = expression.left
    if type(left) is not Path or left.path[0] not in NAMESPACES:
        return None
    names = tuple(one for one in left.path if type(one) is str)
    return names if len(names) == len(left.path) else None


def _lines(text: str) -> str:
    """As Liquid writes it: any line end becomes a newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _value(path: tuple[str, ...], values: Mapping[str, Any]) -> Any:
    found: Any = values
    for name in path:
        if type(found) is not dict:
            return _MISSING
        found = found.get(name, _MISSING)
    return found


class _Environment(liquid.Environment):
    loop_iteration_limit: ClassVar[int | None] = LOOPS_MAX
    output_stream_limit: ClassVar[int | None] = OUTPUT_BYTES_MAX
    local_namespace_limit: ClassVar[int | None] = OUTPUT_BYTES_MAX
    context_depth_limit: ClassVar[int] = 20


def _environment(*, autoescape: bool) -> liquid.Environment:
    made = _Environment(autoescape=autoescape, undefined=StrictDefaultUndefined)
    for tag in ("include", "render"):
        del made.tags[tag]
    for name, work in list(made.filters.items()):
        made.filters[name] = _bounded(name, work)
    return made


def _bounded(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, unless it could grow a value beyond all bounds or would ask for the time."""

    @functools.wraps(work)
    def bounded(value: Any, *args: Any, **named: Any) -> Any:
        sizes = [_size(arg) for arg in args]
        own = _size(value)
        _WORK.done += own + sum(sizes)
        if own * max([1, *sizes]) > FILTER_WORK_MAX or _WORK.done > FILTER_WORK_IN_ALL_MAX:
            raise FilterArgumentError(f"{name}: the result could become too large", token=None)
        if name == "date" and issubclass(type(value), str) and value in {"now", "today"}:
            raise FilterArgumentError(
                "date: 'now' differs each time a message is made; write delivery.contactDate",
                token=None,
            )
        return work(value, *args, **named)

    return bounded


class _Work(threading.local):
    """What the filters of the part that this thread makes have looked at."""

    done = 0


_WORK = _Work()


def _size(value: Any) -> int:
    # By its type: what is undefined answers every question, also that for its class, by an error.
    kind = type(value)
    if issubclass(kind, str | list | tuple | range | dict):
        return len(value)
    # Whole numbers have no end: squared thirty times they fill the machine.
    return 1 + value.bit_length() // 8 if issubclass(kind, int) else 1


_HTML = _environment(autoescape=True)
_TEXT = _environment(autoescape=False)


def _told(error: LiquidError) -> str:
    text = str(error).strip().splitlines()
    position = error.context()
    where = f" (line {position[0]})" if position is not None else ""
    return (text[0] if text else type(error).__name__)[:400] + where
