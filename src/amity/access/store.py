"""What does access need to keep?

A small Protocol of its own, because access lies below storage; `amity.app` wires it to documents.
"""

from __future__ import annotations

from typing import Any, Protocol


class AccessStore(Protocol):
    """Documents of the whole installation, by kind and id."""

    def get(self, kind: str, id: str) -> dict[str, Any] | None: ...

    def find(self, kind: str) -> list[dict[str, Any]]: ...

    def put(self, kind: str, id: str, body: dict[str, Any]) -> None: ...

    def version(self) -> int:
        """Changes whenever any process has written."""
