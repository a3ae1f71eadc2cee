"""How does everyone who must know hear of an opt-out, whoever wrote it?

Triggers note each change of a ``blackList…`` flag in a table of its own, in the transaction that
makes it: a click, a call of the API, an import and a statement by hand alike. Who passes opt-outs on
reads the table in the order of ``id``. See docs/adr/0012-campaign-database.md.
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from amity.campaign.recipients.generated import CreateTrigger, row

OptOutChannel = Literal["all", "email", "sms", "phone", "paper", "mobile"]

FLAGS: dict[OptOutChannel, str] = {
    "all": "blackList",
    "email": "blackListEmail",
    "sms": "blackListMobile",
    "phone": "blackListPhone",
    "paper": "blackListPostalMail",
    "mobile": "blackListPushnotification",
}
"""Channel, as ``messageType`` calls it, and the recipient's attribute that closes it."""

OPT_OUT_CHANGES = sa.Table(
    "NmsOptOutChange",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("recipientId", sa.Integer, nullable=False),
    sa.Column("channel", sa.String(10), nullable=False),
    sa.Column("value", sa.Boolean, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("origin", sa.String(100), nullable=False, server_default=""),
    sqlite_autoincrement=True,
)
"""Each change of a flag, oldest first; `value` is what it became, `at` the row's ``lastModified``."""


def opt_out_triggers(recipient: sa.Table) -> list[CreateTrigger]:
    """What notes the changes. A new recipient counts where a flag is set from the start."""
    flags = {channel: recipient.c[name] for channel, name in FLAGS.items()}
    changed = {
        channel: row("OLD", flag).is_distinct_from(row("NEW", flag))
        for channel, flag in flags.items()
    }
    given = {channel: row("NEW", flag) == sa.true() for channel, flag in flags.items()}
    return [
        CreateTrigger(
            "NmsRecipient_optOutChanged",
            table=recipient,
            event="UPDATE",
            of=tuple(flags.values()),
            when=sa.or_(*changed.values()),
            body=_notes(recipient, changed),
        ),
        CreateTrigger(
            "NmsRecipient_optOutGiven",
            table=recipient,
            event="INSERT",
            when=sa.or_(*given.values()),
            body=_notes(recipient, given),
        ),
    ]


def _notes(
    recipient: sa.Table, conditions: dict[OptOutChannel, sa.ColumnElement[bool]]
) -> list[sa.Executable]:
    at = sa.func.coalesce(row("NEW", recipient.c.lastModified), 0)
    return [
        sa.insert(OPT_OUT_CHANGES).from_select(
            ["recipientId", "channel", "value", "at"],
            sa.select(
                row("NEW", recipient.c.id),
                sa.literal(channel),
                row("NEW", recipient.c[FLAGS[channel]]),
                at,
            ).where(condition),
        )
        for channel, condition in conditions.items()
    ]
