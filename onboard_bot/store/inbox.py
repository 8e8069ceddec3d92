"""Owns the events that somebody meant for the bot, from their arrival to their effect."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Timestamp
from onboard_bot.store.tables import inbox


@dataclass(frozen=True, slots=True)
class Envelope:
    """Which message of whose device an encrypted event was.

    Args:
        sender_key: The device's Curve25519 key.
        fingerprint: The Ed25519 key that came with the room's key.
        session_id: Of the Megolm session.
        index: Of the message in it; the same one twice is a replay.
    """

    sender_key: str
    fingerprint: str
    session_id: str
    index: int


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """An event of a room's timeline, decrypted; `envelope` is None where it came in clear."""

    event_id: str
    room_id: str
    sender: str
    type: str
    content: dict[str, Any]
    envelope: Envelope | None = None


class Arrival(Enum):
    """What an event is to the inbox."""

    NEW = auto()
    KNOWN = auto()
    REPLAY = auto()
    """Another event with what one of the same sender held."""


class Inbox:
    """The events, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.filled = False

    async def accept(self, event: RoomEvent, *, now: Timestamp) -> Arrival:
        """Keeps an event that is new.

        A replay is one of the same sender: somebody who repeats another's words first must not make those a replay.
        """
        envelope = event.envelope
        row = insert(inbox).values(
            event_id=event.event_id,
            room_id=event.room_id,
            sender=event.sender,
            type=event.type,
            content=event.content,
            encrypted=envelope is not None,
            sender_key=None if envelope is None else envelope.sender_key,
            fingerprint=None if envelope is None else envelope.fingerprint,
            session_id=None if envelope is None else envelope.session_id,
            message_index=None if envelope is None else envelope.index,
            received_at=now,
            done=False,
        )
        result = await self._connection.execute(row.on_conflict_do_nothing())
        if result.rowcount == 1:
            self.filled = True
            return Arrival.NEW
        known = await self._connection.scalar(select(inbox.c.seq).where(inbox.c.event_id == event.event_id))
        return Arrival.REPLAY if known is None else Arrival.KNOWN

    async def next_open(self) -> RoomEvent | None:
        """The oldest event that had no effect yet."""
        query = select(inbox).where(~inbox.c.done).order_by(inbox.c.seq).limit(1)
        row = (await self._connection.execute(query)).first()
        if row is None:
            return None
        envelope = None
        if row.session_id is not None:
            envelope = Envelope(row.sender_key, row.fingerprint, row.session_id, row.message_index)
        return RoomEvent(row.event_id, row.room_id, row.sender, row.type, row.content, envelope)

    async def last_number(self) -> int:
        """Of the event that came last; 0 before the first one."""
        return int(await self._connection.scalar(select(func.coalesce(func.max(inbox.c.seq), 0))) or 0)

    async def number_of(self, event_id: str) -> int | None:
        """When an event came, among all that came; None where it did not."""
        return await self._connection.scalar(select(inbox.c.seq).where(inbox.c.event_id == event_id))

    async def close(self, event_id: str) -> bool:
        """The event has its effect in this transaction; False where it had it before.

        What was said is forgotten here; the request and the audit log keep what matters of it.
        """
        result = await self._connection.execute(
            update(inbox).where(inbox.c.event_id == event_id, ~inbox.c.done).values(done=True, content=None)
        )
        return result.rowcount == 1

    async def set_aside(self, event_id: str, *, reacts_to: str) -> None:
        """The event waits, and nothing waits for it, until somebody knows what it reacts to."""
        await self._connection.execute(
            update(inbox).where(inbox.c.event_id == event_id, ~inbox.c.done).values(done=True, reacts_to=reacts_to)
        )

    async def take_up(self, reacts_to: str) -> None:
        """What was set aside because it reacts to this event has its turn now."""
        result = await self._connection.execute(
            update(inbox).where(inbox.c.reacts_to == reacts_to).values(done=False, reacts_to=None)
        )
        self.filled = self.filled or result.rowcount > 0

    async def stop_waiting(self, room_id: str) -> None:
        """What was set aside in a room reacts to nothing that anybody will come to know."""
        aside = (inbox.c.room_id == room_id) & inbox.c.reacts_to.is_not(None)
        await self._connection.execute(update(inbox).where(aside).values(content=None, reacts_to=None))

    async def withdraw(self, event_id: str) -> None:
        """Its sender, or somebody who may, took it back: it has no effect any more if it had none yet."""
        waiting = ~inbox.c.done | inbox.c.reacts_to.is_not(None)
        await self._connection.execute(
            update(inbox).where(inbox.c.event_id == event_id, waiting).values(done=True, content=None, reacts_to=None)
        )
