"""What can go wrong on the way in?"""

from __future__ import annotations

from typing import Any

from amity.kernel.errors import Conflict, Invalid, NotFound, TooLarge, Unauthorized, Unprocessable


class UnusableSchema(Unprocessable):
    """The schema holds a rule that records cannot be checked against."""


class UnknownInlet(NotFound):
    """There is no streaming connection with this inlet id."""


class UnknownFile(NotFound):
    """There is no such file in the batch."""


class UnknownFailedRecord(NotFound):
    """There is no failed record with this id."""


class NotReplayable(Conflict):
    """This failed record cannot be sent through a door again."""


class StillRefused(Unprocessable):
    """The record is still refused; it stays among the failed records."""


class BadFilePath(Invalid):
    """The file path is not one a batch can hold."""


class BadBatch(Invalid):
    """The batch is not of the form it must have."""


class WrongBatchStatus(Conflict):
    """The batch is in a status that does not allow this."""


class UploadIncomplete(Invalid):
    """The parts of the large file do not add up."""


class FileTooLarge(TooLarge):
    """The file is larger than one request may carry."""


class UnknownWriteKey(Unauthorized):
    """The write key is not known."""


class UnknownDataStream(NotFound):
    """There is no data stream with this id."""


class NoConsentDataset(Unprocessable):
    """The data stream names no dataset that takes consents."""


class EdgeRefused(Invalid):
    """The request of an Edge client is refused, with a documented code."""

    def __init__(self, code: str, title: str, detail: str, **data: Any) -> None:
        super().__init__(detail, **data)
        self.code = f"EXEG-{code}"
        self.title = title
        self.status = int(code[-3:])


class BadSourceFlow(Invalid):
    """The connection or flow leads from no source to a dataset."""
