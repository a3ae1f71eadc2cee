"""What is a destination to the rest of activation?

The port of the plug-ins in `destinations/`. A destination says which connection specs it serves,
what it asks for and what it can do; opened for a job it takes batches of rows and publishes them.
Only destinations know the exchange formats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import msgspec
import pyarrow as pa

from amity.kernel.registry import Spec
from amity.transports.outbound import Outbound


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One file set to write. The same job writes the same names."""

    org: str
    sandbox: str
    destination: str
    """The name people gave the destination."""

    flow: str
    flow_name: str
    audience: str
    audience_name: str
    merge_policy: str
    merge_policy_name: str
    run: str
    scheduled_ms: int
    mode: Literal["full", "incremental"]
    since_revision: int
    until_revision: int
    filename: str
    """Template with macros; "" for the documented default."""

    columns: tuple[str, ...]


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What lies at the destination once a file set is published."""

    files: tuple[str, ...]
    manifest: str
    rows: int
    bytes: int


class FileSet(Protocol):
    """Files being written; nothing of them is visible before `publish`."""

    def write(self, batch: pa.RecordBatch) -> None: ...

    def publish(self) -> Published:
        """Make the files visible, the manifest last."""

    def discard(self) -> None:
        """Leave nothing behind."""


class Words(NamedTuple):
    """How a destination calls a member, and one who has left, in a status column."""

    realized: str
    exited: str


class Destination(Protocol):
    """A place that takes audience files."""

    words: Words

    def open(self, job: Job) -> FileSet: ...


class Means(NamedTuple):
    """What an installation lends its destinations."""

    exports: Path
    """The folder under which destinations write that are folders of this machine."""

    work: Path
    """Files in the making, never seen by anyone."""

    outbound: Outbound
    """Judges the addresses that people configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """One way to sign in: the documented `specName` and the names of its parameters."""

    name: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a destination can do, as data."""

    calendar: bool
    """Weekly and monthly schedules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationSpec(Spec[Destination]):
    """What is known of a destination before it is made.

    `config` is a msgspec Struct in camelCase: authentication and target parameters in one, and
    `authentication`, the name of the way to sign in. `make` takes it and `means`.
    """

    connection_specs: Mapping[str, str]
    """Documented connection spec ids and their names."""

    flow_spec: tuple[str, str]
    """Id and documented name of its flow spec."""

    auths: tuple[Auth, ...]
    target: tuple[str, ...] = field(default=())
    """Names of the target parameters."""

    capabilities: Capabilities

    check_filename: Callable[[str], None]
    """Refuses a template of file names that cannot be used."""
