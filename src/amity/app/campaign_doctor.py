"""Is the campaign side well? Its worker, workflows that failed, messages nobody knows of, exports."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from amity.app.campaign_assembly import Campaign
from amity.app.worker_link import WorkerLink
from amity.campaign.recipients.builtin import ADDRESS, BROAD_LOG, LOG_STATUS, RECIPIENT
from amity.campaign.recipients.enumerations import name_of
from amity.kernel.scope import Scope

FAILED_WORKFLOWS_MAX = 20
"""Workflows that a report names. Ours."""


class CampaignDoctor:
    """Looks; changes nothing."""

    def __init__(self, campaign: Campaign, link: WorkerLink) -> None:
        self._campaign = campaign
        self._link = link

    def report(self, scope: Scope) -> dict[str, Any]:
        """What it found; nothing for a scope whose campaign this is not."""
        campaign = self._campaign
        if scope != campaign.ports.scope:
            return {}
        return {
            "worker": {
                "ready": self._link.ready,
                "restarts": max(self._link.restarts, 0),
                **self._link.status,
            },
            "recipients": self._count(RECIPIENT.id),
            "quarantined": self._count(ADDRESS.id, "status", 3),
            "messages": self._messages(),
            "failed_workflows": [
                {"id": one["id"], "name": one["name"], "state": one["state"]}
                for one in campaign.workflows.find(failed=True, limit=FAILED_WORKFLOWS_MAX)
            ],
            "exports": campaign.exports.kinds(),
            "dkim_record": campaign.dkim.record,
        }

    def _count(self, schema: str, column: str = "", value: int = 0) -> int:
        table = self._campaign.schemas.table(schema)
        wanted = sa.select(sa.func.count()).select_from(table)
        if column:
            wanted = wanted.where(table.c[column] == value)
        with self._campaign.ports.tables.connect() as connection:
            return int(connection.execute(wanted).scalar_one())

    def _messages(self) -> dict[str, int]:
        """Messages by their status; `unknown` are those that nobody knows of."""
        logs = self._campaign.schemas.table(BROAD_LOG.id)
        wanted = sa.select(logs.c.status, sa.func.count()).group_by(logs.c.status)
        with self._campaign.ports.tables.connect() as connection:
            found = connection.execute(wanted).all()
        return {name_of(LOG_STATUS, status): count for status, count in found}
