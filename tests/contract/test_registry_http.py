"""Registry and catalog answer with the documented bodies, codes and pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest
from registry_server import ORG, serve

REGISTRY = "/data/foundation/schemaregistry"
CATALOG = "/data/foundation/catalog"
PROFILE = "https://ns.adobe.com/xdm/context/profile"
IDS = {"Accept": "application/vnd.adobe.xed-id+json"}
FULL = {"Accept": "application/vnd.adobe.xed-full+json; version=1"}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client with the platform headers."""
    with serve(tmp_path_factory.mktemp("http")) as served:
        form = {
            "grant_type": "client_credentials",
            "client_id": served.client_id,
            "client_secret": served.secret,
        }
        token = httpx.post(f"{served.url}/ims/token/v3", data=form).json()["access_token"]
        headers = {
            "Authorization": f"Bearer {token}",
            "x-api-key": served.client_id,
            "x-gw-ims-org-id": ORG,
        }
        with httpx.Client(base_url=served.url, headers=headers, timeout=30) as client:
            yield client


@pytest.fixture(scope="module")
def schemas(http: httpx.Client) -> list[dict[str, Any]]:
    """Five profile schemas."""
    made = []
    for number in range(5):
        body = {"title": f"Schema {number}", "type": "object", "allOf": [{"$ref": PROFILE}]}
        reply = http.post(f"{REGISTRY}/tenant/schemas", json=body)
        assert reply.status_code == 201, reply.text
        made.append(reply.json())
    return made


@pytest.mark.parametrize(
    ("path", "accept", "status", "code"),
    [
        ("/tenant/schemas", "application/vnd.adobe.xed+json; version=1", 400, "XDM-1006-400"),
        (f"/global/classes/{quote_plus(PROFILE)}", IDS["Accept"], 400, "XDM-1007-400"),
        ("/tenant/schemas/_shop.schemas.none", FULL["Accept"], 404, "XDM-1012-404"),
        ("/tenant/descriptors/none", "", 404, "XDM-1012-404"),
    ],
)
def test_registry_errors(
    http: httpx.Client, path: str, accept: str, status: int, code: str
) -> None:
    """An error of the registry has its code, its type and a report."""
    reply = http.get(REGISTRY + path, headers={"Accept": accept})
    body = reply.json()

    assert (reply.status_code, body["status"]) == (status, status)
    assert body["type"] == f"http://ns.adobe.com/aep/errors/{code}"
    assert {"registryRequestId", "timestamp", "detailed-message", "sub-errors"} == set(
        body["report"]
    )
    assert body["detail"] == body["report"]["detailed-message"]


def test_created_schema_has_the_documented_members(schemas: list[dict[str, Any]]) -> None:
    """What the server adds to a schema is there."""
    made = schemas[0]

    assert made["$id"].startswith("https://ns.adobe.com/shop/schemas/")
    assert made["meta:altId"].startswith("_shop.schemas.")
    assert (made["version"], made["imsOrg"], made["meta:class"]) == ("1.0", ORG, PROFILE)
    assert {"repo:createdDate", "repo:lastModifiedDate", "eTag"} == set(
        made["meta:registryMetadata"]
    )
    assert "https://ns.adobe.com/xdm/data/record" in made["meta:extends"]


def test_both_ids_lead_there(http: httpx.Client, schemas: list[dict[str, Any]]) -> None:
    """The encoded URI and the short name, with a trailing slash or without."""
    one = schemas[0]
    paths = [quote_plus(one["$id"]), one["meta:altId"], one["meta:altId"] + "/"]
    found = [http.get(f"{REGISTRY}/tenant/schemas/{path}", headers=FULL).json() for path in paths]

    assert [each["$id"] for each in found] == [one["$id"]] * 3
    assert "identityMap" in found[0]["properties"]


def test_list_is_paged_by_key(http: httpx.Client, schemas: list[dict[str, Any]]) -> None:
    """`start` is a value of the ordering key; the last page has no next."""
    seen: list[str] = []
    query: dict[str, Any] = {"orderby": "title", "limit": 2}
    while True:
        body = http.get(f"{REGISTRY}/tenant/schemas", params=query, headers=IDS).json()
        seen += [each["title"] for each in body["results"]]
        assert body["_page"]["count"] == len(body["results"])
        if body["_page"]["next"] is None:
            break
        query["start"] = body["_page"]["next"]

    assert seen == [each["title"] for each in schemas]
    assert body["_links"]["global_schemas"]["href"]


def test_descriptors_are_grouped(http: httpx.Client, schemas: list[dict[str, Any]]) -> None:
    """Without a paged form, descriptors come grouped by type; absent types are left out."""
    made = http.post(
        f"{REGISTRY}/tenant/descriptors",
        json={
            "@type": "xdm:descriptorIdentity",
            "xdm:sourceSchema": schemas[1]["$id"],
            "xdm:sourceVersion": 1,
            "xdm:sourceProperty": "/personID",
            "xdm:namespace": "Email",
            "xdm:property": "xdm:code",
            "xdm:isPrimary": False,
        },
    )
    groups = http.get(
        f"{REGISTRY}/tenant/descriptors", headers={"Accept": "application/vnd.adobe.xdm+json"}
    ).json()

    assert made.status_code == 201
    assert groups == {"xdm:descriptorIdentity": [made.json()]}


def test_delete_answers_204_then_404(http: httpx.Client, schemas: list[dict[str, Any]]) -> None:
    """A deleted schema is gone."""
    path = f"{REGISTRY}/tenant/schemas/{schemas[4]['meta:altId']}"

    assert http.delete(path).status_code == 204
    assert http.get(path, headers=FULL).status_code == 404
    http.post(
        f"{REGISTRY}/tenant/schemas",
        json={"title": "Schema 4", "type": "object", "allOf": [{"$ref": PROFILE}]},
    )


def test_global_container_is_read_only(http: httpx.Client) -> None:
    """Standard resources are looked up from both containers and changed from none."""
    path = f"{REGISTRY}/tenant/classes/{quote_plus(PROFILE)}"
    patch = [{"op": "replace", "path": "/title", "value": "Mine"}]

    assert http.get(path, headers=FULL).status_code == 200
    assert http.patch(path, json=patch).status_code == 403
    assert http.post(f"{REGISTRY}/global/classes", json={}).status_code == 405


def test_catalog_bodies(http: httpx.Client, schemas: list[dict[str, Any]]) -> None:
    """Creates answer references, reads objects keyed by id, bad paging is refused."""
    reference = {"id": schemas[0]["$id"], "contentType": "application/vnd.adobe.xed+json;version=1"}
    made = http.post(f"{CATALOG}/dataSets", json={"name": "One", "schemaRef": reference})
    (pointer,) = made.json()
    id = pointer.removeprefix("@/dataSets/")
    listed = http.get(f"{CATALOG}/dataSets", params={"properties": "name"}).json()
    patched = http.patch(
        f"{CATALOG}/dataSets/{id}",
        content='[{"op": "add", "path": "/tags/unifiedIdentity", "value": ["enabled:true"]}]',
        headers={"Content-Type": "application/json-patch+json"},
    )
    body = http.get(f"{CATALOG}/dataSets/{id}").json()[id]

    assert (made.status_code, patched.status_code) == (201, 200)
    assert listed == {id: {"name": "One"}}
    assert patched.json() == [pointer]
    assert body["tags"]["unifiedIdentity"] == ["enabled:true"]
    assert body["version"] == "1.0.1"
    assert body["files"] == f"@/dataSets/{id}/views/{body['viewId']}/files"
    assert http.get(f"{CATALOG}/dataSets", params={"limit": 0}).status_code == 400
    assert http.get(f"{CATALOG}/dataSets/none").status_code == 404
    assert http.get(f"{CATALOG}/batches/none").status_code == 404


def test_labels_carry_an_etag(http: httpx.Client, schemas: list[dict[str, Any]]) -> None:
    """Labels are read with the etag that a change must send back."""
    body = {"name": "Two", "schemaRef": {"id": schemas[0]["$id"]}}
    (pointer,) = http.post(f"{CATALOG}/dataSets", json=body).json()
    id = pointer.removeprefix("@/dataSets/")
    path = f"/data/foundation/dataset/datasets/{id}/labels"
    http.post(path, json={"labels": ["C1"]})
    read = http.get(path)
    changed = http.put(path, json={"labels": []}, headers={"If-Match": read.headers["etag"]})

    assert read.json()[f"AEP:dataset:{id}"]["labels"] == ["C1"]
    assert http.head(path).headers["etag"] == changed.headers["etag"] != read.headers["etag"]
    assert (changed.json()["code"], changed.json()["labels"]) == ("PES-200", [])
    assert http.put(path, json={"labels": ["C1"]}).status_code == 412
    assert http.delete(path, headers={"If-Match": changed.headers["etag"]}).status_code == 204
    assert http.get(path).json()["error_code"] == "PES-404"
