"""Whose campaign database is this?

One database serves one organisational unit: one scope. It is written down when the database is first
opened and never changes; a second unit is refused with the exchange's reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa
from fastapi import Depends, Request

from amity.access.guard import Needs
from amity.access.principal import Permission, Principal
from amity.campaign.recipients.errors import BadValue, KeyTaken, OtherOrgUnit
from amity.campaign.recipients.values import text_fault
from amity.kernel.clock import BusinessClock, to_iso
from amity.kernel.scope import Scope
from amity.storage.ports import Tables

NAME_CHARS_MAX = 100
"""Ours."""

_UNITS = sa.Table(
    "XtkOrgUnit",
    sa.MetaData(),
    sa.Column("name", sa.String(NAME_CHARS_MAX), primary_key=True),
    sa.Column("org", sa.String(200), nullable=False),
    sa.Column("sandbox", sa.String(200), nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
)

CheckOrgUnits = Callable[[Collection[str]], None]
"""The exchange's guardrail: raises for more units than it serves."""


class OrgUnits:
    """The unit that the database serves, written down on opening.

    Raises `OtherOrgUnit` where the database is another unit's.
    """

    def __init__(
        self, *, tables: Tables, scope: Scope, check: CheckOrgUnits, clock: BusinessClock
    ) -> None:
        self._tables = tables
        self._scope = scope
        self._check = check
        tables.create(_UNITS.metadata)
        with tables.begin() as connection:
            row = connection.execute(sa.select(_UNITS)).one_or_none()
            if row is None:
                unit = {"name": scope.org[:NAME_CHARS_MAX], "org": scope.org}
                made = unit | {"sandbox": scope.sandbox, "created": clock.now_ms()}
                connection.execute(sa.insert(_UNITS).values(made))
            elif Scope(row.org, row.sandbox) != scope:
                raise self._other(Scope(row.org, row.sandbox), scope)

    def all(self) -> list[dict[str, Any]]:
        """The one unit."""
        with self._tables.connect() as connection:
            return [
                {
                    "name": row.name,
                    "imsOrg": row.org,
                    "sandboxName": row.sandbox,
                    "created": to_iso(row.created),
                }
                for row in connection.execute(sa.select(_UNITS))
            ]

    def create(self, name: Any) -> None:
        """Refuse another unit, with the reason; the one that is there cannot be made again."""
        if not isinstance(name, str) or not name.strip() or len(name) > NAME_CHARS_MAX:
            raise BadValue(f"name: write a text of 1 to {NAME_CHARS_MAX} characters", field="name")
        if fault := text_fault(name):
            raise BadValue(f"name: {fault}", field="name")
        known = [unit["name"] for unit in self.all()]
        if name.strip() in known:
            raise KeyTaken(f"the organisational unit {name.strip()!r} is there already")
        self._check([*known, name.strip()])
        raise self._other(self._scope, Scope(name.strip(), self._scope.sandbox))

    def check(self, scope: Scope) -> None:
        """Refuse whoever acts for another organisation or sandbox."""
        if scope != self._scope:
            raise self._other(self._scope, scope)

    def only(self, permission: Permission) -> Any:
        """A dependency for a whole router: callers with `permission`, of this unit."""
        return Depends(_NeedsUnit(permission, self))

    @staticmethod
    def _other(mine: Scope, theirs: Scope) -> OtherOrgUnit:
        return OtherOrgUnit(
            f"this campaign database serves {mine.key} and no other; "
            f"{theirs.key} needs an installation of its own",
            serves=mine.key,
        )


class _NeedsUnit(Needs):
    def __init__(self, permission: Permission, units: OrgUnits) -> None:
        super().__init__(permission)
        self._units = units

    def __call__(self, request: Request) -> Principal:
        principal = super().__call__(request)
        self._units.check(principal.scope)
        return principal
