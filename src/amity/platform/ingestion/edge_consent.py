"""What does a visitor's answer to a consent banner say in XDM?

Three standards are known: Adobe 1.0 (one general answer), Adobe 2.0 (the consents of the data model)
and IAB TCF 2.0, of which the first purpose, keeping something on a device, decides about collection.
Behaviour: platform-collect.md §7, §3.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from amity.kernel.clock import to_iso
from amity.platform.ingestion.edge_events import pruned
from amity.platform.ingestion.errors import EdgeRefused

GENERAL = {"in": "y", "out": "n", "pending": "p", "not_provided": "u"}
_STATES = {"y": "in", "dy": "in", "n": "out", "dn": "out", "p": "pending"}
_UPPER = frozenset({"li", "ct", "cp", "vi", "pi"})
_PURPOSE_ONE_BIT = 152
"""Where a TCF string says yes to its first purpose."""
_TCF_CHARS_MAX = 8_192


class Consents(NamedTuple):
    """The consents as they are kept, and the general answer for the cookie ("" for none)."""

    xdm: dict[str, Any]
    general: str


def consents_of(entries: Any, now_ms: int) -> Consents:
    """The consents that a request gives; a later entry counts where two speak of the same."""
    if not isinstance(entries, list):
        raise _missing("consent is a list of answers, each with standard, version and value")
    found: dict[str, Any] = {}
    for at, entry in enumerate(entries):
        _merge(found, _one(entry, at))
    if not found:
        raise _missing("consent has no answer: send one with standard, version and value")
    collect = found.get("collect")
    val = collect.get("val") if isinstance(collect, dict) else None
    metadata = found.get("metadata")
    if metadata is None:
        found["metadata"] = {"time": to_iso(now_ms)}
    return Consents(found, _STATES.get(val, "") if isinstance(val, str) else "")


def _one(entry: Any, at: int) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise EdgeRefused("0102-400", "Invalid field type", f"consent[{at}] is no object")
    standard, version = entry.get("standard"), entry.get("version")
    value = entry.get("value")
    match standard, version, value:
        case "Adobe", "1.0", {"general": str(general)} if general in GENERAL:
            return {"collect": {"val": GENERAL[general]}}
        case "Adobe", "2.0", dict():
            cased: dict[str, Any] = _cased(pruned(value))
            return cased
        case "IAB TCF", "2.0", str():
            return {"collect": {"val": "y" if _allows(entry, value, at) else "n"}}
        case _:
            raise EdgeRefused(
                "0102-400",
                "Invalid consent",
                f"consent[{at}] is none of Adobe 1.0 with value.general {', '.join(GENERAL)}, "
                "Adobe 2.0 with an object as value, IAB TCF 2.0 with a text as value",
            )


def _allows(entry: Mapping[str, Any], text: str, at: int) -> bool:
    if entry.get("gdprApplies") is False:
        return True
    core = text.partition(".")[0][:_TCF_CHARS_MAX]
    try:
        bits = base64.b64decode(core + "=" * (-len(core) % 4), altchars=b"-_", validate=True)
        return bool(bits[_PURPOSE_ONE_BIT // 8] >> (7 - _PURPOSE_ONE_BIT % 8) & 1)
    except (binascii.Error, ValueError, IndexError):
        raise EdgeRefused(
            "0102-400", "Invalid consent", f"consent[{at}].value is no TCF string"
        ) from None


def _cased(value: Any) -> Any:
    """Legal bases are written in capitals in XDM, in small letters by some clients."""
    if isinstance(value, dict):
        return {
            key: inner.upper()
            if key == "val" and isinstance(inner, str) and inner in _UPPER
            else _cased(inner)
            for key, inner in value.items()
        }
    return [_cased(one) for one in value] if isinstance(value, list) else value


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _missing(detail: str) -> EdgeRefused:
    return EdgeRefused("0103-400", "Missing required field", detail)


def asked_namespaces(query: Any) -> Sequence[str]:
    """The namespaces whose identities a request asks for.

    >>> asked_namespaces({"identity": {"fetch": ["ECID", 7]}})
    ['ECID']
    """
    identity = query.get("identity") if isinstance(query, dict) else None
    fetch = identity.get("fetch") if isinstance(identity, dict) else None
    return [one for one in fetch if isinstance(one, str)] if isinstance(fetch, list) else []
