"""What can be wrong with an export of logs?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Invalid, NotFound


class NoSuchLog(NotFound):
    """There is no log of that kind to export."""


class NoSuchExport(NotFound):
    """There is no such export."""


class SwitchedOff(Conflict):
    """Exports of this kind are switched off."""


class ExportUnderWay(Conflict):
    """An export of this kind is still being carried out."""


class BadFolder(Invalid):
    """The folder names no place for files."""
