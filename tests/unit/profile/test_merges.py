"""Fixture pairs of the merge policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from amity.platform.identity.model import Identity
from amity.platform.profile.fragment import ReceiptStamp, unfold_map
from amity.platform.profile.merge import Piece, Policy, view_of


class Case(NamedTuple):
    name: str
    policy: Policy
    pieces: list[Piece]
    view: dict[str, Any]


def piece_of(line: str) -> Piece:
    identity, dataset, received, fields = (part.strip() for part in line.split("|", 3))
    ns, _, value = identity.partition(":")
    at, _, n = received.partition(".")
    stamp = ReceiptStamp(int(at), 0, 0, 0, int(n or 0))
    return Piece(Identity(ns, value), dataset, stamp, unfold_map(orjson.loads(fields)))


def policy_of(text: str) -> Policy:
    kind, _, order = text.partition(" ")
    return Policy("p", "pdg", kind, tuple(one.strip() for one in order.split(",") if one.strip()))  # type: ignore[arg-type]


def cases() -> list[Case]:
    text = (Path(__file__).parent / "fixtures" / "merges.txt").read_text()
    found = []
    for block in text.split("\n## ")[1:]:
        name, policy, *rest = block.strip().splitlines()
        at = rest.index("->")
        pieces = [piece_of(line) for line in rest[:at]]
        view = orjson.loads("\n".join(rest[at + 1 :]))
        found.append(Case(name, policy_of(policy.removeprefix("policy: ")), pieces, view))
    return found


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_merge(case: Case) -> None:
    """The fragments give the view under the policy, in whatever order they are taken."""
    assert case.view == view_of(case.pieces, (), case.policy)
    assert case.view == view_of(case.pieces[::-1], (), case.policy)
