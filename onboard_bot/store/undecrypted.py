"""Owns encrypted events whose key has not arrived yet: so many of one person, so many altogether.

Whose sender was asked to type them again: those wait on, until the sender does.
"""

import json
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
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
    """A raw `m.room.encrypted` event, the room it stood in, and whose it is.

    Args:
        room_id: The room.
        sender: Whose.
        event: As it came.
        received_at: When it came.
        asked_at: When its sender was asked to type it again, if they were.
    """

    room_id: str
    sender: str
    event: dict[str, Any]
    received_at: Timestamp = field(default=0.0, compare=False)
    asked_at: Timestamp | None = field(default=None, compare=False)

    @property
    def event_id(self) -> str:
        """The event's."""
        return str(self.event["event_id"])

    @property
    def session_id(self) -> str:
        """Of the Megolm session whose key is missing."""
        return str(self.event["content"]["session_id"])


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
        return await self._those()

    async def of_session(self, sender: str, session_id: str) -> list[KeptEvent]:
        """Somebody's events that wait for one key, oldest first."""
        return [kept for kept in await self._those(undecrypted.c.session_id == session_id) if kept.sender == sender]

    async def in_room(self, room_id: str, sender: str) -> list[KeptEvent]:
        """Somebody's events in one room, oldest first."""
        return [kept for kept in await self._those(undecrypted.c.room_id == room_id) if kept.sender == sender]

    async def of_person(self, sender: str) -> list[KeptEvent]:
        """All events of one person, oldest first."""
        return [kept for kept in await self._those() if kept.sender == sender]

    async def _those(self, *which: ColumnElement[bool]) -> list[KeptEvent]:
        query = select(undecrypted).where(*which).order_by(undecrypted.c.received_at)
        rows = await self._connection.execute(query)
        return [KeptEvent(r.room_id, r.event["sender"], r.event, r.received_at, r.asked_at) for r in rows]

    async def _by_sender(self) -> defaultdict[str, list[str]]:
        if self._waiting is None:
            self._waiting = defaultdict(list)
            for kept in await self.all():
                self._waiting[kept.sender].append(kept.event["event_id"])
        return self._waiting

    async def asked(self, event_ids: Collection[str], *, now: Timestamp) -> None:
        """Their sender is being asked to type these again."""
        query = update(undecrypted).where(undecrypted.c.event_id.in_(event_ids))
        await self._connection.execute(query.values(asked_at=now))

    async def typed_again(self, room_id: str, sender: str, *, at: Timestamp) -> None:
        """The sender said something readable: what they were asked about before is not waited for any longer."""
        asked = (undecrypted.c.room_id == room_id) & (undecrypted.c.asked_at < at)
        for kept in await self._those(asked):
            if kept.sender == sender:
                await self.drop(kept.event_id)

    async def forget_before(self, moment: Timestamp, *, asked_before: Timestamp) -> None:
        """Gives up on what has waited for too long, and on what its sender has long been asked about."""
        late = (undecrypted.c.received_at < moment) | (undecrypted.c.asked_at < asked_before)
        await self._connection.execute(delete(undecrypted).where(late))

    async def drop(self, event_id: str) -> None:
        """The event is not waited for any longer."""
        await self._connection.execute(delete(undecrypted).where(undecrypted.c.event_id == event_id))
