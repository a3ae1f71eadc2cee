"""Whatever JSON is posted, the registry takes it whole or refuses it with a reason."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_shop import SCOPE, customers, group_body, identity_body, new_registry, schema_body

from amity.kernel.errors import AmityError
from amity.platform.schema.accept import Wanted
from amity.platform.schema.render import Renderer
from amity.platform.schema.sample import sample_of

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "a", "object", "string", "$ref", "#/x", "#", "union", "_shop", "(", "https://ns.adobe.com/xdm/context/profile"]),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(
        st.sampled_from(
            ["type", "properties", "items", "$ref", "allOf", "enum", "required", "title", "pattern",
             "minimum", "additionalProperties", "meta:enum", "definitions", "meta:labels", "default", "a"]
        ),
        inner,
        max_size=3,
    ),
    max_leaves=6,
)  # fmt: skip
FIELD = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "enum": ["x"], "meta:enum": {"x": "X"}, "pattern": "^x"},
        "b": {"type": "array", "items": {"type": "integer", "minimum": 1}},
    },
}


def refused_well(error: AmityError) -> None:
    """A refusal is the sender's to mend, and says how."""
    assert error.status in (400, 404)
    assert error.message


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [at] if at else []
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in children:
        found += places(child, (*at, key))
    return found


def spoiled(draw: Any, body: dict[str, Any]) -> dict[str, Any]:
    """A body with junk in one or two places."""
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 2))):
        where = draw(st.sampled_from(places(body)))
        target: Any = body
        for part in where[:-1]:
            target = target[part]
        target[where[-1]] = draw(JUNK)
    return body


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_group_is_taken_whole_or_refused(data: st.DataObject) -> None:
    """A field group that is taken can be used in a schema, shown, sampled and resolved."""
    registry = new_registry()
    body = spoiled(data.draw, group_body(field=FIELD))
    try:
        group = registry.create_field_group(SCOPE, body)
        schema = registry.create_schema(SCOPE, schema_body(group.id))
    except AmityError as error:
        refused_well(error)
        return
    registry.resolved(SCOPE, schema.id)
    renderer = Renderer(SCOPE, registry.snapshot(SCOPE), "shop")
    renderer.lookup(schema, Wanted(full=True, flat=True, text=False, descriptors=True))
    sample_of(registry.snapshot(SCOPE).full(schema.id), 0)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_schema_and_descriptor_are_taken_or_refused(data: st.DataObject) -> None:
    """A spoiled schema or descriptor body never breaks what is there."""
    registry = new_registry()
    schema, group = customers(registry)
    descriptor = identity_body(schema.id, "/_shop/shopId")
    try:
        registry.create_schema(SCOPE, spoiled(data.draw, schema_body(group.id, title="Second")))
        registry.create_descriptor(SCOPE, spoiled(data.draw, descriptor))
        label = {**descriptor, "@type": "xdm:descriptorLabel", "xdm:labels": ["C1"]}
        registry.create_descriptor(SCOPE, spoiled(data.draw, label))
    except AmityError as error:
        refused_well(error)
    snapshot = registry.snapshot(SCOPE)
    renderer = Renderer(SCOPE, snapshot, "shop")
    for each in snapshot.of_kind("schema"):
        registry.resolved(SCOPE, each.id)
        renderer.lookup(each, Wanted(full=True))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "op": st.sampled_from(["add", "replace", "remove"]),
                "path": st.sampled_from(
                    [
                        "/allOf",
                        "/allOf/0",
                        "/allOf/-",
                        "/title",
                        "/meta:immutableTags",
                        "/type",
                        "/meta:extends",
                        "/properties",
                        "",
                    ]
                ),
                "value": JUNK,
            }
        ),
        max_size=2,
    )
)
def test_patch_is_taken_or_refused(operations: list[dict[str, Any]]) -> None:
    """A spoiled patch never breaks the schema."""
    registry = new_registry()
    schema, _ = customers(registry)
    try:
        registry.patch(SCOPE, "schema", schema.id, operations)
    except AmityError as error:
        refused_well(error)
    registry.resolved(SCOPE, schema.id)
