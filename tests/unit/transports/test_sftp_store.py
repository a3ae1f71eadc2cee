"""An account on an SFTP server is a store of files."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import msgspec
import pytest

from amity.testing.own_sftp import PASSWORD, OwnSftp, own_sftp
from amity.testing.transport_suite import TransportSuite
from amity.transports.errors import (
    AddressRefused,
    BadAddress,
    StoreRefused,
    StoreUnavailable,
)
from amity.transports.outbound import Outbound
from amity.transports.registry import TRANSPORTS
from amity.transports.sftp import SftpConfig, SftpStore

pytestmark = pytest.mark.thorough

KEY = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
HERE = Outbound(allow_loopback=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSftp]:
    public = KEY.export_public_key("openssh").decode()
    with own_sftp(tmp_path_factory.mktemp("own"), "shop", "keyed", keys=(public,)) as running:
        yield running


def config(server: OwnSftp, **changes: object) -> SftpConfig:
    given = SftpConfig(
        host="127.0.0.1",
        port=server.port,
        username="shop",
        password=PASSWORD,
        host_key=server.fingerprint,
    )
    return msgspec.structs.replace(given, **changes)


def store(server: OwnSftp, **changes: object) -> SftpStore:
    return SftpStore(config(server, **changes), outbound=HERE)


class TestSftpStore(TransportSuite):
    @pytest.fixture
    def store(self, server: OwnSftp, request: pytest.FixtureRequest) -> SftpStore:
        name = "".join(letter for letter in request.node.name if letter.isalnum())[:60]
        return store(server, folder=f"/{name}")


def test_a_key_signs_in_as_well(server: OwnSftp) -> None:
    """As it is, or in base64 as the documented destination has it."""
    plain = KEY.export_private_key("openssh").decode()
    for text in (plain, base64.b64encode(plain.encode()).decode()):
        keyed = store(server, username="keyed", password="", private_key=text)
        keyed.put("by/key.csv", b"k")
        assert keyed.get("by/key.csv") == b"k"


def test_another_host_key_is_refused(server: OwnSftp) -> None:
    """A server that shows another key gets no password; what it shows is told."""
    other = asyncssh.generate_private_key("ssh-ed25519").get_fingerprint()
    for pinned in (other, ""):
        with pytest.raises(StoreRefused, match=server.fingerprint.replace("+", r"\+")):
            store(server, host_key=pinned).get("x")


def test_wrong_credentials_are_told_apart_from_an_outage(server: OwnSftp) -> None:
    """A wrong password is nothing to try again; a port nobody listens at is."""
    with pytest.raises(StoreRefused, match="password"):
        store(server, password="wrong" * 4).get("x")
    with pytest.raises(StoreUnavailable):
        store(server, port=1).get("x")


def test_a_private_address_is_called_only_where_allowed(server: OwnSftp) -> None:
    """As any address that people type into a form."""
    with pytest.raises(AddressRefused):
        SftpStore(config(server), outbound=Outbound()).get("x")


@pytest.mark.parametrize(
    "changes",
    [
        {"host": ""},
        {"port": 0},
        {"password": ""},
        {"private_key": "k"},
        {"password": "", "private_key": "no key"},
        {"host_key": "no key"},
    ],
)
def test_what_names_no_account_is_refused(server: OwnSftp, changes: dict[str, object]) -> None:
    """At once, not when the first file is sent."""
    with pytest.raises(BadAddress):
        store(server, **changes)


def test_the_plug_in_makes_it(server: OwnSftp) -> None:
    """Registered as `sftp`."""
    spec = TRANSPORTS["sftp"]
    made = spec.make(config(server), outbound=HERE)
    made.put("made.csv", b"1")
    assert made.get("made.csv") == b"1"


def test_links_are_no_files(server: OwnSftp, tmp_path: Path) -> None:
    """A link that lies on the server is neither listed nor followed by ours."""
    (tmp_path / "secret").write_text("s")
    home = server.root / "shop" / "linked"
    home.mkdir(parents=True)
    (home / "link").symlink_to(tmp_path / "secret")
    linked = store(server, folder="/linked")

    assert list(linked.list()) == []
    with pytest.raises(StoreRefused):
        linked.get("link")
