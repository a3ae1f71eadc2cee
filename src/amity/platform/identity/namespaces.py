"""Which namespaces are there?

The standard ones, the same in every sandbox, and the custom ones a sandbox has made.
Behaviour: platform-audiences.md §1.1.
"""

from __future__ import annotations

import threading
from typing import Any

import re2

from amity.kernel.errors import Outdated
from amity.kernel.scope import Scope
from amity.platform.identity.errors import (
    InvalidNamespace,
    NamespaceTaken,
    NoSuchNamespace,
    StandardNamespace,
)
from amity.storage.ports import Document, Documents

KIND = "identity_namespace"
CUSTOM_ID_MIN = 10_000_000
"""Ids of custom namespaces begin here. Ours."""

TYPES = (
    "DEVICE", "COOKIE", "CROSS_DEVICE", "PHONE", "EMAIL", "MOBILE", "NON_PEOPLE", "PARTNER_ID",
    "B2B_ACCOUNT", "B2B_ACCOUNT_PERSON", "B2B_OPPORTUNITY", "B2B_OPPORTUNITY_PERSON",
    "B2B_CAMPAIGN", "B2B_CAMPAIGN_MEMBER", "B2B_MARKETING_LIST", "B2B_MARKETING_LIST_MEMBER",
)  # fmt: skip

_CODE = re2.compile(r"^[A-Za-z0-9_]+$")

_STANDARD = (
    (0, "CORE", "Audience Manager", "COOKIE"),
    (4, "ECID", "Experience Cloud ID", "COOKIE"),
    (6, "Email", "Email", "Email"),
    (7, "Phone", "Phone", "Phone"),
    (8, "WAID", "Windows AID", "DEVICE"),
    (9, "TNTID", "Target ID", "COOKIE"),
    (10, "AAID", "Analytics (Legacy ID)", "COOKIE"),
    (11, "Email_LC_SHA256", "Email (SHA256, lowercased)", "Email"),
    (15, "Phone_SHA256", "Phone (SHA256)", "Phone"),
    (16, "Phone_E164", "Phone (E.164)", "Phone"),
    (17, "Phone_SHA256_E164", "Phone (SHA256_E.164)", "Phone"),
    (411, "AdCloud", "Ad Cloud", "COOKIE"),
    (20914, "GAID", "Google Ad ID", "DEVICE"),
    (20915, "IDFA", "Apple ID for advertisers", "DEVICE"),
    (20919, "FCM", "Firebase Cloud Messaging token", "DEVICE"),
    (20920, "APNS", "Apple Push Notification service token", "DEVICE"),
)

STANDARD: tuple[dict[str, Any], ...] = tuple(
    {
        "id": number,
        "code": code,
        "name": name,
        "idType": kind,
        "description": name,
        "status": "ACTIVE",
        "custom": False,
        "createTime": 0,
        "updateTime": 0,
    }
    for number, code, name, kind in _STANDARD
)


class Namespaces:
    """The namespaces of a sandbox: standard first, then custom in order of creation."""

    def __init__(self, *, documents: Documents) -> None:
        self._documents = documents
        self._lock = threading.Lock()

    def all(self, scope: Scope) -> list[dict[str, Any]]:
        """Every namespace as the API shows it."""
        custom = (_shown(document) for document in self._documents.find(scope, KIND))
        return [*(dict(one) for one in STANDARD), *custom]

    def get(self, scope: Scope, number: int) -> dict[str, Any]:
        """The namespace of an id."""
        for one in self.all(scope):
            if one["id"] == number:
                return one
        raise NoSuchNamespace(
            f"there is no namespace with id {number}; GET /data/core/idnamespace/identities lists "
            "them"
        )

    def by_code(self, scope: Scope, code: str) -> dict[str, Any] | None:
        """The namespace of a code; codes are case-sensitive."""
        return next((one for one in self.all(scope) if one["code"] == code), None)

    def by_number(self, scope: Scope, number: str) -> dict[str, Any] | None:
        """The namespace of an id given as text."""
        return next((one for one in self.all(scope) if str(one["id"]) == number), None)

    def written(self, scope: Scope, code: str) -> str:
        """How a code is really written: samples of the followed APIs write `ecid`, `email`."""
        known = [one["code"] for one in self.all(scope)]
        if code in known:
            return code
        return next((one for one in known if one.casefold() == code.casefold()), code)

    def create(self, scope: Scope, body: dict[str, Any]) -> dict[str, Any]:
        """A new custom namespace from `{name, code, idType, description}`."""
        code, name, kind = (_text(body, field) for field in ("code", "name", "idType"))
        if not _CODE.match(code):
            raise InvalidNamespace(f"code {code!r}: only letters, digits and _ may stand in it")
        stored = {
            "code": code,
            "name": name,
            "idType": _type(kind),
            "description": body.get("description") or "",
            "status": "ACTIVE",
        }
        with self._lock:
            if self.by_code(scope, code) is not None:
                raise _taken(code)
            stored["id"] = CUSTOM_ID_MIN + len(self._documents.find(scope, KIND))
            try:
                document = self._documents.put(scope, KIND, code, stored, if_version=0)
            except Outdated:
                raise _taken(code) from None
        return _shown(document)

    def update(self, scope: Scope, number: int, body: dict[str, Any]) -> dict[str, Any]:
        """Change name and description; code and type never change."""
        old = self.get(scope, number)
        if not old["custom"]:
            raise StandardNamespace(
                f"namespace {old['code']} is a standard one and cannot be changed"
            )
        for field in ("code", "idType"):
            if field in body and str(body[field]).upper() != str(old[field]).upper():
                raise InvalidNamespace(
                    f"{field} of namespace {old['code']} is {old[field]!r} and cannot be changed; "
                    "only name and description can"
                )
        document = self._documents.get(scope, KIND, old["code"])
        if document is None:
            raise NoSuchNamespace
        stored = {
            **document.body,
            "name": _text(body, "name") if "name" in body else old["name"],
            "description": body.get("description", old["description"]),
        }
        return _shown(self._documents.put(scope, KIND, old["code"], stored))


def _shown(document: Document) -> dict[str, Any]:
    return {
        **document.body,
        "custom": True,
        "createTime": document.created_ms,
        "updateTime": document.updated_ms,
    }


def _taken(code: str) -> NamespaceTaken:
    return NamespaceTaken(f"there is a namespace with code {code!r} already", namespace=code)


def _text(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value.strip():
        raise InvalidNamespace(f"{field} must be a text that is not empty")
    return value


def _type(kind: str) -> str:
    if kind.upper() not in TYPES:
        raise InvalidNamespace(
            f"idType {kind!r} is unknown: use DEVICE, COOKIE, CROSS_DEVICE, PHONE, EMAIL, "
            "NON_PEOPLE or PARTNER_ID"
        )
    return kind.upper()
