"""Which form of a resource does the Accept header ask for?

Lists take ``application/vnd.adobe.xed-id+json`` or ``…xed+json`` and no version; look-ups take the
major version and may ask for more. Behaviour: platform-collect.md §2 (Accept).
"""

from __future__ import annotations

from typing import NamedTuple

import re2

from amity.platform.schema.errors import ListAcceptRefused, LookupAcceptRefused

_MEDIA = re2.compile(
    r"^application/vnd\.adobe\.(?:xed|xdm)((?:-[a-z0-9]+)*)\+json$",
)
_LIST_PARTS = frozenset({"id", "v2", "link"})
_LOOKUP_PARTS = frozenset({"full", "notext", "desc", "flat", "deprecated", "id", "v2"})
_ANY = frozenset({"", "*/*", "application/json", "application/*"})
MAJOR = "1"
"""Breaking changes are refused, so there is one major version."""


class Wanted(NamedTuple):
    """What a look-up asks for."""

    full: bool = False
    text: bool = True
    descriptors: bool = False
    flat: bool = False
    deprecated: bool = False
    id_only: bool = False


def list_ids_only(accept: str) -> bool:
    """Whether a list wants ids (`-id`) or whole resources; refuses other headers.

    >>> list_ids_only("application/vnd.adobe.xed-id+json")
    True
    >>> list_ids_only("application/vnd.adobe.xed+json")
    False
    """
    media, version = _split(accept)
    if media in _ANY:
        return True
    parts = _parts(media)
    if parts is None or version or not parts <= _LIST_PARTS:
        raise ListAcceptRefused(
            f"Accept {accept!r} does not fit a list: send application/vnd.adobe.xed-id+json or "
            "application/vnd.adobe.xed+json, without version"
        )
    return "id" in parts or "link" in parts


def lookup_wants(accept: str) -> Wanted:
    """What a look-up asks for; refuses a header without the version.

    >>> lookup_wants("application/vnd.adobe.xed-full+json; version=1").full
    True
    """
    media, version = _split(accept)
    parts = _parts(media)
    if parts is None or not parts <= _LOOKUP_PARTS or version.partition(".")[0] != MAJOR:
        raise LookupAcceptRefused(
            f"Accept {accept!r} does not fit a look-up: send "
            "application/vnd.adobe.xed-full+json; version=1 (or xed+json; version=1)"
        )
    return Wanted(
        full="full" in parts or "flat" in parts,
        text="notext" not in parts,
        descriptors="desc" in parts,
        flat="flat" in parts,
        deprecated="deprecated" in parts,
        id_only="id" in parts,
    )


def _split(accept: str) -> tuple[str, str]:
    first = accept.split(",", maxsplit=1)[0]
    media, _, rest = first.partition(";")
    found = ""
    for parameter in rest.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "version":
            found = value.strip().strip('"')
    return media.strip().lower(), found


def _parts(media: str) -> frozenset[str] | None:
    found = _MEDIA.match(media)
    return None if found is None else frozenset(part for part in found.group(1).split("-") if part)
