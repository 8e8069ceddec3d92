"""Owns the events that somebody meant for the bot, from their arrival to their effect."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Timestamp
from onboard_bot.store.tables import inbox


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """An event of a room's timeline, decrypted.

    `encrypted` says whether it came encrypted; the content is then what was inside.
    """

    event_id: str
    room_id: str
    sender: str
    type: str
    content: dict[str, Any]
    encrypted: bool


class Inbox:
    """The events, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.filled = False

    async def accept(self, event: RoomEvent, *, now: Timestamp) -> bool:
        """Keeps an event; False where it arrived before."""
        row = insert(inbox).values(
            event_id=event.event_id,
            room_id=event.room_id,
            sender=event.sender,
            type=event.type,
            content=event.content,
            encrypted=event.encrypted,
            received_at=now,
            done=False,
        )
        result = await self._connection.execute(row.on_conflict_do_nothing(index_elements=["event_id"]))
        self.filled = self.filled or result.rowcount == 1
        return result.rowcount == 1

    async def next_open(self) -> RoomEvent | None:
        """The oldest event that had no effect yet."""
        query = select(inbox).where(~inbox.c.done).order_by(inbox.c.seq).limit(1)
        row = (await self._connection.execute(query)).first()
        if row is None:
            return None
        return RoomEvent(row.event_id, row.room_id, row.sender, row.type, row.content, row.encrypted)

    async def close(self, event_id: str) -> bool:
        """The event has its effect in this transaction; False where it had it before.

        What was said is forgotten here; the request and the audit log keep what matters of it.
        """
        result = await self._connection.execute(
            update(inbox).where(inbox.c.event_id == event_id, ~inbox.c.done).values(done=True, content=None)
        )
        return result.rowcount == 1
