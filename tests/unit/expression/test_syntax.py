"""A query reads the same as text and as JSON, and a fault says where it is."""

from __future__ import annotations

import msgspec
import pytest

from amity.expression.check import check
from amity.expression.errors import ExpressionError, SyntaxFault, TypeFault, UnknownField
from amity.expression.functions import FUNCTIONS
from amity.expression.syntax import pql_json, pql_text
from amity.expression.syntax.pql import parse

QUERIES = [
    'homeAddress.city = "Rome"',
    '(P) => P.homeAddress.city = "Rome"',
    "$1.age + 2 * 3 - -1 > 5 % 2 / 4.5",
    'a in ["x", "y"] and b notIn [1, 2.5] or not (c = true)',
    '!(a.b like "x_%") and c.matches("(?i)^J\\\\d")',
    'xEvent[productListItems[SKU = "S1" and ^eventType = "buy" and ^^.person.age > 3]]',
    'select E from xEvent where E.eventType = "buy"',
    "exists E from xEvent where (E.t = 1), I from E.items where I.q > 1 and I.q < ^.max",
    "forall E from xEvent: E.t = 1",
    'let S = (xEvent[eventType = "a"]) in (S.count() > 3 and S.sum(total) > 2)',
    'sum X.p over X from xEvent where X.c = "USD"',
    'xEvent.groupBy(eventType).map((K, G) => mapEntry(K, G.count())).get("a") > 1',
    (
        'chain(xEvent, timestamp, [A: WHAT(eventType = "a") WHEN(<= 2 days before now) COUNT(2), '
        "B: WHAT(total > 1) WHEN(today) WHERE(total < 9) GAP(>= 3 days)])"
    ),
    "timestamp occurs on today or timestamp occurs last week",
    "t occurs between date(2024, 2, 29) and tomorrow and t occurs after u",
    "t occurs <= 3 centuries from now or t occurs = 2 millennia before u.v",
    'inSegment("x") and if(age >= 18, "adult", "minor") = "adult"',
    "tags.intersects([1]) and tags.topN(this, 3).head() = 1 and m.keys().count() > 1",
    "birthDate.getMonth() = currentMonth()",
    'x.equals("A", false) and y.isNotNull() and z = null',
]


@pytest.mark.parametrize("text", [query for query in QUERIES if "^.max" not in query])
def test_text_and_json_come_back_as_the_same_tree(text: str) -> None:
    """Both directions, for every construct."""
    tree = parse(text)

    assert parse(pql_text.text_of(tree)) == tree
    assert pql_json.parse(pql_json.text_of(tree)) == tree


def test_the_documented_json_is_read() -> None:
    """Behaviour: platform-audiences.md §6."""
    body = {
        "nodeType": "fnApply",
        "fnName": "=",
        "params": [
            {
                "nodeType": "fieldLookup",
                "fieldName": "country",
                "object": {
                    "nodeType": "fieldLookup",
                    "fieldName": "workAddress",
                    "object": {"nodeType": "parameterReference", "position": 1},
                },
            },
            {"nodeType": "literal", "literalType": "String", "value": "US"},
        ],
    }
    tree = parse('workAddress.country = "US"')

    assert pql_json.parse(msgspec.json.encode(body).decode()) == tree
    assert msgspec.json.decode(pql_json.text_of(tree)) == body


@pytest.mark.parametrize(
    ("text", "line", "column", "hint"),
    [
        ("a = 'x'", 1, 5, "double quotes"),
        ("a == 1", 1, 4, "parentheses around the first"),
        ("a = 1 and\n(b = 2", 2, 7, "1 of '('"),
        ('a = "x', 1, 5, "not closed"),
        ("a = 1 and", 1, 10, "missing at the end"),
        ("a && b", 1, 3, "write and"),
        ("", 1, 1, "missing"),
    ],
)
def test_a_fault_says_where_and_what_to_do(text: str, line: int, column: int, hint: str) -> None:
    """Line, column and hint are data, and stand in the text."""
    with pytest.raises(SyntaxFault) as caught:
        parse(text)

    assert (caught.value.data["line"], caught.value.data["column"]) == (line, column)
    assert hint in caught.value.message


@pytest.mark.thorough
@pytest.mark.parametrize(
    "text",
    ["foo(1)", "a.conatins(1)", "a.count(1, 2)", "x[^^^a]", "date(2024, 13, 1) = a",
     "a = 99999999999999999999", 'a.b.c.matches("x", 1, 2)', "!" * 60_000 + "a", "a" + " + 1" * 9_000, "a" + ".b" * 9_000,
     "t occurs <= 3 fortnights before now", "a and (x) => y"],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text: str) -> None:
    """By an error of the expression, never by another one."""
    with pytest.raises(ExpressionError):
        parse(text)


PROFILE = {
    "type": "object",
    "properties": {
        "age": {"type": "integer"},
        "city": {"type": "string"},
        "born": {"type": "string", "format": "date"},
        "open": {"type": "object"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
EVENT = {
    "type": "object",
    "properties": {
        "eventType": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
        "total": {"type": "number"},
        "items": {
            "type": "array",
            "items": {"type": "object", "properties": {"SKU": {"type": "string"}}},
        },
    },
}


@pytest.mark.parametrize(
    "text",
    ["age > 3", 'open.anything = "x"', '"x" in tags', 'tags = "x"', "born occurs before now",
     'xEvent[items.exists(SKU = "a")].sum(total) > 3', 'born > "2000-01-01"', 'items.SKU = 1'],
)  # fmt: skip
def test_what_fits_the_schema_passes(text: str) -> None:
    """Also what the schema leaves open."""
    if text.startswith("items"):
        with pytest.raises(UnknownField, match="items"):
            check(parse(text), PROFILE, EVENT)
        return
    check(parse(text), PROFILE, EVENT)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("agee > 3", "agee"),
        ('xEvent[items.exists(SKX = "a")]', "SKX"),
        ("exists E from xEvent where E.totl > 1", "E.totl"),
    ],
)
def test_an_unknown_field_is_named(text: str, path: str) -> None:
    """With the path as it was written."""
    with pytest.raises(UnknownField) as caught:
        check(parse(text), PROFILE, EVENT)

    assert caught.value.data["path"] == path


@pytest.mark.parametrize(
    "text", ['age = "3"', "city > 3", "age occurs before now", "xEvent.sum(eventType) > 1"]
)
def test_what_never_can_hold_is_refused(text: str) -> None:
    """Comparing what is not comparable."""
    with pytest.raises(TypeFault):
        check(parse(text), PROFILE, EVENT)


def test_every_function_tells_what_it_is() -> None:
    """A signature, a sentence and an example that parses."""
    for function in FUNCTIONS.values():
        assert function.signature
        assert function.summary.endswith(".")
        parse(function.example.partition(" (array")[0])
