"""A file set is published whole, says what it holds, and a reader is not fooled."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amity.exchange.audience_file import (
    AudienceExport,
    AudienceFileWriter,
    audience_rows,
    check_manifest,
    manifest_path,
    manifests,
)
from amity.exchange.errors import BadColumns, BadFileName, ManifestDiffers, NoManifest
from amity.exchange.formats import (
    AUDIENCE_FILES,
    CAMPAIGN_V7,
    CLOUD_STORAGE,
    AudienceFile,
)
from amity.exchange.manifest import Manifest, decode, encode
from amity.exchange.names import NameFacts
from amity.transports.errors import StoreUnavailable
from amity.transports.local import LocalStore

GOLDEN = Path(__file__).parent / "golden" / "v1"
EXPORT = AudienceExport(
    names=NameFacts(
        destination="Shop", segment_id="a1", segment_name="Big spenders", at_ms=1_509_325_200_000
    ),
    destination_id="d1",
    run_id="r1",
    columns=("personalEmail.address", "person.name.firstName", "segmentMembership.status"),
    merge_policy="default",
    schema_version="1.2",
    mode="incremental",
    since_revision=3,
    until_revision=9,
    folder="out",
)
ROWS: list[tuple[str | None, ...]] = [
    ("ann@example.test", "Ann", "active"),
    ("bob@example.test", None, "expired"),
    ("zoë@example.test", 'Zoë "Z", Ünal', "active"),
    ("eve@example.test", "=cmd()", "active"),
    ("tab@example.test", "Ta\tb", "active"),
]
VARIANTS = {
    **AUDIENCE_FILES,
    "cloud_storage_gzip": replace(CLOUD_STORAGE, packed=True),
    "json_lines": replace(CLOUD_STORAGE, kind="json_lines", extension=".json"),
    "parquet": replace(CLOUD_STORAGE, kind="parquet", extension=".parquet"),
}


def _batch(rows: list[tuple[str | None, ...]]) -> pa.RecordBatch:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, [f"c{at}" for at in range(len(columns))])


def _publish(
    folder: Path, file: AudienceFile, rows_max: int = 3, export: AudienceExport = EXPORT
) -> tuple[LocalStore, Manifest]:
    store = LocalStore(folder / "store")
    writer = AudienceFileWriter(
        store=store, spool=folder / "spool", file=file, export=export, rows_max=rows_max
    )
    writer.write(_batch(ROWS[:2]))
    writer.write(_batch(ROWS[2:]))
    return store, writer.publish()


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "parquet"])
def test_files_are_written_as_of_version_1(name: str, tmp_path: Path) -> None:
    """Byte for byte: what an installation has written must be readable for ever."""
    store, _ = _publish(tmp_path, VARIANTS[name])
    golden = GOLDEN / name

    written = {stat.path: store.get(stat.path) for stat in store.list()}
    assert {path: _plain(content) for path, content in written.items()} == {
        path.relative_to(golden).as_posix(): _plain(path.read_bytes())
        for path in golden.rglob("*")
        if path.is_file()
    }


def _plain(content: bytes) -> bytes:
    """Without packing, and without the packed size: compressors differ between machines."""
    if content[:2] == b"\x1f\x8b":
        return gzip.decompress(content)
    if content[:1] == b"{" and b"flowRunId" in content:
        body = json.loads(content)
        if body["format"]["compression"] == "GZIP":
            for result in body["exportResults"]:
                result.pop("size")
        return json.dumps(body).encode()
    return content


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "parquet"])
def test_golden_files_read_back(name: str, tmp_path: Path) -> None:
    """The files of version 1 in the repository are read, row for row."""
    store = LocalStore(GOLDEN / name)
    (manifest,) = manifests(store, "out")

    assert _cells(store, manifest, tmp_path) == _expected(VARIANTS[name])


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_published_reads_back(name: str, tmp_path: Path) -> None:
    """In parts of three rows, as often as one likes; nothing in the store changes by reading."""
    store, manifest = _publish(tmp_path, VARIANTS[name])
    assert [result.rows for result in manifest.export_results] == [3, 2]
    assert manifest == decode(store.get(manifest_path(manifest)), name="m")
    assert manifest.format.file() == VARIANTS[name]
    before = list(store.list())

    for _ in range(2):
        check_manifest(store, manifest, tmp_path / "in")
        assert _cells(store, manifest, tmp_path / "in") == _expected(VARIANTS[name])
    assert list(store.list()) == before
    assert list((tmp_path / "in").iterdir()) == []
    assert list((tmp_path / "spool").iterdir()) == []


def _cells(store: LocalStore, manifest: Manifest, spool: Path) -> list[dict[str, Any]]:
    found = []
    for row in audience_rows(store, manifest, spool):
        assert row.value is not None, row
        found.append(row.value)
    return found


def _expected(file: AudienceFile) -> list[dict[str, Any]]:
    header = file.header(EXPORT.columns)
    guarded = [
        tuple(f"'{c}" if c and c[0] == "=" and file.kind == "csv" else c for c in row)
        for row in ROWS
    ]
    return [
        {name: cell for name, cell in zip(header, row, strict=True) if cell is not None}
        for row in guarded
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_an_export_of_nobody_is_a_file_too(name: str, tmp_path: Path) -> None:
    """One part of no rows, and a manifest that says so."""
    store = LocalStore(tmp_path / "store")
    writer = AudienceFileWriter(store=store, spool=tmp_path, file=VARIANTS[name], export=EXPORT)
    manifest = writer.publish()

    assert [result.rows for result in manifest.export_results] == [0]
    check_manifest(store, manifest, tmp_path / "in")


def test_parts_are_named_and_split_at_the_edge(tmp_path: Path) -> None:
    """Five rows in parts of five are one file; in parts of four two."""
    for rows_max, names in ((5, [""]), (4, ["", "_2"]), (2, ["", "_2", "_3"])):
        _, manifest = _publish(tmp_path / str(rows_max), CAMPAIGN_V7, rows_max)
        assert [result.name for result in manifest.export_results] == [
            f"Shop_segmenta1_20171030010000{suffix}.txt" for suffix in names
        ]


def test_nothing_is_visible_before_publication(tmp_path: Path) -> None:
    """And nothing is left behind by what is given up."""
    store = LocalStore(tmp_path / "store")
    writer = AudienceFileWriter(
        store=store, spool=tmp_path / "spool", file=CAMPAIGN_V7, export=EXPORT
    )
    writer.write(_batch(ROWS))
    assert list(store.list()) == []
    writer.discard()
    assert list(store.list()) == []
    assert list((tmp_path / "spool").iterdir()) == []


class _Failing(LocalStore):
    """A folder whose `left`-th put fails."""

    left = 0

    def put(self, path: str, data: bytes | Path, *, content_type: str = "") -> None:
        if self.left == 0:
            raise StoreUnavailable
        self.left -= 1
        super().put(path, data, content_type=content_type)


@pytest.mark.parametrize("puts", [0, 1, 2])
def test_without_a_manifest_there_is_no_file_set(puts: int, tmp_path: Path) -> None:
    """Publication that breaks off at any part, or at the manifest, has published nothing."""
    store = _Failing(tmp_path / "store")
    store.left = puts
    writer = AudienceFileWriter(
        store=store, spool=tmp_path / "spool", file=CAMPAIGN_V7, export=EXPORT, rows_max=3
    )
    writer.write(_batch(ROWS))
    with pytest.raises(StoreUnavailable):
        writer.publish()
    writer.discard()

    assert list(manifests(store, "out")) == []
    assert not (tmp_path / "spool").exists() or not list((tmp_path / "spool").iterdir())


def _changed(manifest: Manifest, **fields: Any) -> Manifest:
    first, *rest = manifest.export_results
    lie = msgspec.structs.replace(first, **fields)
    rows = sum(result.rows for result in (lie, *rest))
    return msgspec.structs.replace(manifest, export_results=(lie, *rest), rows=rows)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"rows": 4}, "has 3 rows; its manifest says 4"),
        ({"rows": 2}, "has 3 rows; its manifest says 2"),
        ({"bytes": 1}, "bytes; its manifest says 1"),
        ({"size": 1}, "bytes stored; its manifest says 1"),
        ({"sha256": "0" * 64}, "as sha256"),
        ({"name": "gone.txt"}, "not in the store"),
        ({"name": "Shop_segmenta1_20171030010000_2.txt"}, "twice"),
    ],
)
def test_a_lie_in_the_manifest_is_found(
    fields: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    """Each claim is checked, and the file is named."""
    store, manifest = _publish(tmp_path, CAMPAIGN_V7)

    with pytest.raises(ManifestDiffers, match=reason):
        check_manifest(store, _changed(manifest, **fields), tmp_path / "in")


def test_a_changed_file_is_found(tmp_path: Path) -> None:
    """One byte is enough, and no row of that part is given."""
    store, manifest = _publish(tmp_path, CAMPAIGN_V7)
    path = manifest.export_results[0].path
    store.put(path, store.get(path).replace(b"Ann", b"Amn"))

    with pytest.raises(ManifestDiffers, match="sha256"):
        next(audience_rows(store, manifest, tmp_path / "in"))
    total = msgspec.structs.replace(manifest, rows=6)
    with pytest.raises(ManifestDiffers, match="5 rows by the manifest, not 6"):
        check_manifest(store, total, tmp_path / "in")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"flowRunId": 1}', b"\xff"])
def test_what_is_no_manifest_is_refused(content: bytes) -> None:
    """With the name of the file."""
    with pytest.raises(NoManifest, match=r"m\.json"):
        decode(content, name="m.json")


def test_a_later_manifest_version_is_refused(tmp_path: Path) -> None:
    """An older program must not guess."""
    _, manifest = _publish(tmp_path, CAMPAIGN_V7)
    later = encode(msgspec.structs.replace(manifest, manifest_version=2))
    with pytest.raises(NoManifest, match="version 2"):
        decode(later, name="m")


def test_columns_must_be_told_apart(tmp_path: Path) -> None:
    """Two fields of one name in the file, no field, or a template that names nothing, are refused."""
    for columns in ((), ("a.b", "a_b"), ("",)):
        with pytest.raises(BadColumns):
            CAMPAIGN_V7.header(columns)
    with pytest.raises(BadFileName):
        _publish(tmp_path, CAMPAIGN_V7, export=replace(EXPORT, template="x"))
    writer = AudienceFileWriter(
        store=LocalStore(tmp_path), spool=tmp_path / "s", file=CAMPAIGN_V7, export=EXPORT
    )
    with pytest.raises(BadColumns, match="2 columns, but 3"):
        writer.write(_batch([("a", "b")]))
    writer.discard()


_CELL = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5
)


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(st.tuples(_CELL, _CELL, _CELL), min_size=1, max_size=7),
    name=st.sampled_from(sorted(VARIANTS)),
    rows_max=st.integers(1, 4),
)
def test_any_cells_survive_any_format(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str | None, ...]],
    name: str,
    rows_max: int,
) -> None:
    """What goes in comes out and the manifest holds, whatever people are called."""
    folder = tmp_path_factory.mktemp("any")
    store = LocalStore(folder / "store")
    file = VARIANTS[name]
    writer = AudienceFileWriter(
        store=store, spool=folder / "spool", file=file, export=EXPORT, rows_max=rows_max
    )
    writer.write(_batch(rows))
    manifest = writer.publish()
    check_manifest(store, manifest, folder / "in")

    found = [tuple(row.values()) for row in _cells(store, manifest, folder / "in")]
    if file.kind == "csv":
        nothing = {"", file.dialect.null}
        rows = [tuple(cell for cell in row if cell not in nothing) for row in rows]
        assert [tuple(_unguarded(cell) for cell in row) for row in found] == [
            tuple(_unguarded(cell or "") for cell in row) for row in rows
        ]
    else:
        assert found == rows


def _unguarded(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:2] in tuple("=+-@\t\r") else cell
