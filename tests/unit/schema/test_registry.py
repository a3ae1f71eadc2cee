"""Schemas are put together, kept apart by sandbox and protected from breaking changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema_rs
import pytest
from schema_shop import (
    CONTACT,
    OTHER,
    RECORD,
    SCOPE,
    UNION,
    customers,
    group_body,
    identity_body,
    new_registry,
    schema_body,
)

from amity.kernel.errors import Outdated
from amity.kernel.scope import Scope
from amity.platform.schema.errors import (
    BreakingChange,
    ResourceInUse,
    ResourceInvalid,
    ResourceNotFound,
    ResourceReadOnly,
    UnionRefused,
)
from amity.platform.schema.model import EVENT_CLASS, PRODUCT_CLASS, PROFILE_CLASS
from amity.platform.schema.standard import standard_resources


def accepts(schema: dict[str, Any], record: Any) -> bool:
    """Whether a record meets a resolved schema."""
    validator = jsonschema_rs.Draft7Validator(
        schema, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions()
    )
    return validator.is_valid(record)


@pytest.mark.parametrize("name", sorted(standard_resources()))
def test_standard_resource_composes(name: str) -> None:
    """Every resource of the standard library can be put together and compiled."""
    full = new_registry().snapshot(SCOPE).full(name)

    assert accepts({"type": "object"}, full)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"_shop": {"shopId": "S1", "level": 9}}, True),
        ({"_shop": {"shopId": "S1", "level": 10}}, False),
        ({"_shop": {"shopId": 1}}, False),
        ({"_shop": {"shopId": None}}, False),
        ({"_shop": {"unknown": "x"}}, False),
        ({"unknown": "x"}, False),
        ({"_shop": {"joined": "2017-02-28"}}, True),
        ({"_shop": {"joined": "2017-02-30"}}, False),
        ({"_shop": {"tier": "gold"}}, True),
        ({"_shop": {"tier": "tin"}}, False),
        ({"_shop": {"mood": "whatever"}}, True),
        ({"_shop": {"notes": {"any key": "text"}}}, True),
        ({"_shop": {"notes": {"any key": 1}}}, False),
        ({"_shop": {"visits": [{"at": "2017-10-30T00:00:00Z"}]}}, True),
        ({"_shop": {"visits": [{"at": "yesterday"}]}}, False),
        ({"personalEmail": {"address": "ann@example.test"}}, True),
        ({"personalEmail": {"address": "no address"}}, False),
        ({"homeAddress": {"_schema": {"latitude": 91}}}, False),
        ({"identityMap": {"Email": [{"id": "a@b.c", "primary": True}]}}, True),
        ({"identityMap": {"Email": [{"id": "a@b.c", "sure": True}]}}, False),
    ],
)
def test_resolved_schema_is_strict(record: dict[str, Any], expected: bool) -> None:
    """Only declared fields of the declared form pass; suggestions do not bind."""
    registry = new_registry()
    schema, _ = customers(registry)

    assert accepts(registry.resolved(SCOPE, schema.id).json_schema, record) == expected


def test_event_needs_id_and_time() -> None:
    """An experience event without `_id` or `timestamp` is refused."""
    registry = new_registry()
    schema = registry.create_schema(SCOPE, schema_body(title="Events", of=EVENT_CLASS))
    resolved = registry.resolved(SCOPE, schema.id)
    event = {"_id": "1", "timestamp": "2017-10-30T00:00:00Z", "eventType": "my.own"}

    assert resolved.behavior == "time-series"
    assert accepts(resolved.json_schema, event)
    assert not accepts(resolved.json_schema, {"_id": "1"})


def test_both_names_lead_to_the_schema() -> None:
    """`$id` and `meta:altId` name the same resource; another sandbox knows neither."""
    registry = new_registry()
    schema, _ = customers(registry)

    assert registry.resolved(SCOPE, schema.alt_id) is registry.resolved(SCOPE, schema.id)
    with pytest.raises(ResourceNotFound):
        registry.resolved(OTHER, schema.id)


def test_other_writes_keep_the_resolved_schema() -> None:
    """A write of something else does not make schemas be put together again."""
    registry = new_registry()
    schema, _ = customers(registry)
    before = registry.resolved(SCOPE, schema.id)
    registry._documents.put(SCOPE, "dataset", "1", {})

    assert registry.resolved(SCOPE, schema.id) is before


def test_descriptors_become_identities_labels_and_relationships() -> None:
    """What descriptors say stands in the resolved schema."""
    registry = new_registry()
    schema, _ = customers(registry)
    product = registry.create_schema(SCOPE, schema_body(title="Products", of=PRODUCT_CLASS))
    registry.create_descriptor(
        SCOPE, identity_body(product.id, "/productID", **{"xdm:namespace": "SKU"})
    )
    registry.create_descriptor(SCOPE, identity_body(schema.id, "/_shop/shopId"))
    registry.create_descriptor(
        SCOPE,
        {
            "@type": "xdm:descriptorLabel",
            "xdm:sourceSchema": schema.id,
            "xdm:sourceProperty": "/properties/personalEmail/properties/address",
            "xdm:labels": ["I1", "C2"],
        },
    )
    registry.create_descriptor(
        SCOPE,
        {
            "@type": "xdm:descriptorRelationship",
            "xdm:sourceSchema": schema.id,
            "xdm:sourceProperty": "/_shop/tier",
            "xdm:destinationSchema": product.id,
        },
    )
    resolved = registry.resolved(SCOPE, schema.id)

    (identity,) = resolved.identities
    assert (identity.path, identity.namespace, identity.primary) == (
        ("_shop", "shopId"),
        "ShopId",
        True,
    )
    (relationship,) = resolved.relationships
    assert (relationship.schema_id, relationship.namespace) == (product.id, "SKU")
    assert resolved.labels == {"personalEmail/address": ("C2", "I1")}


@pytest.mark.parametrize(
    "change",
    [
        {"xdm:sourceProperty": "/_shop/none"},
        {"xdm:sourceProperty": "/_shop/level"},
        {"xdm:sourceSchema": "https://ns.adobe.com/shop/schemas/none"},
        {"@type": "xdm:descriptorNone"},
        {"xdm:namespace": ""},
        {"xdm:isPrimary": "yes"},
    ],
)
def test_descriptor_that_cannot_hold_is_refused(change: dict[str, Any]) -> None:
    """An identity lies on an existing string field of an existing schema."""
    registry = new_registry()
    schema, _ = customers(registry)

    with pytest.raises((ResourceInvalid, ResourceNotFound)):
        registry.create_descriptor(SCOPE, identity_body(schema.id, "/_shop/shopId") | change)


def test_one_primary_identity() -> None:
    """A schema has one primary identity."""
    registry = new_registry()
    schema, _ = customers(registry)
    registry.create_descriptor(SCOPE, identity_body(schema.id, "/_shop/shopId"))

    with pytest.raises(ResourceInvalid, match="already"):
        registry.create_descriptor(SCOPE, identity_body(schema.id, "/personalEmail/address"))


def test_union_needs_an_identity_and_stays() -> None:
    """Profile takes a schema only with a primary identity, and never lets it go."""
    registry = new_registry()
    shop = registry.create(
        SCOPE,
        "class",
        {
            "title": "Shops",
            "type": "object",
            "allOf": [
                {"$ref": RECORD},
                {
                    "properties": {
                        "_shop": {"type": "object", "properties": {"id": {"type": "string"}}}
                    }
                },
            ],
        },
    )
    schema = registry.create_schema(SCOPE, schema_body(title="Shop places", of=shop.id))
    with pytest.raises(UnionRefused, match="no primary identity"):
        registry.patch(SCOPE, "schema", schema.id, UNION)
    made = registry.create_descriptor(SCOPE, identity_body(schema.id, "/_shop/id"))
    registry.patch(SCOPE, "schema", schema.id, UNION)

    assert registry.resolved(SCOPE, schema.id).profile_enabled
    with pytest.raises(BreakingChange):
        registry.patch(
            SCOPE, "schema", schema.id, [{"op": "remove", "path": "/meta:immutableTags"}]
        )
    with pytest.raises(BreakingChange):
        registry.delete_descriptor(SCOPE, made["@id"])
    with pytest.raises(ResourceInUse):
        registry.delete(SCOPE, "schema", schema.id)


@pytest.mark.parametrize(
    ("operation", "refused"),
    [
        ({"op": "remove", "path": "/level"}, True),
        ({"op": "replace", "path": "/level/type", "value": "string"}, True),
        ({"op": "replace", "path": "/level/maximum", "value": 5}, True),
        ({"op": "replace", "path": "/level/maximum", "value": 99}, False),
        ({"op": "replace", "path": "/tier/enum", "value": ["gold"]}, True),
        ({"op": "replace", "path": "/tier/enum", "value": ["gold", "iron", "tin"]}, False),
        ({"op": "add", "path": "/mood/pattern", "value": "^a"}, True),
        ({"op": "add", "path": "/more", "value": {"type": "string"}}, False),
        ({"op": "replace", "path": "/shopId/title", "value": "Other"}, False),
        ({"op": "remove", "path": "/visits/items/properties/at"}, True),
    ],
)
def test_schema_in_union_only_grows(operation: dict[str, Any], refused: bool) -> None:
    """Once data may come, fields are added and loosened, never removed or narrowed."""
    registry = new_registry()
    schema, group = customers(registry)
    registry.patch(SCOPE, "schema", schema.id, UNION)
    at = "/definitions/shop/properties/_shop/properties"
    patch = [{**operation, "path": at + operation["path"]}]

    if refused:
        with pytest.raises(BreakingChange):
            registry.patch(SCOPE, "field_group", group.id, patch)
    else:
        registry.patch(SCOPE, "field_group", group.id, patch)


def test_patch_adds_a_group_and_bumps_the_version() -> None:
    """Adding a group as clients do it (allOf and meta:extends) raises the minor version."""
    registry = new_registry()
    schema = registry.create_schema(SCOPE, schema_body())
    changed = registry.patch(
        SCOPE,
        "schema",
        schema.id,
        [
            {"op": "add", "path": "/allOf/-", "value": {"$ref": CONTACT}},
            {"op": "add", "path": "/meta:extends/-", "value": CONTACT},
        ],
    )

    assert (schema.version_text, changed.version_text) == ("1.0", "1.1")
    assert "personalEmail" in registry.resolved(SCOPE, schema.id).json_schema["properties"]
    assert [entry["updates"][0]["path"] for entry in registry.history(SCOPE, schema.id)] == [
        "/allOf",
        "/",
    ]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"title": ""},
        {"title": "No class", "allOf": [{"$ref": CONTACT}]},
        {"title": "Two", "allOf": [{"$ref": PROFILE_CLASS}, {"$ref": EVENT_CLASS}]},
        {"title": "Gone", "allOf": [{"$ref": PROFILE_CLASS}, {"$ref": "https://ns.adobe.com/x"}]},
        {"title": "Own", "allOf": [{"$ref": PROFILE_CLASS}], "properties": {"a": {}}},
        {"title": "List", "allOf": {"$ref": PROFILE_CLASS}},
    ],
)
def test_malformed_schema_is_refused(body: Any) -> None:
    """A schema is one class and field groups that exist."""
    with pytest.raises((ResourceInvalid, ResourceNotFound)):
        new_registry().create_schema(SCOPE, body)


@pytest.mark.parametrize(
    "field",
    [
        {"type": "text"},
        {"type": "string", "pattern": "(?<=a)b"},
        {"type": "string", "enum": "gold"},
        {"$ref": "https://ns.adobe.com/shop/datatypes/none"},
        {"type": "object", "properties": {"bad name": {"type": "string"}}},
        {"type": "object", "properties": {"_hidden": {"type": "string"}}},
        "string",
    ],
)
def test_malformed_field_is_refused(field: Any) -> None:
    """A field has a known type, an RE2 pattern, a good name and references that lead somewhere."""
    with pytest.raises(ResourceInvalid):
        new_registry().create_field_group(SCOPE, group_body(a=field))


def test_custom_fields_lie_under_the_tenant() -> None:
    """A field outside `_{tenant}` that the standard does not know is refused."""
    body = group_body()
    body["definitions"]["shop"]["properties"] = {"shopId": {"type": "string"}}

    with pytest.raises(ResourceInvalid, match="_shop"):
        new_registry().create_field_group(SCOPE, body)


def test_names_lose_their_prefixes() -> None:
    """`xdm:` and `@id` are written in compatibility mode."""
    registry = new_registry()
    group = registry.create_field_group(
        SCOPE, group_body(**{"xdm:city": {"type": "string"}, "@id": {"type": "string"}})
    )
    schema = registry.create_schema(SCOPE, schema_body(group.id))
    properties = registry.resolved(SCOPE, schema.id).json_schema["properties"]

    assert sorted(properties["_shop"]["properties"]) == ["_id", "city"]


def test_circle_of_data_types_is_refused() -> None:
    """A data type cannot hold itself."""
    registry = new_registry()
    body = {"title": "Box", "type": "object", "properties": {"a": {"type": "string"}}}
    box = registry.create(SCOPE, "data_type", body)
    body["properties"] = {"inner": {"$ref": box.id}}

    with pytest.raises(ResourceInvalid, match="holds itself"):
        registry.replace(SCOPE, "data_type", box.id, body)


def test_titles_are_unique_and_parts_stay() -> None:
    """Two resources of a kind have two titles; what others are made of is not deleted."""
    registry = new_registry()
    _, group = customers(registry)

    with pytest.raises(ResourceInvalid, match="titles are unique"):
        registry.create_schema(SCOPE, schema_body())
    with pytest.raises(ResourceInUse):
        registry.delete(SCOPE, "field_group", group.id)
    with pytest.raises(ResourceReadOnly):
        registry.delete(SCOPE, "class", PROFILE_CLASS)


def test_lost_update_is_refused() -> None:
    """Two writers of one version: the second is told."""
    registry = new_registry()
    schema, _ = customers(registry)
    registry._documents.put(SCOPE, "schema", schema.alt_id, schema.body)
    stale = registry.snapshot(SCOPE).find(schema.id)._replace(version=1)

    with pytest.raises(Outdated):
        registry._change(SCOPE, stale, {**schema.body, "title": "New"}, "")


def test_union_holds_all_fields() -> None:
    """The union of a class has the fields of its enabled schemas, and what every profile has."""
    registry = new_registry()
    schema, _ = customers(registry)
    registry.create_descriptor(SCOPE, identity_body(schema.id, "/_shop/shopId"))
    registry.patch(SCOPE, "schema", schema.id, UNION)
    union = registry.union(SCOPE, PROFILE_CLASS)

    assert {"_shop", "segmentMembership", "identityMap", "timeSeriesEvents"} <= set(
        union.json_schema["properties"]
    )
    assert [field.namespace for field in union.identities] == ["ShopId"]
    assert registry.resolved(SCOPE, "_xdm.context.profile__union") is union


def test_adhoc_class_gets_its_namespace() -> None:
    """The server puts the columns of an ad-hoc class under a name of its own."""
    registry = new_registry()
    made = registry.create(
        SCOPE,
        "class",
        {
            "title": "Rows",
            "type": "object",
            "allOf": [{"$ref": "https://ns.adobe.com/xdm/data/adhoc"}],
            "properties": {"_adhoc": {"type": "object", "properties": {"a": {"type": "string"}}}},
        },
    )
    schema = registry.create_schema(SCOPE, schema_body(title="Row schema", of=made.id))
    resolved = registry.resolved(SCOPE, schema.id)

    assert made.body["meta:datasetNamespace"] in resolved.json_schema["properties"]
    assert resolved.behavior == "adhoc"
    with pytest.raises(UnionRefused):
        registry.patch(SCOPE, "schema", schema.id, UNION)


@pytest.mark.thorough
def test_doubling_references_are_bounded() -> None:
    """Data types that each hold the one before twice end in a refusal, not in a full memory."""
    registry = new_registry()
    bodies: list[dict[str, Any]] = [{"type": "string"}]

    def doubled(number: int) -> None:
        inner = {"a": bodies[-1], "b": bodies[-1]}
        body = {"title": f"T{number}", "type": "object", "properties": inner}
        bodies.append({"$ref": registry.create(SCOPE, "data_type", body).id})

    for number in range(10):
        doubled(number)
    with pytest.raises(ResourceInvalid, match="more than"):
        [doubled(number) for number in range(10, 20)]


class Numbers:
    """Namespaces known by number."""

    def by_number(self, scope: Scope, number: str) -> dict[str, Any] | None:
        return {"6": {"id": 6, "code": "Email"}}.get(number)


def test_namespace_named_by_number_is_kept_by_its_code() -> None:
    """`xdm:property` `xdm:id` means the namespace's number; an unknown one is refused."""
    registry = new_registry()
    registry.namespaces = Numbers()
    schema, _ = customers(registry)
    number = {"xdm:property": "xdm:id", "xdm:namespace": "6"}
    body = identity_body(schema.id, "/personalEmail/address", **number)
    registry.create_descriptor(SCOPE, body)

    assert [field.namespace for field in registry.resolved(SCOPE, schema.id).identities] == [
        "Email"
    ]
    with pytest.raises(ResourceInvalid, match="no identity namespace"):
        registry.create_descriptor(
            SCOPE, body | {"xdm:namespace": "7", "xdm:sourceProperty": "/_shop/shopId"}
        )


def test_labels_of_a_group_reach_its_schemas() -> None:
    """A label on a field group's field is on the field of every schema made with it, and leaves."""
    registry = new_registry()
    schema, group = customers(registry)
    label = registry.create_descriptor(
        SCOPE,
        {
            "@type": "xdm:descriptorLabel",
            "xdm:sourceSchema": group.id,
            "xdm:sourceProperty": ["/_shop/shopId", "/_shop/level"],
            "xdm:labels": ["C2"],
        },
    )

    assert registry.resolved(SCOPE, schema.id).labels == {
        "_shop/shopId": ("C2",),
        "_shop/level": ("C2",),
    }
    registry.delete(SCOPE, "schema", schema.id)
    assert registry.descriptor(SCOPE, label["@id"]) == label
    registry.delete_descriptor(SCOPE, label["@id"])
    with pytest.raises(ResourceNotFound):
        registry.descriptor(SCOPE, label["@id"])


@pytest.mark.parametrize(
    "field",
    [
        {"type": "integer", "minimum": "0"},
        {"type": "string", "enum": []},
        {"type": "string", "minLength": -1},
        {"type": "string", "title": None},
        {"type": ["string", {}]},
    ],
)
def test_unusable_keyword_is_refused(field: dict[str, Any]) -> None:
    """What no record could be checked against never becomes a schema."""
    with pytest.raises(ResourceInvalid):
        new_registry().create_field_group(SCOPE, group_body(a=field))


def test_union_gives_each_field_one_type() -> None:
    """Two schemas of a union may share a field, not give it two types; nor may they later."""
    registry = new_registry()
    schema, group = customers(registry)
    registry.patch(SCOPE, "schema", schema.id, UNION)
    body = group_body("Clash", level={"type": "string"})
    clash = registry.create_field_group(SCOPE, body)
    second = registry.create_schema(SCOPE, schema_body(clash.id, title="Second"))
    with pytest.raises(UnionRefused, match="/_shop/level"):
        registry.patch(SCOPE, "schema", second.id, UNION)

    body["definitions"]["shop"]["properties"]["_shop"]["properties"] = {"size": {"type": "string"}}
    registry.replace(SCOPE, "field_group", clash.id, body)
    registry.patch(SCOPE, "schema", second.id, UNION)
    at = "/definitions/shop/properties/_shop/properties/size"
    with pytest.raises(UnionRefused, match="/_shop/size"):
        registry.patch(
            SCOPE, "field_group", group.id, [{"op": "add", "path": at, "value": {"type": "number"}}]
        )


def test_concurrent_creations_make_one() -> None:
    """Of ten who create a schema of one title at once, one does and nine are told."""
    registry = new_registry()

    def create(_: int) -> bool:
        try:
            registry.create_schema(SCOPE, schema_body())
        except ResourceInvalid:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(create, range(10)))

    assert sum(made) == 1


@pytest.mark.parametrize("tenant", ["id", "repo", "experience"])
def test_tenant_is_no_standard_field(tenant: str) -> None:
    """A tenant whose namespace is a standard field would mix its fields with the standard's."""
    with pytest.raises(ResourceInvalid, match="standard field"):
        new_registry(tenant=tenant)
