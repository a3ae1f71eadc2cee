"""Waiting for what happens in another process, bounded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 30) -> T:
    """Look again until `wanted` holds; fails with the last thing seen."""
    until = time.monotonic() + seconds
    while True:
        seen = look()
        if wanted(seen):
            return seen
        assert time.monotonic() < until, f"not within {seconds} s; last seen: {seen!r}"
        time.sleep(0.05)
