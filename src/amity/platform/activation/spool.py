"""How does one keep the best of several rows with one key without holding them all in memory?

Rows go to a temporary Arrow file as they come; only a 16-byte digest of the key and the time stay
in memory. In the end the few rows that share a key are compared, and the losers are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from amity.kernel.ids import digest
from amity.platform.activation.rows import Row, wins


class Spool:
    """Rows of one export with an attribute key; a context manager that leaves no file behind."""

    def __init__(self, columns: Sequence[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(
            dir=folder, prefix="export-", suffix=".arrow", delete=False
        ) as file:
            self._path = Path(file.name)
        self._schema = schema_of(columns)
        self._sink = pa.OSFile(str(self._path), "wb")
        self._writer = pa.ipc.new_file(self._sink, self._schema)
        self._digests: list[bytes] = []
        self._times: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        with suppress(FileNotFoundError):
            self._path.unlink()

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows in."""
        if not rows:
            return
        for row in rows:
            place = str(len(self._digests))
            key = ("row", place) if row.key is None else ("key", *row.key)
            self._digests.append(bytes.fromhex(digest(*key)))
            self._times.append(row.at_ms)
        self._writer.write_batch(batch_of(rows, self._schema))

    def winners(self) -> Iterator[pa.RecordBatch]:
        """The rows that stay, in order of arrival."""
        self._close()
        losers = self._losers()
        with pa.memory_map(str(self._path)) as mapped:
            reader = pa.ipc.open_file(mapped)
            first = 0
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                mask = ~np.isin(np.arange(first, first + batch.num_rows), losers)
                first += batch.num_rows
                yield batch if mask.all() else batch.filter(pa.array(mask))

    def _losers(self) -> npt.NDArray[np.int64]:
        """Numbers of the rows that another row with the same key beats."""
        keys = np.frombuffer(b"".join(self._digests), dtype="V16")
        _, group, count = np.unique(keys, return_inverse=True, return_counts=True)
        shared = np.flatnonzero(count[group] > 1)
        rows = self._read(shared)
        best: dict[int, int] = {}
        losers = []
        for number in shared.tolist():
            rival = best.setdefault(int(group[number]), number)
            if rival == number:
                continue
            if wins(rows[number], rows[rival]):
                best[int(group[number])] = number
                losers.append(rival)
            else:
                losers.append(number)
        return np.array(losers, dtype=np.int64)

    def _read(self, numbers: npt.NDArray[np.intp]) -> dict[int, Row]:
        found: dict[int, Row] = {}
        if not len(numbers):
            return found
        with pa.memory_map(str(self._path)) as mapped:
            reader = pa.ipc.open_file(mapped)
            first = 0
            for at in range(reader.num_record_batches):
                batch = reader.get_batch(at)
                here = numbers[(numbers >= first) & (numbers < first + batch.num_rows)]
                cells = batch.take(pa.array(here - first)).to_pydict().values()
                for number, row in zip(here.tolist(), zip(*cells, strict=True), strict=True):
                    found[number] = Row(row, None, self._times[number])
                first += batch.num_rows
        return found

    def _close(self) -> None:
        if not self._sink.closed:
            self._writer.close()
            self._sink.close()


def schema_of(columns: Sequence[str]) -> Any:
    """Texts throughout: a file for people and other systems has no finer types."""
    return pa.schema([(column, pa.string()) for column in columns])


def batch_of(rows: Sequence[Row], schema: Any) -> pa.RecordBatch:
    """Rows as columns."""
    cells = zip(*(row.cells for row in rows), strict=True)
    return pa.record_batch([pa.array(list(one), pa.string()) for one in cells], schema=schema)
