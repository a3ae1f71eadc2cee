"""How do the campaign side's parts fit together? The same in both processes that serve it."""

from __future__ import annotations

from dataclasses import dataclass

from amity.access.secrets import SecretBox
from amity.app.campaign_core import CampaignCore
from amity.campaign.delivery.analysis import Analyser
from amity.campaign.delivery.contents import Contents
from amity.campaign.delivery.dkim import Dkim, load_key
from amity.campaign.delivery.links import LinkSigner
from amity.campaign.delivery.mirror import MirrorPages
from amity.campaign.delivery.persons import Persons
from amity.campaign.delivery.qualification import Qualifier
from amity.campaign.delivery.results import Results
from amity.campaign.delivery.service import Deliveries
from amity.campaign.exports.interval import Watch, boot_id
from amity.campaign.exports.service import LogExports
from amity.campaign.imports.accounts import ExternalAccounts, Folders
from amity.campaign.imports.copies import Copies
from amity.campaign.imports.sftp_accounts import SftpAccounts
from amity.campaign.recipients.conditions import Conditions
from amity.campaign.recipients.org_units import OrgUnits
from amity.campaign.recipients.quarantine import Quarantine
from amity.campaign.recipients.schemas import CampaignSchemas
from amity.campaign.recipients.service import Recipients
from amity.campaign.workflow.activities import ACTIVITIES
from amity.campaign.workflow.means import Means
from amity.campaign.workflow.service import Workflows
from amity.campaign.workflow.templates import TEMPLATES
from amity.exchange.guardrails import check_creates_no_recipient, check_org_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """The campaign's services on one core."""

    ports: CampaignCore
    schemas: CampaignSchemas
    units: OrgUnits
    recipients: Recipients
    quarantine: Quarantine
    conditions: Conditions
    qualifier: Qualifier
    accounts: ExternalAccounts
    sftp_accounts: SftpAccounts
    signer: LinkSigner
    dkim: Dkim
    contents: Contents
    persons: Persons
    mirror: MirrorPages
    exports: LogExports
    deliveries: Deliveries
    results: Results
    means: Means
    workflows: Workflows


def assemble_campaign(ports: CampaignCore) -> Campaign:
    """Put the campaign side together; its tables are made where they are missing."""
    core, tables = ports.core, ports.tables
    schemas = CampaignSchemas(tables, core.clock)
    schemas.install()
    accounts = ExternalAccounts(
        tables=tables,
        secrets=SecretBox(core.folder.keys / "secrets.key"),
        outbound=core.outbound,
        folders=Folders(exchange=core.folder.exports, sftp=core.folder.sftp),
        clock=core.clock,
    )
    signer = LinkSigner(ports.link_key, ports.options.public_url)
    contents, persons = Contents(schemas), Persons(schemas, signer)
    conditions = Conditions(schemas)
    exports = LogExports(
        tables=tables,
        schemas=schemas,
        watch=Watch(clock=core.clock, system=core.system, boot=boot_id()),
        open_store=accounts.open,
        spool=core.folder.campaign_spool,
        ids=core.ids,
    )
    deliveries = Deliveries(
        tables=tables,
        schemas=schemas,
        conditions=conditions,
        contents=contents,
        analyser=Analyser(schemas, contents, persons),
        clock=core.clock,
        ids=core.ids,
    )
    means = Means(
        accounts=accounts,
        check_creates_no_recipient=check_creates_no_recipient,
        clock=core.clock,
        conditions=conditions,
        copies=Copies(core.folder.copies),
        deliveries=deliveries,
        exports=exports,
        schemas=schemas,
        tables=tables,
        work=ports.work,
    )
    return Campaign(
        ports=ports,
        schemas=schemas,
        units=OrgUnits(tables=tables, scope=ports.scope, check=check_org_units, clock=core.clock),
        recipients=Recipients(tables, schemas, core.clock),
        quarantine=Quarantine(schemas),
        conditions=conditions,
        qualifier=Qualifier(schemas),
        accounts=accounts,
        sftp_accounts=SftpAccounts(tables=tables, clock=core.clock, ids=core.ids),
        signer=signer,
        dkim=Dkim(load_key(core.folder.keys / "dkim.pem")),
        contents=contents,
        persons=persons,
        mirror=MirrorPages(tables, schemas, contents, persons),
        exports=exports,
        deliveries=deliveries,
        results=Results(tables, schemas, contents, persons),
        means=means,
        workflows=Workflows(
            tables=tables,
            work=ports.work,
            activities=ACTIVITIES,
            templates=TEMPLATES,
            means=means,
            clock=core.clock,
        ),
    )
