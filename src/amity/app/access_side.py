"""Which parts does access have in the HTTP process, and who may come in at which side?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from amity.access.audit import AuditLog
from amity.access.clients import Clients
from amity.access.gate import BearerGate
from amity.access.principal import Permission
from amity.access.sandboxes import Sandboxes
from amity.access.tokens import InvalidToken, Tokens
from amity.access.write_keys import WriteKeys
from amity.app.access_store import DocumentsAccessStore, TableAuditLog
from amity.app.core import Core
from amity.kernel.scope import Scope

INGEST: Permission = "ingest-data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The parts of access on one core."""

    tokens: Tokens
    clients: Clients
    keys: WriteKeys
    sandboxes: Sandboxes
    audit: AuditLog

    @classmethod
    def of(cls, core: Core) -> Self:
        """Those of a data folder."""
        store = DocumentsAccessStore(core.documents)
        return cls(
            tokens=Tokens(key_file=core.folder.keys / "tokens.key", clock=core.system),
            clients=Clients(store=store, ids=core.ids, clock=core.system),
            keys=WriteKeys(store=store, ids=core.ids),
            sandboxes=Sandboxes(store=store, ids=core.ids, clock=core.system),
            audit=TableAuditLog(core.audit_tables),
        )

    def gate(self, org: str, local_token: str) -> BearerGate:
        """The gate of the control plane."""
        return BearerGate(
            tokens=self.tokens,
            clients=self.clients,
            sandboxes=self.sandboxes.exists,
            local=(org, local_token),
        )

    def may_ingest(self, token: str, scope: Scope) -> bool:
        """Whether the bearer of a token may send to an inlet of a scope that asks for one."""
        try:
            claims = self.tokens.check(token)
        except InvalidToken:
            return False
        client = self.clients.find(str(claims.get("client_id", "")))
        return client is not None and client.org == scope.org and INGEST in client.permissions

    def scopes(self, org: str) -> list[Scope]:
        """The scopes of an organisation."""
        return [Scope(org, sandbox["name"]) for sandbox in self.sandboxes.listed(org)]
