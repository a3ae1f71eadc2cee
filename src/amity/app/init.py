"""How does an organisation come into being?

`amity init` makes it, with its first API client, write key and data stream, and prints the secrets
once; in clear they are kept nowhere.
"""

from __future__ import annotations

from typing import Any

import re2

from amity.access.clients import Clients
from amity.access.write_keys import WriteKeys
from amity.app.access_store import DocumentsAccessStore
from amity.app.assembly import Platform, assemble
from amity.app.core import HTTP_WRITER, Core, open_core
from amity.app.folder import DataFolder, write_json
from amity.kernel.errors import Conflict, Invalid
from amity.kernel.scope import Scope
from amity.platform.ingestion.edge_setup import default_datastream
from amity.platform.ingestion.segment_setup import bootstrap

TENANT_CHARS_MAX = 24
ADMIN_KIND = "admin"


class AlreadyInitialised(Conflict):
    """There is an organisation in this folder: one organisational unit a folder."""


def create_organisation(folder: DataFolder, name: str, admin: str) -> dict[str, str]:
    """Create the organisation; the credentials as `amity init` prints them.

    Raises:
        AlreadyInitialised: The folder has one (guardrail: one organisational unit).
        Invalid: The name or the e-mail address cannot be used.
    """
    if folder.initialised():
        org = folder.organisation()["org_id"]
        raise AlreadyInitialised(
            f"{folder.root} holds the organisation {org}: a folder has one organisational unit; "
            "take another folder",
            org_id=org,
        )
    tenant = tenant_of(name)
    if "@" not in admin:
        raise Invalid(f"{admin!r} is no e-mail address of an administrator")
    folder.create()
    core = open_core(folder, clock="", writer=HTTP_WRITER)
    try:
        return _create(core, name, tenant, admin)
    finally:
        core.close()


def tenant_of(name: str) -> str:
    """The tenant name of an organisation: what its own fields lie under, after an underscore.

    >>> tenant_of("My Shop Ltd.")
    'myshopltd'
    """
    tenant = str(re2.sub(r"[^a-z0-9]", "", name.lower()))[:TENANT_CHARS_MAX]
    if not tenant or tenant[0].isdigit():
        tenant = f"t{tenant}"
    if len(tenant) < 2:
        raise Invalid(f"the name {name!r} has no letter or digit to make a tenant name of")
    return tenant


def _create(core: Core, name: str, tenant: str, admin: str) -> dict[str, str]:
    ids = core.ids
    scope = Scope(f"{ids.hex(24).upper()}@AmityOrg", "prod")
    store = DocumentsAccessStore(core.documents)
    platform = assemble(core, tenant=tenant, public_url="", append=core.log.append)
    _namespaces(platform, scope)
    fed = bootstrap(platform.registry, platform.catalog, scope)
    clients = Clients(store=store, ids=ids, clock=core.system)
    client_id, client_secret = clients.create(scope.org, "First client")
    key = WriteKeys(store=store, ids=ids).create(
        scope, profile_dataset=fed.profile, event_dataset=fed.event
    )
    password = ids.hex(20)
    store.put(ADMIN_KIND, admin, {"email": admin, "password_hash": clients.hashed(password)})
    order = default_datastream(platform.registry, platform.catalog, scope)
    datastream = platform.datastreams.create(scope, order)["id"]
    write_json(
        core.folder.keys / "organisation.json",
        {"org_id": scope.org, "sandbox": scope.sandbox, "tenant": tenant, "name": name},
    )
    return {
        "org_id": scope.org,
        "sandbox": scope.sandbox,
        "tenant": tenant,
        "client_id": client_id,
        "client_secret": client_secret,
        "write_key": key.id,
        "datastream_id": datastream,
        "admin_email": admin,
        "admin_password": password,
    }


def _namespaces(platform: Platform, scope: Scope) -> None:
    for code, kind, title in (
        ("userId", "CROSS_DEVICE", "User id of Segment-spec calls"),
        ("anonymousId", "COOKIE", "Anonymous id of Segment-spec calls"),
    ):
        body: dict[str, Any] = {"code": code, "idType": kind, "name": title, "description": title}
        platform.namespaces.create(scope, body)
