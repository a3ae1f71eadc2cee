"""The unchanged Python client `aepp` sets a platform up and reads a profile."""

from __future__ import annotations

from typing import Any

import pytest
from aepp import catalog, customerprofile, identity, ingestion, schema, segmentation
from aepp_client import configure, local
from waiting import eventually

from amity.testing.server import RunningServer

PROFILE = "https://ns.adobe.com/xdm/context/profile"


@pytest.fixture(scope="module")
def platform(server: RunningServer) -> dict[str, Any]:
    """Everything set up through aepp alone: schema, namespace, dataset, batch, audience."""
    configure(server)
    schemas = schema.Schema()
    tenant = schemas.getTenantId()
    namespaces = local(identity.Identity(), server)
    namespace = namespaces.createIdentity(name="Shop id", code="ShopId", idType="CROSS_DEVICE")
    group = schemas.createFieldGroup(
        {
            "title": "Shop customer",
            "type": "object",
            "meta:intendedToExtend": [PROFILE],
            "definitions": {
                "customer": {
                    "properties": {
                        f"_{tenant}": {
                            "type": "object",
                            "properties": {
                                "shopId": {"type": "string", "title": "Shop id"},
                                "income": {"type": "string", "title": "Income"},
                            },
                        }
                    }
                }
            },
            "allOf": [{"$ref": "#/definitions/customer"}],
        }
    )
    made = schemas.createProfileSchema(
        name="Shop customers",
        fieldGroupIds=[
            group["$id"],
            "https://ns.adobe.com/xdm/context/profile-person-details",
            "https://ns.adobe.com/xdm/context/profile-personal-details",
        ],
    )
    schemas.createDescriptor(
        {
            "@type": "xdm:descriptorIdentity",
            "xdm:sourceSchema": made["$id"],
            "xdm:sourceVersion": 1,
            "xdm:sourceProperty": f"/_{tenant}/shopId",
            "xdm:namespace": "ShopId",
            "xdm:property": "xdm:code",
            "xdm:isPrimary": True,
        }
    )
    schemas.enableSchemaForRealTime(made["$id"])
    datasets = catalog.Catalog()
    reference = datasets.createDataSet(
        name="Shop customers", schemaId=made["$id"], profileEnabled=True, identityEnabled=True
    )
    dataset = reference[0].removeprefix("@/dataSets/")
    audience = segmentation.Segmentation().createSegment(
        {
            "name": "High income",
            "description": "Income above 100K",
            "expression": {
                "type": "PQL",
                "format": "pql/text",
                "value": f'_{tenant}.income in ["100-124K", "250K+"]',
            },
            "schema": {"name": "_xdm.context.profile"},
            "ttlInDays": 30,
        }
    )
    return {
        "tenant": tenant,
        "namespace": namespace,
        "schema": made,
        "dataset": dataset,
        "audience": audience,
        "datasets": datasets,
    }


def customer(tenant: str, number: int, income: str) -> dict[str, Any]:
    """One customer record."""
    return {
        f"_{tenant}": {"shopId": f"S{number}", "income": income},
        "person": {"name": {"firstName": "Ann", "lastName": f"Number {number}"}},
        "personalEmail": {"address": f"s{number}@example.test"},
    }


def load(platform: dict[str, Any], rows: Any, **options: Any) -> dict[str, Any]:
    """Load rows as one batch through aepp; the batch as the catalog shows it in the end."""
    importer = ingestion.DataIngestion()
    batch = importer.createBatch(platform["dataset"], format="json", **options)
    importer.uploadSmallFile(batch["id"], platform["dataset"], "part1.json", data=rows)
    importer.uploadSmallFileFinish(batch["id"])
    final = eventually(
        lambda: platform["datasets"].getBatch(batch["id"])[batch["id"]],
        lambda seen: seen["status"] in {"success", "failed", "failure"},
    )
    return {**final, "id": batch["id"]}


def test_tenant_is_the_one_init_printed(platform: dict[str, Any], server: RunningServer) -> None:
    """`getTenantId` answers the tenant of `amity init`, without underscore."""
    expected = server.credentials["tenant"]

    assert expected == platform["tenant"]


def test_schema_reads_back(platform: dict[str, Any]) -> None:
    """`getSchema` gives the composed schema with the custom and the standard fields."""
    full = schema.Schema().getSchema(platform["schema"]["$id"], full=True)

    assert f"_{platform['tenant']}" in full["properties"]
    assert "personalEmail" in full["properties"]


def test_batch_becomes_profiles(platform: dict[str, Any]) -> None:
    """A batch uploaded as aepp does it (json.dumps of a list) becomes profiles one can look up."""
    tenant = platform["tenant"]
    rows = [customer(tenant, 1, "250K+"), customer(tenant, 2, "Under 15K")]

    batch = load(platform, rows, multiline=True)
    profiles = customerprofile.Profile()
    found = eventually(
        lambda: profiles.getEntity(entityId="S1", entityIdNS="ShopId"),
        lambda seen: any("entity" in one for one in seen.values() if isinstance(one, dict)),
    )
    (profile,) = found.values()

    assert batch["status"] == "success"
    assert profile["entity"]["personalEmail"]["address"] == "s1@example.test"
    assert profile["entity"][f"_{tenant}"]["income"] == "250K+"


def test_membership_stands_in_the_profile(platform: dict[str, Any]) -> None:
    """Who meets the rule is realized in the audience; who does not is not."""
    load(platform, [customer(platform["tenant"], n, "100-124K") for n in (11, 12)], multiline=True)
    load(platform, [customer(platform["tenant"], 13, "Under 15K")], multiline=True)
    audience = platform["audience"]["id"]
    profiles = customerprofile.Profile()

    def membership(shop_id: str) -> Any:
        (one,) = profiles.getEntity(entityId=shop_id, entityIdNS="ShopId").values()
        return one["entity"].get("segmentMembership", {}).get("ups", {}).get(audience, {})

    eventually(lambda: membership("S11"), lambda seen: seen.get("status") == "realized")

    assert membership("S12")["status"] == "realized"
    assert membership("S13") == {}


def test_refused_rows_are_listed_by_the_batch(platform: dict[str, Any]) -> None:
    """With partial ingestion, good rows go in; the refused one is listed with its reason."""
    tenant = platform["tenant"]
    rows = [customer(tenant, n, "50-74K") for n in range(20, 39)]
    rows.append({f"_{tenant}": {"shopId": 7}})

    batch = load(
        platform, rows, multiline=True, enableDiagnostic=True, partialIngestionPercentage=10
    )

    assert batch["status"] == "success"
    assert batch["metrics"]["failedRecordCount"] == 1
    assert batch["errors"]


def test_audience_reads_back(platform: dict[str, Any]) -> None:
    """`getSegment` and `getSegments` show the definition."""
    segments = segmentation.Segmentation()
    one = segments.getSegment(platform["audience"]["id"])

    assert one["name"] == "High income"
    assert platform["audience"]["id"] in {each["id"] for each in segments.getSegments()}
