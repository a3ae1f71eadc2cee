"""Which HTTP calls define where files come from and go to?

Base ``/campaign``: external accounts (places of others) and SFTP accounts (logins to this
installation's own server). Neither ever answers a password or a private key.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import APIRouter, Body, Response

from amity.access.guard import needs
from amity.campaign.imports.accounts import AccountBody, ExternalAccounts
from amity.campaign.imports.errors import BadAccount
from amity.campaign.imports.sftp_accounts import SftpAccountBody, SftpAccounts
from amity.campaign.recipients.org_units import OrgUnits
from amity.kernel.asked import converted

_VIEW = [needs("view-workflows")]
_EDIT = [needs("manage-workflows")]

Json = dict[str, Any]
JsonBody = Annotated[Json, Body()]
Asked = TypeVar("Asked", bound=msgspec.Struct)

SAMPLE_FILES = 20
"""Files that a test of an account names."""


def router(
    *, accounts: ExternalAccounts, sftp_accounts: SftpAccounts, org_units: OrgUnits
) -> APIRouter:
    """All routes of the imports stage, for the one organisational unit alone."""
    only = org_units.only("view-workflows")
    routes = APIRouter(prefix="/campaign", tags=["imports"], dependencies=[only])
    _external(routes, accounts)
    _sftp(routes, sftp_accounts)
    return routes


def _external(routes: APIRouter, accounts: ExternalAccounts) -> None:
    @routes.get("/externalAccounts", dependencies=_VIEW)
    def listed() -> Json:
        return {"externalAccounts": [_shown(one) for one in accounts.all()]}

    @routes.get("/externalAccounts/{name}", dependencies=_VIEW)
    def one(name: str) -> Json:
        return _shown(accounts.get(name))

    @routes.put("/externalAccounts/{name}", dependencies=_EDIT)
    def save(name: str, body: JsonBody) -> Json:
        return _shown(accounts.save(_asked({**body, "name": name}, AccountBody)))

    @routes.delete("/externalAccounts/{name}", dependencies=_EDIT, status_code=204)
    def delete(name: str) -> Response:
        accounts.delete(name)
        return Response(status_code=204)

    @routes.post("/externalAccounts/{name}/test", dependencies=_EDIT)
    def test(name: str, prefix: str = "") -> Json:
        """Sign in and look: the first files below a prefix."""
        files = list(accounts.open(name).list(prefix))
        shown = [{"path": file.path, "size": file.size} for file in files[:SAMPLE_FILES]]
        return {"reachable": True, "files": shown, "count": len(files)}


def _sftp(routes: APIRouter, accounts: SftpAccounts) -> None:
    @routes.get("/sftpAccounts", dependencies=_VIEW)
    def listed() -> Json:
        return {"sftpAccounts": [_shown(one) for one in accounts.all()]}

    @routes.get("/sftpAccounts/{name}", dependencies=_VIEW)
    def one(name: str) -> Json:
        return _shown(accounts.get(name))

    @routes.put("/sftpAccounts/{name}", dependencies=_EDIT)
    def save(name: str, body: JsonBody) -> Json:
        return _shown(accounts.save(_asked({**body, "name": name}, SftpAccountBody)))

    @routes.delete("/sftpAccounts/{name}", dependencies=_EDIT, status_code=204)
    def delete(name: str) -> Response:
        accounts.delete(name)
        return Response(status_code=204)


def _asked(body: Json, to: type[Asked]) -> Asked:
    return converted(body, to, BadAccount)


def _shown(one: msgspec.Struct) -> Json:
    shown: Json = msgspec.to_builtins(one)
    return shown
