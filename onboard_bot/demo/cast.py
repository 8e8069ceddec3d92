"""Owns who is who in the demo."""

from dataclasses import dataclass

from onboard_bot.demo.person import Person

ADMIN = "admin"
GUEST = "grace"
"""Somebody in the room who may not make accounts."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The people, and where they meet.

    Args:
        admin: Who decides.
        guest: Who asks.
        room: The admin room.
    """

    admin: Person
    guest: Person
    room: str
