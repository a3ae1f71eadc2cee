"""Schemas move to another organisation with all their parts, or not at all."""

from __future__ import annotations

import jsonschema_rs
import pytest
from schema_shop import SCOPE, customers, new_registry

from amity.platform.schema.accept import Wanted
from amity.platform.schema.errors import ImportRefused
from amity.platform.schema.render import Renderer
from amity.platform.schema.sample import sample_of
from amity.platform.schema.standard import standard_resources
from amity.platform.schema.transfer import PLACEHOLDER, exported, imported


def test_round_trip_to_another_tenant() -> None:
    """What one tenant exports another one imports, under its own name."""
    here, there = new_registry(), new_registry(tenant="other", seed=2)
    schema, _ = customers(here)
    moved = imported(there, SCOPE, exported(here, SCOPE, schema.id))
    resolved = there.resolved(SCOPE, moved[-1].id)

    assert resolved.title == "Customers"
    assert "_other" in resolved.json_schema["properties"]
    assert "_shop" not in resolved.json_schema["properties"]
    assert PLACEHOLDER not in str(moved)


def test_import_is_all_or_none() -> None:
    """A conflict in the last resource leaves none of the first ones."""
    here, there = new_registry(), new_registry(tenant="other", seed=2)
    schema, group = customers(here)
    resources = exported(here, SCOPE, schema.id)
    resources[-1] = {**resources[-1], "allOf": []}

    with pytest.raises(ImportRefused, match="exactly one class"):
        imported(there, SCOPE, resources)
    assert not [each for each in there.snapshot(SCOPE).of_kind("field_group") if not each.standard]
    with pytest.raises(ImportRefused, match="exists already"):
        imported(here, SCOPE, exported(here, SCOPE, group.id))
    with pytest.raises(ImportRefused):
        imported(here, SCOPE, {})


@pytest.mark.parametrize(
    "name", sorted(name for name, body in standard_resources().items() if body.get("properties"))
)
def test_sample_meets_its_schema(name: str) -> None:
    """A sample record of every standard resource is valid under that resource."""
    from amity.platform.schema.compose import strict

    full = new_registry().snapshot(SCOPE).full(name)
    validator = jsonschema_rs.Draft7Validator(
        strict(full), validate_formats=True, pattern_options=jsonschema_rs.RegexOptions()
    )

    assert [str(error) for error in validator.iter_errors(sample_of(full, 0))] == []


def test_views_hide_what_is_not_asked_for() -> None:
    """`notext` has no titles but keeps a field named title; `desc` brings the descriptors."""
    registry = new_registry()
    schema, _ = customers(registry)
    renderer = Renderer(SCOPE, registry.snapshot(SCOPE), "shop")
    bare = renderer.lookup(schema, Wanted(full=True, text=False))
    flat = renderer.lookup(schema, Wanted(full=True, flat=True))

    assert "title" not in bare
    assert "title" not in bare["properties"]["_shop"]["properties"]["shopId"]
    assert "_shop/visits/at" in flat["properties"]
    assert renderer.lookup(schema, Wanted(descriptors=True))["meta:descriptors"] == []


def test_descriptors_rename_and_hide_fields() -> None:
    """A deprecated field is shown only on demand; an alternate title is the one shown."""
    registry = new_registry()
    schema, _ = customers(registry)
    said = {"xdm:sourceSchema": schema.id, "xdm:sourceVersion": 1}
    registry.create_descriptor(
        SCOPE,
        {
            **said,
            "@type": "xdm:alternateDisplayInfo",
            "xdm:sourceProperty": "/_shop/shopId",
            "xdm:title": {"en_us": "Customer number"},
        },
    )
    registry.create_descriptor(
        SCOPE, {**said, "@type": "xdm:descriptorDeprecated", "xdm:sourceProperty": "/_shop/level"}
    )
    renderer = Renderer(SCOPE, registry.snapshot(SCOPE), "shop")
    fields = renderer.lookup(schema, Wanted(full=True))["properties"]["_shop"]["properties"]
    whole = renderer.lookup(schema, Wanted(full=True, deprecated=True))

    assert fields["shopId"]["title"] == "Customer number"
    assert "level" not in fields
    assert "level" in whole["properties"]["_shop"]["properties"]
