"""What may a log line say?

Structured lines on stderr, one JSON object each. Personal data and secrets are masked here, in one
place, whoever logs.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import re2
import structlog

_MAIL = re2.compile(r"([A-Za-z0-9._%+-])[A-Za-z0-9._%+-]*@([A-Za-z0-9.-]+\.[A-Za-z]{2,})")
_LONG_DIGITS = re2.compile(r"\d{9,}")
_SECRET_WORDS = ("secret", "password", "token", "authorization", "write_key", "connectionstring")


def mask(text: str) -> str:
    """Hide what names a person.

    >>> mask("mail to ann.smith@example.test failed")
    'mail to a***@example.test failed'
    """
    return str(_LONG_DIGITS.sub("#########", _MAIL.sub(r"\1***@\2", text)))


def _mask_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "***"
        elif isinstance(value, str) and key not in {"timestamp", "level"}:
            event[key] = mask(value)
    return event


class Enduring:
    """A text stream that never fails its writer: who cannot write a line goes on without it.

    On a full disk the log is the first to fail; that must not end what could wait for room.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if that can be done."""
        with suppress(OSError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        """Flush, if that can be done."""
        with suppress(OSError):
            self._stream.flush()


def configure_logs() -> None:
    """Set structlog up for this process."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            _mask_event,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, Enduring(sys.stderr))),
        cache_logger_on_first_use=True,
    )
