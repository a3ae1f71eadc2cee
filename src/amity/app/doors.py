"""What listens beside HTTP, and where?

The campaign's own SFTP server and the door for bounces: both on the event loop of the HTTP server,
both as cheap as a door may be. What they take is durable before it is acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

Told = Callable[[dict[str, int]], None]
"""Hears on which ports the doors listen, once they do."""


class Listener(Protocol):
    """One door."""

    async def start(self, host: str, port: int) -> int:
        """Listen; the port it got."""

    async def stop(self) -> None: ...


class Doors:
    """All doors of a server but HTTP's.

    Args:
        host: The address they listen on.
        listeners: Name → the door and the port that it is to have, 0 for a free one.
        told: Hears where they listen.
    """

    def __init__(
        self, host: str, listeners: Mapping[str, tuple[Listener, int]], told: Told
    ) -> None:
        self._host = host
        self._listeners = listeners
        self._told = told

    async def start(self) -> None:
        ports = {
            name: await listener.start(self._host, port)
            for name, (listener, port) in self._listeners.items()
        }
        self._told(ports)

    async def stop(self) -> None:
        for listener, _ in self._listeners.values():
            await listener.stop()
