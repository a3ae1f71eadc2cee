"""The server's face to the world: commands, files, health, tokens, headers, doors, TLS."""

from __future__ import annotations

import json
import re
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from waiting import eventually

from amity.testing.server import RunningServer, free_port

CREDENTIALS = {
    "org_id",
    "sandbox",
    "tenant",
    "client_id",
    "client_secret",
    "write_key",
    "datastream_id",
    "admin_email",
    "admin_password",
}
STATS = "/data/foundation/schemaregistry/stats"
STREAMING_SPEC = "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb"


def amity(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "amity.app.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# -- init and serve, as commands --------------------------------------------------------------


def test_init_prints_the_credentials_alone(tmp_path: Path) -> None:
    """One JSON object with exactly the pinned names, all filled; a second organisation is refused."""
    folder = tmp_path / "data"
    made = amity("init", "--data", folder, "--org", "My Shop", "--admin", "me@example.test")
    again = amity("init", "--data", folder, "--org", "Other", "--admin", "me@example.test")
    credentials = json.loads(made.stdout)

    assert made.returncode == 0
    assert credentials.keys() == CREDENTIALS
    assert all(isinstance(value, str) and value for value in credentials.values())
    assert (credentials["sandbox"], credentials["tenant"]) == ("prod", "myshop")
    assert credentials["admin_email"] == "me@example.test"
    assert (again.returncode, again.stdout) == (1, "")
    assert credentials["org_id"] in again.stderr


def test_no_secret_is_kept_in_clear(tmp_path: Path) -> None:
    """What init prints once stands in no file of the folder."""
    folder = tmp_path / "data"
    made = amity("init", "--data", folder, "--org", "My Shop", "--admin", "me@example.test")
    credentials = json.loads(made.stdout)
    contents = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]

    for name in ("client_secret", "admin_password"):
        assert not any(credentials[name].encode() in content for content in contents)


class Served:
    """`amity serve` on an empty folder, as a person starts it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.output = folder.parent / "serve.out"
        self.port = free_port()
        command = [sys.executable, "-m", "amity.app.cli", "serve", "--data", str(folder)]
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def stopped(self) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def healthy(url: str, **options: Any) -> bool:
    """Whether every role is ready."""
    try:
        return httpx.get(f"{url}/healthz", timeout=5, **options).status_code == 200
    except httpx.TransportError:
        return False


def test_serve_on_an_empty_folder(tmp_path: Path) -> None:
    """It makes an organisation, tells the path of the credentials only, and ends well on SIGTERM."""
    folder = tmp_path / "data"
    served = Served(folder)
    eventually(lambda: healthy(f"http://127.0.0.1:{served.port}"), bool)
    credentials = json.loads((folder / "credentials.json").read_text())
    mode = stat.S_IMODE((folder / "credentials.json").stat().st_mode)
    endpoints = json.loads((folder / "endpoints.json").read_text())
    status = served.stopped()
    printed = served.output.read_text()

    assert credentials.keys() == CREDENTIALS
    assert mode == 0o600
    assert endpoints["http"] == endpoints["public_url"] == f"http://127.0.0.1:{served.port}"
    assert status == 0
    assert str(folder / "credentials.json") in printed
    assert not any(value in printed for name, value in credentials.items() if name != "sandbox")
    assert not (folder / "endpoints.json").exists()


def test_commands_say_that_the_server_is_down(tmp_path: Path) -> None:
    """Commands that need the server say that there is none, and how to start it."""
    folder = tmp_path / "data"
    amity("init", "--data", folder, "--org", "My Shop", "--admin", "me@example.test")

    for command in ("failed", "doctor", "clock"):
        done = amity(command, "--data", folder)
        assert done.returncode == 1
        assert "no server runs on" in done.stderr
        assert "amity serve" in done.stderr
        assert "Traceback" not in done.stderr


# -- one running server -----------------------------------------------------------------------


def test_second_serve_is_refused(server: RunningServer) -> None:
    """A folder has one server: the second start is refused and names the holder."""
    second = amity("serve", "--data", server.data, "--port", str(free_port()))

    assert second.returncode == 1
    assert f"process {server.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert healthy(server.url)


def test_commands_ask_the_running_server(server: RunningServer) -> None:
    """`amity failed` and `amity doctor` need no credentials from the folder's owner."""
    failed = amity("failed", "--data", server.data, "--json")
    doctor = amity("doctor", "--data", server.data)

    assert json.loads(failed.stdout)["items"] == []
    assert doctor.returncode == 0
    assert "worker: ready" in doctor.stdout


def test_health_and_description(server: RunningServer) -> None:
    """Alive, ready, well, measured and described, without credentials."""
    answers = {
        path: httpx.get(server.url + path)
        for path in ("/livez", "/readyz", "/healthz", "/metrics", "/openapi.json")
    }

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        answers, 200
    )
    assert answers["/healthz"].json()["roles"].keys() >= {"http", "worker"}
    assert "amity_lag_records" in answers["/metrics"].text
    assert STATS in answers["/openapi.json"].json()["paths"]


def test_token_is_oauth_client_credentials(server: RunningServer) -> None:
    """The form of the documented token call, its answer, and the refusal of a wrong secret."""
    form = {
        "client_id": server.credentials["client_id"],
        "client_secret": server.credentials["client_secret"],
        "grant_type": "client_credentials",
        "scope": "openid",
    }
    good = httpx.post(f"{server.url}/ims/token/v3", data=form)
    wrong = httpx.post(f"{server.url}/ims/token/v3", data={**form, "client_secret": "no"})
    other = httpx.post(f"{server.url}/ims/token/v3", data={**form, "grant_type": "password"})
    answer = good.json()

    assert good.status_code == 200
    assert answer["token_type"].lower() == "bearer"
    assert answer["expires_in"] == 24 * 3600
    assert answer["access_token"].count(".") == 2
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    assert (other.status_code, other.json()["error"]) == (400, "unsupported_grant_type")


def without(headers: dict[str, str], name: str, value: str | None = None) -> dict[str, str]:
    """The headers without one, or with another value of it."""
    left = {key: each for key, each in headers.items() if key != name}
    return left if value is None else {**left, name: value}


@pytest.mark.parametrize(
    ("name", "value", "status", "code"),
    [
        ("Authorization", None, 403, "403010"),
        ("Authorization", "Bearer nonsense", 401, "401013"),
        ("Authorization", "Bearer", 403, "403010"),
        ("x-api-key", None, 403, "403000"),
        ("x-api-key", "nobody", 403, "403003"),
        ("x-gw-ims-org-id", None, 400, "400003"),
        ("x-gw-ims-org-id", "OTHER@AmityOrg", 403, "403025"),
    ],
)
def test_gateway_codes(
    server: RunningServer, name: str, value: str | None, status: int, code: str
) -> None:
    """A missing or wrong header is answered with the documented code and a message."""
    headers = {
        "Authorization": f"Bearer {server.token()}",
        "x-api-key": server.credentials["client_id"],
        "x-gw-ims-org-id": server.credentials["org_id"],
    }
    reply = httpx.get(server.url + STATS, headers=without(headers, name, value))

    assert (reply.status_code, reply.json()["error_code"]) == (status, code)
    assert reply.json()["message"]


def test_sandbox_is_prod_by_default(server: RunningServer) -> None:
    """Without the sandbox header it is prod; an unknown sandbox is told so."""
    with server.client() as http:
        named = http.get(STATS).json()
        del http.headers["x-sandbox-name"]
        unnamed = http.get(STATS).json()
        unknown = http.get(STATS, headers={"x-sandbox-name": "nowhere"})

    assert named["tenantId"] == unnamed["tenantId"] == server.credentials["tenant"]
    assert unknown.status_code == 404
    assert "nowhere" in unknown.json()["detail"]


def inlet_of(http: httpx.Client) -> dict[str, str]:
    """A new streaming connection: its inletId and inletUrl."""
    body = {
        "name": "Face",
        "connectionSpec": {"id": STREAMING_SPEC, "version": "1.0"},
        "auth": {
            "specName": "Streaming Connection",
            "params": {"dataType": "xdm", "name": "Face", "authenticationRequired": False},
        },
    }
    made = http.post("/data/foundation/flowservice/connections", json=body).json()
    shown = http.get(f"/data/foundation/flowservice/connections/{made['id']}").json()
    params: dict[str, str] = shown["items"][0]["auth"]["params"]
    return params


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/livez"),
        ("GET", "/openapi.json"),
        ("GET", STATS),
        ("GET", "/data/foundation/schemaregistry/tenant/schemas"),
        ("GET", "/data/foundation/catalog/dataSets"),
        ("GET", "/data/foundation/flowservice/connections"),
        ("GET", "/data/foundation/dulepolicy/policies/core"),
        ("GET", "/data/foundation/sandbox-management/sandboxes"),
        ("GET", "/data/foundation/audit/events"),
        ("GET", "/data/core/idnamespace/identities"),
        ("GET", "/data/core/identity/settings"),
        ("GET", "/data/core/ups/segment/definitions"),
        ("GET", "/data/core/ups/config/mergePolicies"),
        ("GET", "/data/core/ingestion/failed"),
        ("GET", "/data/foundation/import/batches"),
        ("GET", "/admin/clock"),
        ("POST", "/ims/token/v3"),
        ("POST", "/v1/track"),
        ("POST", "/v1/batch"),
        ("POST", "/collection/nobody"),
        ("POST", "/collection/batch/nobody"),
        ("GET", "/nowhere"),
    ],
)
def test_trailing_slash_is_ignored(server: RunningServer, method: str, path: str) -> None:
    """With a slash at the end every route answers as it does without."""
    with server.client() as http:
        plain = http.request(method, path)
        slashed = http.request(method, f"{path}/")
        with_query = http.request(method, f"{path}/", params={"x": "1"})

    assert plain.status_code == slashed.status_code == with_query.status_code
    assert not slashed.is_redirect
    if plain.is_success:
        assert type(slashed.json()) is type(plain.json())
        assert len(slashed.content) == pytest.approx(len(plain.content), rel=0.5)


def test_doors_take_a_slash(server: RunningServer) -> None:
    """A record is accepted at the door with a slash, too."""
    call = {"type": "track", "event": "Seen", "userId": "face-1"}
    key = (server.credentials["write_key"], "")
    single = httpx.post(f"{server.url}/v1/track/", json=call, auth=key)
    several = httpx.post(f"{server.url}/v1/batch/", json={"batch": [call]}, auth=key)
    with server.client() as http:
        inlet = inlet_of(http)["inletId"]
        streamed = httpx.post(f"{server.url}/collection/batch/{inlet}/", json={"messages": [{}]})

    assert (single.status_code, single.json()) == (200, {"success": True})
    assert (several.status_code, several.json()) == (200, {"success": True})
    assert streamed.status_code == 207


def test_real_time_cannot_be_advanced(server: RunningServer) -> None:
    """Without --clock nobody moves the clock."""
    with server.client() as http:
        reply = http.post("/admin/clock", json={"advance": "PT1H"})
        now = http.get("/admin/clock").json()

    assert reply.status_code == 409
    assert "--clock" in reply.json()["detail"]
    assert now["virtual"] is False


@pytest.mark.parametrize("kind", ["post", "put", "patch", "delete"])
def test_every_change_needs_a_token(server: RunningServer, kind: str) -> None:
    """No route that changes something lets a stranger in, by the server's own description."""
    described = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    open_ones = set()
    for path, methods in described.items():
        if kind in methods and path != "/ims/token/v3":
            reply = httpx.request(kind.upper(), server.url + re.sub(r"\{[^}]*\}", "x", path))
            if reply.status_code != 403 or reply.json().get("error_code") != "403010":
                open_ones.add((path, reply.status_code))

    assert open_ones == set()


def test_changes_stand_in_the_audit_log(server: RunningServer) -> None:
    """Who made what: the creation of a namespace is found in the audit log."""
    body = {"code": "FaceId", "idType": "CROSS_DEVICE", "name": "Face id", "description": "x"}
    with server.client() as http:
        http.post("/data/core/idnamespace/identities", json=body).raise_for_status()
        events = http.get("/data/foundation/audit/events").json()["_embedded"]["events"]

    assert any(server.credentials["client_id"] in json.dumps(event) for event in events)


# -- starts of another kind -------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[Served]:
    """A server with TLS and another name to the world."""
    cert, key = certificate
    served = Served(
        tmp_path_factory.mktemp("encrypted") / "data",
        *("--tls-cert", str(cert), "--tls-key", str(key)),
        *("--public-url", "https://cdp.example.test"),
    )
    context = ssl.create_default_context(cafile=str(cert))
    eventually(lambda: healthy(f"https://localhost:{served.port}", verify=context), bool)
    yield served
    served.process.kill()
    served.process.wait(30)


def test_tls_and_public_url(encrypted: Served, certificate: tuple[Path, Path]) -> None:
    """Everything is served with the certificate; links and inlets carry the public name."""
    credentials = json.loads((encrypted.folder / "credentials.json").read_text())
    context = ssl.create_default_context(cafile=str(certificate[0]))
    with httpx.Client(base_url=f"https://localhost:{encrypted.port}", verify=context) as http:
        form = {name: credentials[name] for name in ("client_id", "client_secret")}
        token = http.post("/ims/token/v3", data={**form, "grant_type": "client_credentials"})
        http.headers.update(
            {
                "Authorization": f"Bearer {token.json()['access_token']}",
                "x-api-key": credentials["client_id"],
                "x-gw-ims-org-id": credentials["org_id"],
            }
        )
        inlet = inlet_of(http)
    endpoints = json.loads((encrypted.folder / "endpoints.json").read_text())

    assert inlet["inletUrl"] == f"https://cdp.example.test/collection/{inlet['inletId']}"
    assert endpoints["public_url"] == "https://cdp.example.test"
    assert endpoints["http"].startswith("https://")
    assert amity("failed", "--data", encrypted.folder).returncode == 0


def test_half_a_certificate_is_refused(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """Certificate without key: one sentence, no server."""
    done = amity("serve", "--data", tmp_path / "data", "--tls-cert", certificate[0])

    assert done.returncode == 1
    assert "--tls-key" in done.stderr


def test_taken_port_is_told(tmp_path: Path, server: RunningServer) -> None:
    """A port that is in use: one sentence that says so."""
    done = amity("serve", "--data", tmp_path / "data", "--port", str(server.port))

    assert done.returncode == 1
    assert str(server.port) in done.stderr
    assert "Traceback" not in done.stderr


def test_killed_server_lets_the_folder_go(tmp_path: Path) -> None:
    """After `kill -9` the folder can be served again, and commands do not believe the old file."""
    with RunningServer(tmp_path / "data") as running:
        running.kill()
        down = amity("doctor", "--data", running.data)
        running.start()
        up = amity("doctor", "--data", running.data)

    assert (down.returncode, up.returncode) == (1, 0)
    assert "no server runs on" in down.stderr
