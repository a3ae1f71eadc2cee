"""What can be wrong with a dataset, its labels or a batch, and what does one do about it?"""

from __future__ import annotations

from amity.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Outdated


class DatasetNotFound(NotFound):
    """There is no such dataset."""


class DatasetInvalid(Invalid):
    """The dataset is not of the form it must have."""


class DatasetInUse(Conflict):
    """The dataset holds data of profiles: disable it for Profile first."""


class BatchNotFound(NotFound):
    """There is no such batch."""


class QueryInvalid(Invalid):
    """The query string is not of the form it must have."""


class LabelsNotFound(NotFound):
    """The dataset has no labels yet."""

    code = "PES-404"


class LabelsInvalid(Invalid):
    """The labels are not of the form they must have."""


class LabelsExist(Forbidden):
    """The dataset has labels already: change them with PUT and If-Match."""


class LabelsOutdated(Outdated):
    """The labels were changed meanwhile: read them again and send the new etag in If-Match."""
