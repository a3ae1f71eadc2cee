"""Load file: which rows of the transferred files are taken, as what, and which are rejected?

Behaviour: campaign.md §1.3, §2 (ingest). A row that does not fit goes along the transition
``rejects`` with its line and the reason, and into a file. Of audience files the manifest is checked
before anything is taken, and of several files the last word about a person counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pyarrow as pa
import sqlalchemy as sa

from amity.campaign.imports.audience import (
    EXPIRED,
    STATUS_COLUMN,
    FileSet,
    audience_batches,
    chosen,
    columns_of,
    has_segment_columns,
    read_manifest,
)
from amity.campaign.imports.columns import FileColumn
from amity.campaign.imports.copies import Copies, Copy, copies_in
from amity.campaign.imports.errors import BadFile
from amity.campaign.imports.files import Batch, FileFormat, FileReader, looks_like_utf8
from amity.campaign.workflow.activity import ActivitySpec, Column, Done, Out, Task, WorkTable
from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.population import rows_table
from amity.kernel.clock import to_iso
from amity.tabular.write import CsvWriter

REJECTS = "rejects"
_REJECT_COLUMNS = (
    Column(name="file"),
    Column(name="line", type="long"),
    Column(name="reason"),
    Column(name="raw"),
)


class LoadFileConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """How the files are written and what is taken from them."""

    format: FileFormat = FileFormat()
    columns: tuple[FileColumn, ...] = ()
    """None: every column of the header, as text."""

    unknown: Literal["ignore", "error"] = "ignore"
    """Whether columns of the file that are not taken are an error."""

    keys: tuple[str, ...] = ()
    """Columns of which one at least must hold a value; of audience files the best first: by it the
    last word about a person is found."""

    cut_off: Literal["reject", "accept"] = "reject"
    """What becomes of a last row without an end of line."""

    audience: bool = False
    """The files are audience files of the platform, transferred by their manifests."""

    rejects_max: int | None = None
    """More rejected rows than these, and nothing of the files is taken."""


class LoadFile:
    """Makes a population of files."""

    def __init__(self, config: LoadFileConfig, means: Means) -> None:
        if config.audience and not config.keys:
            raise BadOptions("audience files need `keys`: the columns that tell who somebody is")
        self._config = config
        self._copies = means.copies
        self._reader()  # refuses what cannot be used before anything runs

    def run(self, task: Task) -> Done:
        """Read what the file transfer before this took."""
        copies = copies_in(task.vars)
        if not copies:
            raise BadFile("no file came with the transition: put a file transfer before this")
        sets = [copy for copy in copies if copy.manifest]
        if self._config.audience:
            return self._audience(task, copies, sets)
        if sets:
            raise BadFile(f"{sets[0].name} is the manifest of an audience: set `audience`")
        return self._plain(task, copies)

    def _plain(self, task: Task, copies: Sequence[Copy]) -> Done:
        for copy in copies:
            if looks_like_utf8(self._copies.open(copy), self._config.format.input()):
                task.journal(
                    "warning",
                    f"{copy.name} looks like UTF-8, but is read as {self._config.format.encoding}: "
                    "look at the letters beyond ASCII",
                )
        reader, segment = self._reader(), any(map(self._copies.is_segment, copies))
        reader.look(self._copies.open(copies[0]), copies[0].name)
        loading = _Loading(task, self._copies, reader.columns, self._config)

        def batches() -> Iterator[Batch]:
            nonlocal segment
            for copy in copies:
                for batch in reader.batches(self._copies.open(copy), copy.name):
                    segment = segment or has_segment_columns(reader.header)
                    yield batch

        loaded = loading.load(batches())
        return loaded.done("segment" if segment else "", copies, {})

    def _audience(self, task: Task, copies: Sequence[Copy], manifests: Sequence[Copy]) -> Done:
        if len(manifests) != len(copies):
            raise BadFile("these are no manifests: set `manifest` in the file transfer before this")
        sets = [self._set(copy) for copy in manifests]
        audiences = sorted({one.manifest.audience_name for one in sets})
        if len({one.stream for one in sets}) > 1:
            raise BadFile(
                f"files of several audiences or destinations ({', '.join(audiences[:5])}): name one "
                "with `audience` in the file transfer"
            )
        choice = chosen(sets, dict(task.memory.get("revisions") or {}))
        for note in choice.notes:
            task.journal("warning", note)
        memory = {"revisions": choice.revisions}
        if not choice.sets:
            return Done(memory=memory, label="Nothing new")
        columns = self._config.columns or columns_of(choice.sets[-1].manifest)
        status = FileColumn(name=STATUS_COLUMN)
        loading = _Loading(task, self._copies, (*columns, status), self._config)
        spool, _ = self._copies.draft(task.name("files"), "spool")

        def batches() -> Iterator[Batch]:
            for one in choice.sets:
                if one.manifest.window.mode == "full":
                    loading.begin_full()
                yield from audience_batches(one, columns, keys=self._config.keys, spool=spool)

        loaded = loading.load(batches())
        last = choice.sets[-1].manifest
        facts = {
            "audienceId": last.audience_id,
            "audienceName": last.audience_name,
            "exportMode": "full" if loading.full else "incremental",
        }
        return loaded.done("segment", copies, facts, memory)

    def _reader(self) -> FileReader:
        config = self._config
        return FileReader(
            format=config.format.input(),
            columns=config.columns,
            unknown=config.unknown,
            keys=() if config.audience else config.keys,
            cut_off=config.cut_off,
        )

    def _set(self, copy: Copy) -> FileSet:
        content = self._copies.open(copy).read_bytes()
        return FileSet(self._copies.set_store(copy), read_manifest(content, copy.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """What came of loading."""

    task: Task
    table: WorkTable
    rejects: WorkTable
    rejects_file: Copy
    kept: Copies

    def done(
        self,
        origin: Literal["", "segment"],
        copies: Sequence[Copy],
        facts: dict[str, Any],
        memory: dict[str, Any] | None = None,
    ) -> Done:
        """The end of the task: rejects go out only where there are any."""
        table = msgspec.structs.replace(self.table, origin=origin)
        rejects = msgspec.structs.replace(self.rejects, origin=origin)
        file = msgspec.structs.replace(self.rejects_file, segment=origin == "segment")
        self.kept.mark(file)
        named = {"filename": copies[-1].name, "rejected": self.rejects.count, **facts}
        outputs = {"out": Out(table=table, vars=named)}
        if self.rejects.count:
            told = {"filename": file.name, "files": [msgspec.to_builtins(file)], **facts}
            outputs[REJECTS] = Out(table=rejects, vars=told)
        # A population that came in only started this: the rows are those of the files.
        came_in = table.count + self.rejects.count if self.task.inputs else None
        return Done(outputs=outputs, memory=memory, came_in=came_in)


class _Loading:
    """One run: two tables and a file in the making."""

    def __init__(
        self, task: Task, copies: Copies, columns: Sequence[FileColumn], config: LoadFileConfig
    ) -> None:
        self._task = task
        self._copies = copies
        self._columns = tuple(
            Column(name=one.name, type=one.type, label=one.header) for one in columns
        )
        self._config = config
        self._warnings = 0
        self._out = _Rows(self._columns)
        self._before_full = 0
        self.full = False
        """Whether a full export is among the files: who is not in it is no member."""

    def begin_full(self) -> None:
        """What comes now names all members: who was named only before it has left."""
        self.full, self._before_full = True, self._out.count

    def load(self, batches: Iterable[Batch]) -> _Loaded:
        """Take the batches; nothing is there before all of them are."""
        task = self._task
        stamp = "".join(filter(str.isdigit, to_iso(task.since_ms or task.now_ms)[:19]))
        # By the task: rejects of several workflows may go into one folder.
        name = f"{task.activity}_rejects_{stamp}_{task.workflow}_{task.id}.csv"
        path, inner = self._copies.draft(task.name("files"), name)
        out, rejected = self._out, _Rows(_REJECT_COLUMNS)
        header = [column.name for column in _REJECT_COLUMNS]
        with (
            task.work.build(task.name("out")) as rows,
            task.work.build(task.name(REJECTS)) as rejects,
            CsvWriter(path, header) as file,
        ):
            out.create(rows)
            rejected.create(rejects)
            for batch in batches:
                out.add(rows, batch.rows)
                rejected.add(rejects, batch.rejects)
                _write(file, batch)
                self._look(batch, rejected.count)
            replaced = self._last_word(rows)
            count = out.count - replaced
        self._tell(count, rejected.count, replaced)
        return _Loaded(
            task=task,
            kept=self._copies,
            table=WorkTable(name=task.name("out"), columns=self._columns, count=count),
            rejects=WorkTable(
                name=task.name(REJECTS), columns=_REJECT_COLUMNS, count=rejected.count
            ),
            rejects_file=Copy(
                name=path.name, path=inner, source="", size=path.stat().st_size, modified=0
            ),
        )

    def _look(self, batch: Batch, rejected: int) -> None:
        self._warnings += batch.warnings
        if self._task.stopped():
            raise BadFile("stopped while files were loaded: nothing was taken")
        most = self._config.rejects_max
        if most is not None and rejected > most:
            first = batch.rejects[0] if batch.rejects else None
            why = f" (line {first.line}: {first.reason})" if first else ""
            raise BadFile(f"more than {most} rows are rejected{why}: nothing was taken")

    def _last_word(self, connection: sa.Connection) -> int:
        """Of a person named more than once only the last row stays; how many went."""
        if not self._config.audience:
            return 0
        rows = self._out
        left = rows.table.c.n <= self._before_full
        expired = {STATUS_COLUMN: EXPIRED}
        connection.execute(sa.update(rows.table).where(left).values(expired))
        keys = [rows.table.c[key] for key in self._config.keys]
        which = sa.case(*((key.is_not(None), at) for at, key in enumerate(keys)), else_=-1)
        group = sa.select(sa.func.max(rows.table.c.n)).group_by(
            which, sa.func.coalesce(*keys, None)
        )
        deleted = connection.execute(sa.delete(rows.table).where(rows.table.c.n.not_in(group)))
        return deleted.rowcount

    def _tell(self, count: int, rejected: int, replaced: int) -> None:
        journal = self._task.journal
        later = f", {replaced} replaced by a later word about the same person" if replaced else ""
        journal("info", f"{count} rows loaded, {rejected} rejected{later}")
        if rejected:
            journal("warning", f"{rejected} rows are in the rejects, with line and reason")
        if self._warnings:
            journal("warning", f"{self._warnings} values did not fit and were left out")


class _Rows:
    """A table ``rows`` that is being filled."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.table = rows_table(columns)
        self._names = [one.name for one in columns]
        self._statement = ""
        self.count = 0

    def create(self, connection: sa.Connection) -> None:
        """Make it."""
        self.table.create(connection)
        given = dict.fromkeys(self._names)
        insert = sa.insert(self.table).values(given)
        self._statement = str(insert.compile(dialect=connection.dialect))

    def add(self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Add rows, their values in the order of the columns."""
        if rows:
            connection.exec_driver_sql(self._statement, list(rows))
            self.count += len(rows)


def _write(file: CsvWriter, batch: Batch) -> None:
    if batch.rejects:
        columns = list(zip(*batch.rejects, strict=True))
        file.write(pa.table([pa.array(column) for column in columns], names=list("flrw")))


SPEC = ActivitySpec(
    name="load_file",
    label="Load file",
    summary="Makes a population of the rows of transferred files.",
    config=LoadFileConfig,
    make=LoadFile,
    effect="named",
    transitions=lambda _config: ("out", REJECTS),
)
