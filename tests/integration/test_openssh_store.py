"""The SFTP store over the server that most people have.

Where `sshd` is not installed, the installation's own server stands in; `scripts/openssh` installs it.
"""

from __future__ import annotations

from collections.abc import Iterator

import asyncssh
import msgspec
import pytest

from amity.testing.openssh import openssh_available, start_openssh
from amity.testing.own_sftp import PASSWORD, own_sftp
from amity.testing.transport_suite import TransportSuite
from amity.transports.errors import StoreRefused
from amity.transports.outbound import Outbound
from amity.transports.sftp import SftpConfig, SftpStore

HERE = Outbound(allow_loopback=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpConfig]:
    folder = tmp_path_factory.mktemp("ssh")
    if not openssh_available():
        with own_sftp(folder, "shop") as own:
            yield SftpConfig(
                host="127.0.0.1",
                port=own.port,
                username="shop",
                password=PASSWORD,
                host_key=own.fingerprint,
            )
        return
    with start_openssh(folder) as server:
        yield SftpConfig(
            host=server.host,
            port=server.port,
            username=server.user,
            private_key=server.key,
            host_key=server.host_key,
            folder=str(server.root),
        )


class TestSftpStoreOverOpenSsh(TransportSuite):
    @pytest.fixture
    def store(self, place: SftpConfig, request: pytest.FixtureRequest) -> SftpStore:
        name = "".join(letter for letter in request.node.name if letter.isalnum())[:60]
        own = msgspec.structs.replace(place, folder=f"{place.folder}/{name}")
        return SftpStore(own, outbound=HERE)


def test_another_host_key_is_refused(place: SftpConfig) -> None:
    """Before anything is told to it."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    store = SftpStore(msgspec.structs.replace(place, host_key=other), outbound=HERE)
    with pytest.raises(StoreRefused, match="SHA256:"):
        store.put("x", b"1")
