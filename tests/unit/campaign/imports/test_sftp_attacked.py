"""A client that goes away at a bad moment leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from amity.campaign.imports.sftp_files import AccountFiles, SftpLimits


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_file_that_is_open_after_its_client_has_gone(tmp_path: Path) -> None:
    """It is closed, and its draft is dropped: nobody else will."""
    home, drafts = tmp_path / "shop", tmp_path / ".drafts"
    home.mkdir()
    drafts.mkdir()

    class Ids:
        def hex(self, length: int) -> str:
            files.exit()
            return "a" * length

    files = AccountFiles(
        _Channel(),  # type: ignore[arg-type]
        home=home,
        drafts=drafts,
        limits=SftpLimits(),
        ids=Ids(),
        may=lambda: True,
        tell=lambda *_: None,
    )
    before = _descriptors()
    flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT
    with pytest.raises(asyncssh.SFTPConnectionLost):
        await files.open(b"a.csv", flags, asyncssh.SFTPAttrs())
    assert list(drafts.iterdir()) == []
    assert _descriptors() == before


class _Channel:
    def get_encoding(self) -> tuple[None, str]:
        return None, "strict"

    def get_connection(self) -> _Channel:
        return self

    def get_extra_info(self, *_: object) -> object:
        return self

    def __getattr__(self, _: str) -> object:
        return lambda *_: self
