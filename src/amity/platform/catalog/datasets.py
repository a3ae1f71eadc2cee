"""How does a dataset look when it is kept, shown and used?

Kept is the body clients send, completed by what the catalog says itself; `dataset_of` reads from
it what other stages need. Behaviour: platform-collect.md §4.
"""

from __future__ import annotations

from typing import Any

import re2

from amity.platform.catalog.errors import DatasetInvalid
from amity.platform.catalog.model import Dataset
from amity.platform.schema.model import ResolvedSchema
from amity.storage.ports import Document

PROFILE_TAG = "unifiedProfile"
IDENTITY_TAG = "unifiedIdentity"
TABLE_TAG = "adobe/pqs/table"
SERVER_KEYS = (
    "created", "updated", "version", "imsOrg", "sandboxId", "viewId", "files", "createdUser",
    "createdClient", "updatedUser", "classification", "observableSchema", "lastBatchId",
    "lastBatchStatus", "id",
)  # fmt: skip
"""What the catalog says of a dataset; in a request body it is ignored."""

CONTENT_TYPE = "application/vnd.adobe.xed+json;version=1"
_FORMAT = {"persisted": True, "containerFormat": "parquet", "format": "parquet"}
_NO_NAME = re2.compile(r"[^a-z0-9]+")


def is_on(tags: dict[str, list[str]], tag: str, key: str = "enabled") -> bool:
    """Whether a tag says ``key:true``, written with or without a blank.

    >>> is_on({"unifiedProfile": ["enabled: true"]}, "unifiedProfile")
    True
    >>> is_on({"unifiedProfile": ["enabled:false"]}, "unifiedProfile")
    False
    """
    wanted = f"{key}:true".lower()
    return any(value.replace(" ", "").lower() == wanted for value in tags.get(tag, ()))


def schema_id_of(body: dict[str, Any]) -> str:
    """The schema a dataset body names."""
    reference = body.get("schemaRef")
    id = reference.get("id") if isinstance(reference, dict) else None
    if not isinstance(id, str) or not id:
        raise DatasetInvalid("a dataset needs schemaRef.id, the $id of its schema")
    return id


def kept_body(body: Any) -> dict[str, Any]:
    """A request body in the form it is kept."""
    if not isinstance(body, dict):
        raise DatasetInvalid("the body is a JSON object that describes the dataset")
    kept = {key: value for key, value in body.items() if key not in SERVER_KEYS}
    name = kept.get("name")
    if not isinstance(name, str) or not name.strip():
        raise DatasetInvalid("a dataset needs a name")
    id = schema_id_of(kept)
    kept["schemaRef"] = {"contentType": CONTENT_TYPE, **kept["schemaRef"], "id": id}
    kept.setdefault("fileDescription", dict(_FORMAT))
    tags = kept.setdefault("tags", {})
    if not isinstance(tags, dict) or not all(_is_texts(values) for values in tags.values()):
        raise DatasetInvalid("tags is an object of lists of texts")
    tags.setdefault(TABLE_TAG, [table_name(name)])
    _refuse_expiration(kept)
    return kept


def table_name(name: str) -> str:
    """The name a dataset has in queries.

    >>> table_name("Shop customers (2017)")
    'shop_customers_2017'
    """
    return _NO_NAME.sub("_", name.lower()).strip("_") or "dataset"


def dataset_of(document: Document, labels: tuple[str, ...]) -> Dataset:
    """What other stages need to know of a dataset."""
    tags = document.body.get("tags", {})
    return Dataset(
        id=document.id,
        name=document.body["name"],
        schema_id=schema_id_of(document.body),
        profile_enabled=is_on(tags, PROFILE_TAG),
        identity_enabled=is_on(tags, IDENTITY_TAG),
        upsert=is_on(tags, PROFILE_TAG, "isUpsert"),
        labels=labels,
        created_ms=document.created_ms,
    )


def check_enabling(body: dict[str, Any], schema: ResolvedSchema) -> None:
    """Profile takes data only of schemas that are enabled for it."""
    if is_on(body["tags"], PROFILE_TAG) and not schema.profile_enabled:
        raise DatasetInvalid(
            f"schema {schema.title!r} is not enabled for Profile: add the union tag to its "
            "meta:immutableTags before a dataset of it is enabled",
            schema=schema.id,
        )


def _is_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _refuse_expiration(body: dict[str, Any]) -> None:
    extensions = body.get("extensions", {})
    if not isinstance(extensions, dict):
        raise DatasetInvalid("extensions is an object")
    for name, extension in extensions.items():
        if isinstance(extension, dict) and extension.get("rowExpiration"):
            raise DatasetInvalid(
                f"extensions.{name}.rowExpiration: rows do not expire in this version; leave it out"
            )
