"""Owns what people's devices said of keys that they keep from us: so much of one person, so much altogether."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Timestamp
from onboard_bot.domain.withheld import Withheld
from onboard_bot.store.tables import withheld_keys

OF_ONE_PERSON = 50
ALTOGETHER = 500


@dataclass(frozen=True, slots=True)
class WithheldKey:
    """A device of this sender keeps a Megolm session's key from us; both ids are empty where it is about all keys."""

    sender: str
    room_id: str
    session_id: str
    reason: Withheld


class WithheldKeys:
    """The reasons, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def note(self, key: WithheldKey, *, now: Timestamp) -> bool:
        """Keeps what was said last; False where it is no news, or there is no room for it.

        Whoever said the most makes room for those who said little.
        """
        known = await self._connection.scalar(
            select(withheld_keys.c.code).where(*_is(key.sender, key.session_id), withheld_keys.c.room_id == key.room_id)
        )
        if known == key.reason or not await self._has_room(key):
            return False
        values = {"room_id": key.room_id, "code": str(key.reason), "received_at": now}
        row = insert(withheld_keys).values(sender=key.sender, session_id=key.session_id, **values)
        await self._connection.execute(row.on_conflict_do_update(index_elements=["sender", "session_id"], set_=values))
        return True

    async def reason(self, sender: str, session_id: str, room_id: str) -> Withheld | None:
        """Why a key was kept from us; None for all that we know."""
        for session, room in ((session_id, room_id), ("", "")):
            query = select(withheld_keys.c.code).where(*_is(sender, session), withheld_keys.c.room_id == room)
            code = await self._connection.scalar(query)
            if code is not None:
                return Withheld.read(code)
        return None

    async def forget_before(self, moment: Timestamp) -> None:
        """What was said so long ago explains nothing any more."""
        await self._connection.execute(delete(withheld_keys).where(withheld_keys.c.received_at < moment))

    async def _has_room(self, key: WithheldKey) -> bool:
        count = func.count()
        query = select(withheld_keys.c.sender, count).group_by(withheld_keys.c.sender).order_by(count.desc())
        of_all: dict[str, int] = {row[0]: row[1] for row in await self._connection.execute(query)}
        own = of_all.get(key.sender, 0)
        if own >= OF_ONE_PERSON:
            return False
        if sum(of_all.values()) < ALTOGETHER:
            return True
        loudest, most = next(iter(of_all.items()))
        if most <= own + 1:
            return False
        oldest = select(withheld_keys.c.session_id).where(withheld_keys.c.sender == loudest)
        session_id = await self._connection.scalar(oldest.order_by(withheld_keys.c.received_at).limit(1))
        await self._connection.execute(delete(withheld_keys).where(*_is(loudest, str(session_id))))
        return True


def _is(sender: str, session_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return withheld_keys.c.sender == sender, withheld_keys.c.session_id == session_id
