"""Profiles are the same in any order of the same stamped records, and changes are told."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import OTHER, SCOPE, River, Stamped, customer, visit

from amity.platform.identity.model import Identity
from amity.platform.profile.model import EraseProfile

ANN, BOB = Identity("CRM", "ann"), Identity("CRM", "bob")
PHONE, TABLET = Identity("Web", "phone"), Identity("Web", "tablet")


def test_a_visit_becomes_a_profile() -> None:
    """An anonymous visit is a profile of events only; it is told with the event, no attributes."""
    river = River()
    (told,) = river.run([visit(1, 5, PHONE, page="home")])

    assert told.profile == PHONE.xid
    assert told.attributes is None
    assert [event.id for event in told.events] == ["e1"]
    assert {"profiles": 1, "events": 1, "fragments": 0} == river.profiles.counts(SCOPE)


def test_a_record_tells_the_merged_attributes() -> None:
    """A record is told with the whole view."""
    river = River()
    river.run([customer(1, "ann", name="Ann")])
    (told,) = river.run([customer(2, "ann", received_ms=200, dataset="crm", tier="gold")])

    assert told.attributes == {
        "key": "ann",
        "name": "Ann",
        "tier": "gold",
        "identityMap": {"CRM": [{"id": "ann"}]},
    }


def test_signing_in_joins_the_visits_to_the_person() -> None:
    """The anonymous profile is told as gone, the person is made anew with all events."""
    river = River()
    river.run([customer(1, "ann", name="Ann"), visit(2, 5, PHONE)])
    gone, rebuilt = river.run([visit(3, 6, PHONE, ANN)])

    assert (gone.profile, gone.gone) == (PHONE.xid, True)
    assert (rebuilt.profile, rebuilt.rebuild, rebuilt.cause) == (ANN.xid, True, "merge")
    assert rebuilt.attributes is not None
    with river.state.read() as reader:
        events = [event.id for event in river.profiles.events(reader, SCOPE, ANN.xid)]  # type: ignore[arg-type]
    assert events == ["e2", "e3"]
    assert {"profiles": 1, "events": 2, "fragments": 1} == river.profiles.counts(SCOPE)


def test_signing_in_on_a_new_device_makes_nothing_anew() -> None:
    """Under the device nothing was kept: the person has one event and one identity more."""
    river = River()
    river.run([customer(1, "ann", name="Ann"), visit(2, 5, ANN)])
    (told,) = river.run([visit(3, 6, PHONE, ANN)])

    assert (told.profile, told.rebuild, told.gone) == (ANN.xid, False, False)
    assert [event.id for event in told.events] == ["e3"]
    assert told.attributes is not None
    assert told.attributes["identityMap"] == {"CRM": [{"id": "ann"}], "Web": [{"id": "phone"}]}


def test_a_device_that_changes_hands_takes_its_anonymous_visits_along() -> None:
    """Anonymous events follow the device to who signed in last; signed-in events stay."""
    river = River()
    river.run([customer(1, "ann"), customer(2, "bob")])
    river.run([visit(3, 5, PHONE, ANN), visit(4, 6, PHONE)])
    river.run([visit(5, 7, PHONE, BOB)])

    with river.state.read() as reader:
        of_ann = [e.id for e in river.profiles.events(reader, SCOPE, ANN.xid)]  # type: ignore[arg-type]
        of_bob = [e.id for e in river.profiles.events(reader, SCOPE, BOB.xid)]  # type: ignore[arg-type]

    assert of_ann == ["e3"]
    assert of_bob == ["e4", "e5"]


def test_an_event_delivered_again_says_nothing() -> None:
    """The same `_id` again, even received later and with another timestamp, changes nothing."""
    river = River()
    river.run([visit(1, 5, PHONE)])
    before = river.everything()

    again = river.run([visit(1, 5, PHONE), visit(1, 9, PHONE, received_ms=300)])

    assert again == []
    assert before == river.everything()


def test_a_record_delivered_again_says_nothing() -> None:
    """The same stamped record changes nothing and tells nothing."""
    river = River()
    river.run([customer(1, "ann", name="Ann")])

    assert river.run([customer(1, "ann", name="Ann")]) == []


def test_things_are_kept_apart_from_people() -> None:
    """A product is an entity: looked up by its key, never a profile."""
    river = River()
    told = river.run([Stamped("goods", 100, 1, {"key": "sku1", "name": "Milk"})])

    assert told == []
    assert river.profiles.counts(SCOPE)["profiles"] == 0
    with river.state.read() as reader:
        thing = river.profiles.entity(reader, SCOPE, Identity("SKU", "sku1"))
    assert thing == {"key": "sku1", "name": "Milk"}


def test_sandboxes_never_touch() -> None:
    """The same ids in two sandboxes are two people."""
    river = River()
    river.run([customer(1, "ann", name="Ann"), visit(2, 5, PHONE, ANN)])
    river.run([customer(1, "ann", name="Other")._replace(scope=OTHER)])

    assert river.profiles.counts(OTHER) == {"profiles": 1, "events": 0, "fragments": 1}
    with river.state.read() as reader:
        assert river.profiles.view(reader, SCOPE, ANN.xid)["name"] == "Ann"  # type: ignore[arg-type]
        assert river.profiles.view(reader, OTHER, ANN.xid)["name"] == "Other"  # type: ignore[arg-type]


def test_an_erased_person_is_gone_and_what_is_older_stays_away() -> None:
    """Everything of all linked identities goes; late deliveries of older receipts do not return."""
    river = River()
    old = [customer(1, "ann", name="Ann"), visit(2, 5, PHONE, ANN), visit(3, 6, PHONE)]
    river.run(old)

    told = river.run([], [EraseProfile(SCOPE.key, "Web", "phone", 150)])
    late = river.run(old)

    assert [(one.profile, one.gone) for one in told] == [(ANN.xid, True)]
    assert late == []
    assert {"profiles": 0, "events": 0, "fragments": 0} == river.profiles.counts(SCOPE)

    river.run([customer(9, "ann", received_ms=200, name="Ann again")])
    assert river.profiles.counts(SCOPE)["profiles"] == 1


PEOPLE = st.sampled_from(["ann", "bob"])
VISITS = st.builds(
    lambda at, ids, received, page: (at, ids, received, page),
    st.integers(0, 9),
    st.lists(st.sampled_from([ANN, BOB, PHONE, TABLET]), min_size=1, max_size=2, unique=True),
    st.integers(100, 105),
    st.integers(0, 2),
)
RECORDS = st.tuples(
    PEOPLE, st.integers(100, 105), st.sampled_from(["people", "crm"]), st.integers(0, 3)
)


@pytest.mark.thorough
@settings(max_examples=100, deadline=None)
@given(
    visits=st.lists(VISITS, max_size=8),
    records=st.lists(RECORDS, max_size=5),
    seed=st.integers(0, 1 << 30),
)
def test_any_order_gives_the_same_profiles(
    visits: list[tuple[int, list[Identity], int, int]],
    records: list[tuple[str, int, str, int]],
    seed: int,
) -> None:
    """Shuffled, repeated and cut at random, the same stamped records give the same people."""
    rng = random.Random(seed)
    stamped = [
        visit(n % 4, at, *ids, received_ms=received, page=page)._replace(n=n)
        for n, (at, ids, received, page) in enumerate(visits)
    ] + [
        customer(n, key, received_ms=received, dataset=dataset, **{f"f{v}": n, "g": v})
        for n, (key, received, dataset, v) in enumerate(records)
    ]
    river, other = River(), River()
    for record in stamped:
        river.run([record])
    shuffled = stamped + rng.sample(stamped, len(stamped) // 2)
    rng.shuffle(shuffled)
    while shuffled:
        size = rng.randint(1, 4)
        other.run(shuffled[:size])
        shuffled = shuffled[size:]

    expected = river.everything()

    assert expected == other.everything()
    assert river.profiles.counts(SCOPE) == other.profiles.counts(SCOPE)
    assert len(expected) == river.profiles.counts(SCOPE)["profiles"]
    assert river.profiles.counts(SCOPE)["events"] == sum(len(e) for _, e in expected.values())
