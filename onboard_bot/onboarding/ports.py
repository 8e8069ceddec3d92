"""Owns what use cases and effects want of the chat: the adapter in `matrix/` fits it, and so does the tests' fake."""

from collections.abc import Mapping
from typing import Any, Protocol

from onboard_bot.domain.roles import PowerLevels


class Sender(Protocol):
    """Says things."""

    async def send(self, room_id: str, event_type: str, content: Mapping[str, Any], *, transaction_id: str) -> str:
        """The event's id; the same transaction id makes the same event."""
        ...

    async def redact(self, room_id: str, event_id: str, *, reason: str, transaction_id: str) -> str:
        """Takes an event's content away."""
        ...


class DirectRooms(Protocol):
    """Knows where to talk to one person."""

    async def with_person(self, user_id: str) -> str:
        """An encrypted room with this person; its id."""
        ...


class RoomView(Protocol):
    """Looks at rooms."""

    async def power_levels(self, room_id: str) -> PowerLevels:
        """The levels now."""
        ...

    async def membership(self, room_id: str, user_id: str) -> str:
        """`join`, `invite`, `leave`, `ban` or `knock`."""
        ...


class Membership(Protocol):
    """Comes, goes, and brings people in."""

    async def join(self, room: str) -> str:
        """Joins; the room's id."""
        ...

    async def leave(self, room_id: str) -> None:
        """Leaves, or declines an invitation."""
        ...

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invites a person."""
        ...

    async def set_state(self, room_id: str, event_type: str, content: Mapping[str, Any]) -> None:
        """Replaces a state event."""
        ...

    async def state_event(self, room_id: str, event_type: str) -> dict[str, Any] | None:
        """The content of a state event."""
        ...
