"""Who may put files onto this installation's own SFTP server?

An SFTP account has a folder of its own and is signed in to by password (Argon2id) or key. Which of
the two was wrong, or whether there is such an account, is never told.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import asyncssh
import msgspec
import orjson
import re2
import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from amity.campaign.imports.errors import BadAccount, NoSuchAccount
from amity.kernel.clock import BusinessClock
from amity.kernel.ids import IdSource
from amity.storage.ports import Tables

PASSWORD_CHARS_MIN = 12
"""Ours: what is shorter is guessed."""

PASSWORD_BYTES_MAX = 1_024
"""Ours: what is longer only costs time."""

_NAME = re2.compile(r"^[a-z][a-z0-9_-]{0,31}$")
_METADATA = sa.MetaData()
_ACCOUNTS = sa.Table(
    "NmsSftpAccount",
    _METADATA,
    sa.Column("sName", sa.Text, key="name", primary_key=True),
    sa.Column("sLabel", sa.Text, key="label", nullable=False),
    sa.Column("sPassword", sa.Text, key="password", nullable=False),
    sa.Column("mKeys", sa.Text, key="public_keys", nullable=False),
    sa.Column("iActive", sa.Integer, key="active", nullable=False),
    sa.Column("tsCreated", sa.Integer, key="created", nullable=False),
    sa.Column("tsLastModified", sa.Integer, key="last_modified", nullable=False),
)


class SftpAccount(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An account as it is answered: without its password."""

    name: str
    label: str
    has_password: bool
    public_keys: tuple[str, ...]
    active: bool
    created: int
    last_modified: int


class SftpAccountBody(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """An account as it is written; `password` "" keeps the one there is."""

    name: str
    label: str = ""
    password: str = ""
    public_keys: tuple[str, ...] = ()
    active: bool = True


class SftpAccounts:
    """Keeps the accounts and says who may sign in.

    Args:
        tables: The campaign database.
        clock: Stamps changes.
        ids: For what stands in for a password where there is no account.
    """

    def __init__(self, *, tables: Tables, clock: BusinessClock, ids: IdSource) -> None:
        self._tables = tables
        self._clock = clock
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        # A miss costs as much as a hit, so that timing does not tell which accounts exist.
        self._decoy = self._hasher.hash(ids.hex(32))
        tables.create(_METADATA)

    def all(self) -> list[SftpAccount]:
        """By name."""
        with self._tables.connect() as connection:
            rows = connection.execute(sa.select(_ACCOUNTS).order_by(_ACCOUNTS.c.name)).all()
        return [_shown(row) for row in rows]

    def get(self, name: str) -> SftpAccount:
        """One account."""
        row = self._row(name)
        if row is None:
            raise NoSuchAccount(f"there is no SFTP account {name[:80]!r}")
        return _shown(row)

    def save(self, body: SftpAccountBody) -> SftpAccount:
        """Create or replace an account."""
        if not _NAME.match(body.name):
            raise BadAccount(
                f"{body.name[:80]!r} is no name of an SFTP account: lower-case letters, digits, - and "
                "_, at most 32; it begins with a letter"
            )
        keys = tuple(_public_key(text) for text in body.public_keys)
        hashed = self._hashed(body.password) if body.password else ""
        now_ms = self._clock.now_ms()
        with self._tables.begin() as connection:
            query = sa.select(_ACCOUNTS).where(_ACCOUNTS.c.name == body.name)
            before = connection.execute(query).first()
            hashed = hashed or (before.password if before else "")
            if not hashed and not keys:
                raise BadAccount("an account is signed in to by `password` or by `publicKeys`")
            values = {
                "name": body.name,
                "label": body.label,
                "password": hashed,
                "public_keys": orjson.dumps(keys).decode(),
                "active": int(body.active),
                "created": before.created if before else now_ms,
                "last_modified": now_ms,
            }
            connection.execute(sa.delete(_ACCOUNTS).where(_ACCOUNTS.c.name == body.name))
            connection.execute(sa.insert(_ACCOUNTS).values(values))
        return self.get(body.name)

    def delete(self, name: str) -> None:
        """Nobody signs in by it any more; its files stay."""
        self.get(name)
        with self._tables.begin() as connection:
            connection.execute(sa.delete(_ACCOUNTS).where(_ACCOUNTS.c.name == name))

    def active(self, name: str) -> bool:
        """Whether it may still be used: asked at every file that is opened."""
        row = self._row(name)
        return row is not None and bool(row.active)

    def password_fits(self, name: str, password: str) -> bool:
        """Whether the account is signed in to by this password. Takes its time: not in a loop."""
        row = self._row(name)
        hashed = row.password if row is not None and row.active and row.password else ""
        if len(password.encode("utf-8", "replace")) > PASSWORD_BYTES_MAX:
            password, hashed = "", ""
        try:
            self._hasher.verify(hashed or self._decoy, password)
        except (VerifyMismatchError, InvalidHashError):
            return False
        return bool(hashed)

    def key_fits(self, name: str, fingerprint: str) -> bool:
        """Whether the account is signed in to by the key of this SHA256 fingerprint."""
        row = self._row(name)
        if row is None or not row.active:
            return False
        known = (asyncssh.import_public_key(text) for text in orjson.loads(row.public_keys))
        return any(key.get_fingerprint() == fingerprint for key in known)

    def _hashed(self, password: str) -> str:
        if len(password) < PASSWORD_CHARS_MIN or len(password.encode()) > PASSWORD_BYTES_MAX:
            raise BadAccount(
                f"a password has at least {PASSWORD_CHARS_MIN} characters and at most "
                f"{PASSWORD_BYTES_MAX} bytes"
            )
        return self._hasher.hash(password)

    def _row(self, name: str) -> sa.Row[Any] | None:
        with self._tables.connect() as connection:
            query = sa.select(_ACCOUNTS).where(_ACCOUNTS.c.name == name)
            return connection.execute(query).first()


ATTEMPTS_FREE = 5
"""Wrong sign-ins from one address before it must wait. Ours."""

WAIT_S_MIN = 2.0
WAIT_S_MAX = 900.0
ADDRESSES_MAX = 10_000
"""Addresses remembered; the oldest are forgotten."""


class _Tries(NamedTuple):
    wrong: int
    until_s: float


class Throttle:
    """Makes who guesses passwords wait, twice as long each time.

    By address, so that nobody can lock another out.
    """

    def __init__(self) -> None:
        self._tries: dict[str, _Tries] = {}

    def waits(self, address: str, now_s: float) -> bool:
        """Whether the address must still wait."""
        tries = self._tries.get(address)
        return tries is not None and now_s < tries.until_s

    def wrong(self, address: str, now_s: float) -> None:
        """A sign-in that failed."""
        before = self._tries.pop(address, _Tries(0, 0.0))
        count = before.wrong + 1
        over = count - ATTEMPTS_FREE
        wait_s = min(WAIT_S_MIN * 2 ** min(over, 20), WAIT_S_MAX) if over >= 0 else 0.0
        self._tries[address] = _Tries(count, now_s + wait_s)
        if len(self._tries) > ADDRESSES_MAX:
            del self._tries[next(iter(self._tries))]

    def right(self, address: str) -> None:
        """A sign-in that did not fail: the address starts anew."""
        self._tries.pop(address, None)


def _public_key(text: str) -> str:
    try:
        key = asyncssh.import_public_key(text)
    except asyncssh.KeyImportError:
        raise BadAccount(
            f"{text[:40]!r}… is no public key: give a line like `ssh-ed25519 AAAA… name`"
        ) from None
    return key.export_public_key("openssh").decode().strip()


def _shown(row: sa.Row[Any]) -> SftpAccount:
    return SftpAccount(
        name=row.name,
        label=row.label,
        has_password=bool(row.password),
        public_keys=tuple(orjson.loads(row.public_keys)),
        active=bool(row.active),
        created=row.created,
        last_modified=row.last_modified,
    )
