"""What happened to one person, from the first anonymous click to the audience file?"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from amity.app.demo.checks import Checks
from amity.app.demo.client import Platform
from amity.app.demo.derive import LOYALTY
from amity.app.demo.visits import Visit
from amity.kernel.clock import DAY_MS, to_iso


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A household, the device it came with first, and its visits on it."""

    loyalty: str
    device: str
    visits: list[Visit]

    @property
    def first_click(self) -> Visit:
        """Anonymous."""
        return self.visits[0]

    @property
    def sign_in(self) -> Visit:
        """The first visit on which the shop knew who it was."""
        return next(visit for visit in self.visits if visit.signed_in)


@dataclass(slots=True)
class Told:
    """The lines of a story, and whether every part of it was found."""

    steps: list[tuple[str, str]] = field(default_factory=list)
    whole: bool = True

    def add(self, at: str, text: str, *, found: bool = True) -> None:
        """One thing that happened, or (without a time) how it stands in the end."""
        self.whole &= found
        self.steps.append((at, text + ("" if found else "  [bold red]NOT FOUND[/]")))

    @property
    def lines(self) -> list[str]:
        """In order of time, then how it stands in the end."""
        ordered = sorted(self.steps, key=lambda step: step[0] or _LAST)
        return [f"{at:25}{text}" for at, text in ordered]


_LAST = "9999"


def choose(
    visits: list[Visit], checks: Checks, now_ms: int, *, answered: AbstractSet[str] = frozenset()
) -> Person | None:
    """The member of "Viewed, then bought" whose anonymous past on its own device is longest.

    One of those who answered the campaign's mail where there is one.
    """
    members = checks.viewed_then_bought(now_ms)
    on_device: dict[str, list[Visit]] = {}
    for visit in visits:
        on_device.setdefault(visit.device, []).append(visit)
    stories = [
        Person(loyalty=str(seen[0].household), device=device, visits=seen)
        for device, seen in on_device.items()
        if _is_story(seen, members)
    ]
    return max(
        stories,
        key=lambda one: (one.loyalty in answered, _anonymous_past(one)),
        default=None,
    )


def tell(
    person: Person,
    platform: Platform,
    audience: str,
    line: tuple[str, str] | None,
    *,
    told: Told,
) -> None:
    """The person's way to the file, each step read back from the platform."""
    click = person.first_click
    what = f"looks at product {click.sku}" if click.sku else "looks at a page"
    told.add(to_iso(click.at_ms), f"somebody {what}; all we know is the cookie {click.device}")
    profile = platform.profiles(LOYALTY, [person.loyalty]).get(person.loyalty, {})
    events = platform.events(LOYALTY, person.loyalty)
    ids = {event["entityId"] for event in events}
    told.add(
        to_iso(person.sign_in.at_ms),
        f"signs in: the cookie is household {person.loyalty}; {_anonymous_past(person)} anonymous "
        "visits become theirs",
        found=click.id in ids and person.sign_in.id in ids,
    )
    entity = profile.get("entity", {})
    name = " ".join(entity.get("person", {}).get("name", {}).get(part, "") for part in _NAME)
    told.add(
        "",
        f"the profile: {name}, {entity.get('personalEmail', {}).get('address')}, "
        f"{len(events):,} events, {len(profile.get('identityGraph', ()))} identities",
        found=bool(name.strip()) and len(profile.get("identityGraph", ())) > 1,
    )
    _tell_purchase(told, events)
    membership = entity.get("segmentMembership", {}).get("ups", {}).get(audience, {})
    told.add(
        str(membership.get("lastQualificationTime", "")),
        f"is in 'Viewed, then bought' since then ({membership.get('status')})",
        found=membership.get("status") == "realized",
    )
    where = f"stands in {line[0]}: {' | '.join(line[1].split(chr(9)))}" if line else "file"
    told.add("", where, found=line is not None)


_NAME = ("firstName", "lastName")


def _tell_purchase(told: Told, events: list[dict[str, object]]) -> None:
    """The first purchase within a day after a product view."""
    views = [_at(event) for event in events if _kind(event) == "commerce.productViews"]
    bought = (
        (at_ms, event)
        for event in events
        if _kind(event) == "commerce.purchases" and (at_ms := _at(event))
        if any(view <= at_ms <= view + DAY_MS for view in views)
    )
    at_ms, event = next(bought, (0, {}))
    told.add(
        to_iso(at_ms),
        f"buys, within a day of looking ({event.get('entityId')})",
        found=at_ms > 0,
    )


def _kind(event: dict[str, object]) -> str:
    entity = event["entity"]
    return str(entity.get("eventType")) if isinstance(entity, dict) else ""


def _at(event: dict[str, object]) -> int:
    return int(str(event["timestamp"]))


def _anonymous_past(person: Person) -> int:
    before = person.sign_in.at_ms
    return sum(1 for visit in person.visits if visit.at_ms < before)


def _is_story(seen: list[Visit], members: set[str]) -> bool:
    return (
        str(seen[0].household) in members
        and not seen[0].signed_in
        and any(visit.signed_in for visit in seen)
        and len({visit.household for visit in seen}) == 1
    )
