"""Owns encrypted events whose key has not arrived yet: so many of one person, so many altogether."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Timestamp
from onboard_bot.store.tables import undecrypted

OF_ONE_PERSON = 50
ALTOGETHER = 500
# Specification, "Size limits": an event has 65,536 bytes at most; what the server puts beside it is not counted.
_LARGEST = 100_000


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """A raw `m.room.encrypted` event, the room it stood in, and whose it is."""

    room_id: str
    sender: str
    event: dict[str, Any]


class Undecrypted:
    """The kept events, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._waiting: defaultdict[str, list[str]] | None = None

    async def keep(self, kept: KeptEvent, *, now: Timestamp) -> bool:
        """Keeps an event, once; False where it cannot be waited for.

        Whoever has many waiting makes room for those who have few.
        """
        event_id = kept.event["event_id"]
        waiting = await self._by_sender()
        if event_id in waiting[kept.sender]:
            return True
        if len(waiting[kept.sender]) >= OF_ONE_PERSON or len(json.dumps(kept.event)) > _LARGEST:
            return False
        if sum(map(len, waiting.values())) >= ALTOGETHER:
            most = max(waiting.values(), key=len)
            if len(most) <= len(waiting[kept.sender]) + 1:
                return False
            await self.drop(most.pop())
        row = insert(undecrypted).values(
            event_id=event_id,
            room_id=kept.room_id,
            session_id=kept.event["content"]["session_id"],
            event=kept.event,
            received_at=now,
        )
        await self._connection.execute(row.on_conflict_do_nothing(index_elements=["event_id"]))
        waiting[kept.sender].append(event_id)
        return True

    async def all(self) -> list[KeptEvent]:
        """Every kept event, oldest first."""
        rows = await self._connection.execute(select(undecrypted).order_by(undecrypted.c.received_at))
        return [KeptEvent(row.room_id, row.event["sender"], row.event) for row in rows]

    async def _by_sender(self) -> defaultdict[str, list[str]]:
        if self._waiting is None:
            self._waiting = defaultdict(list)
            for kept in await self.all():
                self._waiting[kept.sender].append(kept.event["event_id"])
        return self._waiting

    async def forget_before(self, moment: Timestamp) -> None:
        """Gives up on what has waited for too long."""
        await self._connection.execute(delete(undecrypted).where(undecrypted.c.received_at < moment))

    async def drop(self, event_id: str) -> None:
        """The event could be read after all."""
        await self._connection.execute(delete(undecrypted).where(undecrypted.c.event_id == event_id))
