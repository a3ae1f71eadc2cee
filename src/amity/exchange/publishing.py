"""How do the parts of a file set come into a store?

What the writers of audience files and of log files share: rows go into parts in a spool folder of
this machine, a new part where one is full; then the parts are published one by one. The manifest,
which each writer makes of the results, comes last.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from amity.exchange.manifest import ExportResult
from amity.tabular.write import TableWriter, Written
from amity.transports.ports import Store


class Parts:
    """The parts of one file set; nothing of them is visible before `publish`.

    Args:
        spool: A folder of this machine for unfinished parts.
        prefix: How the names of their folders begin there.
        begin: Makes the writer of a part at a path.
        rows_max: Rows of one part.
    """

    def __init__(
        self, spool: Path, *, prefix: str, begin: Callable[[Path], TableWriter], rows_max: int
    ) -> None:
        spool.mkdir(parents=True, exist_ok=True)
        self._spool = Path(tempfile.mkdtemp(prefix=prefix, dir=spool))
        self._begin = begin
        self._rows_max = rows_max
        self._done: list[Written] = []
        self._rows = 0
        self._part = self._next()
        self.visible = False
        """Whether anything of them is in the store: also without a manifest somebody may have read it."""

    def write(self, table: pa.Table) -> None:
        """Add rows, a new part where one is full."""
        while table.num_rows:
            if self._rows == self._rows_max:
                self._done.append(self._part.close())
                self._part, self._rows = self._next(), 0
            piece = table.slice(0, self._rows_max - self._rows)
            self._part.write(piece)
            self._rows += piece.num_rows
            table = table.slice(piece.num_rows)

    def publish(
        self, store: Store, folder: str, *, name: Callable[[int], str], content_type: str
    ) -> tuple[ExportResult, ...]:
        """Publish the parts under their names, counted from 1; what a manifest tells of them."""
        self._done.append(self._part.close())
        results = []
        for at, part in enumerate(self._done, 1):
            path = f"{folder}/{name(at)}".lstrip("/")
            store.put(path, self._spool / f"{at}", content_type=content_type)
            self.visible = True
            results.append(_result(folder, name(at), part))
        return tuple(results)

    def clear(self) -> None:
        """Remove the folder of what is published."""
        shutil.rmtree(self._spool)

    def discard(self) -> None:
        """Forget what was written."""
        self._part.close()
        shutil.rmtree(self._spool, ignore_errors=True)

    def _next(self) -> TableWriter:
        return self._begin(self._spool / f"{len(self._done) + 1}")


def _result(folder: str, name: str, part: Written) -> ExportResult:
    return ExportResult(
        sink_path=f"/{folder}",
        name=name,
        size=part.stored_bytes,
        rows=part.rows,
        bytes=part.bytes,
        sha256=part.sha256,
    )
