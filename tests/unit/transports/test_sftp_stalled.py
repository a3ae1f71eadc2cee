"""A server that keeps its connection alive and answers nothing holds up nobody."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import asyncssh
import pytest

from amity.transports import sftp as sftp_transport
from amity.transports.errors import StoreUnavailable
from amity.transports.outbound import Outbound
from amity.transports.sftp import SftpConfig, SftpStore


class _Silent(asyncssh.SFTPServer):
    async def stat(self, path: bytes) -> asyncssh.SFTPAttrs:
        if path.endswith(b"silent.csv"):
            await asyncio.sleep(3_600)
        return await super().stat(path)  # type: ignore[misc, no-any-return]

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        del file_obj, offset, size
        await asyncio.sleep(3_600)
        return b""


class _Anybody(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        del username
        return False


async def test_no_answer_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to a question about a file nor in the middle of one; it is tried again later."""
    monkeypatch.setattr(sftp_transport, "_ANSWER_S", 0.3)
    monkeypatch.setattr(sftp_transport, "_CONNECT_S", 2)
    (tmp_path / "a.csv").write_bytes(b"a" * 100)
    key = asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=_Anybody,
        server_host_keys=[key],
        sftp_factory=lambda channel: _Silent(channel, chroot=str(tmp_path).encode()),
    )
    config = SftpConfig(
        host="127.0.0.1",
        port=listener.get_port(),
        username="shop",
        password="x",
        host_key=key.get_fingerprint(),
    )
    store = SftpStore(config, outbound=Outbound(allow_loopback=True))
    began = time.monotonic()
    for ask, path in ((store.head, "silent.csv"), (store.get, "a.csv")):
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(asyncio.to_thread(ask, path), 20)
    assert time.monotonic() - began < 20
    listener.close()
