"""In = out + excluded(reason), for every activity, whatever comes in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from amity.campaign.recipients.builtin import RECIPIENT
from amity.campaign.recipients.errors import BadValue
from amity.campaign.recipients.model import Attribute
from amity.campaign.recipients.values import stored
from amity.campaign.workflow.activity import Column, WorkTable
from amity.campaign.workflow.incoming import Incoming, Refused
from amity.exchange.errors import CreatesRecipient

COLUMNS = (Column(name="crm"), Column(name="mail"), Column(name="points", type="long"))
texts = st.sampled_from([None, "", " ", "a", "b", "c", "A", "d\r\nBcc: x", "😀", "e" * 200])
mails = st.sampled_from([None, "a@x.org", " A@x.org", "b@x.org", "none", "c@x.org\n"])
numbers = st.sampled_from([None, -1, 0, 3, 2**62])
rows = st.lists(st.fixed_dictionaries({"crm": texts, "mail": mails, "points": numbers}), max_size=8)
people = st.lists(
    st.fixed_dictionaries({"externalId": st.sampled_from([None, "a", "b"]), "email": mails}),
    max_size=4,
    unique_by=lambda one: one["externalId"] or id(one),
)
keys: st.SearchStrategy[list[dict[str, str]]] = st.lists(
    st.sampled_from(
        [{"attribute": "externalId", "value": "@crm"}, {"attribute": "email", "value": "@mail"}]
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda one: str(one["attribute"]),
)
conditions = st.sampled_from(["@points > 0", "NOT @points = 3", "@crm IS NULL", "@mail LIKE 'a%'"])
limits = st.sampled_from([None, 0, 1, 3])
subsets: st.SearchStrategy[list[dict[str, object]]] = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["one", "two", "three"]),
            "where": conditions,
            "limit": limits,
            "percent": st.sampled_from([None, 0, 40, 100]),
            "random": st.booleans(),
        }
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: str(one["name"]),
)
fields: st.SearchStrategy[list[dict[str, str | bool]]] = st.lists(
    st.sampled_from(
        [
            {"to": "email", "value": "@mail"},
            {"to": "firstName", "value": "@crm", "keepIfEmpty": True},
            {"to": "points", "when": "@points > 0"},
            {"to": "store-id", "value": "@crm", "by": "code"},
        ]
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda one: str(one["to"]),
)


@pytest.mark.thorough
@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(data=st.data(), known=people, first=rows, second=rows)
def test_nothing_is_lost(
    crowd: Any, data: st.DataObject, known: list[Any], first: list[Any], second: list[Any]
) -> None:
    """Every row goes on or is left out with a reason; a segment's rows create nobody."""
    crowd.clear("nms:recipient")
    crowd.recipients(*known)
    origin = data.draw(st.sampled_from(["", "segment"]))
    given_ = crowd.population(first, *COLUMNS, origin=origin, name="first")
    other = crowd.population(second, *COLUMNS, name="second")

    reconcile = {
        "keys": data.draw(keys),
        "unreconciled": data.draw(st.sampled_from(["keep", "exclude", "transition"])),
    }
    enriched = crowd.run("enrichment", {"reconcile": reconcile}, given_)
    table: WorkTable = enriched.outputs["out"].table
    split = {
        "subsets": data.draw(subsets),
        "complement": data.draw(st.booleans()),
        "overlap": data.draw(st.booleans()),
    }
    for out in crowd.run("split", split, table).outputs.values():
        assert out.table.origin == origin
    by = {"main": "one", "by": data.draw(st.sampled_from([["@mail"], ["@crm", "@mail"]]))}
    crowd.run("exclusion", by, named={"one": given_, "two": other})
    crowd.run("list_update", {"list": "some"}, table)
    asked = {"where": data.draw(conditions), "limit": data.draw(limits) or 0, "distinctBy": "@mail"}
    crowd.run("query", asked, table)
    before = len(crowd.all("nms:recipient", "id"))
    update = {
        "operation": data.draw(st.sampled_from(["insert", "update", "insertOrUpdate", "delete"])),
        "keys": data.draw(keys),
        "together": data.draw(st.booleans()),
        "fields": data.draw(fields),
        "rejects": data.draw(st.booleans()),
    }
    try:
        done = crowd.run("update_data", update, table)
    except CreatesRecipient:
        assert origin == "segment"
        assert len(crowd.all("nms:recipient", "id")) == before
        return
    told = done.outputs["out"].vars
    change = told["inserted"] - told["deleted"]
    assert len(crowd.all("nms:recipient", "id")) == before + change
    assert origin != "segment" or not told["inserted"]


addresses = st.one_of(
    st.text(alphabet="aB1.-_+@ \n;<ä", max_size=12),
    st.sampled_from(
        ["Ann.Lee@Example.ORG", "a@b", "@b", "a@", "a@b.", "x" * 65 + "@b.c", "x" * 300]
    ),
)


@given(value=st.one_of(st.none(), addresses))
@pytest.mark.parametrize("name", ["email", "city", "firstName"])
def test_short_cuts_lead_to_the_same_value(name: str, value: str | None) -> None:
    """What a population brings is kept exactly as the API would keep it."""
    attribute = next(one for one in RECIPIENT.attributes if one.name == name)
    found = Incoming(RECIPIENT, attribute)[value]

    assert found == _as_the_api_keeps_it(attribute, value and value.strip())


def _as_the_api_keeps_it(attribute: Attribute, value: str | None) -> Any:
    try:
        return stored(RECIPIENT, attribute, value)
    except BadValue as error:
        return Refused(error.message)
