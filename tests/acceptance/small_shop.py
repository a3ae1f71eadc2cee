"""A small shop on a running server: the demo's definitions, a handful of people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amity.app.demo import definitions
from amity.app.demo.client import Platform
from amity.kernel.clock import RealSystemClock, to_iso
from amity.testing.server import RunningServer

LOYALTY = definitions.LOYALTY
COOKIE = definitions.COOKIE


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallShop:
    """The platform of a server, set up over its API."""

    platform: Platform
    made: definitions.Datasets
    audiences: dict[str, str]
    inlet: str

    def customer(self, loyalty: str, income: str = "Under 15K") -> dict[str, Any]:
        """A customer record."""
        own = {"loyaltyId": loyalty, "demographics": {"income": income}}
        return {
            f"_{self.platform.tenant}": own,
            "person": {"name": {"firstName": "Ann", "lastName": f"Number {loyalty}"}},
            "personalEmail": {"address": f"{loyalty}@example.test"},
        }

    def event(self, id: str, at_ms: int, kind: str, **identities: str) -> dict[str, Any]:
        """An event of somebody with these identities: `Loyalty="1"`, cookie as `device=`."""
        codes = {"loyalty": LOYALTY, "device": COOKIE}
        return {
            "_id": id,
            "timestamp": to_iso(at_ms),
            "eventType": kind,
            "identityMap": {
                codes[name]: [{"id": value, "primary": name == "loyalty" or len(identities) == 1}]
                for name, value in identities.items()
            },
        }

    def load(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Load customers as one batch."""
        import orjson

        batch = self.platform.batch(self.made.customers, "json")
        body = b"\n".join(orjson.dumps(one) for one in records)
        self.platform.put_file(batch, self.made.customers, "part.json", body)
        return self.platform.complete(batch)

    def stream(self, events: list[dict[str, Any]]) -> tuple[int, list[str]]:
        """Send events; how many were accepted, and why others were not."""
        reference = {
            "id": self.made.event_schema,
            "contentType": "application/vnd.adobe.xed-full+json;version=1",
        }
        header = {
            "schemaRef": reference,
            "imsOrgId": self.platform.org,
            "datasetId": self.made.purchases,
        }
        body = {"xdmMeta": {"schemaRef": reference}}
        return self.platform.send(
            self.inlet, [{"header": header, "body": {**body, "xdmEntity": one}} for one in events]
        )

    def membership(self, loyalty: str, key: str) -> str:
        """`realized`, `exited`, or "" for never."""
        found = self.platform.profiles(LOYALTY, [loyalty])
        if loyalty not in found:
            return ""
        member = found[loyalty]["entity"].get("segmentMembership", {}).get("ups", {})
        return str(member.get(self.audiences[key], {}).get("status", ""))

    def table(self) -> dict[str, Any]:
        """The counts that must come out the same however often things were sent."""
        seen = self.platform.doctor()
        return {"profiles": seen["profiles"], "audiences": seen["audiences"]}


def open_shop(server: RunningServer, sandbox: str = "prod") -> SmallShop:
    """Set the shop up in a sandbox that has none; one other than prod is made first."""
    if sandbox != "prod":
        with server.client() as http:
            path = "/data/foundation/sandbox-management/sandboxes"
            http.post(path, json={"name": sandbox, "type": "development"}).raise_for_status()
    credentials = {**server.credentials, "sandbox": sandbox}
    platform = Platform(server.url, credentials, RealSystemClock())
    definitions.namespaces(platform)
    made = definitions.schemas_and_datasets(platform)
    return SmallShop(
        platform=platform,
        made=made,
        audiences=definitions.audiences(platform),
        inlet=platform.inlet("Small shop"),
    )
