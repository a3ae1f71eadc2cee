"""Bad input is answered with what, where and what to do; it is kept, listed, and can be replayed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from small_shop import LOYALTY, SmallShop, open_shop

from amity.app.demo.client import BatchFailed, Refused
from amity.kernel.clock import DAY_MS, HOUR_MS, from_iso, to_iso
from amity.testing.server import RunningServer

START = "2017-10-30T00:00:00Z"
START_MS = from_iso(START)
FAILED = "/data/core/ingestion/failed"
EXPORT = "/data/foundation/export/batches"
SINGLE = "/collection/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all, its clock at `START`."""
    data = tmp_path_factory.mktemp("amity") / "data"
    with RunningServer(data, clock=START) as running:
        yield running


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Iterator[SmallShop]:
    """A shop with nobody in it."""
    opened = open_shop(server)
    yield opened
    opened.platform.close()


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    """A client with all headers."""
    with server.client() as client:
        yield client


def settle(shop: SmallShop) -> None:
    """Wait until all that was sent can be seen."""
    now = from_iso(shop.platform.get("/admin/clock")["now"])
    shop.platform.advance(to_iso(now + 1_000))


def failed(shop: SmallShop, **query: Any) -> list[dict[str, Any]]:
    """The failed records as the API lists them."""
    found: list[dict[str, Any]] = shop.platform.get(FAILED, limit=1000, **query)["items"]
    return found


def amity(server: RunningServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`amity failed …` on the folder of the running server."""
    command = [sys.executable, "-m", "amity.app.cli", "failed", "--data", str(server.data)]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def message_of(shop: SmallShop, event: dict[str, Any]) -> dict[str, Any]:
    """An event in its envelope."""
    reference = {
        "id": shop.made.event_schema,
        "contentType": "application/vnd.adobe.xed-full+json;version=1",
    }
    header = {"schemaRef": reference, "imsOrgId": shop.platform.org}
    return {
        "header": {**header, "datasetId": shop.made.purchases},
        "body": {"xdmMeta": {"schemaRef": reference}, "xdmEntity": event},
    }


# -- records ----------------------------------------------------------------------------------


def test_record_is_refused_at_once_when_asked(shop: SmallShop, http: httpx.Client) -> None:
    """Synchronous validation names schema, place, rule and value; the record is dropped."""
    event = shop.event("sync-1", START_MS - HOUR_MS, "commerce.purchases", loyalty="1")
    event["productListItems"] = [{"SKU": "1", "quantity": "two"}]
    door = shop.inlet.replace("/batch", "")
    reply = http.post(door, json=message_of(shop, event), params={"syncValidation": "true"})
    (cause,) = reply.json()["report"]["cause"]["_streamingValidation"]
    settle(shop)

    assert (reply.status_code, reply.json()["title"]) == (400, "Invalid XDM Message Format")
    assert cause["pointerToViolation"] == "#/productListItems/0/quantity"
    assert cause["schemaLocation"] == shop.made.event_schema
    assert "two" in cause["message"]
    assert "sync-1" not in json.dumps(failed(shop))


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"productListItems": [{"quantity": 1.5}]}, "/productListItems/0/quantity", "integer"),
        ({"timestamp": "yesterday"}, "/timestamp", "yesterday"),
        ({"timestamp": to_iso(START_MS + 400 * DAY_MS)}, "/timestamp", "later than"),
        ({"nonsense": 1}, "/nonsense", "nonsense"),
        ({"eventType": None}, "/eventType", "leave the key out"),
        ({"eventType": ""}, "/eventType", "leave the key out"),
        ({"identityMap": {}}, "", "needs an identity"),
        ({"identityMap": {LOYALTY: [{"id": "x" * 1025, "primary": True}]}}, "/identityMap", "1025"),
    ],
)
def test_record_is_kept_with_its_reason(
    shop: SmallShop, change: dict[str, Any], path: str, said: str
) -> None:
    """An accepted request with a bad record: the record is listed with place and reason."""
    event = shop.event("kept", START_MS - HOUR_MS, "commerce.purchases", loyalty="1") | change
    before = {one["id"] for one in failed(shop)}
    shop.stream([event])
    settle(shop)
    (kept,) = [one for one in failed(shop) if one["id"] not in before]
    whole = shop.platform.get(f"{FAILED}/{kept['id']}")

    assert kept["path"].startswith(path)
    assert said in kept["reason"]
    assert kept["dataset"] == shop.made.purchases
    assert json.loads(whole["record"])["body"]["xdmEntity"] == event


def test_message_without_a_home_is_told_at_once(shop: SmallShop, http: httpx.Client) -> None:
    """What cannot be assigned to a dataset is answered message by message, in order."""
    event = shop.event("home-1", START_MS - HOUR_MS, "commerce.purchases", loyalty="1")
    good = message_of(shop, event)
    wrong_org = {**good, "header": {**good["header"], "imsOrgId": "OTHER@AmityOrg"}}
    no_set = {**good, "header": {**good["header"], "datasetId": "0" * 24}}
    reply = http.post(shop.inlet, json={"messages": [{}, good, wrong_org, no_set, 7]})
    answers = reply.json()["responses"]

    assert reply.status_code == 207
    assert [one.get("statusCode") for one in answers] == [400, None, 400, 400, 400]
    assert answers[0]["message"] == "Message has unknown xdm format"
    assert answers[2]["message"] == "Message has an absent or wrong ims org in the header"
    assert "0" * 24 in answers[3]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": 1}', b"\xff\xfe", b"nul"])
def test_request_that_is_no_message(shop: SmallShop, http: httpx.Client, body: bytes) -> None:
    """A body that is none is refused with its reason, and kept."""
    settle(shop)
    before = len(failed(shop))
    reply = http.post(shop.inlet, content=body)
    settle(shop)

    assert reply.status_code == 400
    assert reply.json()["detail"]
    assert len(failed(shop)) == before + 1


def test_segment_call_without_anyone(server: RunningServer, shop: SmallShop) -> None:
    """A call of nobody is refused with the place, and kept; an unknown write key is 401."""
    key = (server.credentials["write_key"], "")
    settle(shop)
    before = len(failed(shop))
    nobody = httpx.post(f"{server.url}/v1/track", json={"event": "Seen"}, auth=key)
    several = httpx.post(
        f"{server.url}/v1/batch",
        json={"batch": [{"type": "track", "event": "Seen", "userId": "u"}, {"type": "nonsense"}]},
        auth=key,
    )
    stranger = httpx.post(f"{server.url}/v1/track", json={"event": "Seen"}, auth=("no", ""))
    settle(shop)

    assert nobody.status_code == 400
    assert "userId" in nobody.json()["detail"]
    assert [one["index"] for one in several.json()["errors"]] == [1]
    assert stranger.status_code == 401
    assert "write key" in stranger.json()["detail"]
    assert len(failed(shop)) == before + 2


# -- rows and files ---------------------------------------------------------------------------


def loaded(
    shop: SmallShop, files: dict[str, bytes], form: Any = "json", **options: Any
) -> dict[str, Any]:
    """A batch of files, to its end; with the id it has."""
    platform, dataset = shop.platform, shop.made.customers
    inputs = {"format": form} if isinstance(form, str) else form
    body = {"datasetId": dataset, "inputFormat": inputs, **options}
    batch = platform.post("/data/foundation/import/batches", body)["id"]
    for name, content in files.items():
        platform.put_file(batch, dataset, name, content)
    with suppress(BatchFailed):
        platform.complete(batch)
    settle(shop)
    found = platform.get(f"/data/foundation/catalog/batches/{batch}")[batch]
    return {**found, "id": batch}


def rows_of(shop: SmallShop) -> bytes:
    """Four rows: good, no JSON, of a wrong type, of nobody."""
    good = json.dumps(shop.customer("row-1"))
    wrong = json.dumps({f"_{shop.platform.tenant}": {"loyaltyId": 7}})
    nobody = json.dumps({"person": {"name": {"firstName": "Ann"}}})
    rows = [good, '{"torn": ', wrong, nobody]
    return "".join(f"{row}\n" for row in rows).encode()


def test_rows_are_listed_by_batch_and_command(
    server: RunningServer, shop: SmallShop, http: httpx.Client
) -> None:
    """Within the tolerance the good row goes in; each bad one is told with file, line and reason."""
    options = {"enableErrorDiagnostics": True, "partialIngestionPercentage": 80}
    batch = loaded(shop, {"some/rows.json": rows_of(shop)}, **options)
    meta = f"{EXPORT}/{batch['id']}/meta"
    listed = http.get(meta, params={"path": "row_errors"}).json()["data"]
    errors = [
        json.loads(line)
        for one in listed
        for line in http.get(one["_links"]["self"]["href"]).text.splitlines()
    ]
    refused = http.get(f"{EXPORT}/{batch['id']}/failed").json()["data"]
    raw = http.get(refused[0]["_links"]["self"]["href"]).content
    inputs = http.get(meta, params={"path": "input_files"}).json()["data"]
    told = json.loads(amity(server, "--batch", batch["id"], "--json").stdout)["items"]
    table = amity(server, "--batch", batch["id"]).stdout

    assert batch["status"] == "success"
    assert batch["metrics"]["failedRecordCount"] == 3
    assert {"INGEST-1212-400", "INGEST-1401-400"} <= {one["code"] for one in batch["errors"]}
    assert len(errors) == 3
    assert {one["_filename"] for one in errors} == {"some/rows.json"}
    assert all(one["_errors"][0]["message"] for one in errors)
    assert {one["name"] for one in listed} == {
        "parsing_errors_0.json",
        "conversion_errors_0.json",
    }
    assert raw.splitlines() == rows_of(shop).splitlines()[1:]
    assert len(inputs) == 1
    assert sorted(one["where"] for one in told) == [f"some/rows.json:{n}" for n in (2, 3, 4)]
    assert all(one["reason"] and one["batch"] == batch["id"] for one in told)
    assert "3 shown" in table
    assert shop.platform.profiles(LOYALTY, ["row-1"])


def test_too_many_bad_rows_fail_the_batch(shop: SmallShop) -> None:
    """Over the tolerance nothing goes in, the good rows neither; the rows are listed all the same."""
    content = rows_of(shop).replace(b"row-1", b"row-2")
    batch = loaded(shop, {"rows.json": content}, partialIngestionPercentage=10)

    assert batch["status"] == "failed"
    assert "INGEST-1212-400" in {one["code"] for one in batch["errors"]}
    assert len(failed(shop, batch=batch["id"])) == 3
    assert shop.platform.profiles(LOYALTY, ["row-2"]) == {}


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("parquet", b"PAR1 this is none PAR1"),
        ("parquet", b""),
        ("csv", b""),
        ("json", b""),
        ({"format": "json", "isMultiLineJson": True}, b'[{"a": 1}'),
        ({"format": "csv", "charset": "UTF-8"}, b"a,b\n\xff\xfe,1\n"),
    ],
)
def test_file_that_cannot_be_read(shop: SmallShop, form: Any, content: bytes) -> None:
    """The batch fails; batch and failed records name the file and why."""
    batch = loaded(shop, {"broken.bin": content}, form)
    kept = failed(shop, batch=batch["id"])

    assert batch["status"] == "failed"
    assert batch["errors"]
    assert all(one["code"] and one["description"] for one in batch["errors"])
    assert kept
    assert all("broken.bin" in one["where"] + one["reason"] for one in kept)


def test_batch_of_no_dataset(http: httpx.Client) -> None:
    """A batch for a dataset that is not there, or of a format nobody reads, is refused."""
    base = "/data/foundation/import/batches"
    nowhere = http.post(base, json={"datasetId": "0" * 24, "inputFormat": {"format": "json"}})
    unknown = http.post(base, json={"datasetId": "0" * 24, "inputFormat": {"format": "xls"}})
    missing = http.post(base, json={})

    assert nowhere.status_code in {400, 404}
    assert "0" * 24 in nowhere.json()["detail"]
    assert unknown.status_code in {400, 404}
    assert missing.status_code == 400


# -- expressions and headers ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("person.name.firstName = ", "line 1, column 25"),
        ('person.name.frstName = "Ann"', "frstName"),
        ('person.name.firstName = "Ann" andd true', "andd"),
        ("xEvent.count(", "column 14"),
        ("person.name.firstName > 7", "firstName"),
        ("nonsense(person.name.firstName)", "nonsense"),
        ("", "expression"),
    ],
)
def test_expression_is_refused_with_its_place(http: httpx.Client, text: str, said: str) -> None:
    """A rule that is none is not saved, and the answer says where it goes wrong."""
    body = {
        "name": "Bad rule",
        "schema": {"name": "_xdm.context.profile"},
        "expression": {"type": "PQL", "format": "pql/text", "value": text},
    }
    reply = http.post("/data/core/ups/segment/definitions", json=body)
    known = http.get("/data/core/ups/segment/definitions").json()["segments"]

    assert reply.status_code == 400
    assert said in reply.json()["detail"]
    assert "Bad rule" not in {one["name"] for one in known}


def test_headers_are_told(shop: SmallShop, http: httpx.Client) -> None:
    """Accept, If-Match, Content-Range and Content-Type that do not fit: what and what to send."""
    registry = "/data/foundation/schemaregistry/tenant/schemas"
    accept = http.get(registry, headers={"Accept": "application/xml"})
    batch = shop.platform.batch(shop.made.customers, "json")
    file = f"/data/foundation/import/batches/{batch}/datasets/{shop.made.customers}/files/f.json"
    http.post(file, params={"action": "INITIALIZE"}).raise_for_status()
    span = http.patch(file, content=b"x", headers={"Content-Range": "lines 1-2"})
    form = http.put(file, files={"file": b"x"})
    flows = "/data/foundation/flowservice/connections"
    one = http.get(flows, params={"limit": 1}).json()["items"][0]["id"]
    stale = http.patch(f"{flows}/{one}", json=[], headers={"If-Match": '"nonsense"'})

    assert (accept.status_code, accept.json()["type"][-12:]) == (400, "XDM-1006-400")
    assert (span.status_code, "lines 1-2" in span.json()["detail"]) == (400, True)
    assert (form.status_code, "octet-stream" in form.json()["detail"]) == (415, True)
    assert stale.status_code == 412


BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "a text": b'"x"',
    "a number": b"7",
    "null": b"null",
    "an empty list": b"[]",
    "an empty object": b"{}",
    "a list of numbers": b"[1]",
    "odd members": b'{"name": [], "body": 3, "allOf": 7, "expression": 1, "labels": 9}',
    "deep": b"[" * 5_000 + b"]" * 5_000,
    "no UTF-8": b'{"name": "\xff"}',
}


@pytest.mark.parametrize("body", BODIES)
def test_no_body_breaks_a_route(server: RunningServer, body: str) -> None:
    """Whatever is sent to whatever route: an answer of ours, never a breakdown."""
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    broken = []
    with server.client() as http:
        for path, methods in described.items():
            for method in methods.keys() & {"post", "put", "patch"}:
                if path == "/admin/clock":
                    continue
                reply = http.request(
                    method,
                    re.sub(r"\{[^}]*\}", "x", path),
                    content=BODIES[body],
                    headers={"Content-Type": "application/json", "If-Match": '"x"'},
                )
                if reply.status_code >= 500:
                    broken.append((method, path, reply.status_code, reply.text[:200]))

    assert broken == []


@pytest.mark.parametrize("value", ["-1", "999999999999999999999", "a==b"])
def test_no_query_breaks_a_route(server: RunningServer, value: str) -> None:
    """Whatever stands in a query: an answer of ours, never a breakdown."""
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    names = ("limit", "start", "orderby", "property")
    broken = []
    with server.client() as http:
        for path, methods in described.items():
            own = [one["name"] for one in methods.get("get", {}).get("parameters", ())]
            for name in {*names, *own} if "get" in methods else ():
                where = re.sub(r"\{[^}]*\}", "tenant", path)
                reply = http.get(where, params={name: value})
                if reply.status_code >= 500:
                    broken.append((path, name, reply.status_code, reply.text[:200]))

    assert broken == []


# -- replay -----------------------------------------------------------------------------------


def test_replay_once_the_cause_is_mended(server: RunningServer, shop: SmallShop) -> None:
    """A refused event goes in once its schema knows the field; a second replay is refused."""
    own = f"_{shop.platform.tenant}"
    event = shop.event("replay-1", START_MS - HOUR_MS, "commerce.purchases", loyalty="replay")
    shop.stream([event | {own: {"coupon": "C1"}}])
    settle(shop)
    (kept,) = [one for one in failed(shop) if one["path"] == f"/{own}/coupon"]
    too_soon = amity(server, "replay", kept["id"])
    raw = amity(server, "show", kept["id"]).stdout
    add_field(shop, own, "coupon")
    mended = amity(server, "replay", kept["id"])
    settle(shop)
    again = amity(server, "replay", kept["id"])
    open_ones = {one["id"] for one in failed(shop, status="open")}
    (stored,) = shop.platform.events(LOYALTY, "replay")

    assert too_soon.returncode == 1
    assert "coupon" in too_soon.stderr
    assert json.loads(raw)["body"]["xdmEntity"][own] == {"coupon": "C1"}
    assert mended.returncode == 0, mended.stderr
    assert json.loads(mended.stdout)["status"] == "replayed"
    assert (again.returncode, "already" in again.stderr) == (1, True)
    assert kept["id"] not in open_ones
    assert stored["entity"][own]["coupon"] == "C1"


def add_field(shop: SmallShop, own: str, name: str) -> None:
    """A field group of its own for one field, added to the schema of events."""
    group = shop.platform.field_group(
        {
            "title": f"Shop {name}",
            "type": "object",
            "meta:intendedToExtend": ["https://ns.adobe.com/xdm/context/experienceevent"],
            "definitions": {
                "fields": {
                    "properties": {
                        own: {"type": "object", "properties": {name: {"type": "string"}}}
                    }
                }
            },
            "allOf": [{"$ref": "#/definitions/fields"}],
        }
    )
    schemas = "/data/foundation/schemaregistry/tenant/schemas"
    id = httpx.QueryParams({"": shop.made.event_schema})
    shop.platform.call(
        "PATCH",
        f"{schemas}/{str(id)[1:]}",
        body=[{"op": "add", "path": "/allOf/-", "value": {"$ref": group}}],
    )


def test_unknown_failed_record(server: RunningServer, shop: SmallShop) -> None:
    """An id nobody knows: one sentence."""
    done = amity(server, "replay", "nonsense")
    with pytest.raises(Refused) as caught:
        shop.platform.get(f"{FAILED}/nonsense")

    assert done.returncode == 1
    assert "nonsense" in done.stderr
    assert caught.value.data["status"] == 404
