"""Rows: cells, headers, reasons, winners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.kernel.ids import ProfileId
from amity.platform.activation.destination import Words
from amity.platform.activation.flow_body import DestinationFlow, read_flow
from amity.platform.activation.model import Qualified
from amity.platform.activation.rows import Row, RowMaker
from amity.platform.activation.spool import Spool

WORDS = Words("active", "expired")
ANN = {
    "person": {"name": {"firstName": "Ann"}},
    "personalEmail": {"address": "ann@example.test"},
    "emails": [{"address": "a@example.test"}],
    "loyal": True,
    "identityMap": {
        "Email": [{"id": "b@example.test"}, {"id": "ann@example.test"}],
        "ECID": [{"id": "7"}],
    },
}


def flow(*paths: str, **params: Any) -> DestinationFlow:
    selectors = [{"type": "JSON_PATH", "value": {"path": path}} for path in paths]
    body = {
        "id": "flow",
        "name": "flow",
        "transformations": [{"params": {"profileSelectors": {"selectors": selectors}, **params}}],
    }
    return read_flow(body)


def person(*, active: bool = True) -> Qualified:
    return Qualified(ProfileId("p"), active, 1_509_321_600_000)


def cells(found: Any) -> list[tuple[str | None, ...]]:
    return [row.cells for row in found]


def test_headers_and_cells() -> None:
    """Dots become underscores, order is that of the mapping, status and time have their words."""
    wanted = flow(
        "emails[0].address",
        "person.name.firstName",
        "person.name.lastName",
        "loyal",
        "xdm: segmentMembership.seg_namespace.seg_id.status",
        "segmentMembership.seg_namespace.seg_id.lastQualificationTime",
    )
    maker = RowMaker(wanted, (), WORDS)

    assert [
        "emails[0]_address",
        "person_name_firstName",
        "person_name_lastName",
        "loyal",
        "segmentMembership_seg_namespace_seg_id_status",
        "segmentMembership_seg_namespace_seg_id_lastQualificationTime",
    ] == [column.header for column in wanted.columns]
    assert cells(maker.rows(person(active=False), ANN)) == [
        ("a@example.test", "Ann", None, "true", "expired", "2017-10-30T00:00:00.000Z")
    ]


def test_a_namespace_column_gives_a_row_a_value() -> None:
    """A mapped namespace is the key: one row for each identity value of the person."""
    maker = RowMaker(flow("identityMap.Email", "person.name.firstName"), (), WORDS)

    assert cells(maker.rows(person(), ANN)) == [
        ("ann@example.test", "Ann"),
        ("b@example.test", "Ann"),
    ]
    assert maker.rows(person(), {"person": {}}) == "identity_missing"


@pytest.mark.parametrize(
    ("consents", "active", "required", "expected"),
    [
        ({}, True, False, 2),
        ({}, True, True, "consent"),
        ({"marketing": {"any": {"val": "n"}}}, True, False, "consent"),
        ({"marketing": {"any": {"val": "n"}}}, False, False, 2),
        ({"marketing": {"any": {"val": "y"}}}, True, True, 2),
        ({"marketing": {"any": {"val": "y"}, "email": {"val": "n"}}}, True, True, "consent"),
        (
            {"idSpecific": {"Email": {"b@example.test": {"marketing": {"email": {"val": "n"}}}}}},
            True,
            False,
            1,
        ),
    ],
)
def test_consent(consents: Any, active: bool, required: bool, expected: int | str) -> None:
    """A refusal leaves the person (or the one address) out; an exit is told to everyone."""
    wanted = flow("identityMap.Email", consentRequired=required)
    maker = RowMaker(wanted, ("marketing.email",), WORDS)

    found = maker.rows(person(active=active), {**ANN, "consents": consents})

    assert expected == (found if isinstance(found, str) else len(found))


def test_reasons() -> None:
    """A person without a mandatory attribute gives no row but a reason."""
    maker = RowMaker(flow("loyal", mandatoryFields=["personalEmail.address"]), (), WORDS)

    assert maker.rows(person(), {"loyal": True}) == "mandatory_missing"
    assert len(maker.rows(person(), ANN)) == 1


ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from(["k1", "k2", "k3"])),
        st.integers(0, 3),
        st.sampled_from(["x", "y", "z", None]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, page=st.integers(1, 6))
def test_one_row_a_key(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], page: int
) -> None:
    """The row kept is the one changed last, then the first by its cells; rows without a key stay."""
    folder: Path = tmp_path_factory.getbasetemp() / "spool"
    made = [Row((key, cell), None if key is None else (key,), at) for key, at, cell in rows]
    with Spool(("key", "cell"), folder) as spool:
        for first in range(0, len(made), page):
            spool.add(made[first : first + page])
        found = [tuple(one.values()) for batch in spool.winners() for one in batch.to_pylist()]

    expected = [(None, cell) for key, _, cell in rows if key is None]
    for key in ("k1", "k2", "k3"):
        best = sorted(
            ((-at, cell or "", cell) for name, at, cell in rows if name == key),
            key=lambda one: one[:2],
        )
        expected += [(key, best[0][2])] if best else []
    assert sorted(map(repr, expected)) == sorted(map(repr, found))
    assert list(folder.iterdir()) == []
