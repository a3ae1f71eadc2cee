"""Delivery: who of a population gets which message?

The delivery is made, analysed and started in the transaction that ends the task, under a name that
depends on the task alone: run again after a crash, it is the same one. The sender hands it over.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from amity.campaign.delivery.analysis import Target
from amity.campaign.delivery.content import Compiled, Content
from amity.campaign.delivery.model import Targeting
from amity.campaign.delivery.shapes import NewDelivery
from amity.campaign.workflow.activity import ActivitySpec, Done, Out, Task, WorkTable
from amity.campaign.workflow.errors import BadOptions, WrongInputs
from amity.campaign.workflow.means import Means
from amity.kernel.clock import duration_ms, from_iso, to_iso

RECIPIENT = "nms:recipient"
_ALIAS = "target"
_NAME_CHARS = 60


class DeliveryConfig(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What is sent and when; the columns of the population are there as ``targetData``."""

    label: str = ""
    template: str = ""
    """Internal name of a delivery whose content and settings are taken over."""

    content: Content | None = None
    service: str = ""
    campaign_name: str = ""
    transactional: bool = False
    contact_date: str = ""
    """RFC 3339; "" is at once."""

    validity: str = "P5D"
    """ISO 8601: how long a message is tried from the contact date on."""

    start: Literal["save", "prepare", "prepareAndStart"] = "prepare"
    """Leave it in edition, analyse it and wait for somebody to start it, or send it."""

    targeting: Targeting = Targeting()


class DeliveryActivity:
    """Makes a delivery for the population, which goes on unchanged."""

    def __init__(self, config: DeliveryConfig, means: Means) -> None:
        if config.content is None and not config.template:
            raise BadOptions("a delivery needs a content, or the template that has one")
        if config.content is not None:
            Compiled(config.content)
        self._config = config
        self._deliveries = means.deliveries
        self._validity_ms = duration_ms(config.validity)

    def run(self, task: Task) -> Done:
        """Write down what to do; it is done in the transaction that ends the task."""
        table = task.table
        if table.schema != RECIPIENT:
            raise WrongInputs(
                f"activity {task.activity!r} writes to recipients, but the population is of "
                f"{table.schema or 'no schema'}; reconcile it with {RECIPIENT} first"
            )
        name = f"wkf{task.workflow}_{task.id}_{task.activity[:_NAME_CHARS]}"
        now_ms = task.now_ms

        def effects(connection: sa.Connection) -> None:
            id = self._deliveries.create_in(
                connection, self._body(name, now_ms), now_ms=now_ms, workflow=task.workflow
            )
            if self._config.start == "save":
                return
            self._deliveries.prepare_in(
                connection, id, _target(table), targeting=self._config.targeting, now_ms=now_ms
            )
            if self._config.start == "prepareAndStart":
                self._deliveries.start_in(connection, id, now_ms=now_ms)

        task.journal("info", f"delivery {name!r}: {table.count} in the target")
        return Done(
            outputs={"out": Out(table=table, vars={"delivery": name})},
            effects=effects,
            effects_inputs={_ALIAS: table.name},
        )

    def _body(self, name: str, now_ms: int) -> NewDelivery:
        config = self._config
        given: dict[str, Any] = {
            "label": config.label,
            "template": config.template,
            "content": config.content,
            "service": config.service,
            "campaign_name": config.campaign_name,
            "transactional": config.transactional,
            "contact_date": config.contact_date or to_iso(now_ms),
        }
        body = NewDelivery(internal_name=name, **{key: one for key, one in given.items() if one})
        contact = max(from_iso(config.contact_date), now_ms) if config.contact_date else now_ms
        body.valid_until = to_iso(contact + self._validity_ms)
        return body


def _target(table: WorkTable) -> Target:
    columns = tuple(column.name for column in table.columns)
    source = sa.table(
        "rows", sa.column("n"), sa.column("id"), *map(sa.column, columns), schema=_ALIAS
    )
    return Target(source, columns)


SPEC = ActivitySpec(
    name="delivery",
    label="Delivery",
    summary="Sends the population a message each.",
    config=DeliveryConfig,
    make=DeliveryActivity,
    effect="intent",
)
