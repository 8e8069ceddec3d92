"""Owns what in a room's timeline can make votes count differently: somebody came or went, or levels changed."""

from collections.abc import Mapping
from typing import Any

from onboard_bot.matrix.sync_body import Timeline
from onboard_bot.store.jobs import NewJob


def cause_to_weigh(timeline: Timeline, own_user_id: str, *, seen_in: str) -> str | None:
    """Names the reason to look again at who counts; None where there is none.

    Args:
        timeline: Of a room whose people may vote.
        own_user_id: Ours: we do not vote.
        seen_in: The sync that tells of it. It is the reason itself where it leaves out who came and went.
    """
    if timeline.limited or timeline.state_changed:
        return seen_in
    causes = (event for event in reversed(timeline.events) if _may_change_who_counts(event, own_user_id))
    return next((str(event["event_id"]) for event in causes), None)


def weigh(cause: str) -> NewJob:
    """The intent to look again; as in `onboarding.effects`, a test holds it to it."""
    return NewJob(kind="weigh", key=f"weigh:{cause}", lane="weigh")


def _may_change_who_counts(event: Mapping[str, Any], own_user_id: str) -> bool:
    user_id, content = event.get("state_key"), event.get("content")
    if not isinstance(user_id, str) or not isinstance(content, Mapping):
        return False
    if event.get("type") == "m.room.power_levels":
        return True
    if event.get("type") != "m.room.member" or user_id == own_user_id:
        return False
    before, now = _membership_before(event), content.get("membership")
    if now == "join":
        return before != "join"  # else another name or picture
    return now in ("leave", "ban") and before in (None, "join")


def _membership_before(event: Mapping[str, Any]) -> str | None:
    """None where the server does not say."""
    unsigned = event.get("unsigned")
    content = unsigned.get("prev_content") if isinstance(unsigned, Mapping) else None
    membership = content.get("membership") if isinstance(content, Mapping) else None
    return membership if isinstance(membership, str) else None
