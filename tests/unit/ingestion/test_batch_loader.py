"""What becomes of a batch that is declared complete."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingestion_shop import SCOPE, Shop

from amity.kernel.errors import AmityError, Conflict, Invalid, NotFound, TooLarge, Unavailable
from amity.kernel.scope import Scope
from amity.platform.catalog.batches import Batch
from amity.platform.ingestion.batch_files import BatchFiles, Draft
from amity.platform.ingestion.batch_loader import BatchLoader
from amity.platform.ingestion.batch_spool import Spool
from amity.platform.ingestion.batches import BatchEnds, BatchImport
from amity.platform.ingestion.model import BATCH_TOPIC
from amity.platform.schema.model import ResolvedSchema
from amity.storage.ports import Entry


class Killed(Exception):
    """The process was killed here."""


class Depot:
    """A shop's catalog of batches, their files, and the loader."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self.shop = shop
        self.batches: dict[tuple[Scope, str], Batch] = {}
        self.files = BatchFiles(folder)
        self.taken_out: list[str] = []
        self.appends_left = 10**9
        self.service = BatchImport(
            catalog=self,
            files=self.files,
            append=shop.appender.append,
            clock=shop.clock,
            ids=shop.ids,
        )
        self.loader = BatchLoader(
            catalog=self,
            files=self.files,
            validators=shop.validators,
            append=self.append,
            take_out=lambda scope, dataset, batch: self.taken_out.append(batch),
            columns=columns,
        )

    def dataset(self, scope: Scope, id: str) -> Any:
        return self.shop.dataset(scope, id)

    def batch(self, scope: Scope, id: str) -> Batch:
        try:
            return self.batches[scope, id]
        except KeyError:
            raise NotFound(f"there is no batch {id}") from None

    def put_batch(self, scope: Scope, batch: Batch) -> None:
        self.batches[scope, batch.id] = batch

    def append(self, entries: Sequence[Entry]) -> None:
        """Append, unless the process is to be killed now."""
        if self.appends_left == 0:
            raise Killed
        self.appends_left -= 1
        self.shop.log.append(entries)

    def create(self, dataset: str = "d-profile", **body: Any) -> str:
        """A new batch."""
        return self.service.create(SCOPE, {"datasetId": dataset, **body}).id

    def put(self, batch: str, name: str, content: bytes, dataset: str = "d-profile") -> bool:
        """Put a small file."""
        with self.service.draft(SCOPE, batch, dataset, name) as draft:
            draft.write(content)
            return draft.commit()

    def run(self) -> None:
        """Let the loader handle all that is on the topic, from the beginning."""
        records = self.shop.log.poll(BATCH_TOPIC, {}, 1_000)
        self.loader.handle(records, self.shop.clock.now_ms())

    async def load(self, content: bytes, name: str = "part1.json", **body: Any) -> Batch:
        """A batch of one file, loaded."""
        batch = self.create(**body)
        self.put(batch, name, content)
        await self.service.act(SCOPE, batch, "COMPLETE")
        self.run()
        return self.batch(SCOPE, batch)

    def distinct(self) -> list[Any]:
        """Records of the frames, each origin and number taken once, as a consumer does."""
        seen: set[tuple[str, int]] = set()
        found = []
        for entry in self.shop.log.poll("platform.ingest", {}, 10_000):
            if (entry.origin, entry.origin_seq) not in seen:
                seen.add((entry.origin, entry.origin_seq))
                found.append(entry)
        frames = [msgspec.msgpack.decode(entry.body) for entry in found]
        return [json.loads(record) for frame in frames for record in frame[6]]


def columns(resolved: ResolvedSchema) -> pa.Schema:
    """Types of the CSV cells."""
    ids = pa.struct([("CRMID", pa.list_(pa.struct([("id", pa.string())])))])
    return pa.schema([("identityMap", ids), ("age", pa.int64())])


@pytest.fixture
def depot(shop: Shop, tmp_path: Path) -> Depot:
    """A depot."""
    return Depot(shop, tmp_path)


def person(number: int, **fields: Any) -> dict[str, Any]:
    """A profile record."""
    return {"identityMap": {"CRMID": [{"id": f"c{number}", "primary": True}]}, **fields}


PEOPLE = [person(n, age=n) for n in range(5)]
LINES = b"\n".join(orjson.dumps(one) for one in PEOPLE)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "declared"),
    [
        (LINES, {"format": "json"}),
        (LINES + b"\n\n", {"format": "json", "isMultiLineJson": False}),
        (gzip.compress(LINES), {"format": "json"}),
        (json.dumps(PEOPLE).encode(), {"format": "json", "isMultiLineJson": True}),
        (json.dumps(PEOPLE, indent=2).encode(), {"format": "json", "isMultiLineJson": False}),
        (json.dumps(LINES.decode()).encode(), {"format": "json"}),
        (json.dumps(json.dumps(PEOPLE)).encode(), {"format": "json"}),
        (parquet(PEOPLE), {"format": "parquet"}),
    ],
    ids=["lines", "trailing", "gzip", "array", "array-undeclared", "text", "text-array", "parquet"],
)
async def test_each_way_to_write_rows_gives_the_same_records(
    depot: Depot, content: bytes, declared: dict[str, Any]
) -> None:
    """JSON lines, an array declared or not, a file sent as one JSON text, Parquet."""
    batch = await depot.load(content, inputFormat=declared)

    assert depot.distinct() == PEOPLE
    assert batch.status == "processing"
    assert batch.metrics["inputRecordCount"] == batch.metrics["outputRecordCount"] == 5
    assert batch.errors == []


async def test_single_object_is_a_batch_of_one(depot: Depot) -> None:
    """A dictionary that a client sends, pretty or not."""
    await depot.load(json.dumps(PEOPLE[0]).encode())
    await depot.load(
        json.dumps(PEOPLE[1], indent=2).encode(),
        inputFormat={"format": "json", "isMultiLineJson": True},
    )

    assert depot.distinct() == PEOPLE[:2]


async def test_csv_cells_take_the_types_of_the_schema(depot: Depot) -> None:
    """A CSV row becomes the record it means; a broken cell is a refused row with its line."""
    out = io.StringIO()
    writer = csv.writer(out)
    ids = '[{"id": "c1"}]'
    writer.writerows([["age", "identityMap.CRMID"], [3, ids], ["x", ids]])
    batch = await depot.load(
        out.getvalue().encode(),
        "a.csv",
        inputFormat={"format": "csv"},
        partialIngestionPercentage=50,
    )

    assert batch.metrics["inputRecordCount"] == 2
    assert batch.metrics["failedRecordCount"] + batch.metrics["outputRecordCount"] == 2


async def test_last_frame_closes_the_batch(depot: Depot) -> None:
    """All frames of a batch share key and number series; the last is empty, and only that."""
    rows = b"\n".join(orjson.dumps(person(n)) for n in range(2_300))
    batch = await depot.load(rows)
    entries = depot.shop.log.poll("platform.ingest", {}, 100)
    frames = depot.shop.frames()

    assert [len(frame.records) for frame in frames] == [1_000, 1_000, 300, 0]
    assert {frame.batch for frame in frames} == {batch.id}
    assert len({entry.key for entry in entries}) == 1
    assert [entry.origin_seq for entry in entries] == sorted({e.origin_seq for e in entries})
    assert entries[0].origin_seq > 0


BAD = [*PEOPLE, person(9, age="old")]


async def test_one_bad_row_fails_a_batch_that_tolerates_none(depot: Depot) -> None:
    """Nothing goes in; the row is a failed record; the batch says what is wrong."""
    batch = await depot.load(json.dumps(BAD).encode())
    (failed,) = depot.shop.failed()

    assert batch.status == "failed"
    assert depot.distinct() == []
    assert [one["code"] for one in batch.errors] == ["INGEST-1211-400", "AMITY-INGEST-TYPE"]
    assert batch.errors[1]["rows"] == ["6"]
    assert (failed.batch, failed.where, failed.path) == (batch.id, "part1.json:6", "/age")
    assert json.loads(failed.raw) == BAD[-1]


@pytest.mark.parametrize(
    ("percent", "status"), [(16, "failed"), (17, "processing"), (100, "processing")]
)
async def test_partial_ingestion_holds_at_the_edge(depot: Depot, percent: int, status: str) -> None:
    """1 of 6 is 16.7 percent: 16 fails, 17 goes in without the bad row, diagnostics forced."""
    batch = await depot.load(json.dumps(BAD).encode(), partialIngestionPercentage=percent)

    assert batch.status == status
    assert depot.distinct() == ([] if status == "failed" else PEOPLE)
    assert batch.metrics["failedRecordCount"] == 1
    assert batch.errors[0]["code"] == "INGEST-1212-400"
    assert batch.errors[0]["recordCount"] == 1
    assert batch.tags["acp_partialIngestionPercent"] == [str(percent)]


async def test_diagnostics_lie_where_they_are_documented(depot: Depot) -> None:
    """Input files, parsing and conversion errors, refused rows as they came."""
    batch = await depot.load(
        LINES + b"\n{broken\n" + orjson.dumps(BAD[-1]) + b"\n{}",
        "2017/a.json",
        partialIngestionPercentage=50,
        enableErrorDiagnostics=True,
    )
    folder = depot.files.of(SCOPE, batch.id)
    meta = {info.name for info in folder.listed("meta")}
    parsing = orjson.loads(folder.path("row_errors/parsing_errors_0.json", "meta").read_bytes())
    conversion = folder.path("row_errors/conversion_errors_0.json", "meta").read_bytes()

    assert meta == {
        "input_files/fileMetaData1.json",
        "row_errors/parsing_errors_0.json",
        "row_errors/conversion_errors_0.json",
    }
    assert parsing["_corrupt_record"] == "{broken"
    assert parsing["_errors"][0]["code"] == "1401"
    assert parsing["_filename"] == "2017/a.json"
    assert len(conversion.splitlines()) == 2
    assert folder.path("2017/a.json", "failed").read_bytes().splitlines()[0] == b"{broken"


@pytest.mark.parametrize(
    ("content", "declared", "code"),
    [
        (b"", {"format": "json"}, "106"),
        (b"\n\n", {"format": "json"}, "106"),
        (b"", {"format": "csv"}, "106"),
        (b",\n1,2\n", {"format": "csv"}, "118"),
        (b"PAR1 no parquet", {"format": "parquet"}, "INGEST-1401-400"),
        (parquet(PEOPLE)[:-20], {"format": "parquet"}, "INGEST-1401-400"),
        (b"[1, 2", {"format": "json"}, "INGEST-1401-400"),
        (b'"cut', {"format": "json"}, "INGEST-1401-400"),
        (gzip.compress(LINES)[:-9], {"format": "json"}, "INGEST-1401-400"),
        (gzip.compress(b" " * 40_000_000), {"format": "json"}, "INGEST-1401-400"),
    ],
    ids=[
        "empty",
        "blank",
        "empty-csv",
        "header",
        "parquet",
        "cut-parquet",
        "array",
        "text",
        "gzip",
        "bomb",
    ],
)
async def test_broken_files_fail_the_batch(
    depot: Depot, content: bytes, declared: dict[str, Any], code: str
) -> None:
    """A file that cannot be read as a whole fails its batch, with the file's name and a reason."""
    batch = await depot.load(content, inputFormat=declared, partialIngestionPercentage=99)

    assert batch.status == "failed"
    assert depot.distinct() == []
    assert code in {one["code"] for one in batch.errors}
    assert any("part1.json" in one.where for one in depot.shop.failed())


async def test_batch_without_files_fails(depot: Depot) -> None:
    """Complete without a file: failed, with what to do."""
    batch = depot.create()
    await depot.service.act(SCOPE, batch, "complete")
    depot.run()

    assert depot.batch(SCOPE, batch).status == "failed"
    assert "put one" in depot.batch(SCOPE, batch).errors[0]["description"]


@pytest.mark.parametrize("appends", range(6))
async def test_killed_loader_goes_on(
    depot: Depot, monkeypatch: pytest.MonkeyPatch, appends: int
) -> None:
    """Killed at any append and started again, each record is taken once."""
    monkeypatch.setattr("amity.platform.ingestion.batch_loader._APPEND_FRAMES", 1)
    rows = [person(n) for n in range(3_500)]
    batch = depot.create(partialIngestionPercentage=1)
    depot.put(batch, "a.json", b"\n".join(orjson.dumps(one) for one in rows) + b"\n{bad")
    await depot.service.act(SCOPE, batch, "COMPLETE")
    depot.appends_left = appends
    with pytest.raises(Killed):
        depot.run()
    depot.appends_left = 10**9
    depot.run()
    depot.run()

    assert depot.distinct() == rows
    assert len({one.id for one in depot.shop.failed()}) == 1


async def test_batch_told_twice_is_loaded_once(depot: Depot) -> None:
    """COMPLETE is safe to repeat, before and after the loader has run."""
    batch = depot.create()
    depot.put(batch, "a.json", LINES)
    for _ in range(3):
        await depot.service.act(SCOPE, batch, "COMPLETE")
    depot.run()
    await depot.service.act(SCOPE, batch, "COMPLETE")
    depot.run()

    assert len(depot.shop.records()) == 5
    assert depot.distinct() == PEOPLE


async def test_replacement_takes_its_predecessors_out(depot: Depot) -> None:
    """`replay` names old batches: they become inactive and leave the lake when the new one is in."""
    old = await depot.load(LINES)
    depot.put_batch(SCOPE, msgspec.structs.replace(old, status="success"))
    new = await depot.load(LINES, replay={"predecessors": [f"${old.id}"], "reason": "replace"})

    assert depot.taken_out == [old.id]
    assert depot.batch(SCOPE, old.id).status == "inactive"
    assert new.status == "processing"


async def test_failed_replacement_leaves_its_predecessor(depot: Depot) -> None:
    """A replacement that is refused replaces nothing."""
    old = await depot.load(LINES)
    depot.put_batch(SCOPE, msgspec.structs.replace(old, status="success"))
    await depot.load(b"{bad", replay={"predecessors": [f"${old.id}"]})

    assert depot.taken_out == []
    assert depot.batch(SCOPE, old.id).status == "success"


async def test_reverted_batch_leaves_the_lake(depot: Depot) -> None:
    """REVERT of a success makes it inactive at once; the loader takes its records out."""
    batch = await depot.load(LINES)
    depot.put_batch(SCOPE, msgspec.structs.replace(batch, status="success"))
    await depot.service.act(SCOPE, batch.id, "REVERT")
    depot.run()

    assert depot.batch(SCOPE, batch.id).status == "inactive"
    assert depot.taken_out == [batch.id]


@pytest.mark.parametrize(
    ("first", "then"),
    [("ABORT", "COMPLETE"), ("FAIL", "COMPLETE"), ("COMPLETE", "ABORT"), ("COMPLETE", "FAIL"),
     ("COMPLETE", "REVERT"), ("ABORT", "REVERT"), ("ABORT", "FAIL")],
)  # fmt: skip
async def test_steps_that_are_not_allowed(depot: Depot, first: str, then: str) -> None:
    """What a status does not allow is 409 and says the status."""
    batch = depot.create()
    depot.put(batch, "a.json", LINES)
    await depot.service.act(SCOPE, batch, first)

    with pytest.raises(Conflict, match=depot.batch(SCOPE, batch).status):
        await depot.service.act(SCOPE, batch, then)


async def test_nothing_is_put_into_a_complete_batch(depot: Depot) -> None:
    """Files come while the batch is loading, and for its own dataset."""
    batch = depot.create()
    with pytest.raises(Invalid):
        depot.put(batch, "a.json", LINES, dataset="d-event")
    await depot.service.act(SCOPE, batch, "COMPLETE")
    with pytest.raises(Conflict):
        depot.put(batch, "a.json", LINES)
    with pytest.raises(Invalid):
        await depot.service.act(SCOPE, batch, "EXPLODE")


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"datasetId": 1}, {"datasetId": "nowhere"},
     {"datasetId": "d-profile", "inputFormat": "json"},
     {"datasetId": "d-profile", "inputFormat": {"format": "xml"}},
     {"datasetId": "d-profile", "inputFormat": {"format": "csv", "delimiter": "ab"}},
     {"datasetId": "d-profile", "partialIngestionPercentage": 101},
     {"datasetId": "d-profile", "partialIngestionPercentage": "5"},
     {"datasetId": "d-profile", "enableErrorDiagnostics": "yes"},
     {"datasetId": "d-profile", "tags": []},
     {"datasetId": "d-profile", "externalId": "x" * 257},
     {"datasetId": "d-profile", "replay": {"predecessors": "x"}},
     {"datasetId": "d-profile", "replay": {"predecessors": ["$nobody"]}}],
)  # fmt: skip
def test_batches_of_another_form(depot: Depot, body: Any) -> None:
    """What is missing or unknown is told when the batch is created."""
    with pytest.raises(AmityError) as caught:
        depot.service.create(SCOPE, body)

    assert 400 <= caught.value.status < 500
    assert depot.batches == {}


@pytest.mark.parametrize(
    "name",
    ["", "/", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\\b", "a\x00b", "a\nb",
     "x" * 201, "/".join("x" * 10 for _ in range(200)), "..", "a/..", "\u202ea"],
)  # fmt: skip
def test_paths_that_climb_out(depot: Depot, tmp_path: Path, name: str) -> None:
    """A path leads nowhere but into its batch; it is refused, not repaired."""
    batch = depot.create()
    with pytest.raises(Invalid):
        depot.put(batch, name, LINES)
    with pytest.raises(Invalid):
        depot.files.of(SCOPE, batch).path(name)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_file_is_replaced_whole(depot: Depot) -> None:
    """The same path again replaces the file; a file never stands where a folder is."""
    batch = depot.create()

    assert depot.put(batch, "a/b.json", b"one")
    assert not depot.put(batch, "a/b.json", b"two")
    assert depot.files.of(SCOPE, batch).path("a/b.json").read_bytes() == b"two"
    with pytest.raises(Conflict):
        depot.put(batch, "a", b"x")
    with pytest.raises(Conflict):
        depot.put(batch, "a/b.json/c", b"x")


def test_broken_off_upload_leaves_nothing(depot: Depot) -> None:
    """A draft that is not committed is no file."""
    batch = depot.create()
    with depot.service.draft(SCOPE, batch, "d-profile", "a.json") as draft:
        draft.write(b"half")

    assert depot.files.of(SCOPE, batch).listed() == []
    assert depot.files.of(SCOPE, batch).listed("drafts") == []


def test_small_file_is_bounded(depot: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the limit is taken, a byte more is refused."""
    monkeypatch.setattr("amity.platform.ingestion.batch_files.BATCH_FILE_BYTES_MAX", 8)
    batch = depot.create()

    assert depot.put(batch, "a.json", b"x" * 8)
    with pytest.raises(TooLarge):
        depot.put(batch, "b.json", b"x" * 9)


def parts(depot: Depot, batch: str, *spans: tuple[int, int]) -> None:
    """Send parts of LINES."""
    for first, last in spans:
        with depot.service.part(
            SCOPE, batch, "d-profile", name="big.json", span=(first, last)
        ) as draft:
            draft.write(LINES[first : last + 1])
            draft.commit()


async def test_large_file_comes_in_parts(depot: Depot) -> None:
    """Any order, a part sent twice: put together it is the file."""
    batch, end = depot.create(), len(LINES) - 1
    depot.service.begin_large(SCOPE, batch, "d-profile", name="big.json")
    parts(depot, batch, (100, end), (0, 99), (0, 99))
    with pytest.raises(Invalid, match=r"big\.json"):
        await depot.service.act(SCOPE, batch, "COMPLETE")
    depot.service.complete_large(SCOPE, batch, "d-profile", name="big.json")
    await depot.service.act(SCOPE, batch, "COMPLETE")
    depot.run()

    assert depot.distinct() == PEOPLE
    assert depot.service.received(SCOPE, batch, "d-profile", name="big.json") == [(0, end)]


@pytest.mark.parametrize(
    ("spans", "told"),
    [
        ([(0, 99), (150, 200)], "gap"),
        ([(0, 99), (90, 200)], "overlap"),
        ([(10, 20)], "gap"),
        ([], "nothing"),
    ],
)
def test_gap_and_overlap_are_found_at_the_end(
    depot: Depot, spans: list[tuple[int, int]], told: str
) -> None:
    """Parts are taken as they come; completing tells what does not add up."""
    batch = depot.create()
    depot.service.begin_large(SCOPE, batch, "d-profile", name="big.json")
    parts(depot, batch, *spans)

    with pytest.raises(Invalid, match=told):
        depot.service.complete_large(SCOPE, batch, "d-profile", name="big.json")


def _send(draft: Draft, content: bytes) -> None:
    draft.write(content)
    draft.commit()


def test_part_is_as_long_as_it_says(depot: Depot) -> None:
    """A part shorter or longer than its range is refused; so are ranges of another form."""
    batch = depot.create()
    with pytest.raises(NotFound, match="INITIALIZE"):
        parts(depot, batch, (0, 1))
    depot.service.begin_large(SCOPE, batch, "d-profile", name="big.json")
    for content in (b"x", b"xxx"):
        part = depot.service.part(SCOPE, batch, "d-profile", name="big.json", span=(0, 1))
        with part as draft, pytest.raises(Invalid):
            _send(draft, content)
    for span in ((5, 4), (-1, 3), (0, 10**12)):
        with pytest.raises(Invalid):
            depot.service.part(SCOPE, batch, "d-profile", name="big.json", span=span)
    with pytest.raises(TooLarge):
        depot.service.part(SCOPE, batch, "d-profile", name="big.json", span=(0, 512_000_000))


async def test_sandboxes_do_not_touch(depot: Depot) -> None:
    """A batch of one sandbox is unknown in another."""
    batch = depot.create()
    other = Scope(SCOPE.org, "dev")

    with pytest.raises(NotFound):
        await depot.service.act(other, batch, "COMPLETE")
    assert depot.files.of(other, batch).root != depot.files.of(SCOPE, batch).root


async def test_lake_declares_success(depot: Depot) -> None:
    """A processed batch becomes a success once the lake has it, told once or twice; no other does."""
    ends = BatchEnds(catalog=depot, clock=depot.shop.clock)
    batch = await depot.load(LINES)
    refused = await depot.load(b"{bad")
    for one in (batch, batch, refused):
        ends.finished(SCOPE, one.id)
    ends.finished(SCOPE, "nobody")

    assert depot.batch(SCOPE, batch.id).status == "success"
    assert depot.batch(SCOPE, batch.id).completed_ms == depot.shop.clock.now_ms()
    assert depot.batch(SCOPE, refused.id).status == "failed"


async def test_batch_whose_dataset_is_gone_fails(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset deleted meanwhile fails its batch with the reason; the loader goes on."""
    batch = depot.create()
    depot.put(batch, "a.json", LINES)
    await depot.service.act(SCOPE, batch, "COMPLETE")

    def gone(scope: Scope, id: str) -> Any:
        raise NotFound(f"there is no dataset {id!r}")

    monkeypatch.setattr(depot.shop, "dataset", gone)
    depot.run()

    assert depot.batch(SCOPE, batch).status == "failed"
    assert "no dataset" in depot.batch(SCOPE, batch).errors[0]["description"]


async def test_loader_leaves_diagnostics_only(depot: Depot) -> None:
    """What went to the log is not kept twice; an upload that broke off is not kept at all."""
    batch = depot.create()
    depot.put(batch, "a.json", LINES)
    (depot.files.of(SCOPE, batch).root / "drafts" / "left-by-a-kill").write_bytes(b"half")
    await depot.service.act(SCOPE, batch, "COMPLETE")
    depot.run()
    root = depot.files.of(SCOPE, batch).root

    assert sorted(
        path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()
    ) == [
        "claim",
        "files/a.json",
        "meta/input_files/fileMetaData1.json",
        "work/summary",
    ]


async def test_a_full_disk_does_not_fail_a_batch(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full while rows are checked delays the batch; it is no fault of its files."""
    batch = depot.create()
    depot.put(batch, "part1.json", json.dumps(person(1)).encode())
    await depot.service.act(SCOPE, batch, "COMPLETE")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Spool, "frame", full)
        with pytest.raises(OSError, match="No space"):
            depot.run()
        assert depot.batch(SCOPE, batch).status == "processing"
    depot.run()

    assert depot.batch(SCOPE, batch).errors == []
    assert depot.distinct() == [person(1)]


def test_an_upload_waits_for_a_full_disk(depot: Depot) -> None:
    """A file that finds no room is refused for the moment, and no part of it stays."""
    batch = depot.create()
    with depot.service.draft(SCOPE, batch, "d-profile", "part1.json") as draft:
        draft._file.close()
        draft._file = Path("/dev/full").open("wb")  # noqa: SIM115 - the draft closes it
        draft.write(b"x")
        with pytest.raises(Unavailable):
            draft.commit()

    assert depot.files.of(SCOPE, batch).listed() == []
    assert depot.files.of(SCOPE, batch).listed("drafts") == []
