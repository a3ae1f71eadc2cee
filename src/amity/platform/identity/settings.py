"""What are the linking rules of a sandbox?

Stored as they were put; without any, every person namespace is unique, in order of creation.
Behaviour: platform-audiences.md §2.1; the default is ours (a new sandbox links at once).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amity.kernel.limits import UNIQUE_NAMESPACES_MAX
from amity.kernel.scope import Scope
from amity.platform.identity.errors import InvalidSettings
from amity.platform.identity.namespaces import TYPES, Namespaces
from amity.platform.identity.rules import CROSS_DEVICE, PERSON_TYPES, Rules
from amity.storage.ports import Documents

KIND = "identity_settings"
_ID = "settings"
_UNLISTED = 1 << 20
"""Between two priorities there is room for this many namespaces that are not listed."""


class IdentitySettings:
    """Reads and replaces the linking rules; what stages ask for is kept until something changes."""

    def __init__(self, *, documents: Documents, namespaces: Namespaces) -> None:
        self._documents = documents
        self._namespaces = namespaces
        self._kept: dict[Scope, Rules] = {}
        self._version = -1

    def get(self, scope: Scope) -> dict[str, Any]:
        """The rules as the API shows them, in order of priority."""
        stored = self._documents.get(scope, KIND, _ID)
        if stored is not None:
            return stored.body
        people, devices = _buckets(self._namespaces.all(scope))
        return {
            "namespaces": [
                {"code": one["code"], "unique": at <= len(people), "priority": at}
                for at, one in enumerate((*people, *devices), 1)
            ]
        }

    def put(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
        """Replace the rules; old graphs change when they are next updated."""
        entries = _entries(body)
        _check(entries, {**self._types(scope), **_own_types(entries)})
        return self._documents.put(scope, KIND, _ID, {"namespaces": entries}).body

    def rules(self, scope: Scope) -> Rules:
        """The rules in force."""
        version = self._documents.version()
        if version != self._version:
            self._kept.clear()
            self._version = version
        found = self._kept.get(scope)
        if found is None:
            found = self._kept[scope] = self.rules_of(scope, self.get(scope), checked=False)
        return found

    def rules_of(self, scope: Scope, body: dict[str, Any], *, checked: bool = True) -> Rules:
        """The rules that a settings body would bring into force in this sandbox."""
        entries = _entries(body)
        known = self._namespaces.all(scope)
        types = {**self._types(scope), **_own_types(entries)}
        if checked:
            _check(entries, types)
        return _rules(entries, known, types)

    def _types(self, scope: Scope) -> dict[str, str]:
        return {one["code"]: str(one["idType"]).upper() for one in self._namespaces.all(scope)}


def _rules(
    entries: list[dict[str, Any]], known: list[dict[str, Any]], types: dict[str, str]
) -> Rules:
    """Listed priorities stand; what is not listed comes last in its bucket, in order of creation."""
    priorities: dict[str, float] = {entry["code"]: entry["priority"] for entry in entries}
    people, devices = _buckets(one for one in known if one["code"] not in priorities)
    last = max(
        (at for code, at in priorities.items() if types.get(code, CROSS_DEVICE) in PERSON_TYPES),
        default=0,
    )
    lowest = max(priorities.values(), default=0)
    priorities |= {one["code"]: last + at / _UNLISTED for at, one in enumerate(people, 1)}
    priorities |= {one["code"]: lowest + at for at, one in enumerate(devices, 1)}
    return Rules(
        types=types,
        priorities=priorities,
        unique=frozenset(entry["code"] for entry in entries if entry["unique"]),
        unlisted=last + (_UNLISTED - 1) / _UNLISTED,
    )


def _buckets(known: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Person namespaces, and those of devices and cookies; the never-linking are in neither."""
    people, devices = [], []
    for one in known:
        kind = str(one["idType"]).upper()
        if kind in PERSON_TYPES:
            people.append(one)
        elif kind in {"DEVICE", "MOBILE", "COOKIE"}:
            devices.append(one)
    return people, devices


def _own_types(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {entry["code"]: entry["type"] for entry in entries if "type" in entry}


def _entries(body: dict[str, Any]) -> list[dict[str, Any]]:
    raw = body.get("namespaces")
    if not isinstance(raw, list):
        raise InvalidSettings(
            'namespaces must be a list of {"code": "CRMID", "unique": true, "priority": 1}'
        )
    entries = [_entry(one, at) for at, one in enumerate(raw, 1)]
    for field in ("code", "priority"):
        values = [entry[field] for entry in entries]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise InvalidSettings(f"{field} {twice!r} stands twice in namespaces")
    return sorted(entries, key=lambda entry: int(entry["priority"]))


def _entry(raw: Any, at: int) -> dict[str, Any]:
    if not isinstance(raw, dict) or not isinstance(raw.get("code"), str) or not raw["code"]:
        raise InvalidSettings(f"namespaces/{at - 1}: code must be a text that is not empty")
    priority, unique = raw.get("priority", at), raw.get("unique", False)
    if not isinstance(priority, int) or isinstance(priority, bool) or priority < 1:
        raise InvalidSettings(f"namespaces/{at - 1}: priority must be a whole number from 1 on")
    if not isinstance(unique, bool):
        raise InvalidSettings(f"namespaces/{at - 1}: unique must be true or false")
    entry: dict[str, Any] = {"code": raw["code"], "unique": unique, "priority": priority}
    kind = raw.get("type")
    if kind is not None:
        if not isinstance(kind, str) or kind.upper() not in TYPES:
            raise InvalidSettings(f"namespaces/{at - 1}: type must be one of {', '.join(TYPES)}")
        entry["type"] = kind.upper()
    return entry


def _check(entries: list[dict[str, Any]], types: dict[str, str]) -> None:
    unique = [entry["code"] for entry in entries if entry["unique"]]
    if len(unique) > UNIQUE_NAMESPACES_MAX:
        raise InvalidSettings(
            f"{len(unique)} namespaces are unique ({', '.join(unique)}); at most "
            f"{UNIQUE_NAMESPACES_MAX} may be"
        )
    device = ""
    for entry in entries:
        code = entry["code"]
        if types.get(code, CROSS_DEVICE) in PERSON_TYPES:
            if device:
                raise InvalidSettings(
                    f"{device} is a device or cookie namespace and cannot come before {code}, "
                    "which names people"
                )
            continue
        device = device or code
        if entry["unique"]:
            raise InvalidSettings(
                f"{code} is of type {types[code]}: only CROSS_DEVICE, EMAIL and PHONE namespaces "
                "may be unique"
            )
