"""What can go wrong with a workflow?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Forbidden, NotFound, Unavailable, Unprocessable


class WrongInputs(Unprocessable):
    """An activity is connected to fewer or more populations than it takes."""


class BadOptions(Unprocessable):
    """The options of an activity are not of the form they must have."""


class MaySendNothing(Forbidden):
    """Who asks may change workflows, and may not send messages by one."""


class BadGraph(Unprocessable):
    """The workflow's graph cannot be run."""


class LostRows(Unprocessable):
    """An activity's rows do not add up: in is not out and excluded."""


class UnknownWorkflow(NotFound):
    """There is no workflow of that id."""


class UnknownTransition(NotFound):
    """There is no transition of that id."""


class UnknownTemplate(NotFound):
    """There is no template of that name."""


class WorkflowTaken(Conflict):
    """Another workflow has this name."""


class NotNow(Conflict):
    """The workflow is not in a state in which this can be done."""


class ChangedMeanwhile(Unavailable):
    """What the task has decided by was changed meanwhile: it is run again."""
