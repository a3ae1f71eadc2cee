"""Which places for files does the campaign side know, and how does it sign in there?

An external account is a transport with its parameters; secrets are encrypted at rest and never
answered. Two are built in: `exchange`, the folder the platform's exports go to, and `sftp`, the
folders of this installation's own SFTP server, one an SFTP account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson
import re2
import sqlalchemy as sa

from amity.access.secrets import SecretBox
from amity.campaign.imports.errors import (
    AccountInactive,
    BadAccount,
    BuiltInAccount,
    NoSuchAccount,
)
from amity.kernel.clock import BusinessClock
from amity.storage.ports import Tables
from amity.transports.local import LocalStore
from amity.transports.outbound import Outbound
from amity.transports.ports import Store
from amity.transports.registry import TRANSPORTS

SECRETS = frozenset({"connection_string", "password", "private_key"})
"""Parameters of transports that are encrypted at rest and never answered."""

KINDS = tuple(sorted(set(TRANSPORTS) - {"local"}))
"""Any folder of this machine would be any file of this machine: only the built-in ones are."""

_NAME = re2.compile(r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
_METADATA = sa.MetaData()
_ACCOUNTS = sa.Table(
    "NmsExtAccount",
    _METADATA,
    sa.Column("sName", sa.Text, key="name", primary_key=True),
    sa.Column("sLabel", sa.Text, key="label", nullable=False),
    sa.Column("sKind", sa.Text, key="kind", nullable=False),
    sa.Column("mParams", sa.Text, key="params", nullable=False),
    sa.Column("mSecrets", sa.Text, key="secrets", nullable=False),
    sa.Column("iActive", sa.Integer, key="active", nullable=False),
    sa.Column("tsCreated", sa.Integer, key="created", nullable=False),
    sa.Column("tsLastModified", sa.Integer, key="last_modified", nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """The folders of this machine that are accounts by themselves."""

    exchange: Path
    """Where the platform's destinations of this machine publish."""

    sftp: Path
    """Where the own SFTP server keeps what was uploaded, a folder an account."""


class ExternalAccount(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An account as it is answered: without secrets."""

    name: str
    label: str
    kind: str
    params: dict[str, Any]
    active: bool = True
    built_in: bool = False
    created: int = 0
    last_modified: int = 0


class AccountBody(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """An account as it is written; a secret left out stays what it was if nothing else changes."""

    name: str
    kind: str
    label: str = ""
    params: dict[str, Any] = {}
    active: bool = True


class ExternalAccounts:
    """Keeps the accounts and opens their stores.

    Args:
        tables: The campaign database.
        secrets: Encrypts passwords and keys.
        outbound: Judges the addresses that people configured.
        folders: The built-in ones.
        clock: Stamps changes.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        secrets: SecretBox,
        outbound: Outbound,
        folders: Folders,
        clock: BusinessClock,
    ) -> None:
        self._tables = tables
        self._secrets = secrets
        self._outbound = outbound
        self._folders = folders
        self._clock = clock
        tables.create(_METADATA)

    def open(self, name: str) -> Store:
        """The account's store, ready to use."""
        if name in _BUILT_IN:
            return LocalStore(getattr(self._folders, name))
        row = self._row(name)
        if not row.active:
            raise AccountInactive(f"external account {name!r} is switched off: switch it on first")
        kept = orjson.loads(row.params) | self._unsealed(row.secrets)
        return self._store(row.kind, kept)

    def all(self) -> list[ExternalAccount]:
        """The built-in accounts, then the others by name."""
        with self._tables.connect() as connection:
            rows = connection.execute(sa.select(_ACCOUNTS).order_by(_ACCOUNTS.c.name)).all()
        return [*_BUILT_IN.values(), *map(_shown, rows)]

    def get(self, name: str) -> ExternalAccount:
        """One account."""
        return _BUILT_IN[name] if name in _BUILT_IN else _shown(self._row(name))

    def save(self, body: AccountBody) -> ExternalAccount:
        """Create or replace an account; parameters that name no usable store are refused."""
        if body.name in _BUILT_IN:
            raise BuiltInAccount(f"account {body.name!r} is part of the installation: take another")
        if not _NAME.match(body.name):
            raise BadAccount(f"{body.name[:80]!r} is no name: letters, digits, - and _, at most 64")
        if body.kind not in KINDS:
            raise BadAccount(f"kind {body.kind!r} is not known; known: {', '.join(KINDS)}")
        params, secrets = _parted(body.kind, body.params)
        now_ms = self._clock.now_ms()
        with self._tables.begin() as connection:
            query = sa.select(_ACCOUNTS).where(_ACCOUNTS.c.name == body.name)
            before = connection.execute(query).first()
            secrets = secrets or self._kept_secrets(before, body.kind, params)
            self._store(body.kind, params | secrets)  # refuses what cannot be used
            values = {
                "name": body.name,
                "label": body.label,
                "kind": body.kind,
                "params": orjson.dumps(params).decode(),
                "secrets": self._secrets.encrypt(orjson.dumps(secrets).decode()),
                "active": int(body.active),
                "created": before.created if before else now_ms,
                "last_modified": now_ms,
            }
            connection.execute(sa.delete(_ACCOUNTS).where(_ACCOUNTS.c.name == body.name))
            connection.execute(sa.insert(_ACCOUNTS).values(values))
        return self.get(body.name)

    def delete(self, name: str) -> None:
        """Forget an account; workflows that use it will say that it is missing."""
        if name in _BUILT_IN:
            raise BuiltInAccount(f"account {name!r} is part of the installation")
        self._row(name)
        with self._tables.begin() as connection:
            connection.execute(sa.delete(_ACCOUNTS).where(_ACCOUNTS.c.name == name))

    def _kept_secrets(
        self, before: sa.Row[Any] | None, kind: str, params: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What was kept, for the same place only: elsewhere it would be told to a stranger."""
        if before is None:
            return {}
        if before.kind != kind or orjson.loads(before.params) != params:
            raise BadAccount(
                f"account {before.name!r} leads to another place now: give its password or key again"
            )
        return self._unsealed(before.secrets)

    def _row(self, name: str) -> sa.Row[Any]:
        with self._tables.connect() as connection:
            query = sa.select(_ACCOUNTS).where(_ACCOUNTS.c.name == name)
            row = connection.execute(query).first()
        if row is None:
            known = ", ".join(one.name for one in self.all()[:20])
            raise NoSuchAccount(f"there is no external account {name!r}; known: {known}")
        return row

    def _unsealed(self, sealed: str) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self._secrets.decrypt(sealed))
        return found

    def _store(self, kind: str, params: Mapping[str, Any]) -> Store:
        spec = TRANSPORTS[kind]
        try:
            config: Any = msgspec.convert(params, spec.config)
        except msgspec.ValidationError as wrong:
            raise BadAccount(f"{kind}: {wrong}") from None
        return spec.make(config, outbound=self._outbound)


_BUILT_IN = {
    "exchange": ExternalAccount(
        name="exchange",
        label="Exports of the platform on this machine",
        kind="local",
        params={},
        built_in=True,
    ),
    "sftp": ExternalAccount(
        name="sftp",
        label="Uploads to this installation's SFTP server, a folder an account",
        kind="local",
        params={},
        built_in=True,
    ),
}


def _parted(kind: str, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Public and secret parameters, by the names of the transport's own configuration."""
    names = {_camel(one.name): one.name for one in msgspec.structs.fields(TRANSPORTS[kind].config)}
    unknown = sorted(set(params) - set(names))
    if unknown:
        raise BadAccount(f"{kind} does not know {', '.join(unknown)}; known: {', '.join(names)}")
    named = {names[name]: value for name, value in params.items()}
    secret = {name: value for name, value in named.items() if name in SECRETS}
    return {name: value for name, value in named.items() if name not in SECRETS}, secret


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _shown(row: sa.Row[Any]) -> ExternalAccount:
    params = {_camel(name): value for name, value in orjson.loads(row.params).items()}
    return ExternalAccount(
        name=row.name,
        label=row.label,
        kind=row.kind,
        params=params,
        active=bool(row.active),
        created=row.created,
        last_modified=row.last_modified,
    )
