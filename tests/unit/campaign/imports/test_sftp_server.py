"""The own SFTP server: what comes in whole is there, and nobody gets out of his folder."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from amity.campaign.imports.errors import BadAccount
from amity.campaign.imports.sftp_accounts import ATTEMPTS_FREE, SftpAccountBody, Throttle
from amity.campaign.imports.sftp_files import SftpLimits
from amity.testing.own_sftp import PASSWORD, OwnSftp, own_sftp
from amity.transports.local import LocalStore

pytestmark = pytest.mark.thorough

KEY = asyncssh.generate_private_key("ssh-ed25519")
LIMITS = SftpLimits(file_bytes=100_000, account_bytes=250_000, account_files=5, files_open=4)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnSftp]:
    public = KEY.export_public_key("openssh").decode()
    with own_sftp(tmp_path, "shop", "other", limits=LIMITS, keys=(public,)) as running:
        yield running


@asynccontextmanager
async def connected(
    server: OwnSftp, name: str = "shop", **options: object
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    given = {"password": PASSWORD, "client_keys": None} | options
    async with asyncssh.connect(
        "127.0.0.1",
        server.port,
        username=name,
        known_hosts=None,
        config=None,
        agent_path=None,
        **given,
    ) as connection:
        yield connection


@asynccontextmanager
async def session(server: OwnSftp, name: str = "shop") -> AsyncIterator[asyncssh.SFTPClient]:
    async with connected(server, name) as connection, connection.start_sftp_client() as sftp:
        yield sftp


async def put(sftp: asyncssh.SFTPClient, path: str, data: bytes) -> None:
    async with sftp.open(path, "wb") as file:
        await file.write(data)


def drafts(server: OwnSftp) -> list[str]:
    return [found.name for found in (server.root / ".drafts").iterdir()]


# --- uploads ------------------------------------------------------------------------------------


async def test_an_upload_has_no_name_until_it_is_closed(server: OwnSftp) -> None:
    """Neither its account nor a workflow sees a file of which a part is missing."""
    async with session(server) as sftp:
        file = await sftp.open("people.csv", "wb")
        await file.write(b"half")
        assert not await sftp.exists("people.csv")
        assert list(LocalStore(server.root).list()) == []
        await file.write(b" and half")
        await file.close()
        assert await sftp.exists("people.csv")

    assert (server.root / "shop" / "people.csv").read_bytes() == b"half and half"
    assert drafts(server) == []
    assert [event.action for event in server.events] == ["login", "upload"]


async def test_an_upload_that_breaks_off_leaves_nothing(server: OwnSftp) -> None:
    """A lost connection, or the end of a session, drops what was not closed; the old file stays."""
    async with session(server) as sftp:
        await put(sftp, "people.csv", b"old")
    for end in ("abort", "eof"):
        async with connected(server) as connection:
            sftp = await connection.start_sftp_client()
            file = await sftp.open("people.csv", "wb")
            await file.write(b"new, but only ha")
            if end == "abort":
                connection.abort()
            else:
                sftp.exit()
                await sftp.wait_closed()
        for _ in range(200):
            if not drafts(server):
                break
            await asyncio.sleep(0.01)
        assert drafts(server) == []
        assert (server.root / "shop" / "people.csv").read_bytes() == b"old"


def test_drafts_of_a_killed_server_are_swept(tmp_path: Path) -> None:
    """The next start forgets them."""
    left = tmp_path / "sftp" / ".drafts" / ".0a.amity-part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    with own_sftp(tmp_path):
        assert not left.exists()


async def test_appending_and_reading_work_as_clients_expect(server: OwnSftp) -> None:
    """A file is appended to as a whole; parts are read anywhere."""
    async with session(server) as sftp:
        await put(sftp, "a.csv", b"0123456789")
        async with sftp.open("a.csv", "ab") as file:
            await file.write(b"abc")
        async with sftp.open("a.csv", "rb") as file:
            await file.seek(8)
            assert await file.read(4) == b"89ab"
        assert await sftp.getsize("a.csv") == 13
        await sftp.rename("a.csv", "b.csv")
        await sftp.mkdir("in")
        await put(sftp, "in/c.csv", b"c")
        await sftp.posix_rename("in/c.csv", "b.csv")
        assert sorted(await sftp.listdir(".")) == ["b.csv", "in"]
        await sftp.remove("b.csv")
        await sftp.rmdir("in")
        assert await sftp.listdir(".") == []


# --- out of the folder --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../other/theirs.csv",
        "/../other/theirs.csv",
        "in/../../other/theirs.csv",
        "/other/theirs.csv",
        "../.drafts/x",
        "../../keys/sftp.key",
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "..\\other\\theirs.csv",
    ],
)
async def test_no_path_leads_out(server: OwnSftp, path: str) -> None:
    """Neither up nor to another account nor to the machine, for reading, writing or naming."""
    async with session(server, "other") as sftp:
        await put(sftp, "theirs.csv", b"theirs")
    before = sorted(server.root.parent.rglob("*"))
    async with session(server) as sftp:
        await put(sftp, "mine.csv", b"mine")
        for use in (
            sftp.open(path, "rb"),
            sftp.stat(path),
            sftp.remove(path),
            sftp.truncate(path, 0),
            sftp.rename(path, "stolen.csv"),
            sftp.listdir(path),
        ):
            with pytest.raises(asyncssh.SFTPError):
                await use
        for use in (
            sftp.rename("mine.csv", path),
            sftp.posix_rename("mine.csv", path),
            put(sftp, path, b"evil"),
        ):
            with pytest.raises(asyncssh.SFTPError):
                await use
    assert (server.root / "other" / "theirs.csv").read_bytes() == b"theirs"
    after = sorted(server.root.parent.rglob("*"))
    inside = server.root / "shop"
    assert [one for one in after if inside not in one.parents and one != inside] == before


async def test_links_are_neither_made_nor_followed(server: OwnSftp, tmp_path: Path) -> None:
    """Not by the client, and not where one lies already: of a file or on the way to one."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "s.csv").write_text("s")
    home = server.root / "shop"
    home.mkdir()
    (home / "folder").symlink_to(secret)
    (home / "file").symlink_to(secret / "s.csv")
    async with session(server) as sftp:
        await put(sftp, "mine.csv", b"mine")
        for use in (
            sftp.symlink("/etc/passwd", "l"),
            sftp.link("mine.csv", "l"),
            sftp.readlink("file"),
            sftp.open("file", "rb"),
            sftp.open("folder/s.csv", "rb"),
            put(sftp, "folder/new.csv", b"x"),
            put(sftp, "file", b"x"),
            sftp.rename("mine.csv", "folder/mine.csv"),
            sftp.remove("file"),
            sftp.listdir("folder"),
        ):
            with pytest.raises(asyncssh.SFTPError):
                await use
        assert await sftp.listdir(".") == ["mine.csv"]
    assert [found.name for found in secret.iterdir()] == ["s.csv"]
    assert (secret / "s.csv").read_text() == "s"


async def test_attributes_are_not_the_clients(server: OwnSftp) -> None:
    """Modes, owners and times that a client sets change nothing; a published file keeps its size."""
    async with session(server) as sftp:
        await put(sftp, "a.csv", b"0123456789")
        await sftp.chmod("a.csv", 0o4777)
        await sftp.utime("a.csv", (1, 1))
        with pytest.raises(asyncssh.SFTPError):
            await sftp.truncate("a.csv", 3)
        with pytest.raises(asyncssh.SFTPError):
            await sftp.statvfs(".")
    found = (server.root / "shop" / "a.csv").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_size == 10
    assert found.st_mtime > 1_000_000


async def test_only_sftp_is_served(server: OwnSftp) -> None:
    """No shell, no command, no scp, no tunnel to elsewhere."""
    async with connected(server) as connection:
        for command in ("cat /etc/passwd", "scp -f /etc/passwd", None):
            with pytest.raises(asyncssh.Error):
                await connection.run(command, check=True, timeout=5)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", server.port)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 1)


# --- limits -------------------------------------------------------------------------------------


async def test_a_file_has_a_size(server: OwnSftp) -> None:
    """The largest file fits, one byte more does not, and a hole cannot pretend.

    A write that was refused spoils the upload, whatever the client makes of it.
    """
    async with session(server) as sftp:
        await put(sftp, "fits.csv", b"x" * LIMITS.file_bytes)
        file = await sftp.open("large.csv", "wb")
        await file.write(b"x" * LIMITS.file_bytes)
        with pytest.raises(asyncssh.SFTPError, match="at most"):
            await file.write(b"x", offset=LIMITS.file_bytes)
        with pytest.raises(asyncssh.SFTPError, match="dropped"):
            await file.close()
        hole = await sftp.open("hole.csv", "wb")
        with pytest.raises(asyncssh.SFTPError):
            await hole.write(b"x", offset=1 << 50)
        with pytest.raises(asyncssh.SFTPError):
            await hole.close()
        assert await sftp.listdir(".") == ["fits.csv"]
    assert drafts(server) == []


async def test_an_account_has_room(server: OwnSftp) -> None:
    """For so many bytes and so many files; what is deleted makes room."""
    async with session(server) as sftp:
        for name in ("a", "b"):
            await put(sftp, name, b"x" * LIMITS.file_bytes)
        file = await sftp.open("c", "wb")
        with pytest.raises(asyncssh.SFTPError, match="at most 50000 bytes"):
            await file.write(b"x" * 50_001)
        with pytest.raises(asyncssh.SFTPError):
            await file.close()
        for name in ("c", "d", "e"):
            await put(sftp, name, b"x")
        with pytest.raises(asyncssh.SFTPError, match="full"):
            await put(sftp, "f", b"x")
        await sftp.remove("a")
        await put(sftp, "f", b"x")


async def test_files_open_are_counted(server: OwnSftp) -> None:
    """One over the limit is refused; a closed one makes room."""
    async with session(server) as sftp:
        files = [await sftp.open(f"f{at}", "wb") for at in range(LIMITS.files_open)]
        with pytest.raises(asyncssh.SFTPError, match="open at once"):
            await sftp.open("more", "wb")
        await files[0].close()
        await (await sftp.open("more", "wb")).close()
        for file in files[1:]:
            await file.close()


# --- signing in ---------------------------------------------------------------------------------


async def test_a_key_signs_in_and_another_does_not(server: OwnSftp) -> None:
    """As does no key of nobody."""
    async with connected(server, password=None, client_keys=[KEY]) as connection:
        assert connection
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    for name, key in (("shop", stranger), ("nobody", KEY)):
        with pytest.raises(asyncssh.PermissionDenied):
            async with connected(server, name, password=None, client_keys=[key]):
                pass


async def test_who_guesses_waits(server: OwnSftp) -> None:
    """After some wrong passwords even the right one is refused; each try is told to the audit."""
    for _ in range(ATTEMPTS_FREE):
        with pytest.raises(asyncssh.Error):
            async with connected(server, password="wrong password"):
                pass
    with pytest.raises(asyncssh.Error):
        async with connected(server):
            pass

    denied = [event for event in server.events if event.action == "login" and not event.allowed]
    assert len(denied) >= ATTEMPTS_FREE
    assert {event.account for event in denied} == {"shop"}


def test_waiting_doubles_and_ends() -> None:
    """Nobody waits before the free attempts are used up; one address does not slow another."""
    throttle = Throttle()
    for at in range(ATTEMPTS_FREE - 1):
        throttle.wrong("a", float(at))
        assert not throttle.waits("a", float(at))
    throttle.wrong("a", 10.0)
    assert throttle.waits("a", 11.9)
    assert not throttle.waits("a", 12.0)
    throttle.wrong("a", 12.0)
    assert throttle.waits("a", 15.9)
    assert not throttle.waits("b", 12.0)
    for _ in range(40):
        throttle.wrong("a", 20.0)
    assert throttle.waits("a", 20.0 + 899)
    assert not throttle.waits("a", 20.0 + 900)
    throttle.right("a")
    assert not throttle.waits("a", 20.0)


async def test_no_password_reaches_a_log(server: OwnSftp, caplog: pytest.LogCaptureFixture) -> None:
    """Not the right one, not a wrong one, not at the finest level; nor an event."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(asyncssh.Error):
        async with connected(server, password="hunter2 hunter2"):
            pass
    async with session(server) as sftp:
        await put(sftp, "a", b"1")

    told = caplog.text + repr(server.events)
    assert "hunter2" not in told
    assert PASSWORD not in told


async def test_an_account_that_is_switched_off_stops_at_once(server: OwnSftp) -> None:
    """It signs in no more, and a session that is open uploads nothing more."""
    async with session(server) as sftp:
        server.accounts.save(SftpAccountBody(name="shop", active=False))
        with pytest.raises(asyncssh.SFTPError, match="no longer active"):
            await put(sftp, "late.csv", b"x")
    with pytest.raises(asyncssh.PermissionDenied):
        async with connected(server):
            pass


def test_the_host_key_stays_and_is_the_owners_alone(tmp_path: Path) -> None:
    """A client that pinned it finds it again after a restart."""
    with own_sftp(tmp_path) as first:
        fingerprint = first.fingerprint
    with own_sftp(tmp_path) as again:
        assert again.fingerprint == fingerprint
    assert stat.S_IMODE((tmp_path / "keys" / "sftp.key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "body",
    [
        SftpAccountBody(name="../evil", password=PASSWORD),
        SftpAccountBody(name=".drafts", password=PASSWORD),
        SftpAccountBody(name="Shop", password=PASSWORD),
        SftpAccountBody(name="shop2"),
        SftpAccountBody(name="shop2", password="short"),
        SftpAccountBody(name="shop2", public_keys=("no key",)),
    ],
)
def test_accounts_that_could_not_be_used_are_refused(
    server: OwnSftp, body: SftpAccountBody
) -> None:
    """A name is a folder's name; there is a way to sign in."""
    with pytest.raises(BadAccount):
        server.accounts.save(body)
