"""Rows give the meaning; SQL must agree. Faults name their place."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.campaign.recipients.conditions import Conditions, Rows, Value
from amity.campaign.recipients.model import Attribute, Link, Schema
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.expression.errors import (
    ExpressionError,
    SyntaxFault,
    TypeFault,
    UnknownField,
    UnknownFunction,
)
from amity.expression.syntax.xtk import parse
from amity.expression.xtk.functions import FUNCTIONS, Type
from amity.expression.xtk.resolve import FieldType, condition, resolve
from amity.expression.xtk.rows import evaluate
from amity.kernel.clock import DAY_MS, VirtualBusinessClock, from_iso
from amity.storage.sqlite.tables import SqliteTables

NOW = from_iso("2024-03-31T10:30:00.250Z")

STORE = Schema(
    namespace="cus",
    name="store",
    attributes=(
        Attribute(name="region", length=20),
        Attribute(name="size", type="long"),
        Attribute(name="opened", type="date"),
    ),
)
THING = Schema(
    namespace="cus",
    name="thing",
    attributes=(
        Attribute(name="name"),
        Attribute(name="other"),
        Attribute(name="count", type="long"),
        Attribute(name="price", type="double"),
        Attribute(name="day", type="date"),
        Attribute(name="at", type="datetime"),
        Attribute(name="on", type="boolean"),
    ),
    links=(Link(name="store", target="cus:store"),),
)
VISIT = Schema(
    namespace="cus",
    name="visit",
    attributes=(Attribute(name="minutes", type="long"),),
    links=(Link(name="thing", target="cus:thing", integrity="own"),),
)
TYPES: dict[str, Type] = {
    "name": "string", "other": "string", "count": "long", "price": "double", "day": "date",
    "at": "datetime", "on": "boolean", "id": "long", "minutes": "long",
    "store/region": "string", "store/size": "long", "store/opened": "date",
}  # fmt: skip

VALUES: dict[str, list[Any]] = {
    "string": [None, "a", "B", "ab", " a ", "", "42", "-7", "1.5", "a%", "Ä"],
    "long": [None, -3, 0, 1, 2, 3, 40, -(2**63), 2**63 - 1],
    "double": [None, 0.0, 0.5, -0.5, 2.25, -7.5, 1e300],
    "date": [None, "2024-02-29", "2024-03-31", "1969-12-31", "2023-02-30"],
    "datetime": [None, -1, 0, NOW, NOW - 3 * DAY_MS, from_iso("2024-01-31T23:59:59.999Z")],
    "boolean": [None, 0, 1],
}
LEAVES = {
    "string": ["@name", "@other", "[store/@region]", "'a'", "'B'", "''"],
    "whole": ["@count", "@on", "[store/@size]", "3", "0", "-2", "true"],
    "number": ["@price", "0.5", "2.25", "{whole}"],
    "time": ["@day", "@at", "[store/@opened]", "#2024-02-29#", "#2024-03-31 10:30:00#", "GetDate()",
             "DaysAgo(30)", "MonthsAgo(1)"],
    "test": ["@on", "EXISTS(cus:visit)", "EXISTS(cus:visit, @minutes > 3)",
             "NOT EXISTS(cus:visit, NOT @minutes > 3)"],
    "few": ["-40", "-1", "0", "1", "2", "3"],
    "compare": ["=", "!=", "<", "<=", ">", ">="],
}  # fmt: skip
FORMS = {
    "string": ["Lower({string})", "Upper({string})", "Trim({string})", "({string} + {string})",
               "Substring({string}, {few}, {few})", "Coalesce({string}, {string})",
               "Iif({test}, {string}, {string})", "Left({string}, {few})"],
    "whole": ["({whole} + {whole})", "({whole} - {whole})", "({whole} * {whole})", "(@count % {few})",
              "Year({time})", "Month({time})", "Day({time})", "Hour({time})", "DaysOld({time})",
              "YearsOld({time})", "DaysDiff({time}, {time})", "Length({string})", "-{whole}",
              "ToInteger({string})", "ToInteger({number})", "Abs({whole})"],
    "number": ["({number} + {number})", "({number} * {number})", "({number} / {number})",
               "ToDouble({string})", "ToDouble({whole})", "Round({number})", "{whole}"],
    "time": ["AddDays({time}, {few})", "AddHours({time}, {few})", "AddMinutes({time}, {few})",
             "AddMonths({time}, {few})", "ToDate({time})", "ToDateTime({time})"],
    "test": ["{string} {compare} {string}", "{number} {compare} {number}", "{time} {compare} {time}",
             "{string} IS NULL", "{number} IS NOT NULL", "{time} IS NULL",
             "{string} IN ('a', {string})", "{string} NOT IN ('a', {string})",
             "{string} LIKE 'a%'", "{string} NOT LIKE '_'", "{string} LIKE '%*'",
             "{whole} BETWEEN 0 AND {whole}", "({test} AND {test})", "({test} OR {test})",
             "NOT ({test})", "NOT ({test})"],
}  # fmt: skip


def written(rng: random.Random, form: str, depth: int) -> str:
    """The form with each {kind} replaced by an expression of that kind."""
    while (found := re.search(r"\{(\w+)\}", form)) is not None:
        kind = found[1]
        choices = LEAVES[kind] if depth == 0 else [*LEAVES[kind], *FORMS.get(kind, ())]
        part = written(rng, rng.choice(choices), max(depth - 1, 0))
        form = f"{form[: found.start()]}{part}{form[found.end() :]}"
    return form


def thing(rng: random.Random) -> dict[str, Any]:
    """A row with what it links to and what links to it."""
    made = {
        name: rng.choice(VALUES[TYPES[name]])
        for name in ("name", "other", "count", "price", "day", "at", "on")
    }
    store = {
        name: rng.choice(VALUES[TYPES[f"store/{name}"]]) for name in ("region", "size", "opened")
    }
    visits = [{"minutes": rng.choice(VALUES["long"])} for _ in range(rng.randrange(3))]
    return {**made, "store": rng.choice([None, store, store]), "cus:visit": visits}


class Fields:
    """Types by path, as the rows evaluator is told them."""

    def field(self, path: tuple[str, ...]) -> FieldType:
        return FieldType(TYPES["/".join(path)])

    def records(self, schema: str) -> Fields:
        assert schema == "cus:visit"
        return self


class Campaign:
    """A campaign database with a table of things."""

    def __init__(self, folder: Path) -> None:
        self.tables = SqliteTables(folder / "campaign.db")
        self.schemas = CampaignSchemas(self.tables, VirtualBusinessClock(NOW))
        self.schemas.install()
        for schema in (STORE, THING, VISIT):
            self.schemas.save(schema)
        self.conditions = Conditions(self.schemas)

    @contextmanager
    def having(self, thing: dict[str, Any]) -> Iterator[sa.Connection]:
        """The only thing there is, for as long as the block lasts."""
        store, things, visits = (
            self.schemas.table(f"cus:{n}") for n in ("store", "thing", "visit")
        )
        values = {key: thing[key] for key in ("name", "other", "count", "price", "day", "at")}
        values["on"] = None if thing["on"] is None else bool(thing["on"])
        with self.tables.connect() as connection:
            if thing["store"]:
                made = sa.insert(store).values(thing["store"]).returning(store.c.id)
                values["store_id"] = connection.execute(made).scalar_one()
            connection.execute(sa.insert(things).values(id=1, **values))
            for visit in thing["cus:visit"]:
                connection.execute(sa.insert(visits).values(thing_id=1, **visit))
            yield connection

    def holds(self, connection: sa.Connection, text: str) -> bool:
        table = self.schemas.table("cus:thing")
        where = self.conditions.where(text, self.conditions.of("cus:thing"), NOW)
        return connection.execute(sa.select(table.c.id).where(where)).scalar() == 1

    def value(self, connection: sa.Connection, text: str) -> Any:
        table = self.schemas.table("cus:thing")
        made = self.conditions.value(text, self.conditions.of("cus:thing"), NOW)
        return connection.execute(sa.select(made.sql).select_from(table)).scalar()


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    made = Campaign(tmp_path_factory.mktemp("conditions"))
    yield made
    made.tables.close()


@pytest.mark.thorough
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_sql_and_rows_agree(campaign: Campaign, seed: int) -> None:
    """A condition chooses the same rows, whichever evaluator is asked; so does a value."""
    rng = random.Random(seed)
    row = thing(rng)
    with campaign.having(row) as connection:
        for _ in range(8):
            text = written(rng, "{test}", 3)
            expected = evaluate(condition(parse(text), Fields(), NOW), row)

            assert (text, row, campaign.holds(connection, text)) == (text, row, expected)
        for kind in ("{string}", "{number}", "{time}", "{whole}"):
            text = written(rng, kind, 3)
            expected = evaluate(resolve(parse(text), Fields(), NOW).node, row)

            assert (text, row, campaign.value(connection, text)) == (text, row, expected)


def test_columns_of_a_population_go_first(campaign: Campaign) -> None:
    """``@x`` is its column, then an attribute of its record; prefixes say which is meant."""
    with campaign.having(
        {**dict.fromkeys(TYPES), "name": "of record", "store": None, "cus:visit": []}
    ) as connection:
        chosen = sa.select(sa.literal(1).label("key"), sa.literal("of row").label("name"))
        source = chosen.subquery()
        columns = {"name": Value(source.c.key.op("||")(source.c.name), "string")}
        rows = Rows(schema="cus:thing", key=source.c.key, columns=columns)
        text = "@name + '/' + [targetData/@name] + '/' + [target/@name]"
        made = campaign.conditions.value(text, rows, NOW)
        found = connection.execute(sa.select(made.sql).select_from(source)).scalar()

    assert (found, made.type) == ("1of row/1of row/of record", "string")


def test_names_of_an_enumeration_stand_for_their_values(campaign: Campaign) -> None:
    """And a name that it does not have is told, with those it has."""
    rows = campaign.conditions.of("nms:recipient")
    made = campaign.conditions.where("@gender IN ('female', 'male')", rows, NOW)
    bound = made.compile(compile_kwargs={"literal_binds": True})

    assert "IN (2, 1)" in str(bound)
    with pytest.raises(
        TypeFault, match=r"'femal' is no value here; there are: unknown, male, female"
    ):
        campaign.conditions.where("@gender = 'femal'", rows, NOW)


@pytest.mark.parametrize(
    ("text", "fault", "line", "column", "says"),
    [
        ("@name = ", SyntaxFault, 1, 9, "something is missing"),
        ("@name = 'a", SyntaxFault, 1, 9, "not closed"),
        ("@name = 1\n AND &&", SyntaxFault, 2, 6, "write AND"),
        ("(@name = 'a'", SyntaxFault, 1, 13, "1 of '(' but 0 of ')'"),
        ("", SyntaxFault, 1, 1, "it is empty"),
        ("@count = 1 AND\n @nmae = 'a'", UnknownField, 2, 2, "@nmae"),
        ("[stoer/@region] = 'a'", UnknownField, 1, 1, "stoer/@region"),
        ("@on AND Lenght(@name) > 1", UnknownFunction, 1, 9, "Lenght"),
        ("Length(@name, 1) > 1", UnknownFunction, 1, 1, "Length(string)"),
        ("@name > 3", TypeFault, 1, 1, "ToInteger"),
        ("@on AND @name", TypeFault, 1, 9, "a string is no condition"),
        ("@day > 'soon'", TypeFault, 1, 1, "'soon' is no date"),
        ("@day + 1 > GetDate()", TypeFault, 1, 6, "AddDays"),
        ("@name LIKE @other", TypeFault, 1, 1, "constant"),
        ("EXISTS(nms:recipient)", UnknownField, 1, 1, "no link to cus:thing"),
        ("#2024-02-31# < @at", TypeFault, 1, 1, "is no date"),
    ],
)  # fmt: skip
def test_faults_name_their_place(
    campaign: Campaign, text: str, fault: type[ExpressionError], line: int, column: int, says: str
) -> None:
    """Line and column, and what to do."""
    with pytest.raises(fault) as caught:
        campaign.conditions.where(text, campaign.conditions.of("cus:thing"), NOW)

    assert says in caught.value.message
    assert (caught.value.data["line"], caught.value.data["column"]) == (line, column)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "text",
    [
        "(" * 5_000 + "1" + ")" * 5_000 + " = 1",
        "NOT " * 5_000 + "@on",
        "@count" + " + 1" * 20_000 + " > 1",
        "-" * 50_000 + "1 = 1",
        "@name = '" + "x" * 70_000 + "'",
        "9" * 40 + " = 1",
    ],
)
def test_what_nests_or_goes_on_for_ever_is_refused(campaign: Campaign, text: str) -> None:
    """At once, and without a recursion."""
    with pytest.raises(SyntaxFault):
        campaign.conditions.where(text, campaign.conditions.of("cus:thing"), NOW)


def test_every_function_says_how_it_is_called() -> None:
    """What the reference and an error's text show."""
    for function in FUNCTIONS.values():
        assert function.summary.endswith(".")
        assert function.signature.startswith(f"{function.name}(")
