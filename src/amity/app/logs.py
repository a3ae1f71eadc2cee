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
_KEYED = re2.compile(
    r"(?i)(AccountKey|SharedAccessSignature|sig|password|client_secret|access_token)=[^;&\s\"']+"
)
_BEARER = re2.compile(r"(?i)(Bearer|Basic) +[A-Za-z0-9._~+/=-]{8,}")
_SECRET_WORDS = ("secret", "password", "token", "authorization", "write_key", "connectionstring")


def mask(text: str) -> str:
    """Hide what names a person or opens a door.

    >>> mask("mail to ann.smith@example.test failed")
    'mail to a***@example.test failed'
    >>> mask("AccountName=shop;AccountKey=abc+/=;EndpointSuffix=x")
    'AccountName=shop;AccountKey=***;EndpointSuffix=x'
    """
    hidden = _BEARER.sub(r"\1 ***", _KEYED.sub(r"\1=***", text))
    return str(_LONG_DIGITS.sub("#########", _MAIL.sub(r"\1***@\2", hidden)))


def _mask_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if any(word in key.lower() for word in _SECRET_WORDS):
            event[key] = "***"
        elif key not in {"timestamp", "level"}:
            event[key] = _masked(value)
    return event


def _masked(value: Any) -> Any:
    """Texts masked, at whatever depth; what is neither text nor number as its text."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: _masked(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(one) for one in value]
    return value if isinstance(value, (int, float, type(None))) else mask(str(value))


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
