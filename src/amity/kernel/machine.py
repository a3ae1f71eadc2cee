"""Is the machine to blame, or the data?

A full disk, a failing one, no more file handles: such an error says nothing about the record at
hand, so no record may be given up for it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from amity.kernel.errors import Unavailable

_PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EDQUOT,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EROFS,
    }
)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether trying again may help once the machine is well again.

    >>> is_of_the_machine(OSError(errno.ENOSPC, "No space left on device"))
    True
    >>> is_of_the_machine(FileNotFoundError(errno.ENOENT, "No such file"))
    False
    """
    return isinstance(error, OSError) and error.errno in _PASSING


@contextmanager
def telling() -> Iterator[None]:
    """Tell an error of the machine as `Unavailable`; any other passes as it is."""
    try:
        yield
    except OSError as error:
        if not is_of_the_machine(error):
            raise
        raise Unavailable(f"the machine cannot do it now: {error.strerror}") from error
