"""A real server under attack: who may call what, what secrets show, what hostile requests get."""

from __future__ import annotations

import base64
import json
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from amity.access.guard import PUBLIC_PATHS
from amity.testing.server import RunningServer

SECRET = base64.b64encode(b"the key of the shop's own account").decode()
BLOB_SPEC = "6d6b59bf-fb58-4107-9064-4d246c0e5bb2"
CONNECTIONS = "/data/foundation/flowservice/connections"
_MEMBERS = (
    "name", "title", "type", "id", "schema", "expression", "description", "code", "idType",
    "meta:class", "allOf", "properties", "definitions", "namespaces", "auth", "connectionSpec",
    "sourceConnectionIds", "targetConnectionIds", "transformations", "labels", "deny", "schemaRef",
    "marketingActionRefs", "datasetId", "inputFormat", "predicateExpression", "predicateType",
    "state", "segments", "attributeMerge", "identityGraph", "events", "settings", "ids", "tags",
    "identities", "timeFilter", "fields", "entityList", "evalRef", "labels", "operands", "schedule",
)  # fmt: skip
VALUES: tuple[Any, ...] = (None, 1, 1.5, True, "x", "a\0b", [], [None], ["x"], [{}], {}, {"a": {}})
BODIES: tuple[bytes, ...] = (
    b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900,
    b'{"name":"\\ud800"}', b'{"name":NaN}', b'{"name":' + b"9" * 5_000 + b"}",
    b'[{"op":"copy","from":"","path":"/a"}]',
    *(json.dumps(dict.fromkeys(_MEMBERS, value)).encode() for value in VALUES),
)  # fmt: skip
QUERIES = ("9" * 40, "-1", "\0'\"<>\u202e[", "a==b")
Route = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    """A client that carries good headers."""
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def routes(http: httpx.Client) -> list[Route]:
    """Every route of the control plane."""
    paths = http.get("/openapi.json").json()["paths"]
    return [(verb, path, told) for path, verbs in paths.items() for verb, told in verbs.items()]


def _url(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "x", path)


def test_no_route_answers_a_stranger(server: RunningServer, routes: list[Route]) -> None:
    """Without a token, with a forged one, and with the token of another key, there is no way in."""
    head = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    claims = json.dumps({"client_id": server.credentials["client_id"], "exp": 9_999_999_999})
    forged = f"{head}.{base64.urlsafe_b64encode(claims.encode()).rstrip(b'=').decode()}."
    good = {
        "x-api-key": server.credentials["client_id"],
        "x-gw-ims-org-id": server.credentials["org_id"],
    }
    strangers: tuple[dict[str, str], ...] = (
        {},
        {**good, "Authorization": f"Bearer {forged}"},
        {**good, "Authorization": f"Bearer {server.credentials['write_key']}"},
        {**good, "Authorization": f"Bearer {server.token()}", "x-gw-ims-org-id": "B@AmityOrg"},
        {**good, "Authorization": f"Bearer {server.token()}", "x-api-key": "other"},
    )
    let_in = []
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for verb, path, _ in routes:
            if path in PUBLIC_PATHS:
                continue
            for headers in strangers:
                body = b"{}" if verb in ("post", "put", "patch") else None
                sent = {**headers, "content-type": "application/json"}
                status = client.request(verb, _url(path), headers=sent, content=body).status_code
                if status not in (401, 403):
                    let_in.append((verb, path, status, sorted(headers)))
    assert let_in == []


def test_no_body_or_query_brings_a_route_down(http: httpx.Client, routes: list[Route]) -> None:
    """Whatever is sent, the answer is a problem that says what to do, never an error of ours."""
    broken = []
    for verb, path, told in routes:
        if verb in ("post", "put", "patch"):
            for body in BODIES:
                reply = http.request(
                    verb, _url(path), content=body, headers={"content-type": "application/json"}
                )
                if reply.status_code >= 500 and reply.status_code != 501:
                    broken.append((verb, path, body[:60], reply.text[:200]))
        elif verb == "get":
            named = [one["name"] for one in told.get("parameters", ()) if one["in"] == "query"]
            for value in QUERIES:
                reply = http.get(_url(path), params=dict.fromkeys(named, value))
                if reply.status_code >= 500 and reply.status_code != 501:
                    broken.append((verb, path, value.encode(), reply.text[:200]))
    assert broken == []
    assert http.get("/healthz").status_code == 200


def test_a_connection_string_shows_nowhere(server: RunningServer, http: httpx.Client) -> None:
    """Neither in answers, nor in the audit log, nor in any file of the data folder."""
    secret = f"DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={SECRET}"
    body = {
        "name": "Blob",
        "connectionSpec": {"id": BLOB_SPEC, "version": "1.0"},
        "auth": {"specName": "ConnectionString", "params": {"connectionString": secret}},
    }
    made = http.post(CONNECTIONS, json=body)
    assert made.status_code == 201
    id, etag = made.json()["id"], made.json()["etag"]
    patch = [{"op": "copy", "from": "/auth/params/connectionString", "path": "/description"}]
    http.patch(f"{CONNECTIONS}/{id}", json=patch, headers={"If-Match": etag})
    wrong = {**body, "connectionSpec": {"id": "x"}}
    answers = [
        made,
        http.get(f"{CONNECTIONS}/{id}"),
        http.get(CONNECTIONS),
        http.post(CONNECTIONS, json=wrong),
        http.get("/data/foundation/audit/events", params={"limit": 1000}),
    ]
    assert not [one.url for one in answers if SECRET in one.text]
    assert not _holding(server.data, SECRET.encode())


def test_a_secret_in_the_wrong_place_is_not_kept(server: RunningServer, http: httpx.Client) -> None:
    """Anywhere but in `auth.params` it would lie and be shown in clear: it is refused."""
    spec = {"connectionSpec": {"id": BLOB_SPEC, "version": "1.0"}, "name": "Blob"}
    params: dict[str, Any] = {"connectionString": f"AccountKey={SECRET}"}
    for wrong in ({"params": params}, {"auth": params}, {"params": {"deep": [params]}}, params):
        reply = http.post("/data/foundation/flowservice/targetConnections", json={**spec, **wrong})
        assert reply.status_code == 400
        assert SECRET not in reply.text
    assert not _holding(server.data, SECRET.encode())


def test_client_secrets_and_tokens_are_not_kept(server: RunningServer) -> None:
    """The client's secret, the administrator's password and the tokens issued lie nowhere."""
    token = server.token()
    kept = server.data / "test-credentials.json"
    for secret in (
        server.credentials["client_secret"],
        server.credentials["admin_password"],
        token,
    ):
        assert _holding(server.data, secret.encode()) in ([], [kept])


def test_unknown_methods_make_no_series(server: RunningServer, http: httpx.Client) -> None:
    """Requests are counted by method and class of status; a thousand made-up methods are one."""
    for method in ("PROPFIND", "PURGE", "LOCK"):
        http.request(method, "/healthz")
    told = http.get("/metrics").text
    assert 'amity_http_requests_total{method="other",status="4xx"}' in told
    assert "PURGE" not in told


def test_the_data_folder_is_the_owners_alone(server: RunningServer) -> None:
    """Others enter neither the folder nor the keys; key files have mode 0600."""
    for folder in (server.data, server.data / "keys"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for key in (server.data / "keys").iterdir():
        assert stat.S_IMODE(key.stat().st_mode) == 0o600, key.name


def test_links_do_not_believe_the_host_header(server: RunningServer, http: httpx.Client) -> None:
    """A link in an answer leads to this server, whatever host the caller named."""
    reply = http.get("/data/foundation/audit/events", headers={"Host": "evil.example"})
    assert "evil.example" not in reply.text
    assert reply.json()["_links"]["self"]["href"].startswith(server.url)


@pytest.mark.parametrize(
    "raw",
    [
        (
            b"POST /v1/track HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
        ),
        b"POST /v1/track HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"GET /data/foundation/catalog/dataSets/%0d%0aX-Evil:%201/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET //data//foundation/catalog/dataSets// HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_a_request_is_one_request(server: RunningServer, raw: bytes) -> None:
    """Two lengths, a length and chunks, line breaks in a path: never a second answer or header."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b"\r\nx-evil" not in answer.lower()
    assert b"HTTP/1.1 200" not in answer


def _holding(folder: Path, wanted: bytes) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if wanted in path.read_bytes()]
