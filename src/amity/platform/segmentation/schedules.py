"""When does batch segmentation run by itself? Behaviour: platform-audiences.md §5.3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import re2

from amity.kernel.clock import HOUR_MS, MINUTE_MS, SECOND_MS, BusinessClock
from amity.kernel.errors import Conflict, Invalid
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope
from amity.platform.segmentation.daily import ScheduleChanged
from amity.platform.segmentation.errors import UnknownSchedule
from amity.storage.ports import Documents

Json = dict[str, Any]
KIND = "segment_schedule"
_STATES = ("inactive", "active")
_DAILY = re2.compile(r"^(\d{1,2}) (\d{1,2}) (\d{1,2}) (?:\* \* \?|\? \* \*) ?\*?$")


class Schedules:
    """The daily schedule of every sandbox; one each.

    Audiences are exact at every instant, so that a schedule decides only when a batch job compares
    the lake with them. `announce` tells the stage that keeps the timers; without
    it somebody else must look at the schedules.
    """

    def __init__(
        self,
        *,
        documents: Documents,
        ids: IdSource,
        clock: BusinessClock,
        announce: Callable[[ScheduleChanged], None] | None = None,
    ) -> None:
        self._announce = announce
        self._documents = documents
        self._ids = ids
        self._clock = clock

    def find(self, scope: Scope) -> list[Json]:
        """The schedule, when there is one."""
        return [document.body for document in self._documents.find(scope, KIND)]

    def get(self, scope: Scope, id: str) -> Json:
        """One schedule."""
        document = self._documents.get(scope, KIND, id)
        if document is None:
            raise UnknownSchedule(f"schedule {id} not found", id=id)
        return document.body

    def create(self, scope: Scope, body: Mapping[str, Any]) -> Json:
        """A new schedule."""
        if self.find(scope):
            raise Conflict("there is a schedule already: change it by PATCH")
        if body.get("type") != "batch_segmentation":
            raise Invalid("type: batch_segmentation is the only type of schedule")
        if not isinstance(body.get("name"), str) or not body["name"]:
            raise Invalid("name: a text is needed")
        now_ms = self._clock.now_ms()
        made: Json = {
            "id": self._ids.uuid(),
            "imsOrgId": scope.org,
            "sandbox": scope.shown,
            "name": body["name"],
            "type": "batch_segmentation",
            "frequency": "daily",
            "properties": _properties(body.get("properties")),
            "schedule": _daily(body.get("schedule")),
            "state": _state(body.get("state", "inactive")),
            "createEpoch": now_ms // 1_000,
            "updateEpoch": now_ms // 1_000,
        }
        self._documents.put(scope, KIND, made["id"], made, if_version=0)
        self._tell(scope, made, active=made["state"] == "active")
        return made

    def update(self, scope: Scope, id: str, change: Mapping[str, Any]) -> None:
        """Change state or time."""
        body = dict(self.get(scope, id))
        for name, value in change.items():
            if name not in {"state", "schedule"}:
                raise Invalid(f"/{name}: only /state and /schedule can be changed")
            body[name] = _state(value) if name == "state" else _daily(value)
        body["updateEpoch"] = self._clock.now_ms() // 1_000
        self._documents.put(scope, KIND, id, body)
        self._tell(scope, body, active=body["state"] == "active")

    def delete(self, scope: Scope, id: str) -> None:
        """Take a schedule away."""
        body = self.get(scope, id)
        self._documents.delete(scope, KIND, id)
        self._tell(scope, body, active=False)

    def _tell(self, scope: Scope, body: Json, *, active: bool) -> None:
        if self._announce is None:
            return
        second, minute, hour = (int(part) for part in body["schedule"].split()[:3])
        self._announce(
            ScheduleChanged(
                scope=scope.key,
                schedule=body["id"],
                at_ms=self._clock.now_ms(),
                active=active,
                of_day_ms=hour * HOUR_MS + minute * MINUTE_MS + second * SECOND_MS,
                audiences=tuple(body["properties"]["segments"]),
            )
        )


def _properties(value: Any) -> Json:
    segments = value.get("segments", ["*"]) if isinstance(value, Mapping) else ["*"]
    if not isinstance(segments, list) or not all(isinstance(one, str) for one in segments):
        raise Invalid('properties: write {"segments": ["*"]}')
    return {"segments": segments}


def _state(value: Any) -> str:
    if value not in _STATES:
        raise Invalid(f"state {value!r} is not active or inactive")
    return str(value)


def _daily(value: Any) -> str:
    """A Quartz expression that fires once a day."""
    found = _DAILY.match(value) if isinstance(value, str) else None
    if found is None or any(
        int(part) >= most for part, most in zip(found.groups(), (60, 60, 24), strict=True)
    ):
        raise Invalid(f'schedule {value!r} is no daily time; write "0 0 1 * * ?" for 01:00')
    return str(value)
