"""Batch audiences over the lake: the demo's three for 100,000 people and 2 million events.

Ours compiles the audiences' PQL into one query, asks the state who holds which identity, and gives
sets of profile ids. The baseline is one query written by hand for these three over the same files,
with a ready table of who holds which identity; it gives masks and the number of people.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import orjson
import pyarrow as pa
from deltalake import DeltaTable
from report import Row, medians
from shop import CITIES, PURCHASE, START_MS, VIEW, Shop, device, event, loyalty, person, set_up

from amity.app.assembly import Platform
from amity.app.core import Core
from amity.app.garbage import collect_less
from amity.kernel.clock import DAY_MS, RealSystemClock
from amity.kernel.ids import ProfileId
from amity.platform.identity.model import Identity
from amity.platform.identity.store import Changes, write
from amity.platform.ingestion.lake_sink import META
from amity.platform.schema.arrow import RecordColumns, arrow_schema
from amity.platform.segmentation.batch import BatchEvaluation
from amity.storage.ports import LakeTable

RUNS = 3
PEOPLE = 100_000
EVENTS = 2_000_000
DAYS = 90
CHUNK = 100_000
THREADS = 2
MEMORY = "512MB"
SYSTEM = RealSystemClock()

LIVES_IN = CITIES[:6]
RULES = {
    "lives there": "homeAddress.city in [" + ", ".join(f'"{city}"' for city in LIVES_IN) + "]",
    "frequent": (
        f'xEvent[eventType = "{PURCHASE}" and timestamp occurs <= 28 days before now].count() >= 3'
    ),
    "viewed, then bought": (
        f'exists V from xEvent where (V.eventType = "{VIEW}" '
        "and V.timestamp occurs <= 14 days before now), "
        f'P from xEvent where (P.eventType = "{PURCHASE}" '
        "and P.timestamp occurs <= 14 days before now "
        "and P.timestamp occurs <= 24 hours after V.timestamp)"
    ),
}

BY_HAND = """
WITH seen AS (
    SELECT member.n, events.eventType AS kind, events._amity_time AS at_ms
    FROM read_parquet($events) AS events JOIN member ON member.identity = events._amity_identity
    WHERE events.eventType IN ($view, $purchase)
      AND events._amity_time > $now - 2419200000 AND events._amity_time <= $now
), ordered AS (
    SELECT n, kind, at_ms, max(CASE WHEN kind = $view AND at_ms > $now - 1209600000 THEN at_ms END)
        OVER (PARTITION BY n ORDER BY at_ms RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS view_ms
    FROM seen
), behaved AS (
    SELECT n, count(*) FILTER (kind = $purchase) >= 3 AS frequent,
           bool_or(kind = $purchase AND at_ms <= view_ms + 86400000) AS bought_after
    FROM ordered GROUP BY n
), living AS (
    SELECT member.n FROM read_parquet($people) AS people
    JOIN member ON member.identity = people._amity_identity
    WHERE people.homeAddress.city IN (SELECT unnest($cities))
)
SELECT coalesce(living.n, behaved.n) AS n,
       CASE WHEN living.n IS NULL THEN 0 ELSE 1 END
       + CASE WHEN frequent THEN 2 ELSE 0 END + CASE WHEN bought_after THEN 4 ELSE 0 END AS mask
FROM living FULL JOIN behaved ON living.n = behaved.n
"""

TOTAL_BY_HAND = """
SELECT count(DISTINCT member.n) FROM (
    SELECT DISTINCT _amity_identity FROM read_parquet($events)
    UNION SELECT _amity_identity FROM read_parquet($people)
) AS spoken_of JOIN member ON member.identity = spoken_of._amity_identity
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lake:
    """What was loaded, and the audiences' ids in the order of `RULES`."""

    shop: Shop
    core: Core
    platform: Platform
    audiences: list[str]
    member: pa.Table


class Found(NamedTuple):
    """What an evaluation answers."""

    total_profiles: int
    members: list[set[ProfileId]]


def measure(folder: Path) -> list[Row]:
    """The one row."""
    shop = set_up(folder / "batch")
    core, platform = shop.open()
    _load(shop, core, platform)
    collect_less()
    lake = Lake(
        shop=shop,
        core=core,
        platform=platform,
        audiences=_audiences(shop, platform),
        member=_member(),
    )
    found: dict[str, Found] = {}

    def ours() -> float:
        took, found["ours"] = _ours(lake)
        return took

    def by_hand() -> float:
        took, found["by hand"] = _by_hand(lake)
        return took

    mine, baseline = medians(ours, by_hand, RUNS)
    core.close()
    if found["ours"] != found["by hand"]:
        raise AssertionError("the compiled and the hand-written query disagree on members")
    sizes = ", ".join(f"{len(members):,}" for members in found["ours"].members)
    return [
        Row(
            work="3 batch audiences, 100k profiles / 2M events",
            ours=mine,
            baseline=baseline,
            unit="s",
            hold=1.5,
            more_is_better=False,
            note=f"hand-written fused DuckDB SQL on the same files; members {sizes}, equal",
        )
    ]


def _ours(lake: Lake) -> tuple[float, Found]:
    batch = BatchEvaluation(
        lake=lake.core.lake,
        datasets=lake.platform.catalog,
        audiences=lake.platform.audiences,
        state=lake.core.state,
    )
    begun = SYSTEM.monotonic_s()
    outcome = batch.evaluate(lake.shop.scope, lake.audiences, START_MS)
    took = SYSTEM.monotonic_s() - begun
    if outcome.refused:
        raise AssertionError(f"refused: {outcome.refused}")
    members = [set(outcome.members[id]) for id in lake.audiences]
    return took, Found(outcome.total_profiles, members)


def _by_hand(lake: Lake) -> tuple[float, Found]:
    root = lake.core.folder.lake
    files = {
        dataset: DeltaTable(next(root.rglob(f"*{dataset}*"))).file_uris()
        for dataset in (lake.shop.people, lake.shop.events)
    }
    begun = SYSTEM.monotonic_s()
    with duckdb.connect(config={"threads": str(THREADS), "memory_limit": MEMORY}) as connection:
        connection.register("member", lake.member)
        values = {
            "people": files[lake.shop.people],
            "events": files[lake.shop.events],
            "view": VIEW,
            "purchase": PURCHASE,
            "cities": LIVES_IN,
            "now": START_MS,
        }
        rows = connection.sql(BY_HAND, params=values).to_arrow_table()
        both = {name: values[name] for name in ("people", "events")}
        total = connection.execute(TOTAL_BY_HAND, both).fetchall()[0][0]
    took = SYSTEM.monotonic_s() - begun
    numbers, masks = rows["n"].to_pylist(), rows["mask"].to_pylist()
    members = [
        {_profile(n) for n, mask in zip(numbers, masks, strict=True) if mask >> bit & 1}
        for bit in range(len(RULES))
    ]
    return took, Found(total, members)


def _audiences(shop: Shop, platform: Platform) -> list[str]:
    made = []
    for name, text in RULES.items():
        body = {
            "name": name,
            "schema": {"name": "_xdm.context.profile"},
            "expression": {"type": "PQL", "format": "pql/text", "value": text},
        }
        made.append(platform.audiences.create(shop.scope, body)["id"])
    return made


def _load(shop: Shop, core: Core, platform: Platform) -> None:
    """Rows straight into the lake, and who holds which identity straight into the state."""
    columns = RecordColumns(
        arrow_schema(platform.registry.resolved(shop.scope, shop.people_schema))
    )
    people = LakeTable(shop.scope, shop.people)
    for first in range(0, PEOPLE, CHUNK):
        numbers = range(first, min(first + CHUNK, PEOPLE))
        texts = [orjson.dumps(person(shop, n)) for n in numbers]
        whose = [f"Loyalty:{loyalty(n)}" for n in numbers]
        times = [START_MS - DAYS * DAY_MS] * len(texts)
        table = _with_meta(columns.table(texts), [""] * len(texts), times, whose)
        core.lake.append(people, table, app="bench", version=first)
    _load_events(shop, core, platform)
    for first in range(0, PEOPLE, CHUNK):
        members: dict[Identity, ProfileId] = {}
        for n in range(first, min(first + CHUNK, PEOPLE)):
            home = _profile(n)
            members[Identity("Loyalty", loyalty(n))] = home
            members[Identity("Device", device(n))] = home
        with core.state.write() as writer:
            write(writer, shop.scope, Changes(members=members))


def _load_events(shop: Shop, core: Core, platform: Platform) -> None:
    rng = random.Random(11)
    columns = RecordColumns(arrow_schema(platform.registry.resolved(shop.scope, shop.event_schema)))
    for first in range(0, EVENTS, CHUNK):
        texts, ids, times, whose = [], [], [], []
        for n in range(first, first + CHUNK):
            who = rng.randrange(PEOPLE)
            known = rng.random() < 0.4
            identity = ("Loyalty", loyalty(who)) if known else ("Device", device(who))
            at_ms = START_MS - (EVENTS - n) * DAYS * DAY_MS // EVENTS
            body = event(shop, rng.randrange(10 * EVENTS), at_ms, dict([identity]))
            body["_id"] = f"event-{n:012}"
            texts.append(orjson.dumps(body))
            ids.append(body["_id"])
            times.append(at_ms)
            whose.append(":".join(identity))
        table = _with_meta(columns.table(texts), ids, times, whose)
        core.lake.append(LakeTable(shop.scope, shop.events), table, app="bench", version=first)


def _with_meta(made: pa.Table, ids: list[str], times: list[int], whose: list[str]) -> pa.Table:
    rows = len(ids)
    meta: list[list[Any]] = [
        ids,
        times,
        times,
        whose,
        [""] * rows,
        [0] * rows,
        [0] * rows,
        [*range(rows)],
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(meta, META, strict=True)]
    schema = pa.schema([*META, *made.schema.remove_metadata()])
    return pa.Table.from_arrays([*arrays, *made.columns], schema=schema)


def _member() -> pa.Table:
    texts = [f"Loyalty:{loyalty(n)}" for n in range(PEOPLE)]
    texts += [f"Device:{device(n)}" for n in range(PEOPLE)]
    numbers = pa.array([*range(PEOPLE), *range(PEOPLE)], pa.int64())
    return pa.table({"identity": pa.array(texts, pa.string()), "n": numbers})


def _profile(n: int) -> ProfileId:
    return ProfileId(Identity("Loyalty", loyalty(n)).xid)
