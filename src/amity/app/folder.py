"""What lies in a data folder, and who holds it?

control.db          control plane                log/log-<n>.db    records between stages
state-0.db          graph, profiles, members     lake/             every accepted record
batches/            files of batches             exports/          audience files (local default)
keys/               secrets, 0600                credentials.json  the first start's secrets, 0600
endpoints.json      where the server listens     serve.lock        the holder
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

from amity.kernel.errors import Conflict, Unavailable


class FolderHeld(Conflict):
    """Another server holds this data folder."""


class ServerDown(Unavailable):
    """No server runs on this data folder."""


class DataFolder:
    """The paths of one data folder; creates what is missing with owner-only access."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock: int | None = None

    def create(self) -> None:
        for folder in (
            self.root,
            self.log,
            self.lake,
            self.batches,
            self.exports,
            self.work,
            self.work_tables,
            self.campaign_spool,
            self.sftp,
            self.copies,
            self.keys,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        self.keys.chmod(0o700)

    @property
    def control(self) -> Path:
        return self.root / "control.db"

    @property
    def audit(self) -> Path:
        return self.root / "audit.db"

    @property
    def state(self) -> Path:
        return self.root / "state-0.db"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def lake(self) -> Path:
        return self.root / "lake"

    @property
    def batches(self) -> Path:
        return self.root / "batches"

    @property
    def exports(self) -> Path:
        return self.root / "exports"

    @property
    def work(self) -> Path:
        """Files in the making, of the platform's worker."""
        return self.root / "spool" / "platform"

    @property
    def campaign_spool(self) -> Path:
        """Files in the making, of the campaign's worker."""
        return self.root / "spool" / "campaign"

    @property
    def copies(self) -> Path:
        """Files that workflows have fetched, until their task is done with them."""
        return self.root / "copies"

    @property
    def work_tables(self) -> Path:
        """The campaign's work tables: they outlive their worker."""
        return self.root / "work"

    @property
    def sftp(self) -> Path:
        """What the campaign's own SFTP server shows; a folder for each account."""
        return self.root / "sftp"

    @property
    def campaign(self) -> Path:
        return self.root / "campaign.db"

    @property
    def campaign_state(self) -> Path:
        return self.root / "state-1.db"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials.json"

    @property
    def endpoints(self) -> Path:
        return self.root / "endpoints.json"

    @property
    def local_token(self) -> Path:
        return self.keys / "local.token"

    def initialised(self) -> bool:
        """Whether an organisation was created here."""
        return self.control.exists() and (self.keys / "organisation.json").exists()

    def organisation(self) -> dict[str, str]:
        """`org_id`, `tenant`, `name` and the ids that init made; no secrets."""
        loaded: dict[str, str] = json.loads((self.keys / "organisation.json").read_text())
        return loaded

    def hold(self, holder: str) -> None:
        """Become the only server of this folder, for the life of this process."""
        lock = os.open(self.root / "serve.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            current = os.read(lock, 1000).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise FolderHeld(
                f"{self.root} is held by {current}: stop that server first, or use another folder",
                holder=current,
            ) from error
        os.ftruncate(lock, 0)
        os.write(lock, holder.encode())
        self._lock = lock

    def release(self) -> None:
        """Let the folder go; the endpoints of a stopped server are not left behind."""
        self.endpoints.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def endpoint(self) -> str:
        """The base URL of the server that runs here."""
        held = self.root / "serve.lock"
        if not (self.endpoints.exists() and held.exists() and _is_locked(held)):
            raise ServerDown(
                f"no server runs on {self.root}: start one with `amity serve --data {self.root}`"
            )
        return str(json.loads(self.endpoints.read_text())["http"])


def cleared(folder: Path) -> Path:
    """A folder without the files in the making that a killed worker left: they hold people's data."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = path.with_name(f".{path.name}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a private JSON file."""
    write_private(path, json.dumps(content, indent=2) + "\n")


def _is_locked(path: Path) -> bool:
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)
