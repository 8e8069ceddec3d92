"""A stateful fake of Matrix as the use cases and effects see it: rooms, members, levels, and what was said.

It answers as Synapse does where that matters: a transaction id makes one event per room, whoever is not joined may not
speak, a redaction empties an event. It outlives the bot, as a homeserver does. Rooms are encrypted and people have
devices, unless a test says otherwise; that shows only in what is meant for one person alone.
"""

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from onboard_bot.chat.messages import CONTENT_KEY
from onboard_bot.domain.devices import Standing
from onboard_bot.domain.roles import PowerLevels, read_power_levels
from onboard_bot.onboarding.ports import NotReadableError, Outgoing, RefusedError
from onboard_bot.store.inbox import Envelope

BOT = "@onboard:example.org"

Step = Callable[[str], Awaitable[None]]
"""Told of every call before and after it takes effect; may never return."""


@dataclass
class Said:
    """An event in a room, as people see it."""

    event_id: str
    room_id: str
    sender: str
    type: str
    content: dict[str, Any]
    removed_because: str | None = None
    device: str | None = None
    """Which of the sender's devices encrypted it; None in clear text."""

    @property
    def number(self) -> int:
        """Counted from the first event on."""
        return int(self.event_id.removeprefix("$event"))

    @property
    def body(self) -> str:
        """The plain text."""
        return str(self.content.get("body", ""))

    @property
    def replaces(self) -> str | None:
        """The event that this one is an edit of."""
        relation = self.content.get("m.relates_to", {})
        return relation["event_id"] if relation.get("rel_type") == "m.replace" else None

    @property
    def mentions(self) -> list[str]:
        """Whom it pings."""
        return list(self.content["m.mentions"].get("user_ids", ()))

    @property
    def about(self) -> dict[str, Any]:
        """The machine-readable part."""
        value = self.content.get(CONTENT_KEY, {})
        assert isinstance(value, dict)
        return value

    @property
    def answers(self) -> str | None:
        """The event that this one replies to."""
        relation = self.content.get("m.relates_to", {})
        event_id: str | None = relation.get("m.in_reply_to", {}).get("event_id")
        return event_id


@dataclass
class FakeRoom:
    """One room."""

    room_id: str
    creator: str
    version: str = "11"
    members: dict[str, str] = field(default_factory=dict)
    power_levels: dict[str, Any] = field(default_factory=dict)
    events: list[Said] = field(default_factory=list)

    def said_by(self, user_id: str, event_type: str = "m.room.message") -> list[Said]:
        """What one person said, in order."""
        return [event for event in self.events if event.sender == user_id and event.type == event_type]


@dataclass
class _Failure:
    call: str
    error: Exception
    after: bool


async def _nothing_happens(_name: str) -> None:
    """The step of an ordinary day."""


class FakeChat:
    """Fits the ports `Sender`, `RoomView`, `DeviceView`, `DirectRooms` and `Membership`.

    Args:
        own_user_id: Whose calls these are.
    """

    def __init__(self, own_user_id: str = BOT) -> None:
        self.own_user_id = own_user_id
        self.rooms: dict[str, FakeRoom] = {}
        self.calls: list[str] = []
        self.step: Step = _nothing_happens
        self.unencrypted = False
        """Whether what is said can be read by everybody on the way."""
        self.without_devices: set[str] = set()
        """People who could read nothing that is encrypted."""
        self.standings: dict[tuple[str, str], Standing] = {}
        """How devices stand to their owners, if they are not signed by them."""
        self._direct: dict[str, str] = {}
        self._sent: dict[tuple[str, str, str], str] = {}
        self._labelled: dict[tuple[str, str], str] = {}
        self._failures: list[_Failure] = []
        self._events = 0

    def make_room(self, room_id: str, *, creator: str | None = None, version: str = "11") -> FakeRoom:
        """A room with the bot in it, where the bot has level 100 and others 0."""
        creator = creator or self.own_user_id
        room = FakeRoom(room_id, creator, version)
        room.members = {creator: "join", self.own_user_id: "join"}
        room.power_levels = {"users": {self.own_user_id: 100}, "users_default": 0}
        self.rooms[room_id] = room
        return room

    def fail_next(self, call: str, error: Exception, *, after: bool = False, times: int = 1) -> None:
        """The next calls of this method fail, with their effect (`after`) or without it."""
        self._failures += [_Failure(call, error, after)] * times

    def put(
        self, room_id: str, sender: str, event_type: str, content: Mapping[str, Any], *, device: str | None = None
    ) -> Said:
        """An event stands in a room, whoever sent it, from whichever device."""
        self._events += 1
        event_id = f"$event{self._events}"
        event = Said(event_id, room_id, sender, event_type, copy.deepcopy(dict(content)), device=device)
        self.rooms[room_id].events.append(event)
        return event

    def event(self, event_id: str) -> Said:
        """The event of this id."""
        return next(event for room in self.rooms.values() for event in room.events if event.event_id == event_id)

    def direct_room(self, user_id: str) -> FakeRoom | None:
        """The direct room with a person, if there is one."""
        room_id = self._direct.get(user_id)
        return None if room_id is None else self.rooms[room_id]

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
        """Says something, once per room and transaction id; what may be there already is looked for."""
        async with self._call("send"):
            room = self._joined(room_id)
            if only_for is not None and self.unencrypted:
                raise NotReadableError(f"{room_id} is not encrypted")
            if only_for in self.without_devices:
                raise NotReadableError(f"{only_for} has no device that could read it")
            levels = self._levels(room)
            if not levels.may_send(self.own_user_id, event_type):
                raise _forbidden("You don't have permission to post that to the room.")
            if outgoing.tried_since is not None and (room_id, outgoing.label) in self._labelled:
                return self._labelled[room_id, outgoing.label]
            key = (room_id, event_type, outgoing.transaction_id)
            if key not in self._sent:
                device = None if in_clear or self.unencrypted else "BOT"
                said = self.put(room_id, self.own_user_id, event_type, content, device=device)
                self._sent[key] = said.event_id
                self._labelled |= dict.fromkeys(
                    [(room_id, label) for label in (outgoing.label, *outgoing.also)], self._sent[key]
                )
            return self._sent[key]

    def forget_transaction_ids(self) -> None:
        """A day goes by for the server, or the bot comes with another device."""
        self._sent.clear()

    async def redact(self, room_id: str, event_id: str, outgoing: Outgoing, *, reason: str) -> None:
        """Empties an event."""
        async with self._call("redact"):
            self._joined(room_id)
            key = (room_id, f"redact {event_id}", outgoing.transaction_id)
            event = self.event(event_id)
            if key in self._sent or (outgoing.tried_since is not None and event.removed_because is not None):
                return
            event.content, event.removed_because = {}, reason
            redaction = self.put(room_id, self.own_user_id, "m.room.redaction", {"redacts": event_id})
            self._sent[key] = redaction.event_id
            gone = {labelled: sent for labelled, sent in self._labelled.items() if sent == event_id}
            self._labelled = {where: sent for where, sent in self._labelled.items() if where not in gone}
            self._labelled |= dict.fromkeys(
                [(room_id, label) for label in (outgoing.label, *outgoing.also)], redaction.event_id
            )

    async def with_person(self, user_id: str) -> str:
        """The direct room with a person, made at the first need."""
        async with self._call("with_person"):
            if user_id not in self._direct:
                room = self.make_room(f"!direct-with-{user_id[1:]}")
                room.members[user_id] = "invite"
                self._direct[user_id] = room.room_id
            return self._direct[user_id]

    async def power_levels(self, room_id: str) -> PowerLevels:
        """The levels now."""
        async with self._call("power_levels"):
            return self._levels(self._joined(room_id))

    async def membership(self, room_id: str, user_id: str) -> str:
        """How somebody stands to a room."""
        async with self._call("membership"):
            return self._joined(room_id).members.get(user_id, "leave")

    async def joined(self, room_id: str) -> frozenset[str]:
        """Everybody in a room."""
        async with self._call("joined"):
            members = self._joined(room_id).members
            return frozenset(user for user, membership in members.items() if membership == "join")

    async def encryption_known(self, room_id: str) -> bool:  # noqa: ARG002 - all or none are
        """Whether a room is encrypted."""
        async with self._call("encryption_known"):
            return not self.unencrypted

    async def standing(self, user_id: str, envelope: Envelope) -> Standing:
        """How a device stands to its owner, now."""
        async with self._call("standing"):
            return self.standings.get((user_id, envelope.sender_key), Standing.SIGNED)

    async def join(self, room: str) -> str:
        """Joins."""
        async with self._call("join"):
            if self.rooms[room].members.get(self.own_user_id) not in ("invite", "join"):
                raise _forbidden("You are not invited to this room.")
            self.rooms[room].members[self.own_user_id] = "join"
            return room

    async def leave(self, room_id: str) -> None:
        """Leaves, or declines."""
        async with self._call("leave"):
            self.rooms[room_id].members[self.own_user_id] = "leave"

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invites a person."""
        async with self._call("invite"):
            if self._joined(room_id).members.get(user_id) == "join":
                raise _forbidden(f"{user_id} is already in the room.")
            self.rooms[room_id].members[user_id] = "invite"

    async def set_state(self, room_id: str, event_type: str, content: Mapping[str, Any]) -> None:
        """Replaces the power levels, the only state that this fake keeps."""
        async with self._call("set_state"):
            assert event_type == "m.room.power_levels"
            self._joined(room_id).power_levels = copy.deepcopy(dict(content))

    async def state_event(self, room_id: str, event_type: str) -> dict[str, Any] | None:
        """The power levels, the only state that this fake keeps."""
        async with self._call("state_event"):
            assert event_type == "m.room.power_levels"
            return copy.deepcopy(self._joined(room_id).power_levels)

    @asynccontextmanager
    async def _call(self, name: str) -> AsyncIterator[None]:
        self.calls.append(name)
        await self.step(f"before {name}")
        self._fail_if_told(name, after=False)
        yield
        self._fail_if_told(name, after=True)
        await self.step(f"after {name}")

    def _fail_if_told(self, name: str, *, after: bool) -> None:
        for failure in self._failures:
            if failure.call == name and failure.after is after:
                self._failures.remove(failure)
                raise failure.error

    def _joined(self, room_id: str) -> FakeRoom:
        room = self.rooms[room_id]
        if room.members.get(self.own_user_id) != "join":
            raise _forbidden(f"User {self.own_user_id} not in room {room_id}")
        return room

    @staticmethod
    def _levels(room: FakeRoom) -> PowerLevels:
        create = {"sender": room.creator, "content": {"room_version": room.version}}
        return read_power_levels(create, room.power_levels)


def _forbidden(error: str) -> RefusedError:
    return RefusedError(403, {"errcode": "M_FORBIDDEN", "error": error})
