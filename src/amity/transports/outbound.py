"""May the system call this address?

An address that a person types into a form must not reach what only this machine can reach: cloud
metadata, the neighbours on its network, its own ports.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from amity.kernel.errors import Unavailable
from amity.transports.errors import AddressRefused, BadAddress

Resolve = Callable[[str, int], Sequence[str]]


def resolve(host: str, port: int) -> Sequence[str]:
    """All addresses of a host, from the operating system."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as no:
        raise Unavailable(f"the host name {host} cannot be resolved: {no}") from None
    return [str(address[0]).partition("%")[0] for *_, address in found]


class Outbound:
    """Judges addresses that people configured.

    The names are resolved at the time of asking: a name that changes its address afterwards is
    judged again at the next use, not within one.

    Args:
        allow_private: Whether this installation may call private and loopback addresses.
        allow_loopback: Whether it may call this machine: so by default when it listens there only.
        resolve: The addresses of a host.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        allow_loopback: bool = False,
        resolve: Resolve = resolve,
    ) -> None:
        self._allow_private = allow_private
        self._allow_loopback = allow_loopback
        self._resolve = resolve

    def check(self, url: str) -> bool:
        """Raise unless the address may be called; answers whether it is on this machine.

        Without TLS it may be called on this machine only.
        """
        parts = _split(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        addresses = [ip_address(text) for text in self._resolve(host, port)]
        if not addresses:
            raise BadAddress(f"the host name {host} has no address")
        loopback = all(address.is_loopback for address in addresses)
        allowed = self._allow_private or (loopback and self._allow_loopback)
        if not allowed and not all(address.is_global for address in addresses):
            raise AddressRefused(
                f"{host} is a private address; this installation does not call those: "
                "start it with --allow-private-addresses where it may",
                host=host,
            )
        if parts.scheme == "http" and not loopback:
            raise BadAddress(f"{host} is called with TLS only: write https://")
        return loopback


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as no:
        raise BadAddress(f"{url[:80]!r} is no address: {no}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadAddress(f"{url[:80]!r} is no http(s) address")
    if parts.username or parts.password:
        raise BadAddress("an address holds no user name or password: configure them apart")
    return parts
