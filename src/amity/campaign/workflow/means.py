"""What does an installation lend its activities?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amity.campaign.delivery.service import Deliveries
from amity.campaign.exports.service import LogExports
from amity.campaign.imports.accounts import ExternalAccounts
from amity.campaign.imports.copies import Copies
from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.kernel.clock import BusinessClock
from amity.storage.ports import Tables, WorkFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Services of the campaign side, each typed by the stage that owns it."""

    accounts: ExternalAccounts
    check_creates_no_recipient: Callable[[str, int], None]
    """The guardrail: what a segment file names and nobody matches is never inserted."""

    clock: BusinessClock
    conditions: Conditions
    copies: Copies
    deliveries: Deliveries
    exports: LogExports
    schemas: CampaignSchemas
    tables: Tables
    work: WorkFiles
