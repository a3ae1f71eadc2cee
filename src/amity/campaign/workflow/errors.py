"""What can go wrong with a workflow?"""

from __future__ import annotations

from amity.kernel.errors import Unprocessable


class WrongInputs(Unprocessable):
    """An activity is connected to fewer or more populations than it takes."""
