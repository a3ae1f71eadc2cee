"""The unchanged Python client `aepp` works on schemas, descriptors, datasets and labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aepp import catalog, datasets, schema, schemamanager
from registry_server import ORG, Served, serve

from amity.kernel.scope import Scope

SCOPE = Scope(ORG, "prod")
PROFILE = "https://ns.adobe.com/xdm/context/profile"
EVENT = "https://ns.adobe.com/xdm/context/experienceevent"
CONTACT = "https://ns.adobe.com/xdm/context/profile-personal-details"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the module."""
    with serve(tmp_path_factory.mktemp("registry")) as running:
        running.configure_aepp()
        yield running


@pytest.fixture(scope="module")
def schemas(served: Served) -> schema.Schema:
    """The client's schema module."""
    return schema.Schema()


@pytest.fixture(scope="module")
def made(schemas: schema.Schema) -> dict[str, Any]:
    """A field group and a profile schema of it, enabled for Profile."""
    group = schemas.createFieldGroup(
        {
            "title": "Shop customer",
            "type": "object",
            "meta:intendedToExtend": [PROFILE],
            "definitions": {
                "customer": {
                    "properties": {
                        "_shop": {
                            "type": "object",
                            "properties": {
                                "shopId": {"type": "string", "title": "Shop id"},
                                "age": {"type": "integer", "title": "Age"},
                            },
                        }
                    }
                }
            },
            "allOf": [{"$ref": "#/definitions/customer"}],
        }
    )
    profile = schemas.createProfileSchema(name="Customers", fieldGroupIds=[group["$id"], CONTACT])
    descriptor = schemas.createDescriptor(
        schemas.createDescriptorOperation(
            sourceSchema=profile["$id"],
            descType="xdm:descriptorIdentity",
            completePath="_shop.shopId",
            identityNSCode="ShopId",
            identityPrimary=True,
        )
    )
    enabled = schemas.enableSchemaForRealTime(profile["$id"])
    return {"group": group, "schema": profile, "descriptor": descriptor, "enabled": enabled}


def test_tenant(schemas: schema.Schema) -> None:
    """`getStats` and `getTenantId` tell the namespace."""
    assert schemas.getTenantId() == "shop"


def test_behaviors_and_classes(schemas: schema.Schema, made: dict[str, Any]) -> None:
    """The standard behaviours and classes are listed and looked up."""
    behaviors = {each["$id"] for each in schemas.getBehaviors()}
    classes = {each["$id"] for each in schemas.getClassesGlobal()}
    one = schemas.getClass(PROFILE)

    assert "https://ns.adobe.com/xdm/data/time-series" in behaviors
    assert {PROFILE, EVENT} <= classes
    assert "identityMap" in one["properties"]
    assert schemas.getBehavior("https://ns.adobe.com/xdm/data/record")["title"]


def test_custom_class(schemas: schema.Schema) -> None:
    """A record class of one's own is made, changed and deleted."""
    own = schemas.createClass(title="Store", class_template="https://ns.adobe.com/xdm/data/record")
    changed = schemas.patchClass(
        own["$id"], [{"op": "replace", "path": "/description", "value": "A store"}]
    )

    assert own["$id"] in {each["$id"] for each in schemas.getClasses()}
    assert (changed["description"], changed["version"]) == ("A store", "1.1")
    assert schemas.deleteClass(own["$id"]) == 204


def test_field_groups(schemas: schema.Schema, made: dict[str, Any]) -> None:
    """Field groups are listed, looked up by either name, extended and replaced."""
    own = {each["$id"] for each in schemas.getFieldGroups()}
    standard = {each["$id"] for each in schemas.getFieldGroupsGlobal()}
    by_alt = schemas.getFieldGroup(made["group"]["meta:altId"])
    plain = schemas.getFieldGroup(CONTACT, full=False)
    extended = schemas.extendFieldGroup(made["group"]["$id"], [PROFILE, EVENT])

    assert made["group"]["$id"] in own
    assert CONTACT in standard
    assert by_alt["properties"]["_shop"]["properties"]["shopId"]["type"] == "string"
    assert plain["properties"]["personalEmail"]["$ref"]
    assert extended["meta:intendedToExtend"] == [PROFILE, EVENT]


def test_data_types(schemas: schema.Schema) -> None:
    """A data type is made, listed, changed and deleted."""
    made = schemas.createDataType(
        {"title": "Box", "type": "object", "properties": {"width": {"type": "number"}}}
    )
    schemas.patchDataType(
        made["$id"], [{"op": "add", "path": "/properties/depth", "value": {"type": "number"}}]
    )

    assert made["$id"] in {each["$id"] for each in schemas.getDataTypes()}
    assert "depth" in schemas.getDataType(made["$id"])["properties"]
    assert "Postal address" in {each["title"] for each in schemas.getDataTypesGlobal()}
    assert schemas.deleteDataType(made["$id"]) == 204


def test_schema_forms(schemas: schema.Schema, made: dict[str, Any]) -> None:
    """A schema is looked up whole, plain, flat and with its descriptors."""
    id = made["schema"]["$id"]
    full = schemas.getSchema(id, full=True)
    plain = schemas.getSchema(id, full=False)
    described = schemas.getSchema(id, desc=True, schema_type="xed")

    assert full["properties"]["_shop"]["properties"]["age"]["meta:xdmType"] == "long"
    assert plain["allOf"][0]["$ref"] == PROFILE
    assert "_shop.shopId" in schemas.getSchemaPaths(id)
    assert described["meta:descriptors"][0]["@type"] == "xdm:descriptorIdentity"
    assert made["enabled"]["meta:immutableTags"] == ["union"]


def test_lists_of_schemas(schemas: schema.Schema, made: dict[str, Any]) -> None:
    """Lists filter by class, page by key and know the enabled ones."""
    event = schemas.createExperienceEventSchema(
        name="Visits", fieldGroupIds=["https://ns.adobe.com/xdm/context/experienceevent-web"]
    )
    profiles = {each["$id"] for each in schemas.getSchemas(classFilter=PROFILE)}
    everything = {each["$id"] for each in schemas.getSchemas()}
    enabled = {each["$id"] for each in schemas.getXDMprofileSchema()["results"]}

    assert made["schema"]["$id"] in profiles
    assert event["$id"] not in profiles
    assert event["$id"] in everything
    assert enabled == {made["schema"]["$id"]}


def test_group_is_added_to_a_schema(schemas: schema.Schema) -> None:
    """`addFieldGroupToSchema` puts the schema with one part more; then it is deleted."""
    one = schemas.createProfileSchema(name="Growing", fieldGroupIds=[CONTACT])
    grown = schemas.addFieldGroupToSchema(
        one["$id"], ["https://ns.adobe.com/xdm/context/profile-person-details"]
    )

    assert len(grown["allOf"]) == 3
    assert "person" in schemas.getSchema(one["$id"])["properties"]
    assert schemas.deleteSchema(one["$id"]) == 204


def test_descriptors(schemas: schema.Schema, made: dict[str, Any]) -> None:
    """Descriptors are listed in every form, looked up, replaced and deleted."""
    label = schemas.createDescriptor(
        schemas.createDescriptorOperation(
            sourceSchema=made["schema"]["$id"],
            descType="xdm:descriptorLabel",
            completePath="personalEmail.address",
            labels=["I1"],
        )
    )
    ids = schemas.getDescriptors(id_desc=True)
    typed = schemas.getDescriptors(type_desc="xdm:descriptorIdentity")
    replaced = schemas.putDescriptor(label["@id"], {**label, "xdm:label": ["I1", "C2"]})

    assert label["@id"] in ids
    assert [each["@id"] for each in typed] == [made["descriptor"]["@id"]]
    assert replaced == {"@id": label["@id"]}
    assert schemas.getDescriptor(label["@id"])["xdm:label"] == ["I1", "C2"]
    assert schemas.deleteDescriptor(label["@id"]) == 204
    assert schemas.getDescriptor(label["@id"])["status"] == 404


def test_union(schemas: schema.Schema, made: dict[str, Any]) -> None:
    """The union of the profile class shows the enabled schema's fields."""
    unions = schemas.getUnions()
    one = schemas.getUnion(f"{PROFILE}__union")

    assert [each["meta:class"] for each in unions] == [PROFILE]
    assert "_shop" in one["properties"]


def test_sample_history_and_export(schemas: schema.Schema, made: dict[str, Any]) -> None:
    """A sample record, the history of a resource and its export can be had."""
    id = made["schema"]["$id"]
    sample = schemas.getSchemaSample(id)
    history = schemas.getAuditLogs(id)
    exported = schemas.exportResource(id)

    assert "@" in sample["personalEmail"]["address"]
    assert {"id", "updatedUser", "updatedTime", "updates"} <= set(history[0])
    assert [each["meta:resourceType"] for each in exported] == ["mixins", "schemas"]
    assert "<XDM_TENANTID_PLACEHOLDER>" in exported[1]["$id"]
    assert schemas.importResource(exported)["error_code"] == "XDM-3005-400"


def test_managers(schemas: schema.Schema, made: dict[str, Any]) -> None:
    """The client's managers read a schema with its groups, and make a new one."""
    manager = schemas.SchemaManager(made["schema"]["$id"])
    group = schemas.FieldGroupManager(None, title="Managed", fg_class=["profile"])
    group.addField("_shop", "object")
    group.addField("_shop.favourite", "string", title="Favourite")
    created = group.createFieldGroup()
    fresh = schemamanager.SchemaManager(title="Managed", schemaAPI=schemas)
    fresh.addFieldGroup(created["$id"])
    built = fresh.createSchema()

    paths = set(manager.to_dataframe()["path"])
    assert {"_shop.shopId", "personalEmail.address"} <= paths
    assert "favourite" in schemas.getSchema(built["$id"])["properties"]["_shop"]["properties"]


def test_group_is_edited_by_its_manager(schemas: schema.Schema) -> None:
    """A tenant's group and type say that they are extensible, else the client edits neither."""
    group = schemas.FieldGroupManager(None, title="Edited", fg_class=["profile"])
    group.addField("_shop", "object")
    group.addField("_shop.first", "string", title="First")
    id = group.createFieldGroup()["$id"]
    again = schemas.FieldGroupManager(schemas.getFieldGroup(id, full=False))
    again.addField("_shop.second", "integer", title="Second")
    again.updateFieldGroup()
    box = schemas.createDataType(
        {"title": "Crate", "type": "object", "properties": {"width": {"type": "number"}}}
    )

    own = schemas.getFieldGroup(id)["properties"]["_shop"]["properties"]
    assert set(own) == {"first", "second"}
    assert schemas.DataTypeManager(schemas.getDataType(box["$id"], full=False)).EDITABLE
    assert not schemas.FieldGroupManager(schemas.getFieldGroup(CONTACT, full=False)).EDITABLE


@pytest.fixture(scope="module")
def shelf(served: Served, made: dict[str, Any]) -> tuple[catalog.Catalog, str]:
    """The client's catalog module and a dataset of the schema."""
    module = catalog.Catalog()
    (reference,) = module.createDataSet(
        name="Customers", schemaId=made["schema"]["$id"], profileEnabled=True, identityEnabled=True
    )
    return module, reference.removeprefix("@/dataSets/")


def test_datasets(shelf: tuple[catalog.Catalog, str], made: dict[str, Any]) -> None:
    """A dataset is shown keyed by its id, listed, and summed up."""
    module, id = shelf
    one = module.getDataSet(id)[id]
    everything = module.getDataSets()
    infos = module.getDatasetsInfos()

    assert one["schemaRef"]["id"] == made["schema"]["$id"]
    assert one["tags"]["unifiedProfile"] == ["enabled:true"]
    assert id in everything
    assert list(infos[infos["id"] == id]["profileEnabled"]) == [True]
    assert list(module.getDataSetViews(id)) == [one["viewId"]]
    assert module.getDataSetViewFiles(id, one["viewId"]) == {}
    assert module.getBatches() == {}
    assert module.getLastBatches(id) == {}


def test_dataset_changes(shelf: tuple[catalog.Catalog, str], served: Served) -> None:
    """Enabling, disabling and renaming by patches of both forms take effect."""
    module, id = shelf
    assert module.disableDatasetProfile(id) == [f"@/dataSets/{id}"]
    assert not served.catalog.dataset(SCOPE, id).profile_enabled
    module.enableDatasetProfile(id, upsert=True)
    assert served.catalog.dataset(SCOPE, id).upsert
    module.disableDatasetIdentity(id)
    assert not served.catalog.dataset(SCOPE, id).identity_enabled
    module.patchDataset(id, {"description": "All of them"})
    module.patchDatasetV2(id, {"tags": {"owner": ["shop"]}})
    module.putDataset(id, {**module.getDataSet(id)[id], "name": "Shoppers"})
    body = module.getDataSet(id)[id]

    assert (body["name"], body["description"]) == ("Shoppers", "All of them")
    assert body["tags"]["owner"] == ["shop"]
    assert module.deleteDataSet(id)["status"] == 409
    module.disableDatasetProfile(id)
    assert module.deleteDataSet(id) == 200


def test_labels(made: dict[str, Any], served: Served) -> None:
    """Labels of a dataset are created once, then changed under their etag."""
    (reference,) = catalog.Catalog().createDataSet(name="Labelled", schemaId=made["schema"]["$id"])
    id = reference.removeprefix("@/dataSets/")
    module = datasets.DataSets()
    body = {"entityId": {"namespace": "AEP", "id": id, "type": "dataset"}, "labels": ["C1"]}

    assert module.getLabelSchemaTests(id)["error_code"] == "PES-404"
    assert module.createLabels(id, body)["code"] == "PES-201"
    assert module.createLabels(id, body)["status"] == 403
    # The client's headLabels drops the headers of a good answer; the etag is the one it would read.
    assert module.headLabels(id) == {}
    etag = served.catalog.label_record(SCOPE, id).etag
    assert module.updateLabels(id, {**body, "labels": ["C2"]}, ifMatch="old")["status"] == 412
    assert module.updateLabels(id, {**body, "labels": ["C2"]}, ifMatch=etag)["labels"] == ["C2"]
    assert module.getLabelSchemaTests(id)[f"AEP:dataset:{id}"]["labels"] == ["C2"]
