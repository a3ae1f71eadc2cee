"""Who is in which audience, by everything the lake holds?

One fused query gives a bit mask a person; the masks become roaring bitmaps over dense numbers of
people, and those the members. An audience that the query cannot evaluate is named with the reason; it
is evaluated at every event all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap

from amity.kernel.ids import ProfileId
from amity.kernel.scope import Scope
from amity.platform.catalog.model import Dataset
from amity.platform.identity.model import Identity
from amity.platform.identity.store import homes
from amity.platform.schema.model import PROFILE_CLASS, ResolvedSchema
from amity.platform.segmentation.fused import (
    HOMES,
    MASK_BITS,
    MEMBER,
    Table,
    fused,
    identities,
    with_homes,
)
from amity.platform.segmentation.ruleset import in_order
from amity.platform.segmentation.service import Audiences
from amity.storage.ports import Lake, LakeTable, Reader, State

_TEXT = pa.string()
_NO_TEXT = pa.array([], _TEXT)
_PAGE = 50_000


class Datasets(Protocol):
    """What the catalog knows of datasets."""

    def datasets(self, scope: Scope) -> list[Dataset]: ...

    def schema_of(self, scope: Scope, dataset_id: str, /) -> ResolvedSchema: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutcome:
    """What a batch evaluation found."""

    total_profiles: int
    members: Mapping[str, frozenset[ProfileId]]
    refused: Mapping[str, str]


class BatchEvaluation:
    """Evaluates audiences over the lake.

    Args:
        lake: Where all accepted records are.
        datasets: Which of them speak of people.
        audiences: The rules.
        state: Who holds which identity now.
    """

    def __init__(
        self, *, lake: Lake, datasets: Datasets, audiences: Audiences, state: State
    ) -> None:
        self._lake = lake
        self._datasets = datasets
        self._audiences = audiences
        self._state = state

    def evaluate(self, scope: Scope, audiences: Sequence[str], now_ms: int) -> BatchOutcome:
        """The members of these audiences at one instant."""
        rules = dict(in_order(dict(self._audiences.definitions(scope))))
        wanted = self._with_asked(rules, audiences, scope)
        profiles, events, lake_tables = self._tables(scope)
        if not lake_tables:
            nobody: frozenset[ProfileId] = frozenset()
            return BatchOutcome(
                total_profiles=0, members=dict.fromkeys(audiences, nobody), refused={}
            )
        people, member = self._people(scope, [*profiles, *events], lake_tables)
        query = fused(
            [(id, rules[id]) for id in rules if id in wanted],
            profiles=profiles,
            events=events,
            now_ms=now_ms,
        )
        found = self._lake.query(query.statement, lake_tables, {MEMBER: member})
        bitmaps = bitmaps_of(found, query.audiences)
        return BatchOutcome(
            total_profiles=len(people),
            members={
                id: frozenset(people[n] for n in bitmaps[id])
                for id in query.audiences
                if id in audiences
            },
            refused={id: why for id, why in query.refused.items() if id in audiences},
        )

    def _with_asked(
        self, rules: Mapping[str, object], audiences: Iterable[str], scope: Scope
    ) -> set[str]:
        """The audiences and all that they ask for."""
        depends = {one.id: one.depends for one in self._audiences.rules(scope).audiences}
        wanted: set[str] = set()
        waiting = [id for id in audiences if id in rules]
        while waiting:
            id = waiting.pop()
            if id not in wanted:
                wanted.add(id)
                waiting += [other for other in depends.get(id, ()) if other in rules]
        return wanted

    def _tables(self, scope: Scope) -> tuple[list[Table], list[Table], dict[str, LakeTable]]:
        """The lake's tables of people and of events, and their names in the query."""
        profiles: list[Table] = []
        events: list[Table] = []
        names: dict[str, LakeTable] = {}
        for dataset in self._datasets.datasets(scope):
            place = LakeTable(scope, dataset.id)
            columns = self._lake.schema(place) if dataset.profile_enabled else None
            if columns is None:
                continue
            schema = self._datasets.schema_of(scope, dataset.id)
            table = Table(f"t{len(names)}", columns)
            if schema.behavior == "time-series":
                events.append(table)
            elif schema.class_id == PROFILE_CLASS:
                profiles.append(table)
            else:
                continue
            names[table.name] = place
        return profiles, events, names

    def _people(
        self, scope: Scope, tables: Sequence[Table], names: Mapping[str, LakeTable]
    ) -> tuple[list[ProfileId], pa.Table]:
        """Everyone by number, and the number behind each identity."""
        # All that is linked in one walk, joined by the engine: to ask for each was ten times slower.
        with self._state.read() as reader:
            linked = _linked(reader, scope)
        found = self._lake.query(with_homes(identities(tables)), names, {HOMES: linked})
        texts, home = found.column("identity"), found.column("home").combine_chunks()
        alone = pc.is_null(home)
        xids = [Identity(*text.split(":", 1)).xid for text in texts.filter(alone).to_pylist()]
        numbered = pc.replace_with_mask(home, alone, pa.array(xids, _TEXT)).dictionary_encode()
        member = pa.table({"identity": texts, "n": numbered.indices.cast(pa.int64())})
        return [ProfileId(one) for one in numbered.dictionary.to_pylist()], member


def _linked(reader: Reader, scope: Scope) -> pa.Table:
    parts = [pa.table({"identity": _NO_TEXT, "home": _NO_TEXT})]
    rows = homes(reader, scope)
    while page := list(islice(rows, _PAGE)):
        keys, profiles = (
            pa.array(column, pa.binary()).cast(_TEXT) for column in zip(*page, strict=True)
        )
        named = pc.replace_substring(pc.utf8_rtrim(keys, "\0"), "\0", ":", max_replacements=1)
        parts.append(pa.table({"identity": named, "home": profiles}))
    return pa.concat_tables(parts)


def bitmaps_of(found: pa.Table, audiences: Sequence[str]) -> dict[str, BitMap]:
    """A roaring bitmap an audience, of the numbers of its members."""
    numbers = found.column("n").to_numpy().astype(np.uint32)
    out: dict[str, BitMap] = {}
    for at, audience in enumerate(audiences):
        mask: npt.NDArray[np.int64] = found.column(f"m{at // MASK_BITS}").to_numpy()
        out[audience] = BitMap(numbers[(mask >> (at % MASK_BITS)) & 1 == 1])
    return out
