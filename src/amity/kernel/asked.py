"""What does somebody ask for, as a struct?"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from amity.kernel.errors import Terminal

T = TypeVar("T")


def converted(body: Any, to: type[T], wrong: type[Terminal], *, what: str = "the body") -> T:
    """The body of a request as a struct; else raises `wrong`, with the field and the reason."""
    try:
        return msgspec.convert(body, to)
    except msgspec.ValidationError as error:
        raise wrong(f"{what}: {error}") from None
