"""What can go wrong, and should one try again?

    AmityError                      message defaults to the class docstring
    ├─ Terminal                     trying again changes nothing
    │  ├─ Invalid          400      ├─ Unauthorized   401
    │  ├─ Forbidden        403      ├─ NotFound       404
    │  ├─ Conflict         409      ├─ Outdated       412
    │  ├─ TooLarge         413      ├─ WrongMediaType 415
    │  ├─ Unprocessable    422      ├─ NotSupported   501
    │  └─ Corrupt          500
    └─ Transient                    trying again later may succeed
       ├─ TooMany          429
       ├─ Unavailable      503
       └─ LostOwnership    503

Leaf classes of a stage live in its own ``errors.py`` and derive from these. The text says what,
where and what the reader can do next; `data` carries the same as data (ids, field path, position).
`app` turns an error into an HTTP answer in one place.
"""

from __future__ import annotations

from typing import Any


class AmityError(Exception):
    """Something went wrong in Amity."""

    status = 500
    code: str | None = None
    """The documented error code of the followed system, where one exists (e.g. ``XDM-1012-404``)."""

    def __init__(self, message: str = "", **data: Any) -> None:
        doc = (type(self).__doc__ or "").strip().splitlines()
        super().__init__(message or (doc[0] if doc else type(self).__name__))
        self.data = data

    @property
    def message(self) -> str:
        """The sentence for the reader."""
        return str(self.args[0])


class Terminal(AmityError):
    """Trying again changes nothing."""


class Transient(AmityError):
    """Trying again later may succeed."""

    def __init__(self, message: str = "", *, retry_after_s: int = 1, **data: Any) -> None:
        super().__init__(message, **data)
        self.retry_after_s = retry_after_s


class Invalid(Terminal):
    """The request is not of the form it must have."""

    status = 400


class Unauthorized(Terminal):
    """Who is asking is not known."""

    status = 401


class Forbidden(Terminal):
    """Who is asking may not do this."""

    status = 403


class NotFound(Terminal):
    """There is no such thing here."""

    status = 404


class Conflict(Terminal):
    """It contradicts what is already there."""

    status = 409


class Outdated(Terminal):
    """It was changed meanwhile: read it again and send the new etag."""

    status = 412


class TooLarge(Terminal):
    """It is larger than allowed."""

    status = 413


class WrongMediaType(Terminal):
    """The content type is not one this route takes."""

    status = 415


class Unprocessable(Terminal):
    """It is well formed but breaks a rule."""

    status = 422


class NotSupported(Terminal):
    """This is not supported here."""

    status = 501


class Corrupt(Terminal):
    """Stored data is not of the form it must have."""

    status = 500


class TooMany(Transient):
    """Too many requests at once: wait and try again."""

    status = 429


class Unavailable(Transient):
    """It cannot be served at this moment: wait and try again."""

    status = 503


class LostOwnership(Transient):
    """Another owner has taken this partition over."""

    status = 503
