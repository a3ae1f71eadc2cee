"""Whose word counts when two fragments differ?

`compose` is pure: fragments and a policy in, one set of fields out. It never loses a value that no
other fragment of the policy contradicts. Behaviour: platform-audiences.md §3.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from amity.platform.identity.model import Identity
from amity.platform.profile.fragment import IDENTITY_MAP, ReceiptStamp, fold_map, overlay

TIMESTAMP_ORDERED: Literal["timestampOrdered"] = "timestampOrdered"
DATASET_PRECEDENCE: Literal["dataSetPrecedence"] = "dataSetPrecedence"


class Policy(NamedTuple):
    """How fragments become one profile."""

    id: str
    identity_graph: Literal["none", "pdg"] = "pdg"
    attribute_merge: Literal["timestampOrdered", "dataSetPrecedence"] = TIMESTAMP_ORDERED
    order: tuple[str, ...] = ()


class Piece(NamedTuple):
    """A fragment as merging sees it."""

    identity: Identity
    dataset: str
    stamp: ReceiptStamp
    fields: dict[str, Any]


def compose(pieces: Iterable[Piece], policy: Policy) -> dict[str, Any]:
    """The merged fields; `identityMap` still as maps by id.

    Ordered by timestamp, the fragment last updated wins each conflict. By dataset, those not listed
    are left out and the first listed wins; within a dataset, the last updated.
    """
    merged: dict[str, Any] = {}
    for piece in sorted(chosen(pieces, policy), key=lambda one: _rank(one, policy)):
        merged = overlay(merged, piece.fields)
    return merged


def chosen(pieces: Iterable[Piece], policy: Policy) -> list[Piece]:
    """The fragments that a policy lets in."""
    if policy.attribute_merge == DATASET_PRECEDENCE:
        return [piece for piece in pieces if piece.dataset in policy.order]
    return list(pieces)


def view_of(pieces: Iterable[Piece], members: Iterable[Identity], policy: Policy) -> dict[str, Any]:
    """The merged fields as they are shown: every member of the graph stands in `identityMap`."""
    merged = compose(pieces, policy)
    graph: dict[str, dict[str, Any]] = {}
    for ns, value in members:
        graph.setdefault(ns, {})[value] = {"id": value}
    said = merged.get(IDENTITY_MAP)
    united = overlay(graph, said) if isinstance(said, dict) else graph
    return fold_map({**merged, IDENTITY_MAP: united}) if united else merged


def stitched(members: tuple[Identity, ...], xid: str, policy: Policy) -> tuple[Identity, ...]:
    """The identities whose fragments count: the whole graph, or one identity alone."""
    if policy.identity_graph == "pdg":
        return members
    return tuple(identity for identity in members if identity.xid == xid)


def _rank(piece: Piece, policy: Policy) -> tuple[int, ReceiptStamp, Identity, str]:
    """The greatest is laid on top."""
    place = 0
    if policy.attribute_merge == DATASET_PRECEDENCE:
        place = -policy.order.index(piece.dataset)
    return place, piece.stamp, piece.identity, piece.dataset
