"""Which forms do the recipients stage's requests and answers share?"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Body, Path, Query, Request

from amity.access.guard import needs
from amity.campaign.recipients.errors import BadValue
from amity.campaign.recipients.records import ID_MAX, Page
from amity.kernel.asked import converted

MEMBERS_MAX = 10_000
"""Recipients named in one request. Ours; a workflow's list update takes any number."""

VIEW = [needs("view-recipients")]
EDIT = [needs("manage-recipients")]

Json = dict[str, Any]
JsonBody = Annotated[Json, Body()]
Id = Annotated[int, Path(ge=0, le=ID_MAX)]
Limit = Annotated[int, Query(ge=1, le=1_000)]
After = Annotated[int, Query(ge=0, le=ID_MAX)]

_PAGING = frozenset({"limit", "after"})
_Asked = TypeVar("_Asked", bound=msgspec.Struct)


def filters(request: Request) -> dict[str, str]:
    """What a list is narrowed by: every query parameter that does not page."""
    return {name: value for name, value in request.query_params.items() if name not in _PAGING}


def page_shown(page: Page, name: str) -> Json:
    """A part of a list; `after` goes into the next request, null at the end."""
    return {name: page.records, "total": page.total, "after": page.after}


def ids_of(body: Json) -> list[int]:
    """The ids in ``{"recipients": [1000, 1001]}``."""
    asked = convert(body, _Members).recipients
    if len(asked) > MEMBERS_MAX:
        raise BadValue(f"{len(asked)} recipients are too many for a request: at most {MEMBERS_MAX}")
    wrong = [one for one in asked if not 0 <= one <= ID_MAX]
    if wrong:
        raise BadValue(f"{wrong[0]} is no id of a recipient", field="recipients")
    return asked


def convert(body: Json, to: type[_Asked]) -> _Asked:
    """The body as a struct; refused with the field and the reason."""
    return converted(body, to, BadValue)


class _Members(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    recipients: list[int]
