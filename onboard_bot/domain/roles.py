"""Owns who may do what in a room, read from its state.

Rules: Matrix specification, "m.room.power_levels" and the authorisation rules; from room version 12 on (MSC4289) the
creators stand above all levels and are not listed in `users`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

DEFAULT_INVITE_LEVEL = 0
DEFAULT_STATE_LEVEL = 50
ADMIN_LEVEL = 100
"""What the configured admins have in a room that the bot made (design, section 3, `admin_room.admins`)."""


class Role(IntEnum):
    """What a person is in the admin room; each may do all that the one before may."""

    STRANGER = 0
    REQUESTER = 1
    APPROVER = 2


@dataclass(frozen=True, slots=True)
class PowerLevels:
    """The levels of one room at one moment."""

    users: Mapping[str, float]
    users_default: float
    creators: frozenset[str]
    events: Mapping[str, float]
    events_default: float
    state_default: float
    invite: float

    def of(self, user_id: str) -> float:
        """The level of a user; infinite for a creator of a version 12 room."""
        if user_id in self.creators:
            return math.inf
        return self.users.get(user_id, self.users_default)

    def may_send(self, user_id: str, event_type: str, *, state: bool = False) -> bool:
        """Whether a user may send events of this type."""
        return self.of(user_id) >= self.events.get(event_type, self.state_default if state else self.events_default)


@dataclass(frozen=True, slots=True)
class Actor:
    """The person who acts, with what they may do here, looked up at the moment of the event."""

    user_id: str
    role: Role


def creators_stand_above(room_version: str) -> bool:
    """Whether rooms of this version give their creators infinite power (12 and later)."""
    return re.fullmatch(r"[0-9]{1,9}", room_version) is not None and int(room_version) >= 12  # noqa: PLR2004 - MSC4289


def read_power_levels(create: Mapping[str, Any], power_levels: Mapping[str, Any] | None) -> PowerLevels:
    """The levels that a room's state gives.

    Args:
        create: The whole `m.room.create` event (its sender counts).
        power_levels: The content of `m.room.power_levels`; None where the room has none.
    """
    content = create.get("content")
    content = content if isinstance(content, Mapping) else {}
    creator = str(create.get("sender", ""))
    creators: frozenset[str] = frozenset()
    if creators_stand_above(str(content.get("room_version", "1"))):
        others = content.get("additional_creators")
        others = others if isinstance(others, list) else []
        creators = frozenset({creator, *(user for user in others if isinstance(user, str))})
    if power_levels is None:
        # "If the room contains no m.room.power_levels event, the creator has 100, others 0" and anybody may do all.
        return PowerLevels({creator: 100}, 0, creators, {}, 0, 0, 0)
    return PowerLevels(
        users=_levels(power_levels.get("users")),
        users_default=_level(power_levels.get("users_default"), 0),
        creators=creators,
        events=_levels(power_levels.get("events")),
        events_default=_level(power_levels.get("events_default"), 0),
        state_default=_level(power_levels.get("state_default"), DEFAULT_STATE_LEVEL),
        invite=_level(power_levels.get("invite"), DEFAULT_INVITE_LEVEL),
    )


def role_in_room(*, membership: str, level: float, approver_level: float) -> Role:
    """The role of a person: none unless joined, an approver from the configured level on."""
    if membership != "join":
        return Role.STRANGER
    return Role.APPROVER if level >= approver_level else Role.REQUESTER


def _levels(value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        return {}
    return {str(key): _level(level, 0) for key, level in value.items()}


def _level(value: object, default: float) -> float:
    """Room versions before 10 allow strings; anything that is no whole number is taken as the default."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return default
    try:
        return int(value)
    except ValueError:
        return default
