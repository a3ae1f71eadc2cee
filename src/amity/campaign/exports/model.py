"""What is an export of a log on the campaign side?"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from amity.campaign.exports.errors import NoSuchLog
from amity.exchange.log_file import LOG_KINDS, LogKind
from amity.kernel.clock import to_iso

ExportState = Literal["begun", "published", "failed"]

DEFAULT_ACCOUNT = "exchange"
DEFAULT_FOLDER = "campaign-logs"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. The same `key` asks for the same export again, and gets it."""

    kind: LogKind
    key: str
    by: str
    """Who asked, for people: ``workflow 12`` or a client."""

    account: str = DEFAULT_ACCOUNT
    folder: str = DEFAULT_FOLDER


class LogExport(msgspec.Struct, frozen=True, kw_only=True):
    """One export: its window is fixed when it begins, so that carrying it out again repeats it."""

    id: str
    key: str
    kind: LogKind
    state: ExportState
    by: str
    account: str
    folder: str
    since_ms: int
    until_ms: int
    begun_ms: int
    published_ms: int = 0
    rows: int = 0
    manifest: str = ""
    error: str = ""

    def body(self) -> dict[str, Any]:
        """As it is answered."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "by": self.by,
            "account": self.account,
            "folder": self.folder,
            "since": to_iso(self.since_ms),
            "until": to_iso(self.until_ms),
            "begun": to_iso(self.begun_ms),
            "published": to_iso(self.published_ms) if self.state == "published" else None,
            "rows": self.rows,
            "manifest": self.manifest,
            "error": self.error,
        }


def log_kind(name: str) -> LogKind:
    """The kind of that name.

    >>> log_kind("broadLog")
    'broadLog'
    """
    for kind in LOG_KINDS:
        if kind == name:
            return kind
    raise NoSuchLog(f"{name[:40]!r} is no log; there are {', '.join(LOG_KINDS)}")
