"""How did one person's story go on, from the letter to the profile that knows the answer?"""

from __future__ import annotations

from amity.app.demo.campaign import ANSWERED, CampaignPart
from amity.app.demo.client import Platform
from amity.app.demo.derive import LOYALTY, address_of
from amity.app.demo.person import Told
from amity.kernel.clock import to_iso

_CLICK = "directMarketing.emailClicked"


def tell_mail(loyalty: str, part: CampaignPart, platform: Platform, told: Told) -> None:
    """The letter, the answer, and what it changed; nothing for whom the campaign is not for."""
    letter = part.first.letters.get(address_of(int(loyalty)))
    if letter is None:
        return
    messages = part.history(loyalty)["messages"]
    sent = min(messages, key=lambda one: int(one["id"]), default=None)
    told.add(
        str(sent["eventDate"]) if sent else "",
        f"gets {letter.subject!r}, a letter of {len(letter.raw):,} bytes, at {letter.to}",
        found=sent is not None,
    )
    answer = part.answered.get(int(loyalty))
    if answer is None:
        told.add("", "has not answered the letter")
        return
    target, at = answer
    told.add(at, f"answers it: the link leads to {target or 'no page'}")
    clicks = [
        event
        for event in platform.events(LOYALTY, loyalty)
        if event["entity"].get("eventType") == _CLICK
    ]
    if not target:
        return
    told.add(
        to_iso(int(clicks[0]["timestamp"])) if clicks else "",
        f"the profile knows of {len(clicks)} click: event {clicks[0]['entityId'] if clicks else ''}",
        found=bool(clicks),
    )
    profile = platform.profiles(LOYALTY, [loyalty]).get(loyalty, {})
    memberships = profile.get("entity", {}).get("segmentMembership", {}).get("ups", {})
    membership = memberships.get(part.audiences["campaign_answered"], {})
    told.add(
        str(membership.get("lastQualificationTime", "")),
        f"is in {ANSWERED!r} since then ({membership.get('status')})",
        found=membership.get("status") == "realized",
    )
