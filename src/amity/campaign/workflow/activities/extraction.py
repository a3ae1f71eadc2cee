"""Extraction: how does a population become a file?

Behaviour: campaign.md §1.4. The file lies among the copies until a file transfer uploads it. A cell
that a spreadsheet would run as a formula is made harmless. A file of log rows is an export and
obeys its rule: at most every four hours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import pyarrow as pa
import sqlalchemy as sa

from amity.campaign.imports.copies import Copy
from amity.campaign.recipients.enumerations import name_of
from amity.campaign.recipients.model import Attribute, Enumeration, Schema
from amity.campaign.recipients.values import enumeration
from amity.campaign.workflow.activity import ActivitySpec, Done, Out, Task, WorkTable
from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.means import Means
from amity.kernel.clock import to_iso
from amity.tabular.formats import CsvDialect
from amity.tabular.write import CsvWriter, JsonLinesWriter, TableWriter
from amity.transports.ports import checked

BATCH_ROWS = 10_000

Cell = Callable[[Any], str | None]


class ExtractedColumn(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """A column of the file."""

    source: str
    """A column of the population, or an attribute of its targeting dimension."""

    label: str = ""
    """What the file calls it; "" for the source's name."""


class ExtractionConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What the file holds and how it is written."""

    name: str
    """Of the file, without ending, e.g. ``unknown``."""

    format: Literal["csv", "tab", "jsonLines"] = "csv"
    columns: tuple[ExtractedColumn, ...] = ()
    """None: all columns of the population."""

    delimiter: str = ","
    compression: Literal["none", "gzip"] = "none"
    timestamp: bool = True
    """Put the business time into the name: ``unknown_20171030080000.csv``."""

    labels: bool = False
    """Write labels of enumerations instead of their values."""


class Extraction:
    """Writes one file."""

    def __init__(self, config: ExtractionConfig, means: Means) -> None:
        checked(config.name)
        if "/" in config.name:
            raise BadOptions("a file's name holds no /: the file transfer says where it goes")
        self._dialect = CsvDialect(
            delimiter="\t" if config.format == "tab" else config.delimiter, escape='"', null=""
        )
        self._config = config
        self._copies = means.copies
        self._exports = means.exports
        self._schemas = means.schemas

    def run(self, task: Task) -> Done:
        """Write the population; the population goes on as it came."""
        table = task.table
        columns = self._columns(table)
        self._claim(task, table, {one.source for one in columns if not one.linked})
        name = self._name(task)
        path, inner = self._copies.draft(task.name("files"), name)
        with self._writer(path, [one.label for one in columns]) as writer:
            for batch in self._batches(task, table, columns):
                writer.write(batch)
            written = writer.close()
        task.journal("info", f"{written.rows} rows written to {name}")
        copy = Copy(
            name=name,
            path=inner,
            source="",
            size=written.stored_bytes,
            modified=0,
            segment=table.origin == "segment",
        )
        self._copies.mark(copy)
        told = {"filename": name, "files": [msgspec.to_builtins(copy)]}
        return Done(outputs={"out": Out(table=table, vars=told)})

    def _claim(self, task: Task, table: WorkTable, written: Collection[str]) -> None:
        """Count the file as an export of each log whose rows, or columns, it holds."""
        logs = [log for one in table.columns if one.name in written for log in one.logs]
        for schema in dict.fromkeys(filter(None, (table.schema, *logs))):
            key = f"workflow {task.workflow} task {task.id} {schema}"
            self._exports.claim(schema, key=key, by=f"workflow {task.workflow}")

    def _columns(self, table: WorkTable) -> list[_Extracted]:
        given = self._config.columns or tuple(
            ExtractedColumn(source=column.name, label=column.label) for column in table.columns
        )
        schema = self._schemas.schema(table.schema) if table.schema else None
        attributes = {one.name: one for one in schema.attributes} if schema else {}
        own = {column.name: column.type for column in table.columns}
        made = [self._extracted(one, own, schema, attributes) for one in given]
        labels = [one.label for one in made]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None or not made:
            raise BadOptions(f"two columns of the file are called {twice!r}, or there is none")
        return made

    def _extracted(
        self,
        one: ExtractedColumn,
        own: Mapping[str, str],
        schema: Schema | None,
        attributes: Mapping[str, Attribute],
    ) -> _Extracted:
        source = one.source.removeprefix("@")
        label = one.label or source
        if source in own:
            return _Extracted(source, label, linked=False, cell=_cell(own[source]))
        attribute = attributes.get(source)
        if attribute is None or schema is None:
            known = ", ".join([*own, *attributes][:30])
            raise BadOptions(f"there is no column {source!r} to write; there are {known}")
        cell = _cell(attribute.type)
        if attribute.enum:
            cell = _word(enumeration(schema, attribute.enum), labels=self._config.labels)
        return _Extracted(source, label, linked=True, cell=cell)

    def _batches(
        self, task: Task, table: WorkTable, columns: Sequence[_Extracted]
    ) -> Iterator[pa.Table]:
        names = [one.label for one in columns]
        yield pa.table([pa.array([], pa.string()) for _ in names], names=names)
        scratch = task.name("extract")
        with task.work.build(scratch, inputs={"source": table.name}) as connection:
            rows = connection.execution_options(yield_per=BATCH_ROWS).execute(
                self._select(table, columns)
            )
            for part in rows.partitions(BATCH_ROWS):
                texts = [
                    pa.array(map(one.cell, values), pa.string())
                    for one, values in zip(columns, zip(*part, strict=True), strict=True)
                ]
                yield pa.table(texts, names=names)
        task.work.drop([scratch])

    def _select(self, table: WorkTable, columns: Sequence[_Extracted]) -> sa.Select[Any]:
        names = [column.name for column in table.columns]
        rows = sa.table("rows", *map(sa.column, ("n", "id", *names)), schema="source")
        if not any(one.linked for one in columns):
            return sa.select(*(rows.c[one.source] for one in columns)).order_by(rows.c.n)
        linked = self._schemas.table(table.schema).to_metadata(sa.MetaData(), schema="campaign")
        wanted = [(linked if one.linked else rows).c[one.source] for one in columns]
        joined = rows.outerjoin(linked, linked.c.id == rows.c.id)
        return sa.select(*wanted).select_from(joined).order_by(rows.c.n)

    def _name(self, task: Task) -> str:
        config = self._config
        at_ms = task.since_ms or task.now_ms
        stamp = "".join(part for part in to_iso(at_ms)[:19] if part.isdigit())
        stem = f"{config.name}_{stamp}" if config.timestamp else config.name
        return stem + _ENDINGS[config.format] + (".gz" if config.compression == "gzip" else "")

    def _writer(self, path: Path, labels: Sequence[str]) -> TableWriter:
        packed = self._config.compression == "gzip"
        if self._config.format == "jsonLines":
            return JsonLinesWriter(path, packed=packed)
        return CsvWriter(path, labels, dialect=self._dialect, packed=packed)


_ENDINGS = {"csv": ".csv", "tab": ".txt", "jsonLines": ".jsonl"}


class _Extracted(NamedTuple):
    """A column on its way into the file."""

    source: str
    label: str
    linked: bool
    """Whether it is an attribute of the targeting dimension, not a column of the population."""

    cell: Cell


def _cell(kind: str) -> Cell:
    return {"datetime": _instant, "boolean": _truth}.get(kind, _plain)


def _plain(value: Any) -> str | None:
    return None if value is None else str(value)


def _instant(value: Any) -> str | None:
    return to_iso(int(value)) if value else None


def _truth(value: Any) -> str | None:
    return None if value is None else ("true" if value else "false")


def _word(values: Enumeration, *, labels: bool) -> Cell:
    words = {value.value: value.label or value.name for value in values.values} if labels else {}

    def word(value: Any) -> str | None:
        return None if value is None else words.get(value) or name_of(values, value)

    return word


SPEC = ActivitySpec(
    name="extraction",
    label="Extraction",
    summary="Writes a population to a file.",
    config=ExtractionConfig,
    make=Extraction,
    effect="named",
)
