"""What can be wrong with a file as a whole?"""

from __future__ import annotations

from amity.kernel.errors import Invalid, TooLarge, Unprocessable


class Unreadable(Invalid):
    """The file is not of the format it is said to have."""


class EmptyFile(Unreadable):
    """The file is empty: write at least one row, or leave the file out."""


class NoHeader(Unreadable):
    """The CSV file has no header: its first line must name the columns."""


class FileTooLarge(TooLarge):
    """The file holds more than is allowed: split it."""


class Unwritable(Unprocessable):
    """A value cannot be written in this format."""
