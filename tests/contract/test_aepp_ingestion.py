"""The unchanged Python client `aepp`, and plain HTTP where it has no word, bring data in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlglot.expressions as sge
from aepp import catalog, dataaccess, flowservice, ingestion
from ingestion_server import ORG, SCOPE, Served, serve

from amity.platform.ingestion.segment_setup import PROFILE_TITLE
from amity.platform.schema.model import PROFILE_CLASS
from amity.storage.ports import LakeTable


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the module."""
    with serve(tmp_path_factory.mktemp("ingestion")) as running:
        running.configure_aepp()
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    """A client with a token, for what aepp cannot say."""
    with httpx.Client(base_url=served.url) as http:
        form = {
            "client_id": served.client_id,
            "client_secret": served.secret,
            "grant_type": "client_credentials",
        }
        token = http.post("/ims/token/v3", data=form).json()["access_token"]
        http.headers.update(
            {
                "Authorization": f"Bearer {token}",
                "x-api-key": served.client_id,
                "x-gw-ims-org-id": ORG,
                "x-sandbox-name": "prod",
            }
        )
        yield http


def person(number: int, **fields: Any) -> dict[str, Any]:
    """A profile record."""
    return {"identityMap": {"userId": [{"id": f"u{number}", "primary": True}]}, **fields}


def load(served: Served, rows: Any, **options: Any) -> dict[str, Any]:
    """Load rows as a batch through aepp; the batch as the catalog shows it in the end."""
    importer = ingestion.DataIngestion()
    batch = importer.createBatch(served.datasets.profile, **options)
    importer.uploadSmallFile(batch["id"], served.datasets.profile, "part1.json", data=rows)
    importer.uploadSmallFileFinish(batch["id"])
    served.work()
    shown: dict[str, Any] = catalog.Catalog().getBatch(batch["id"])[batch["id"]]
    return {**shown, "id": batch["id"]}


@pytest.mark.parametrize("multiline", [True, False])
@pytest.mark.parametrize("shape", ["list", "dictionary", "text"])
def test_batch_through_aepp(served: Served, shape: str, multiline: bool) -> None:
    """A list, a dictionary or a text of lines: each becomes a success in the lake."""
    base = 100 * (1 + 2 * ["list", "dictionary", "text"].index(shape) + multiline)
    people = [person(base + n) for n in range(3)]
    rows: Any = {
        "list": people,
        "dictionary": people[0],
        "text": "\n".join(json.dumps(one) for one in people),
    }[shape]
    if shape == "text" and multiline:
        rows = json.dumps(people)
    batch = load(served, rows, multiline=multiline)
    count = 1 if shape == "dictionary" else 3

    assert batch["status"] == "success"
    assert batch["metrics"]["outputRecordCount"] == count
    assert in_lake(served, batch["id"]) == count


def in_lake(served: Served, batch: str) -> int:
    """Rows of a batch in the profile dataset."""
    of_batch = sge.column("_amity_batch").eq(sge.Literal.string(batch))
    count = sge.alias_(sge.Count(this=sge.Star()), "n")
    statement = sge.select(count).from_("people").where(of_batch)
    table = LakeTable(SCOPE, served.datasets.profile)
    return int(served.lake.query(statement, {"people": table})["n"][0].as_py())


def test_refused_rows_are_listed(served: Served, client: httpx.Client) -> None:
    """Errors of the batch, diagnostics through data access, failed records: all tell the row."""
    rows = [person(n) for n in range(900, 919)] + [person(919, personalEmail={"address": 7})]
    batch = load(served, rows, enableDiagnostic=True, partialIngestionPercentage=10)
    access = dataaccess.DataAccess()
    meta = access.getBatchMeta(batch["id"])
    errors = access.getBatchMeta(batch["id"], path="row_errors")
    told = access.getBatchMeta(batch["id"], path=f"row_errors/{errors['data'][0]['name']}")
    failed = access.getBatchFailed(batch["id"])
    listed = client.get("/data/core/ingestion/failed", params={"batch": batch["id"]}).json()

    assert batch["status"] == "success"
    assert [one["code"] for one in batch["errors"]] == ["INGEST-1212-400", "AMITY-INGEST-TYPE"]
    assert {one["name"] for one in meta["data"]} == {"input_files", "row_errors"}
    assert told["_filename"] == "part1.json"
    assert [one["name"] for one in failed] == ["part1.json"]
    assert [one["where"] for one in listed["items"]] == ["part1.json:20"]
    assert listed["items"][0]["path"] == "/personalEmail/address"


def test_files_of_a_batch_read_back(served: Served, client: httpx.Client) -> None:
    """The dataset file of a batch, its files, one of them whole and in part."""
    batch = load(served, [person(1)])
    access = dataaccess.DataAccess()
    (entry,) = access.getBatchFiles(batch["id"])
    listed = access.getFiles(entry["dataSetFileId"])
    whole = access.getFiles(entry["dataSetFileId"], path="part1.json")
    part = client.get(
        f"/data/foundation/export/files/{batch['id']}",
        params={"path": "part1.json"},
        headers={"Range": "bytes=0-9"},
    )

    assert entry["isValid"] is True
    assert [one["name"] for one in listed["data"]] == ["part1.json"]
    assert json.loads(whole) == [person(1)]
    assert (part.status_code, len(part.content)) == (206, 10)


def test_preview_shows_rows(served: Served) -> None:
    """First rows of a dataset, and of a batch before it is complete."""
    load(served, [person(2)])
    importer = ingestion.DataIngestion()
    batch = importer.createBatch(served.datasets.profile)
    importer.uploadSmallFile(batch["id"], served.datasets.profile, "a.json", data=person(3))
    before = importer.getPreviewBatchDataset(batch["id"], served.datasets.profile)
    rows = dataaccess.DataAccess().getPreview(served.datasets.profile)

    assert before["data"] == [person(3)]
    assert rows
    assert all(not name.startswith("_amity") for row in rows for name in row)


def test_large_file_in_parts(served: Served, client: httpx.Client) -> None:
    """INITIALIZE, PATCH, HEAD, COMPLETE; gap found at the end only."""
    batch = ingestion.DataIngestion().createBatch(served.datasets.profile)["id"]
    path = (
        f"/data/foundation/import/batches/{batch}/datasets/{served.datasets.profile}"
        "/files/2017/big.json"
    )
    content = b"\n".join(json.dumps(person(5_000 + n)).encode() for n in range(5))

    def send(first: int, last: int) -> int:
        headers = {"Content-Range": f"bytes {first}-{last}"}
        return client.patch(path, content=content[first : last + 1], headers=headers).status_code

    begun = client.post(path, params={"action": "INITIALIZE"}).status_code
    sent = [send(0, 49), send(100, len(content) - 1)]
    gap = client.post(path, params={"action": "COMPLETE"})
    received = client.head(path).headers["Range"]
    sent.append(send(50, 99))
    done = client.post(path, params={"action": "complete"}).status_code
    client.post(f"/data/foundation/import/batches/{batch}", params={"action": "complete"})
    served.work()

    assert (begun, sent, done) == (201, [200, 200, 200], 200)
    assert gap.status_code == 400
    assert "gap" in gap.json()["detail"]
    assert received == f"bytes=0-49,100-{len(content) - 1}"
    assert in_lake(served, batch) == 5


@pytest.mark.parametrize(
    ("path", "status"),
    [("..%2f..%2fkeys", 400), ("%2e%2e/x", 400), ("a%00b", 400), ("a/%2e%2e/b", 400), ("a//b", 400),
     ("good/name.json", 201)],
)  # fmt: skip
def test_paths_over_http(served: Served, client: httpx.Client, path: str, status: int) -> None:
    """What climbs out is refused, however it is written; what does not is taken."""
    batch = ingestion.DataIngestion().createBatch(served.datasets.profile)["id"]
    url = f"{served.url}/data/foundation/import/batches/{batch}/datasets/"
    request = client.build_request("PUT", f"{url}{served.datasets.profile}/files/X", content=b"{}")
    request.url = request.url.copy_with(
        raw_path=request.url.raw_path.replace(b"/X", b"/" + path.encode())
    )

    assert client.send(request).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "", b"{", 400),
        ("POST", "", b'{"datasetId": "nowhere"}', 404),
        ("POST", "/nobody?action=COMPLETE", b"", 404),
        ("GET", "/nobody/datasets/d/preview", b"", 404),
    ],
)
def test_wrong_requests(
    client: httpx.Client, method: str, path: str, content: bytes, status: int
) -> None:
    """Each is a problem with what to do."""
    reply = client.request(method, f"/data/foundation/import/batches{path}", content=content)

    assert reply.status_code == status
    assert reply.json()["detail"]


def test_multipart_is_refused(served: Served, client: httpx.Client) -> None:
    """A form is not the file."""
    batch = ingestion.DataIngestion().createBatch(served.datasets.profile)["id"]
    path = f"/data/foundation/import/batches/{batch}/datasets/{served.datasets.profile}/files/a"

    assert client.put(path, files={"file": b"x"}).status_code == 415


def streaming(served: Served, **options: Any) -> str:
    """A new streaming connection made through aepp: its inlet id."""
    flows = flowservice.FlowService()
    made = flows.createConnectionStreaming(
        name="Till", sourceId="till", paramName="till", **options
    )
    shown = flows.getConnection(made["id"])
    return str(shown["auth"]["params"]["inletId"])


def message(served: Served, record: dict[str, Any]) -> dict[str, Any]:
    """An XDM message for the profile dataset."""
    reference = {
        "id": served.catalog.dataset(SCOPE, served.datasets.profile).schema_id,
        "contentType": "application/vnd.adobe.xed-full+json;version=1",
    }
    return {
        "header": {
            "schemaRef": reference,
            "imsOrgId": ORG,
            "datasetId": served.datasets.profile,
            "source": {"name": "till"},
        },
        "body": {"xdmMeta": {"schemaRef": reference}, "xdmEntity": record},
    }


def test_streaming_through_aepp(served: Served) -> None:
    """Single and batch messages; the answers are the documented ones."""
    inlet, importer = streaming(served), ingestion.DataIngestion()
    one = importer.streamMessage(inlet, message(served, person(5)))
    checked = importer.streamMessage(inlet, message(served, person(6)), syncValidation=True)
    many = importer.streamMessages(inlet, [message(served, person(7)), {"header": 1}])

    assert one["syncValidation"] == {"skipped": True}
    assert checked["syncValidation"] == {"status": "pass"}
    assert [sorted(each) for each in many["responses"]] == [
        ["xactionId"],
        ["message", "statusCode"],
    ]


def test_authenticated_inlet_takes_the_platform_s_tokens(served: Served) -> None:
    """Aepp's own token opens it; without one it stays shut."""
    inlet = streaming(served, authenticationRequired=True)
    body = message(served, person(8))
    with_token = ingestion.DataIngestion().streamMessage(inlet, body)
    without = httpx.post(f"{served.url}/collection/{inlet}", json=body)

    assert with_token["inletId"] == inlet
    assert without.status_code == 401


def test_refused_record_is_replayed(served: Served, client: httpx.Client) -> None:
    """Refused for a field its schema has not got, it goes in once the schema has it; then not again."""
    sent = message(served, person(9, _shop={"loyalty": "gold"}))
    inlet = streaming(served)
    reply = ingestion.DataIngestion().streamMessage(inlet, sent)
    served.work()
    (item,) = client.get("/data/core/ingestion/failed", params={"source": inlet}).json()["items"]
    place = f"/data/core/ingestion/failed/{item['id']}"
    still = client.post(f"{place}/replay")
    (group,) = [
        one
        for one in served.registry.snapshot(SCOPE).of_kind("field_group")
        if one.body.get("title") == PROFILE_TITLE
    ]
    field = "/definitions/own/properties/_shop/properties/loyalty"
    added = [{"op": "add", "path": field, "value": {"type": "string", "title": "Loyalty"}}]
    served.registry.patch(SCOPE, "field_group", group.id, added)
    done = client.post(f"{place}/replay")
    served.work()
    again = client.post(f"{place}/replay")

    assert reply["inletId"] == inlet
    assert json.loads(client.get(f"{place}/raw").content) == sent
    assert (still.status_code, still.json()["path"]) == (422, "/_shop/loyalty")
    assert (done.status_code, again.status_code) == (200, 409)
    assert client.get(place).json()["status"] == "replayed"
    assert client.get("/data/core/ingestion/failed/nobody").status_code == 404


@pytest.fixture(scope="module")
def shop_dataset(served: Served) -> str:
    """A profile dataset whose primary identity is a field, so that flat files can fill it."""
    own = {
        "shopId": {"type": "string", "title": "Shop id"},
        "visits": {"type": "integer", "title": "Visits"},
        "regular": {"type": "boolean", "title": "Regular"},
        "since": {"type": "string", "format": "date", "title": "Since"},
    }
    group = served.registry.create_field_group(
        SCOPE,
        {
            "title": "Flat customer",
            "type": "object",
            "meta:intendedToExtend": [PROFILE_CLASS],
            "definitions": {
                "own": {"properties": {"_shop": {"type": "object", "properties": own}}}
            },
            "allOf": [{"$ref": "#/definitions/own"}],
        },
    )
    parts = (PROFILE_CLASS, "https://ns.adobe.com/xdm/context/profile-person-details", group.id)
    body = {"title": "Flat customers", "type": "object", "allOf": [{"$ref": one} for one in parts]}
    made = served.registry.create_schema(SCOPE, body)
    served.registry.create_descriptor(
        SCOPE,
        {
            "@type": "xdm:descriptorIdentity",
            "xdm:sourceSchema": made.id,
            "xdm:sourceVersion": 1,
            "xdm:sourceProperty": "/_shop/shopId",
            "xdm:namespace": "ShopId",
            "xdm:property": "xdm:code",
            "xdm:isPrimary": True,
        },
    )
    union = [{"op": "add", "path": "/meta:immutableTags", "value": ["union"]}]
    served.registry.patch(SCOPE, "schema", made.id, union)
    enabled = {"unifiedProfile": ["enabled:true"], "unifiedIdentity": ["enabled:true"]}
    dataset = served.catalog.create_dataset(
        SCOPE, {"name": "Flat customers", "schemaRef": {"id": made.id}, "tags": enabled}
    )
    return dataset.id


CSV = """_shop.shopId,person.name.firstName,_shop.visits,_shop.regular,_shop.since
S1,Ann,3,true,2017-01-02
S2,"Bo, the second",,false,
S3,Cy,many,true,2017-01-02
,Di,1,true,2017-01-02
S5,Ed,1,true
"""


def test_csv_rows_become_records(served: Served, client: httpx.Client, shop_dataset: str) -> None:
    """Cells take the schema's types, empty ones are left out, broken rows are told by line."""
    importer = ingestion.DataIngestion()
    batch = importer.createBatch(shop_dataset, format="csv", partialIngestionPercentage=90)["id"]
    path = f"/data/foundation/import/batches/{batch}/datasets/{shop_dataset}/files/a.csv"
    client.put(path, content=CSV.encode())
    importer.uploadSmallFileFinish(batch)
    served.work()
    shown = catalog.Catalog().getBatch(batch)[batch]
    rows = dataaccess.DataAccess().getPreview(shop_dataset)
    failed = client.get("/data/core/ingestion/failed", params={"batch": batch}).json()["items"]

    assert shown["status"] == "success"
    assert sorted(row["_shop"]["shopId"] for row in rows) == ["S1", "S2"]
    assert {row["person"]["name"]["firstName"] for row in rows} == {"Ann", "Bo, the second"}
    assert sorted(one["where"] for one in failed) == ["a.csv:4", "a.csv:5", "a.csv:6"]
