"""What does governance refuse, and with which documented code?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Invalid, NotFound


class BadExpression(Invalid):
    """A policy's deny expression is either one label, or AND/OR over operands."""

    code = "POLICY-400"


class BadPolicy(Invalid):
    """This is no policy, label or marketing action that can be kept."""

    code = "POLICY-400"


class StillReferenced(Invalid):
    """The marketing action is named by policies: take it out of them first."""

    code = "POLICY-400"


class UnknownResource(NotFound):
    """There is no such label, marketing action or policy."""

    code = "POLICY-404"


class ViolationsError(Conflict):
    """It would send labelled data where an enabled policy forbids it."""


class LabelsViolation(ViolationsError):
    """These labels would break an activation that is running."""

    code = "PES-409"
