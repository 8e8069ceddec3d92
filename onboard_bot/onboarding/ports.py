"""Owns what use cases and effects want of the chat, and how it can fail.

The adapter in `matrix/` fits it, and so does the fake of the flow tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from onboard_bot.clock import Timestamp
from onboard_bot.domain.devices import Standing
from onboard_bot.domain.roles import PowerLevels
from onboard_bot.store.inbox import Envelope


class UnreachableError(Exception):
    """Nothing usable came back: no connection, a proxy's page, a 5xx, a cut body. The call may have had its effect."""


class TooLargeError(UnreachableError):
    """The answer is larger than any that we read: asking again is in vain, asking for less may not be."""


class RateLimitedError(Exception):
    """The server wants us to wait; nothing was done.

    Args:
        route: What was limited, without ids.
        wait: Seconds until another try makes sense, capped at ten minutes.
    """

    def __init__(self, route: str, wait: float) -> None:
        super().__init__(f"{route} is limited for {wait:.1f} s")
        self.route = route
        self.wait = wait


_DEFINITE = frozenset(
    {
        *("M_FORBIDDEN", "M_NOT_FOUND", "M_TOO_LARGE", "M_BAD_JSON", "M_INVALID_PARAM", "M_BAD_STATE"),
        *("M_GUEST_ACCESS_FORBIDDEN", "M_UNSUPPORTED_ROOM_VERSION", "M_INCOMPATIBLE_ROOM_VERSION"),
        *("M_DUPLICATE_ANNOTATION", "M_USER_DEACTIVATED", "M_USER_LOCKED", "M_USER_SUSPENDED"),
    }
)


class RefusedError(Exception):
    """The server understood and said no.

    Args:
        status: The HTTP status.
        errcode: Matrix's code, `M_FORBIDDEN` say.
        error: The server's words.
        body: The whole answer.
    """

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        self.status = status
        self.errcode = str(body.get("errcode", "M_UNKNOWN"))
        self.error = str(body.get("error", ""))
        self.body = body
        super().__init__(f"{status} {self.errcode}: {self.error[:200]}")

    @property
    def is_definite(self) -> bool:
        """Whether it is about what was asked, so that asking again would be answered alike."""
        return self.errcode in _DEFINITE


class TokenRejectedError(RefusedError):
    """The access token is no longer good; `soft` where the same device may sign in again."""

    @property
    def soft(self) -> bool:
        """Whether the session only expired (specification, "Soft logout")."""
        return bool(self.body.get("soft_logout"))


class NotReadableError(Exception):
    """Whoever it is for could not read it, or everybody could, so it did not go out.

    No device of theirs got the key; or what is meant for one person would stand in a room in clear text.
    """


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What makes all tries to send one thing the same event.

    Args:
        transaction_id: The server makes one event of it, for a day and for one device.
        label: Stands in clear beside what is sent, so that it can be found among the bot's own events.
        also: The labels of what it says besides.
        tried_since: Where an earlier try may have gone out that the server does not know by this transaction id: when
            the first one did. It is looked for before anything is sent.
    """

    transaction_id: str
    label: str
    also: tuple[str, ...] = ()
    tried_since: Timestamp | None = None


class Sender(Protocol):
    """Says things."""

    async def send(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        outgoing: Outgoing,
        *,
        only_for: str | None = None,
        in_clear: bool = False,
    ) -> str:
        """The event's id.

        Args:
            room_id: Where.
            event_type: Of the event.
            content: Of the event.
            outgoing: See there.
            only_for: A person who must be able to read it, and nobody without the room's keys may.
            in_clear: Whether it goes out unencrypted also where the room is encrypted.

        Raises:
            NotReadableError: It did not go out, see there.
        """
        ...

    async def redact(self, room_id: str, event_id: str, outgoing: Outgoing, *, reason: str) -> None:
        """Takes an event's content away; one that is gone already stays so."""
        ...


@dataclass(frozen=True, slots=True)
class NamedDevice:
    """What an event says of the device that it comes from: its id, and its Curve25519 key."""

    device_id: str | None
    sender_key: str | None


class SessionRepair(Protocol):
    """Starts encrypted sessions with people's devices over."""

    async def devices_of(self, user_id: str, named: Sequence[NamedDevice]) -> list[str]:
        """The devices of a person that are meant; all that get keys from us, where none of theirs is."""
        ...

    async def start_over(self, user_id: str, device_id: str) -> Mapping[str, Any] | None:
        """A new session, stored, and the messages that tell the device of it; None where the device has no key."""
        ...

    async def tell(self, messages: Mapping[str, Any], *, transaction_id: str) -> bool:
        """Sends such messages; False where they are of a device that we gave up."""
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

    async def joined(self, room_id: str) -> frozenset[str]:
        """Everybody in the room now."""
        ...

    async def encryption_known(self, room_id: str) -> bool:
        """Whether the room is encrypted."""
        ...


class DeviceView(Protocol):
    """Looks at people's devices."""

    async def standing(self, user_id: str, envelope: Envelope) -> Standing:
        """How the device that an encrypted event came from stands to the event's sender, now."""
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
