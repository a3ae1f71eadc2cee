"""What is a data stream, and which one does a request of an Edge client name?

It says where the events of a site or an app go and how they are taken. The followed system sets it
up in pages only; here it is a resource. Behaviour: platform-collect.md §7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import re2

from amity.kernel.asked import converted
from amity.kernel.clock import BusinessClock
from amity.kernel.errors import Invalid, NotSupported
from amity.kernel.ids import IdSource
from amity.kernel.scope import Scope
from amity.platform.ingestion.errors import UnknownDataStream
from amity.platform.ingestion.validation import RecordValidator
from amity.storage.ports import Document, Documents

DATASTREAM_KIND = "edge_datastream"
MAPPINGS_MAX = 200
NAME_CHARS_MAX = 255
PATH_CHARS_MAX = 512
PATH_PARTS_MAX = 16
_EVERYWHERE = Scope("amity", "system")
"""Whose keys the index lies under: a data stream's id alone names organisation and sandbox."""

_ID = re2.compile(r"[A-Za-z0-9-]{1,64}")
_SOURCE = re2.compile(r"data(\.[A-Za-z0-9_$@ -]+)+")
_DESTINATION = re2.compile(r"[A-Za-z0-9_$-]+(\.[A-Za-z0-9_$-]+)*")
_COOKIE_NAME = re2.compile(r"[A-Za-z0-9_.-]{0,64}")


class FieldMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value of an event's `data` and the XDM field that it fills."""

    source: str
    destination: str


class LookUps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is learnt from the request itself: the client's address, its user agent."""

    network: bool = False
    device: bool = False
    geo: bool = False


class DataStreamOrder(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """A data stream as it is set up.

    Attributes:
        event_dataset: Takes the events.
        profile_dataset: Takes consents; "" when there are none to take.
        access: `mixed` takes requests with and without a token, `authenticated` asks for one.
        first_party_id_cookie: The cookie that holds a site's own device id, "" for none.
    """

    name: str
    event_dataset: str
    profile_dataset: str = ""
    access: Literal["mixed", "authenticated"] = "mixed"
    enabled: bool = True
    mapping: tuple[FieldMapping, ...] = ()
    lookups: LookUps = LookUps()
    ip_obfuscation: Literal["none", "partial", "full"] = "none"
    first_party_id_cookie: str = ""
    description: str = ""


class DataStream(NamedTuple):
    """A data stream as the Edge door needs it."""

    id: str
    scope: Scope
    settings: DataStreamOrder


class Validators(Protocol):
    """Knows what a dataset takes."""

    def of(self, scope: Scope, dataset_id: str) -> RecordValidator: ...


class DataStreams:
    """Keeps data streams, and is the Edge door's directory of them.

    Args:
        documents: Where they are kept.
        validators: Checks the datasets they lead to.
        ids: Names them.
        clock: Dates them.
    """

    def __init__(
        self, *, documents: Documents, validators: Validators, ids: IdSource, clock: BusinessClock
    ) -> None:
        self._documents = documents
        self._validators = validators
        self._ids = ids
        self._clock = clock
        self._known: dict[str, DataStream | None] = {}
        self._version = -1

    def create(self, scope: Scope, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new data stream."""
        order = self._checked(scope, body)
        id = self._ids.uuid()
        index = {"org": scope.org, "sandbox": scope.sandbox}
        self._documents.put(_EVERYWHERE, DATASTREAM_KIND, id, index, if_version=0)
        return self._put(scope, id, order, created_ms=self._clock.now_ms(), version=0)

    def replace(self, scope: Scope, id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The data stream as it is from now on; what `body` leaves out is at its default again."""
        found = self._document(scope, id)
        order = self._checked(scope, body)
        created_ms = int(found.body["createdAt"])
        return self._put(scope, id, order, created_ms=created_ms, version=found.version)

    def get(self, scope: Scope, id: str) -> dict[str, Any]:
        """One data stream."""
        return shown(scope, self._document(scope, id).body)

    def listed(self, scope: Scope) -> Sequence[dict[str, Any]]:
        """All of a scope, in order of creation."""
        return [shown(scope, one.body) for one in self._documents.find(scope, DATASTREAM_KIND)]

    def delete(self, scope: Scope, id: str) -> None:
        """Forget a data stream: its id is unknown from now on."""
        self._document(scope, id)
        self._documents.delete(scope, DATASTREAM_KIND, id)
        self._documents.delete(_EVERYWHERE, DATASTREAM_KIND, id)

    def find(self, id: str) -> DataStream | None:
        """The data stream of that id, whoever's it is, as it stands now."""
        version = self._documents.version()
        if version != self._version:
            self._known = {}
            self._version = version
        if id not in self._known:
            if not _ID.fullmatch(id) or len(self._known) >= _KNOWN_MAX:
                return self._look_up(id) if _ID.fullmatch(id) else None
            self._known[id] = self._look_up(id)
        return self._known[id]

    def _look_up(self, id: str) -> DataStream | None:
        index = self._documents.get(_EVERYWHERE, DATASTREAM_KIND, id)
        if index is None:
            return None
        scope = Scope(index.body["org"], index.body["sandbox"])
        found = self._documents.get(scope, DATASTREAM_KIND, id)
        if found is None:
            return None
        return DataStream(id, scope, msgspec.convert(found.body["settings"], DataStreamOrder))

    def _document(self, scope: Scope, id: str) -> Document:
        found = self._documents.get(scope, DATASTREAM_KIND, id) if _ID.fullmatch(id) else None
        if found is None:
            raise UnknownDataStream(
                f"there is no data stream {id[:64]!r} in this sandbox; "
                "GET /data/core/edge/datastreams lists them"
            )
        return found

    def _put(
        self, scope: Scope, id: str, order: DataStreamOrder, *, created_ms: int, version: int
    ) -> dict[str, Any]:
        body = {
            "id": id,
            "settings": msgspec.to_builtins(order),
            "createdAt": created_ms,
            "updatedAt": self._clock.now_ms(),
        }
        self._documents.put(scope, DATASTREAM_KIND, id, body, if_version=version)
        return shown(scope, body)

    def _checked(self, scope: Scope, body: Mapping[str, Any]) -> DataStreamOrder:
        order = converted(dict(body), DataStreamOrder, Invalid, what="the data stream")
        if not 0 < len(order.name.strip()) <= NAME_CHARS_MAX:
            raise Invalid(f"name has 1 to {NAME_CHARS_MAX} characters", path="/name")
        if order.lookups.geo:
            raise NotSupported(
                "lookups.geo is not served: no table of places comes with Amity; send placeContext.geo",
                path="/lookups/geo",
            )
        if not _COOKIE_NAME.fullmatch(order.first_party_id_cookie):
            raise Invalid("firstPartyIdCookie is no name of a cookie", path="/firstPartyIdCookie")
        _check_mapping(order.mapping)
        self._check_datasets(scope, order)
        return order

    def _check_datasets(self, scope: Scope, order: DataStreamOrder) -> None:
        if self._validators.of(scope, order.event_dataset).behavior != "time-series":
            raise Invalid(
                f"eventDataset {order.event_dataset} holds records; take a dataset of events",
                path="/eventDataset",
            )
        if not order.profile_dataset:
            return
        if self._validators.of(scope, order.profile_dataset).behavior != "record":
            raise Invalid(
                f"profileDataset {order.profile_dataset} holds events; take a dataset of records",
                path="/profileDataset",
            )


_KNOWN_MAX = 10_000


def shown(scope: Scope, body: Mapping[str, Any]) -> dict[str, Any]:
    """A data stream as answers show it."""
    return {
        "id": body["id"],
        **body["settings"],
        "sandboxName": scope.sandbox,
        "createdAt": body["createdAt"],
        "updatedAt": body["updatedAt"],
    }


def _check_mapping(mapping: Sequence[FieldMapping]) -> None:
    if len(mapping) > MAPPINGS_MAX:
        raise Invalid(f"a data stream maps at most {MAPPINGS_MAX} fields", path="/mapping")
    for at, one in enumerate(mapping):
        if not (_short(one.source) and _SOURCE.fullmatch(one.source)):
            raise Invalid(
                f"{one.source[:80]!r} is no place in an event's data: write data.order.total",
                path=f"/mapping/{at}/source",
            )
        if not (_short(one.destination) and _DESTINATION.fullmatch(one.destination)):
            raise Invalid(
                f"{one.destination[:80]!r} is no XDM field: write commerce.order.priceTotal",
                path=f"/mapping/{at}/destination",
            )


def _short(path: str) -> bool:
    return len(path) <= PATH_CHARS_MAX and path.count(".") < PATH_PARTS_MAX
