"""What is a source to the rest of ingestion?

The port of the plug-ins in `sources/`. A source says which connection specs it serves and how one
signs in; opened for a flow it lists lots: sets of rows that somebody has published whole. It gives
a lot's rows as records of the flow's dataset; the records are judged like all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from amity.kernel.registry import Spec
from amity.kernel.scope import Scope
from amity.transports.outbound import Outbound


class SourceRow(NamedTuple):
    """One row of a lot.

    Attributes:
        line: Where it stands, for people.
        raw: As it came.
        record: The record it becomes; None when it becomes none.
        error: Why it becomes none.
        rank_ms: A record counts as if it was received then: it does not outrank what has come in
            since it was said. 0 = at receipt.
    """

    line: int
    raw: bytes
    record: dict[str, Any] | None
    error: str = ""
    rank_ms: int = 0


class Lot(Protocol):
    """A published set of rows."""

    @property
    def name(self) -> str:
        """Where it lies; a lot of the same name and digest is read once."""

    @property
    def digest(self) -> str:
        """Changes with its content."""

    def rows(self) -> Iterator[SourceRow]:
        """Its rows; nothing is given of a lot that is not whole: then a `Terminal` error is raised."""


class Source(Protocol):
    """A place that records come from."""

    def lots(self) -> Iterator[Lot]:
        """What is published there, oldest first."""


class SourceMeans(NamedTuple):
    """What an installation lends its sources."""

    exports: Path | None
    """The folder under which sources read that are folders of this machine; None for a sandbox whose
    files do not lie there."""

    work: Path
    """Files in the making, never seen by anyone."""

    outbound: Outbound
    """Judges the addresses that people configured."""

    tenant: str
    """The tenant's name, without underscore."""

    home: Scope | None = None
    """The sandbox whose files lie in the folder; None for any."""

    def of(self, scope: Scope) -> SourceMeans:
        """What a sandbox is lent: nobody reads another one's files."""
        return self if self.home in {None, scope} else self._replace(exports=None)


class SignIn(NamedTuple):
    """Names of the parameters of one way to sign in."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec(Spec[Source]):
    """What is known of a source before it is made.

    `config` is a msgspec Struct in camelCase: authentication and source parameters in one, and
    `authentication`, the name of the way to sign in. `make` takes it and `means`.
    """

    connection_specs: Mapping[str, str]
    """Connection spec ids and their names."""

    flow_spec: tuple[str, str]
    """Id and name of its flow spec."""

    auths: Mapping[str, SignIn]
    """`specName` of each way to sign in."""

    params: tuple[str, ...] = ()
    """Names of the source connection's parameters."""
