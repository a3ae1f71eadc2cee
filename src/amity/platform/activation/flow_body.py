"""What does a destination flow ask for, read from its documented JSON?

Both documented forms are read: `profileSelectors` with JSON paths and the newer `profileMapping`
with `primaryFields` and `mandatoryFields` beside it. Behaviour: platform-activation.md §4.2, §4.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import re2

from amity.platform.activation.errors import BadFlow
from amity.platform.activation.model import Schedule
from amity.platform.activation.schedule import read_schedule
from amity.platform.governance.lineage import Activation
from amity.platform.governance.policies import action_ref

FLOW_AUDIENCES_MAX = 250
"""Audiences of one destination. Behaviour: platform-activation.md §4.9."""

FLOW_COLUMNS_MAX = 50
"""Mapped attributes of one destination. Behaviour: platform-activation.md §4.9."""

DEFAULT_SCHEDULE = {"frequency": "DAILY", "startTime": "00:00"}
_PART = re2.compile(r"^([^\[\]]+)((?:\[\d+\])*)$")
_STATUS = re2.compile(r"^segmentMembership(\..+)?\.status$")
_QUALIFIED = re2.compile(r"^segmentMembership(\..+)?\.lastQualificationTime$")

Path = tuple[str | int, ...]


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the file, in mapping order."""

    header: str
    kind: Literal["attribute", "identity", "status", "qualified"]
    path: Path = ()
    namespace: str = ""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What makes two rows the same person: one namespace, or one or two attributes."""

    namespace: str = ""
    paths: tuple[Path, ...] = ()


class MappedAudience(msgspec.Struct, frozen=True, kw_only=True):
    """One audience of a flow."""

    id: str
    name: str
    filename: str
    schedule: Schedule


class DestinationFlow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow, understood. `actions` are short references of marketing actions."""

    id: str
    name: str
    enabled: bool
    target: str
    source: str
    audiences: tuple[MappedAudience, ...]
    columns: tuple[Column, ...]
    key: Key | None
    mandatory: tuple[Column, ...]
    actions: tuple[str, ...]
    consent_required: bool

    @property
    def reports_status(self) -> bool:
        """Whether the file says who has left."""
        return any(column.kind == "status" for column in self.columns)

    def audience(self, id: str) -> MappedAudience | None:
        """One of its audiences."""
        return next((one for one in self.audiences if one.id == id), None)

    def activations(self, destination: str) -> list[Activation]:
        """What governance must know of it, an audience each."""
        used = (*self.columns, *self.mandatory)
        paths = [column.path for column in used if column.kind == "attribute"]
        paths += self.key.paths if self.key else ()
        fields = {tuple(str(part) for part in path if isinstance(part, str)) for path in paths}
        spaces = {column.namespace for column in used if column.kind == "identity"}
        if self.key and self.key.namespace:
            spaces.add(self.key.namespace)
        return [
            Activation(
                flow=self.id,
                destination=destination,
                audience=audience.id,
                actions=self.actions,
                fields=tuple(sorted(fields)),
                namespaces=tuple(sorted(spaces)),
            )
            for audience in self.audiences
        ]


def read_flow(body: Mapping[str, Any], *, calendar: bool = True) -> DestinationFlow:
    """Understand a flow whose defaults are filled in; says what is wrong with one that is not."""
    params = params_of(body)
    audiences = _audiences(params, calendar=calendar)
    columns = tuple(read_column(text, header) for text, header in _mapped(params))
    if len(columns) > FLOW_COLUMNS_MAX:
        raise BadFlow(f"{len(columns)} columns are mapped; at most {FLOW_COLUMNS_MAX}")
    _check_headers(columns)
    return DestinationFlow(
        id=str(body.get("id", "")),
        name=str(body.get("name", "")),
        enabled=body.get("state", "enabled") == "enabled",
        target=_only(body, "targetConnectionIds"),
        source=_only(body, "sourceConnectionIds"),
        audiences=audiences,
        columns=columns,
        key=_key(_beside(params, "primaryFields"), columns),
        mandatory=tuple(read_column(_text(one), "") for one in _beside(params, "mandatoryFields")),
        actions=_actions(body),
        consent_required=bool(params.get("consentRequired", False)),
    )


def params_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """`transformations[0].params`, where everything lies."""
    transformations = body.get("transformations")
    if not isinstance(transformations, list) or not transformations:
        return {}
    first = transformations[0]
    params = first.get("params") if isinstance(first, Mapping) else None
    if not isinstance(params, dict):
        raise BadFlow("/transformations/0/params must be an object with segmentSelectors")
    return params


def selectors_of(params: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The selectors of `segmentSelectors` or `profileSelectors`."""
    holder = params.get(name) or {}
    found = holder.get("selectors", []) if isinstance(holder, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadFlow(f"{name} must be an object with a list `selectors`")
    return found


def read_path(text: str) -> Path:
    """A field's path; an index picks one item of a list.

    >>> read_path("xdm: emails[0].address")
    ('emails', 0, 'address')
    """
    parts: list[str | int] = []
    for piece in text.strip().removeprefix("xdm:").strip().replace("/", ".").split("."):
        found = _PART.match(piece)
        if found is None:
            raise BadFlow(f"{text!r} is no path; write person.name.firstName or emails[0].address")
        parts.append(found.group(1))
        parts += [int(index) for index in found.group(2).strip("[]").split("][") if index]
    return tuple(parts)


def read_column(text: str, header: str) -> Column:
    """The column that a path means. Dots of the target's name become underscores.

    >>> read_column("person.name.firstName", "").header
    'person_name_firstName'
    """
    text = text.strip().removeprefix("xdm:").strip()
    name = (header.strip().removeprefix("xdm:").strip() or text).replace(".", "_")
    if text.startswith("identityMap."):
        namespace = text.removeprefix("identityMap.").split(".")[0].split("[")[0]
        return Column(header=name, kind="identity", namespace=namespace)
    if _STATUS.match(text):
        return Column(header=name, kind="status")
    if _QUALIFIED.match(text):
        return Column(header=name, kind="qualified")
    return Column(header=name, kind="attribute", path=read_path(text))


def _audiences(params: Mapping[str, Any], *, calendar: bool) -> tuple[MappedAudience, ...]:
    selectors = selectors_of(params, "segmentSelectors")
    if len(selectors) > FLOW_AUDIENCES_MAX:
        raise BadFlow(f"{len(selectors)} audiences are mapped; at most {FLOW_AUDIENCES_MAX}")
    found: dict[str, MappedAudience] = {}
    for number, selector in enumerate(selectors):
        audience = _audience(selector, number, calendar=calendar)
        if audience.id in found:
            raise BadFlow(f"audience {audience.id} is mapped twice; replace its selector instead")
        found[audience.id] = audience
    return tuple(found.values())


def _audience(selector: Mapping[str, Any], number: int, *, calendar: bool) -> MappedAudience:
    place = f"segmentSelectors/selectors/{number}"
    value = selector.get("value")
    if selector.get("type") != "PLATFORM_SEGMENT" or not isinstance(value, Mapping):
        raise BadFlow(f'{place} must be {{"type": "PLATFORM_SEGMENT", "value": {{"id": …}}}}')
    if not isinstance(value.get("id"), str) or not value["id"]:
        raise BadFlow(f"{place}/value needs the `id` of an audience")
    return MappedAudience(
        id=value["id"],
        name=str(value.get("name") or value["id"]),
        filename=str(value.get("filenameTemplate") or ""),
        schedule=read_schedule(value, calendar=calendar),
    )


def _mapped(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(source path, target name) of every column."""
    found = []
    for selector in selectors_of(params, "profileSelectors"):
        value = selector.get("value")
        if selector.get("type") != "JSON_PATH" or not isinstance(value, Mapping):
            raise BadFlow('a profile selector is {"type": "JSON_PATH", "value": {"path": …}}')
        mapping = value.get("mapping") or {}
        found.append((_text(value.get("path")), str(mapping.get("destination") or "")))
    mapping = params.get("profileMapping") or {}
    if mapping.get("mappingId"):
        raise BadFlow(
            "mapping sets are not kept here: send profileMapping as "
            '{"mappings": [{"source": "person.name.firstName", "destination": "firstName"}]}'
        )
    listed = mapping.get("mappings", [])
    return found + [(_text(one.get("source")), str(one.get("destination") or "")) for one in listed]


def _key(fields: Sequence[Any], columns: Sequence[Column]) -> Key | None:
    spaces = {column.namespace for column in columns if column.kind == "identity"}
    if len(spaces) > 1:
        raise BadFlow(f"one identity namespace an export; mapped are {', '.join(sorted(spaces))}")
    for field in fields:
        if not isinstance(field, Mapping) or field.get("fieldType") not in (
            "IDENTITY",
            "ATTRIBUTE",
        ):
            raise BadFlow("a primary field has fieldType IDENTITY or ATTRIBUTE")
    keyed = {
        _text(one.get("identityNamespace")) for one in fields if one["fieldType"] == "IDENTITY"
    }
    paths = tuple(
        read_path(_text(one.get("attributePath")))
        for one in fields
        if one["fieldType"] == "ATTRIBUTE"
    )
    if len(keyed | spaces) > 1 or len(paths) > 2 or (paths and (keyed or spaces)):
        raise BadFlow(
            "the deduplication key is one namespace, or one or two attributes, never a mix; a "
            "mapped identity column is the key by itself"
        )
    if keyed or spaces:
        return Key(namespace=next(iter(keyed or spaces)))
    return Key(paths=paths) if paths else None


def _check_headers(columns: Sequence[Column]) -> None:
    seen: set[str] = set()
    for column in columns:
        if column.header in seen:
            raise BadFlow(f"two columns are named {column.header!r}: give one another destination")
        seen.add(column.header)


def _beside(params: Mapping[str, Any], name: str) -> list[Any]:
    """A list that lies beside the mapping, or (older form) in `profileSelectors`."""
    older = params.get("profileSelectors") or {}
    found = params.get(name) or older.get(name) or []
    if not isinstance(found, list):
        raise BadFlow(f"{name} must be a list")
    return found


def _actions(body: Mapping[str, Any]) -> tuple[str, ...]:
    policy = body.get("policy") or {}
    references = policy.get("enforcementRefs", []) if isinstance(policy, Mapping) else None
    if not isinstance(references, list):
        raise BadFlow('/policy is {"enforcementRefs": ["/dulepolicy/marketingActions/core/…"]}')
    return tuple(dict.fromkeys(action_ref(_text(reference)) for reference in references))


def _only(body: Mapping[str, Any], name: str) -> str:
    found = body.get(name) or [""]
    return str(found[0])


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise BadFlow(f"{str(value)[:60]!r} must be a text")
    return value
