"""A log file is published whole, reads back as it was written, and a reader is not fooled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amity.exchange import parts
from amity.exchange.errors import BadColumns, ManifestDiffers, NoManifest
from amity.exchange.log_file import (
    LOG_FILES,
    LOG_KINDS,
    LogExportFacts,
    LogFileWriter,
    LogKind,
    check_export,
    log_rows,
    published,
)
from amity.exchange.manifest import MANIFEST_BYTES_MAX, ExportResult
from amity.kernel.clock import from_iso
from amity.transports.local import LocalStore

GOLDEN = Path(__file__).parent / "golden" / "logs_v1"
AT = from_iso("2017-10-30T08:00:00Z")


def facts(kind: LogKind = "nonDeliverable") -> LogExportFacts:
    return LogExportFacts(
        id="e" * 32, kind=kind, at_ms=AT, since_ms=AT - 1, until_ms=AT, folder="logs"
    )


def write(
    folder: Path,
    rows: list[tuple[str | None, ...]],
    kind: LogKind = "nonDeliverable",
    **options: int,
) -> LocalStore:
    store = LocalStore(folder / "store")
    writer = LogFileWriter(store=store, spool=folder / "spool", facts=facts(kind), **options)
    writer.write(rows)
    writer.publish()
    return store


def read(store: LocalStore, folder: Path, kind: LogKind = "nonDeliverable") -> list[dict[str, str]]:
    (found,) = published(store, "logs", kind)
    return [row.value or {} for row in log_rows(store, found.manifest(), folder / "spool")]


def row_of(kind: LogKind) -> tuple[str | None, ...]:
    """A text in each column that is not easy to write down."""
    texts = ["=1+1", "'quoted'", 'a "b", c', "zoë\nünal", "-7", None, "true", "+49 30"]
    return tuple(texts[at % len(texts)] for at in range(len(LOG_FILES[kind].columns)))


@pytest.mark.parametrize("kind", LOG_KINDS)
def test_golden_files(tmp_path: Path, kind: LogKind) -> None:
    """Version 1 of each kind, byte by byte: who changes this makes a version 2."""
    write(tmp_path, [row_of(kind)], kind)
    made = {
        path.name: path.read_bytes() for path in sorted((tmp_path / "store" / "logs").iterdir())
    }

    assert len(made) == 2
    for name, content in made.items():
        assert (GOLDEN / name).read_bytes() == content


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))))
@example(["'a", "''", "=1+1", "+x", "-x", "@x", "\tx", "\rx", "-7"])
def test_every_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """Formulas, apostrophes, quotes, line breaks: what is read is what was written; nothing is nothing."""
    folder = tmp_path_factory.mktemp("logs")
    width = len(LOG_FILES["nonDeliverable"].columns)
    rows: list[tuple[str | None, ...]] = [(text, *["x"] * (width - 1)) for text in texts]
    found = read(write(folder, rows), folder)

    assert [row.get("id", "") for row in found] == texts


def test_parts_and_no_rows(tmp_path: Path) -> None:
    """A file is split where it is full; an export of no rows is one, too."""
    row = row_of("nonDeliverable")
    store = write(tmp_path / "a", [row] * 5, rows_max=2)
    (found,) = published(store, "logs", "nonDeliverable")

    assert [2, 2, 1] == [result.rows for result in found.manifest().export_results]
    assert len(read(store, tmp_path)) == 5
    assert [] == read(write(tmp_path / "b", []), tmp_path)


def test_nothing_is_seen_before_the_manifest(tmp_path: Path) -> None:
    """Written, not published: the store is empty and the spool is cleared."""
    store = LocalStore(tmp_path / "store")
    writer = LogFileWriter(store=store, spool=tmp_path / "spool", facts=facts())
    writer.write([row_of("nonDeliverable")])
    assert list(store.list()) == []
    writer.discard()

    assert list((tmp_path / "spool").iterdir()) == []
    writer = LogFileWriter(store=store, spool=tmp_path / "spool", facts=facts())
    with pytest.raises(BadColumns):
        writer.write([("one",)])
    writer.discard()


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"rows": 1,\n  "columns"', '"rows": 2,\n  "columns"', ManifestDiffers),
        ('"kind": "nonDeliverable"', '"kind": "everything"', NoManifest),
        ('"manifestVersion": 1', '"manifestVersion": 2', NoManifest),
        ('"version": 1', '"version": 9', NoManifest),
        ('"errorCount"', '"errors"', NoManifest),
        ("{", "[", NoManifest),
    ],
)
def test_a_manifest_that_lies(tmp_path: Path, old: str, new: str, error: type[Exception]) -> None:
    """Totals, kind, versions, columns: each is found before a row is given."""
    store = write(tmp_path, [row_of("nonDeliverable")])
    (path,) = (tmp_path / "store" / "logs").glob("*.json")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    (found,) = published(store, "logs", "nonDeliverable")

    with pytest.raises(error):
        check_export(store, found.manifest(), tmp_path / "spool")


@pytest.mark.parametrize("change", ["cut", "letter", "gone", "header"])
def test_a_file_that_is_not_what_was_promised(tmp_path: Path, change: str) -> None:
    """Truncated, changed, missing or with other columns."""
    store = write(tmp_path, [row_of("nonDeliverable")] * 3)
    (file,) = (tmp_path / "store" / "logs").glob("*.csv")
    content = file.read_bytes()
    if change == "gone":
        file.unlink()
    elif change == "cut":
        file.write_bytes(content[:-10])
    else:
        file.write_bytes(content.replace(b"domain" if change == "header" else b"true", b"trve", 1))
    (found,) = published(store, "logs", "nonDeliverable")

    with pytest.raises(ManifestDiffers):
        check_export(store, found.manifest(), tmp_path / "spool")


def test_manifests_of_other_kinds_are_not_read(tmp_path: Path) -> None:
    """Each kind finds its own, in order of time, and no audience file's manifest."""
    store = write(tmp_path, [row_of("broadLog")], "broadLog")
    store.put("logs/manifest-d-r.json", json.dumps({}).encode())
    write(tmp_path, [row_of("nonDeliverable")])

    assert ["broadLog"] == [one.manifest().kind for one in published(store, "logs", "broadLog")]


def test_what_is_larger_than_promised_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A huge file by a manifest's name is never fetched; of a part no more than was promised is."""
    store = write(tmp_path, [row_of("nonDeliverable")])
    (path,) = (tmp_path / "store" / "logs").glob("*.csv")
    with path.open("ab") as part:
        part.truncate(64 << 20)
    (found,) = published(store, "logs", "nonDeliverable")
    copied = []
    size = parts._compare

    def noted(result: ExportResult, what: str, said: int | str, there: int | str) -> None:
        copied.append(there)
        size(result, what, said, there)

    monkeypatch.setattr(parts, "_compare", noted)
    with pytest.raises(ManifestDiffers):
        check_export(store, found.manifest(), tmp_path / "spool")
    assert int(copied[0]) <= 2 << 20

    with (tmp_path / "store" / "logs" / "logs-nonDeliverable_x.json").open("wb") as huge:
        huge.truncate(MANIFEST_BYTES_MAX + 1)
    monkeypatch.setattr(LocalStore, "get", lambda *_: pytest.fail("it was read"))
    (named,) = (one for one in store.list("logs/logs-nonDeliverable_x"))
    monkeypatch.setattr(LocalStore, "list", lambda *_: iter([named]))
    (lies,) = published(store, "logs", "nonDeliverable")
    with pytest.raises(NoManifest, match="no manifest is that large"):
        lies.manifest()
