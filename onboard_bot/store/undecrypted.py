"""Owns encrypted events whose key has not arrived yet."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Timestamp
from onboard_bot.store.tables import undecrypted


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """A raw `m.room.encrypted` event and the room it stood in."""

    room_id: str
    event: dict[str, Any]


class Undecrypted:
    """The kept events, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def keep(self, kept: KeptEvent, *, now: Timestamp) -> None:
        """Keeps an event, once."""
        row = insert(undecrypted).values(
            event_id=kept.event["event_id"],
            room_id=kept.room_id,
            session_id=str(kept.event["content"].get("session_id")),
            event=kept.event,
            received_at=now,
        )
        await self._connection.execute(row.on_conflict_do_nothing(index_elements=["event_id"]))

    async def all(self) -> list[KeptEvent]:
        """Every kept event, oldest first."""
        rows = await self._connection.execute(select(undecrypted).order_by(undecrypted.c.received_at))
        return [KeptEvent(row.room_id, row.event) for row in rows]

    async def forget_before(self, moment: Timestamp) -> None:
        """Gives up on what has waited for too long."""
        await self._connection.execute(delete(undecrypted).where(undecrypted.c.received_at < moment))

    async def drop(self, event_id: str) -> None:
        """The event could be read after all."""
        await self._connection.execute(delete(undecrypted).where(undecrypted.c.event_id == event_id))
