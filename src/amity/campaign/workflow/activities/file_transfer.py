"""File transfer: which files come from, go to, or lie at an external account?

Behaviour: campaign.md §1.3. What is downloaded is copied; a file that still changes is looked at
again later; one that was taken before is not taken again. The paths go on as event variables.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from amity.campaign.imports.audience import is_of, manifest_at
from amity.campaign.imports.copies import Copy, copies_in, fixed_part, matching
from amity.campaign.workflow.activity import ActivitySpec, Done, Later, Out, Task
from amity.campaign.workflow.errors import BadOptions
from amity.campaign.workflow.means import Means
from amity.kernel.clock import SECOND_MS
from amity.transports.errors import NoSuchFile
from amity.transports.ports import Stat, Store, checked

FILES_MAX = 1_000
SEEN_MAX = 20_000
"""Files remembered that were taken, the newest by name. Ours."""

SETTLE_S = 30
"""How long a file at a foreign SFTP server must stay as it is before it is taken. Ours."""

MISSING = "missing"


class FileTransferConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What is done, where, with which files."""

    account: str
    """Name of the external account."""

    action: Literal["download", "upload", "list", "exists", "delete"] = "download"
    path: str
    """Of the files at the account; `*` and `?` stand within a folder. For an upload a path that ends
    in / keeps the names of the files."""

    missing: Literal["error", "transition"] = "error"
    """What it is that there is no such file: an error, or the transition ``missing``."""

    only_new: bool = True
    """Files that an earlier run took, and that have not changed, are not taken again."""

    delete_source: bool = False
    max_files: int = 100
    settle_s: int | None = None
    """Seconds for which a file must stay as it is; None: 30 at foreign SFTP servers, else none."""

    manifest: bool = False
    """`path` means manifests of audience files: what they name is taken with them."""

    audience: str = ""
    """Of the manifests only those of this audience, by id or name."""


class FileTransfer:
    """Takes, puts, lists or deletes files."""

    def __init__(self, config: FileTransferConfig, means: Means) -> None:
        if not 0 < config.max_files <= FILES_MAX:
            raise BadOptions(f"maxFiles lies between 1 and {FILES_MAX}")
        checked(config.path.rstrip("/"))
        self._config = config
        self._accounts = means.accounts
        self._copies = means.copies

    def run(self, task: Task) -> Done | Later:
        """Do what `action` says."""
        store = self._accounts.open(self._config.account)
        match self._config.action:
            case "download":
                return self._download(task, store)
            case "upload":
                return self._upload(task, store)
            case "delete":
                return self._delete(task, store)
            case "list" | "exists":
                return self._list(task, store)

    def _list(self, task: Task, store: Store) -> Done:
        found = self._found(store)[: self._config.max_files]
        if not found:
            return self._none(task, f"there is no file {self._config.path}")
        task.journal("info", f"{len(found)} files: {_named([stat.path for stat in found])}")
        names = [stat.path for stat in found]
        return Done(outputs={"out": Out(table=task.population, vars=_vars(names, []))})

    def _delete(self, task: Task, store: Store) -> Done:
        names = [stat.path for stat in self._found(store)[: self._config.max_files]]
        for name in names:
            store.delete(name)
        task.journal("info", f"deleted {len(names)} files: {_named(names)}")
        return Done(outputs={"out": Out(table=task.population, vars=_vars(names, []))})

    def _upload(self, task: Task, store: Store) -> Done:
        copies = copies_in(task.vars)
        if not copies:
            return self._none(task, "no file came with the transition")
        to = self._config.path
        if len(copies) > 1 and not to.endswith("/"):
            raise BadOptions(f"{len(copies)} files cannot all be called {to}: end the path in /")
        names = [to + copy.name if to.endswith("/") else to for copy in copies]
        for name, copy in zip(names, copies, strict=True):
            store.put(name, self._copies.open(copy))
        task.journal("info", f"uploaded to {self._config.account}: {_named(names)}")
        return Done(outputs={"out": Out(table=task.population, vars=_vars(names, copies))})

    def _download(self, task: Task, store: Store) -> Done | Later:
        name = task.name("files")
        copies = self._copies.taken(name)
        if copies is None:
            wanted = self._wanted(task, store)
            if not wanted:
                return self._none(task, f"there is no new file {self._config.path}")
            wait_s = self._settle_s()
            if wait_s and not self._copies.steady(name, wanted):
                paths = _named([stat.path for stat in wanted])
                return Later(
                    at_ms=task.now_ms + wait_s * SECOND_MS,
                    why=f"looks again in {wait_s} s whether these are whole: {paths}",
                )
            copies = [self._take(name, store, stat) for stat in wanted]
            self._copies.note(name, copies)
        if self._config.delete_source:
            for copy in copies:
                self._delete_taken(task, store, copy)
        self._copies.sweep(name)
        return self._taken(task, copies)

    def _delete_taken(self, task: Task, store: Store, copy: Copy) -> None:
        """Delete what was copied, not what somebody has put there since: after a crash long since."""
        there = store.head(copy.source)
        if there is None or (there.size, there.modified_ms) == (copy.size, copy.modified):
            store.delete(copy.source)
        else:
            task.journal(
                "warning", f"{copy.source} has changed since it was taken: it is left there"
            )

    def _taken(self, task: Task, copies: list[Copy]) -> Done:
        names = [copy.source for copy in copies]
        task.journal("info", f"downloaded from {self._config.account}: {_named(names)}")
        seen = dict(task.memory.get("seen") or {})
        seen |= {copy.source: [copy.size, copy.modified] for copy in copies}
        newest = dict(sorted(seen.items())[-SEEN_MAX:])
        return Done(
            outputs={"out": Out(table=task.population, vars=_vars(names, copies))},
            memory={"seen": newest},
        )

    def _take(self, name: str, store: Store, stat: Stat) -> Copy:
        if not self._config.manifest:
            return self._copies.fetch(name, store, stat)
        manifest = manifest_at(store, stat.path)
        parts = [result.path for result in manifest.export_results]
        return self._copies.fetch_set(name, store, stat, parts)

    def _wanted(self, task: Task, store: Store) -> list[Stat]:
        seen = task.memory.get("seen") or {} if self._config.only_new else {}
        new = [
            stat
            for stat in self._found(store)
            if seen.get(stat.path) != [stat.size, stat.modified_ms]
        ]
        if self._config.manifest and self._config.audience:
            new = [stat for stat in new if self._is_wanted_set(store, stat)]
        return new[: self._config.max_files]

    def _is_wanted_set(self, store: Store, stat: Stat) -> bool:
        return is_of(manifest_at(store, stat.path), self._config.audience)

    def _found(self, store: Store) -> list[Stat]:
        pattern = self._config.path
        return [stat for stat in store.list(fixed_part(pattern)) if matching(pattern, stat.path)]

    def _settle_s(self) -> int:
        if self._config.settle_s is not None:
            return self._config.settle_s
        return SETTLE_S if self._accounts.get(self._config.account).kind == "sftp" else 0

    def _none(self, task: Task, why: str) -> Done:
        if self._config.missing == "error":
            raise NoSuchFile(
                f"{why} at {self._config.account}; where that may be, set missing to transition"
            )
        task.journal("info", f"{why} at {self._config.account}")
        return Done(outputs={MISSING: Out(table=task.population)}, label="Missing")


def _vars(names: Sequence[str], copies: Sequence[Copy]) -> dict[str, Any]:
    """Behaviour: campaign.md §1.3 (`filename`; `filenames`, a line each)."""
    return {
        "filename": posixpath.basename(names[0]) if names else "",
        "filenames": "\n".join(names),
        "files": [msgspec.to_builtins(copy) for copy in copies],
    }


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _transitions(config: FileTransferConfig) -> tuple[str, ...]:
    return ("out", MISSING) if config.missing == "transition" else ("out",)


SPEC = ActivitySpec(
    name="file_transfer",
    label="File transfer",
    summary="Downloads, uploads, lists or deletes files at an external account.",
    config=FileTransferConfig,
    make=FileTransfer,
    effect="named",
    inputs=(0, 1),
    transitions=_transitions,
)
