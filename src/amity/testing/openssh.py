"""How does one run against the SFTP server that most people have?

OpenSSH's own `sshd` with `internal-sftp`, on a free loopback port, with host key, configuration and
account key of its own in one folder. It serves the user who runs the test; `scripts/openssh` installs
the Debian package.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from amity.kernel.errors import Unavailable
from amity.testing.processes import HOST, await_port, end
from amity.testing.server import free_port

_RUN = Path("/run/sshd")
_CONFIGURATION = """\
Port {port}
ListenAddress {host}
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
AllowUsers {user}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
MaxStartups 100
Subsystem sftp internal-sftp
ForceCommand internal-sftp -d {root}
LogLevel INFO
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSsh:
    """A running server; relative paths begin in `root`."""

    host: str
    port: int
    user: str
    key: str
    """Private key of the account, as OpenSSH writes it."""

    host_key: str
    """Public key of the server, one line: what a client pins."""

    root: Path


def openssh_available() -> bool:
    """Whether `sshd` is installed and may serve this user."""
    return _sshd() is not None and not _locked()


@contextmanager
def start_openssh(folder: Path) -> Iterator[OpenSsh]:
    """Run it until the block ends; what it serves lies in ``folder/root``."""
    sshd = _sshd()
    if sshd is None:
        raise Unavailable("sshd is missing: run scripts/openssh, or install openssh-server")
    root = folder.resolve() / "root"
    root.mkdir(parents=True, exist_ok=True)
    port, user = free_port(), getpass.getuser()
    _, host_key = _new_key(folder / "host")
    key, public = _new_key(folder / "account")
    (folder / "authorized_keys").write_text(public + "\n")
    text = _CONFIGURATION.format(
        host=HOST, port=port, folder=folder.resolve(), user=user, root=root
    )
    (folder / "sshd_config").write_text(text)
    if os.getuid() == 0:
        _RUN.mkdir(mode=0o755, exist_ok=True)
    log = folder / "sshd.log"
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            [sshd, "-D", "-e", "-f", str(folder.resolve() / "sshd_config")], stdout=out, stderr=out
        )
        try:
            await_port(lambda: process.poll() is None, port, log, "sshd")
            yield OpenSsh(host=HOST, port=port, user=user, key=key, host_key=host_key, root=root)
        finally:
            end(process)


def _sshd() -> str | None:
    """It wants to be started by its full path."""
    return shutil.which("sshd", path=f"/usr/sbin:/sbin:{os.environ.get('PATH', '')}")


def _locked() -> bool:
    """Whether sshd refuses the account because its password is locked; only root can tell."""
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:
        return False
    return any(line.startswith(f"{getpass.getuser()}:!") for line in lines)


def _new_key(path: Path) -> tuple[str, str]:
    """A key pair; the private one also in a file that only its owner reads."""
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return text, public.decode()
