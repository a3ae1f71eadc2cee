"""What did checking a batch's files give?

Checked records and refused rows are written beside the batch's files before anything reaches the
log: whether the batch may go in at all is known only at its end, and a loader that was killed goes
on from here without checking again.

    work/frames      frames of accepted records, each behind its length
    work/failed      failed-record entries, each behind its length
    work/summary     counts and errors; written last, so that it says the rest is whole
    meta/...         the documented diagnostics
    failed/...       refused rows, as they came, in a file named like theirs
"""

from __future__ import annotations

import os
import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

import msgspec
import orjson

from amity.platform.ingestion.batch_files import BatchFolder, sync_folder, write_whole
from amity.platform.ingestion.validation import CORRUPT

_LENGTH = struct.Struct(">I")
_ROWS_SHOWN_MAX = 100
ERROR_ROWS_MAX = 100_000
"""Refused rows told in the diagnostics; all of them are failed records. Ours."""


class ErrorCount(msgspec.Struct):
    """Refused rows of one code."""

    code: str
    description: str
    count: int = 0
    rows: list[int] = []


class Summary(msgspec.Struct, kw_only=True):
    """What checking gave. `broken` says why a file as a whole could not be read."""

    rows: int = 0
    accepted: int = 0
    frames: int = 0
    files: int = 0
    bytes: int = 0
    broken: list[ErrorCount] = []
    errors: list[ErrorCount] = []

    @property
    def refused(self) -> int:
        """Rows that may not go in."""
        return self.rows - self.accepted

    def over(self, percent: int) -> bool:
        """Whether more than `percent` of the rows, or a file as a whole, are refused."""
        return bool(self.broken) or self.refused * 100 > percent * self.rows


class Spool:
    """Takes what checking gives; durable and whole once `close`d with a summary."""

    def __init__(self, folder: BatchFolder, *, diagnostics: bool) -> None:
        self._root = folder.root
        self._diagnostics = diagnostics
        self._files: dict[str, IO[bytes]] = {}
        self._errors: dict[str, ErrorCount] = {}
        self._told: Counter[str] = Counter()
        self.summary = Summary(broken=[], errors=[])
        for name in ("work", "meta", "failed"):
            shutil.rmtree(self._root / name, ignore_errors=True)
        (self._root / "work").mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def frame(self, body: bytes, records: int) -> None:
        """Take a frame of accepted records."""
        self.summary.frames += 1
        self.summary.accepted += records
        self._write("work/frames", _LENGTH.pack(len(body)) + body)

    def refused(self, entry: bytes, error: dict[str, Any]) -> None:
        """Take a refused row: its failed record, and what the diagnostics say of it.

        `error` has `file`, `line`, `raw`, `code`, `message` and `path`.
        """
        self._write("work/failed", _LENGTH.pack(len(entry)) + entry)
        self._write(f"failed/{error['file']}", error["raw"] + b"\n")
        counted = self._count(error["code"], error["message"])
        if len(counted.rows) < _ROWS_SHOWN_MAX:
            counted.rows.append(error["line"])
        kind = "parsing" if error["code"] == CORRUPT else "conversion"
        if self._diagnostics and self._told[kind] < ERROR_ROWS_MAX:
            self._told[kind] += 1
            line = orjson.dumps(_row_error(error))
            self._write(f"meta/row_errors/{kind}_errors_0.json", line + b"\n")

    def broken(self, entry: bytes, code: str, message: str) -> None:
        """Take a file that could not be read as a whole."""
        self._write("work/failed", _LENGTH.pack(len(entry)) + entry)
        self.summary.broken.append(ErrorCount(code, message, 1))

    def end_file(self, name: str) -> None:
        """No more rows of this file are refused: a batch may have more files than handles."""
        self._finish(f"failed/{name}")

    def close(self, names: list[str]) -> Summary:
        """Make everything durable; the summary last."""
        for at, name in enumerate(names, 1):
            line = orjson.dumps({"path": name})
            path = f"meta/input_files/fileMetaData{at}.json"
            self._write(path, line + b"\n")
            self._finish(path)
        self.summary.errors = list(self._errors.values())
        for path in tuple(self._files):
            self._finish(path)
        write_whole(self._root / "work" / "summary", msgspec.json.encode(self.summary))
        return self.summary

    def _count(self, code: str, message: str) -> ErrorCount:
        counted = self._errors.setdefault(code, ErrorCount(code, message, 0, []))
        counted.count += 1
        return counted

    def _write(self, path: str, content: bytes) -> None:
        file = self._files.get(path)
        if file is None:
            place = self._root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            file = self._files[path] = place.open("wb")
        file.write(content)

    def _finish(self, path: str) -> None:
        file = self._files.pop(path, None)
        if file is not None:
            with file:
                file.flush()
                os.fsync(file.fileno())
            sync_folder((self._root / path).parent)


def summary_of(folder: BatchFolder) -> Summary | None:
    """The summary of a batch that was checked to its end; None when it was not."""
    path = folder.root / "work" / "summary"
    if not path.is_file():
        return None
    return msgspec.json.decode(path.read_bytes(), type=Summary)


def spooled(folder: BatchFolder, what: str) -> Iterator[bytes]:
    """The `frames` or `failed` entries of a checked batch, in order."""
    path = folder.root / "work" / what
    return _pieces(path) if path.is_file() else iter(())


def forget_spool(folder: BatchFolder) -> None:
    """Drop what the log holds now, and what never became a file; diagnostics stay."""
    for name in ("frames", "failed", "unquoted"):
        (folder.root / "work" / name).unlink(missing_ok=True)
    shutil.rmtree(folder.root / "drafts", ignore_errors=True)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            yield file.read(_LENGTH.unpack(head)[0])


def _row_error(error: dict[str, Any]) -> dict[str, Any]:
    parts = error["code"].split("-")
    code = parts[1] if error["code"].startswith("INGEST-") else error["code"]
    return {
        "_corrupt_record": error["raw"].decode("utf-8", "replace"),
        "_errors": [{"code": code, "message": error["message"], "path": error["path"]}],
        "_filename": error["file"],
        "_line": error["line"],
    }
