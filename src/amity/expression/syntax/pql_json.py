"""How does a query in JSON become a tree, and back?

Node types as the followed system shows them: `fnApply`, `fieldLookup`, `parameterReference`,
`literal`, `lambda`, `varRef`, `chain`. What it does not show ([PROP]): arrays, objects, `let` and
`moment` are node types of these names, `occurs` is an `fnApply` whose parameters are the time and
the references, with the rest as fields beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from amity.expression.errors import SyntaxFault, UnknownFunction
from amity.expression.functions import FUNCTIONS
from amity.expression.syntax.bounds import check_spelled
from amity.expression.times import unit_of
from amity.expression.tree import (
    Call,
    Chain,
    Entries,
    Field,
    Items,
    Lambda,
    Let,
    Literal,
    Moment,
    Node,
    Occurs,
    Param,
    Step,
    Var,
)
from amity.expression.values import Instant, to_ms
from amity.kernel.clock import to_iso

Json = dict[str, Any]
DEPTH_MAX = 200
TEXT_CHARS_MAX = 1_048_576
"""Of the JSON; some sixteen times the text it says."""


def parse(text: str) -> Node:
    """The tree of a query in JSON.

    >>> parse(
    ...     '{"nodeType":"fieldLookup","fieldName":"a","object":'
    ...     '{"nodeType":"parameterReference","position":1}}'
    ... )
    Field(object=Param(position=1), name='a')
    """
    if len(text) > TEXT_CHARS_MAX:
        raise SyntaxFault(
            f"the expression has {len(text)} characters; {TEXT_CHARS_MAX} is the most"
        )
    try:
        body = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise SyntaxFault(f"the expression is no JSON: {error}") from error
    except RecursionError as error:
        raise SyntaxFault(f"the expression nests deeper than {DEPTH_MAX} levels") from error
    node = _read(body, "")
    check_spelled(node)
    return node


def text_of(node: Node) -> str:
    """The query in JSON of a tree.

    >>> text_of(Literal(1))
    '{"nodeType":"literal","literalType":"Integer","value":1}'
    """
    return msgspec.json.encode(_write(node)).decode()


def _read(body: Any, place: str) -> Node:
    if place.count("/") > DEPTH_MAX:
        raise SyntaxFault(f"the expression nests deeper than {DEPTH_MAX} levels")
    kind = body.get("nodeType") if isinstance(body, Mapping) else None
    reader = _READERS.get(str(kind))
    if reader is None:
        known = ", ".join(_READERS)
        raise SyntaxFault(f"{place or '/'}: nodeType {kind!r} is not one of {known}", path=place)
    try:
        return reader(body, place)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SyntaxFault(
            f"{place or '/'}: the {kind} node is not complete ({error})", path=place
        ) from error


def _read_call(body: Json, place: str) -> Node:
    name = body["fnName"]
    params = tuple(
        _read(param, f"{place}/params/{at}") for at, param in enumerate(body.get("params", []))
    )
    if name == "occurs":
        return Occurs(
            params[0], body["form"], params[1:], body.get("op", ""), int(body.get("amount", 0)),
            unit_of(body["unit"]) if body.get("unit") else "", body.get("direction", ""),
        )  # fmt: skip
    function = FUNCTIONS.get(name)
    if function is None:
        raise UnknownFunction(f"{place or '/'}: there is no function {name!r}", path=place)
    least, most = function.arity
    if not least <= len(params) <= most:
        raise UnknownFunction(
            f"{place or '/'}: {name} takes {least} to {most} parameters", path=place
        )
    given = tuple(
        _item_lambda(param, at) if at in function.lambdas else param
        for at, param in enumerate(params)
    )
    return Call(name, given)


def _item_lambda(param: Node, at: int) -> Node:
    if not isinstance(param, Lambda):
        raise SyntaxFault(f"parameter {at} must be a lambda node")
    return param


def _read_literal(body: Json, place: str) -> Node:
    kind, value = body.get("literalType"), body.get("value")
    if kind in {"Timestamp", "DateTime", "Date"}:
        at_ms = to_ms(value)
        if at_ms is None:
            raise SyntaxFault(f"{place}: {value!r} is no date-time", path=place)
        return Literal(Instant(at_ms))
    if isinstance(value, list | dict):
        raise SyntaxFault(f"{place}: a literal holds one value", path=place)
    return Literal(float(value) if kind == "Double" and type(value) is int else value)


def _read_lambda(body: Json, place: str) -> Lambda:
    return Lambda(tuple(body["varNames"]), _read(body["body"], f"{place}/body"))


def _read_chain(body: Json, place: str) -> Node:
    steps = []
    for at, element in enumerate(body["elements"]):
        when = element.get("when")
        steps.append(
            Step(
                str(element.get("label", f"C{at}")),
                _read_lambda(element["what"], f"{place}/elements/{at}/what"),
                _read_lambda(when, f"{place}/elements/{at}/when") if when else None,
                int(element.get("count", 1)),
                int(element.get("gap", 0)),
            )
        )
    stamp = _read_lambda(body["timestampField"], f"{place}/timestampField")
    return Chain(_read(body["array"], f"{place}/array"), stamp, tuple(steps))


def _read_items(body: Json, place: str) -> Node:
    return Items(tuple(_read(one, f"{place}/items/{at}") for at, one in enumerate(body["items"])))


def _read_entries(body: Json, place: str) -> Node:
    entries = body["entries"].items()
    return Entries(tuple((key, _read(value, f"{place}/entries/{key}")) for key, value in entries))


_READERS: dict[str, Callable[[Json, str], Node]] = {
    "fnApply": _read_call,
    "fieldLookup": lambda b, p: Field(_read(b["object"], f"{p}/object"), b["fieldName"]),
    "parameterReference": lambda b, _: Param(int(b["position"])),
    "varRef": lambda b, _: Var(b["varName"]),
    "literal": _read_literal,
    "lambda": _read_lambda,
    "chain": _read_chain,
    "array": _read_items,
    "object": _read_entries,
    "let": lambda b, p: Let(
        b["varName"], _read(b["value"], f"{p}/value"), _read(b["body"], f"{p}/body")
    ),
    "moment": lambda b, _: Moment(b["word"], unit_of(b["unit"]) if b.get("unit") else ""),
}


def _write(node: Node) -> Json:
    return _WRITERS[type(node)](node)


def _write_call(node: Call) -> Json:
    return _apply(node.name, [_write(arg) for arg in node.args])


def _apply(name: str, params: list[Json]) -> Json:
    return {"nodeType": "fnApply", "fnName": name, "params": params}


def _write_occurs(node: Occurs) -> Json:
    rest = {
        "form": node.form,
        "op": node.op,
        "amount": node.amount,
        "unit": node.unit,
        "direction": node.direction,
    }
    params = [_write(node.time), *(_write(ref) for ref in node.refs)]
    return _apply("occurs", params) | {key: value for key, value in rest.items() if value}


def _write_literal(node: Literal) -> Json:
    value = node.value
    if type(value) is Instant:
        return {"nodeType": "literal", "literalType": "Timestamp", "value": to_iso(value)}
    kind = _LITERALS.get(type(value), "Null")
    return {"nodeType": "literal", "literalType": kind, "value": value}


_LITERALS = {str: "String", int: "Integer", float: "Double", bool: "Boolean"}


def _write_lambda(node: Lambda) -> Json:
    return {"nodeType": "lambda", "varNames": list(node.names), "body": _write(node.body)}


def _write_chain(node: Chain) -> Json:
    return {
        "nodeType": "chain",
        "array": _write(node.array),
        "timestampField": _write(node.timestamp),
        "elements": [_write_step(step) for step in node.steps],
    }


def _write_step(step: Step) -> Json:
    body: Json = {"label": step.label, "what": _write(step.what), "count": step.count}
    if step.when is not None:
        body["when"] = _write(step.when)
    if step.gap_ms:
        body["gap"] = step.gap_ms
    return body


_WRITERS: dict[type[Node], Callable[[Any], Json]] = {
    Call: _write_call,
    Occurs: _write_occurs,
    Field: lambda n: {
        "nodeType": "fieldLookup", "fieldName": n.name, "object": _write(n.object),
    },
    Param: lambda n: {"nodeType": "parameterReference", "position": n.position},
    Var: lambda n: {"nodeType": "varRef", "varName": n.name},
    Literal: _write_literal,
    Lambda: _write_lambda,
    Chain: _write_chain,
    Items: lambda n: {"nodeType": "array", "items": [_write(item) for item in n.items]},
    Entries: lambda n: {
        "nodeType": "object", "entries": {key: _write(value) for key, value in n.pairs},
    },
    Let: lambda n: {
        "nodeType": "let", "varName": n.name, "value": _write(n.value), "body": _write(n.body),
    },
    Moment: lambda n: {"nodeType": "moment", "word": n.word, "unit": n.unit},
}  # fmt: skip
