"""How does one send through the mail server that most people have?

Postfix, with configuration and queue of its own, on a free loopback port. It relays every message to
one SMTP server, such as the sink, and mail for the bounce domain to the bounce door: what the relay
refuses comes back as a real delivery status notification. It must be started by root;
`scripts/postfix` installs the Debian package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from amity.kernel.errors import Unavailable
from amity.testing.processes import HOST, await_port, end_by_id
from amity.testing.server import free_port

_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = {home}/conf
mail_owner = postfix
setgid_group = postdrop
maillog_file = {home}/log/postfix.log
maillog_file_prefixes = {home}/log
inet_interfaces = {host}
inet_protocols = ipv4
myhostname = relay.example.test
mydestination =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
relayhost = [{relay_host}]:{relay_port}
transport_maps = inline:{{ {{ {bounce_domain} = smtp:[{bounce_host}]:{bounce_port} }} }}
local_transport = error:no mailboxes here
local_recipient_maps =
alias_maps =
alias_database =
append_dot_mydomain = no
biff = no
notify_classes =
in_flow_delay = 0
queue_run_delay = {retry_s}s
minimal_backoff_time = {retry_s}s
maximal_backoff_time = {retry_s}s
maximal_queue_lifetime = {give_up_s}s
bounce_queue_lifetime = {give_up_s}s
"""
_MASTER = """\
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_FILES = Path("/etc/postfix/postfix-files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Postfix:
    """A running relay."""

    address: str
    """``HOST:PORT`` that takes messages from this machine."""

    log: Path


def postfix_available() -> bool:
    """Whether it is installed and this user may start it."""
    return os.getuid() == 0 and _command() is not None and _FILES.exists()


@contextmanager
def start_postfix(
    *, relay: str, bounces: str, bounce_domain: str, retry_s: int = 2, give_up_s: int = 3600
) -> Iterator[Postfix]:
    """Run it until the block ends.

    Args:
        relay: ``HOST:PORT`` of the server that every message goes to.
        bounces: ``HOST:PORT`` of the door for mail to the bounce domain.
        bounce_domain: Domain of the envelope senders.
        retry_s: Seconds between tries of what was refused for now.
        give_up_s: Seconds after which such a message is returned.
    """
    command = _command()
    if command is None:
        raise Unavailable("postfix is missing: run scripts/postfix as root, or install it")
    # Its processes drop root, so every folder above must let others through: a user's own does not.
    with tempfile.TemporaryDirectory(prefix="amity-postfix-", dir="/var/tmp") as folder:
        home, port = Path(folder), free_port()
        home.chmod(0o755)
        for name in ("conf", "queue", "data", "log"):
            (home / name).mkdir(mode=0o755)
        shutil.chown(home / "data", "postfix")
        shutil.copy(_FILES, home / "conf" / "postfix-files")
        relay_host, _, relay_port = relay.rpartition(":")
        bounce_host, _, bounce_port = bounces.rpartition(":")
        text = _MAIN.format(
            home=home, host=HOST, relay_host=relay_host, relay_port=relay_port,
            bounce_domain=bounce_domain, bounce_host=bounce_host, bounce_port=bounce_port,
            retry_s=retry_s, give_up_s=give_up_s,
        )  # fmt: skip
        (home / "conf" / "main.cf").write_text(text)
        (home / "conf" / "master.cf").write_text(_MASTER.format(port=port))
        _run(command, home, "check")
        _run(command, home, "start")
        try:
            log = home / "log" / "postfix.log"
            await_port(lambda: _pid(home) > 0, port, log, "postfix")
            yield Postfix(address=f"{HOST}:{port}", log=log)
        finally:
            _stop(command, home)


def _command() -> str | None:
    return shutil.which("postfix", path=f"/usr/sbin:{os.environ.get('PATH', '')}")


def _run(command: str, home: Path, *what: str) -> None:
    done = subprocess.run(  # noqa: S603 - a fixed command
        [command, "-c", str(home / "conf"), *what],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise Unavailable(f"postfix {' '.join(what)}: {(done.stderr + done.stdout)[-2000:]}")


def _stop(command: str, home: Path) -> None:
    """Also when `postfix stop` cannot: nothing of it may stay behind."""
    pid = _pid(home)
    try:
        _run(command, home, "stop")
    finally:
        if pid:
            end_by_id(pid)


def _pid(home: Path) -> int:
    """Process id of its master; 0 while there is none."""
    try:
        return int((home / "queue" / "pid" / "master.pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0
