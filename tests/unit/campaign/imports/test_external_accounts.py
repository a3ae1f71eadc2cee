"""Accounts of others are kept without telling their secrets, to anybody and anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from fastapi import FastAPI, Request
from routed import Client

from amity.access.principal import Permission, Principal
from amity.app import problems
from amity.campaign.imports.accounts import KINDS, SECRETS, AccountBody
from amity.campaign.imports.errors import (
    AccountInactive,
    BadAccount,
    BuiltInAccount,
    NoSuchAccount,
)
from amity.campaign.imports.routes import router
from amity.campaign.imports.sftp_accounts import SftpAccounts
from amity.campaign.recipients.org_units import OrgUnits
from amity.exchange.guardrails import check_org_units
from amity.kernel.ids import RandomIds
from amity.kernel.scope import Scope
from amity.testing.own_sftp import PASSWORD, own_sftp
from amity.transports.errors import StoreRefused
from amity.transports.registry import TRANSPORTS

if TYPE_CHECKING:
    from conftest import Ground

SCOPE = Scope("A@AmityOrg", "prod")
PUBLIC = {"container", "prefix", "host", "username", "port", "host_key", "folder"}
PARAMS: dict[str, Any] = {
    "host": "sftp.example.com",
    "username": "shop",
    "password": "their secret",
    "hostKey": "SHA256:x",
}


class Gate:
    """Lets in whoever names a scope and permissions in headers."""

    def authorize(self, request: Request, permission: Permission) -> Principal:
        scope = Scope.parse(request.headers.get("x-scope", SCOPE.key))
        return Principal(id="t", kind="local", scope=scope, permissions=frozenset({permission}))


@pytest.fixture
def client(ground: Ground) -> Client:
    app = FastAPI()
    problems.install(app)
    app.state.gate = Gate()
    units = OrgUnits(tables=ground.tables, scope=SCOPE, check=check_org_units, clock=ground.clock)
    accounts = SftpAccounts(tables=ground.tables, clock=ground.clock, ids=RandomIds())
    app.include_router(router(accounts=ground.accounts, sftp_accounts=accounts, org_units=units))
    return Client(app)


def test_every_parameter_of_a_transport_is_judged() -> None:
    """A new one is public or secret: somebody has thought about it."""
    for kind in KINDS:
        names = {field.name for field in msgspec.structs.fields(TRANSPORTS[kind].config)}
        assert names <= SECRETS | PUBLIC


def test_secrets_are_neither_answered_nor_kept_in_clear(ground: Ground, client: Client) -> None:
    """In no answer, and in no byte of the database."""
    body = {"kind": "sftp", "label": "Theirs", "params": PARAMS}
    put = client.put("/campaign/externalAccounts/theirs", json=body)
    assert put.status_code == 200
    told = [
        put.text,
        client.get("/campaign/externalAccounts").text,
        client.get("/campaign/externalAccounts/theirs").text,
        client.put("/campaign/externalAccounts/theirs", json={**body, "shoe": "x"}).text,
    ]
    assert put.json()["params"] == {k: v for k, v in PARAMS.items() if k != "password"}
    assert not any("their secret" in text for text in told)
    raw = b"".join(path.read_bytes() for path in ground.folder.glob("campaign.db*"))
    assert b"Theirs" in raw
    assert b"their secret" not in raw


def test_a_kept_secret_is_told_to_no_other_host(ground: Ground) -> None:
    """Who may change an address, but does not know the password, does not get it sent there."""
    ground.accounts.save(AccountBody(name="theirs", kind="sftp", params=PARAMS))
    public = {name: value for name, value in PARAMS.items() if name != "password"}

    kept = ground.accounts.save(AccountBody(name="theirs", kind="sftp", label="new", params=public))
    assert kept.label == "new"
    for change in ({"host": "evil.example.com"}, {"username": "x"}, {"hostKey": "SHA256:y"}):
        with pytest.raises(BadAccount, match="again"):
            ground.accounts.save(
                AccountBody(name="theirs", kind="sftp", params={**public, **change})
            )
    assert ground.accounts.get("theirs").params["host"] == "sftp.example.com"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"kind": "local", "params": {"folder": "/etc"}}, BadAccount),
        ({"kind": "gopher"}, BadAccount),
        ({"name": "../x"}, BadAccount),
        ({"name": "exchange"}, BuiltInAccount),
        ({"name": "sftp"}, BuiltInAccount),
        ({"params": {"host": "h"}}, BadAccount),
        ({"params": {**PARAMS, "shoe": 1}}, BadAccount),
        ({"params": {**PARAMS, "port": "x"}}, BadAccount),
    ],
)
def test_what_is_no_account_is_refused(
    ground: Ground, body: dict[str, Any], error: type[Exception]
) -> None:
    """A folder of this machine least of all; nothing is kept of it."""
    given = {"name": "theirs", "kind": "sftp", "params": PARAMS} | body
    with pytest.raises(error):
        ground.accounts.save(AccountBody(**given))
    assert [one.name for one in ground.accounts.all()] == ["exchange", "sftp"]


def test_an_account_opens_its_store(ground: Ground, tmp_path: Path, client: Client) -> None:
    """The built-in ones, and one of a real server; not when it is switched off or forgotten."""
    ground.accounts.open("exchange").put("a/b.csv", b"1")
    assert (ground.folder / "exports" / "a" / "b.csv").read_bytes() == b"1"
    with own_sftp(tmp_path / "theirs", "shop") as server:
        params = {"host": "127.0.0.1", "port": server.port, "username": "shop",
                  "password": PASSWORD, "hostKey": server.fingerprint}  # fmt: skip
        body = AccountBody(name="theirs", kind="sftp", params=params)
        ground.accounts.save(body)
        ground.accounts.open("theirs").put("x.csv", b"x")
        tested = client.post("/campaign/externalAccounts/theirs/test").json()
        assert tested == {
            "reachable": True,
            "files": [{"path": "x.csv", "size": 1}],
            "count": 1,
        }
        server.accounts.delete("shop")
        with pytest.raises(StoreRefused):
            ground.accounts.open("theirs").get("x.csv")
        ground.accounts.save(msgspec.structs.replace(body, active=False))
        with pytest.raises(AccountInactive):
            ground.accounts.open("theirs")
    ground.accounts.delete("theirs")
    with pytest.raises(NoSuchAccount, match="exchange, sftp"):
        ground.accounts.open("theirs")


def test_sftp_accounts_over_http(client: Client) -> None:
    """Made, listed and deleted; the password is never answered."""
    url = "/campaign/sftpAccounts/shop"
    made = client.put(url, json={"password": PASSWORD, "label": "Shop"})
    assert made.status_code == 200
    assert made.json()["hasPassword"] is True
    assert PASSWORD not in made.text + client.get("/campaign/sftpAccounts").text
    assert client.put(url, json={"label": "Shop 2"}).json()["hasPassword"] is True
    assert client.put("/campaign/sftpAccounts/UP", json={}).status_code == 400
    assert client.put(url, json={"password": "short"}).status_code == 400
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404


def test_another_unit_is_shown_nothing(client: Client) -> None:
    """The database serves one organisational unit."""
    for path in ("externalAccounts", "sftpAccounts"):
        got = client.get(f"/campaign/{path}", headers={"x-scope": "A@AmityOrg/dev"})
        assert got.status_code in {403, 404}
