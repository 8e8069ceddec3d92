"""Owns which rooms the bot has a purpose for, and since when it is in them."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.store.tables import joins, rooms


class Purpose(StrEnum):
    """Why the bot has this room."""

    ADMIN = "admin"
    RESTING_ADMIN = "resting_admin"
    """The admin room that the bot made, while the operator names another one."""
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class PlannedRoom:
    """A room that is there, or that is being made.

    `peer` is the other person of a direct room, empty otherwise. `room_id` is None until the server's answer is known.
    `marker` stands in the `m.room.create` content of a room that the bot made.
    """

    marker: str
    purpose: Purpose
    peer: str
    room_id: str | None
    made_by_bot: bool


class Rooms:
    """The rooms, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def find(self, purpose: Purpose, peer: str = "") -> PlannedRoom | None:
        """The room of this purpose."""
        query = select(rooms).where(rooms.c.purpose == purpose, rooms.c.peer == peer)
        row = (await self._connection.execute(query)).first()
        return None if row is None else _planned(row)

    async def of_room(self, room_id: str) -> PlannedRoom | None:
        """What this room is for, None where it is none of ours."""
        row = (await self._connection.execute(select(rooms).where(rooms.c.room_id == room_id))).first()
        return None if row is None else _planned(row)

    async def plan(self, room: PlannedRoom) -> None:
        """Keeps the intent to have a room, or one that is there already."""
        await self._connection.execute(
            insert(rooms).values(
                marker=room.marker,
                purpose=room.purpose,
                peer=room.peer,
                room_id=room.room_id,
                made_by_bot=room.made_by_bot,
            )
        )

    async def settle(self, marker: str, room_id: str) -> None:
        """The planned room is this one."""
        await self._connection.execute(update(rooms).where(rooms.c.marker == marker).values(room_id=room_id))

    async def give_purpose(self, marker: str, purpose: Purpose) -> None:
        """The room serves something else from now on."""
        await self._connection.execute(update(rooms).where(rooms.c.marker == marker).values(purpose=purpose))

    async def forget(self, marker: str) -> None:
        """The room is of no use any more."""
        await self._connection.execute(delete(rooms).where(rooms.c.marker == marker))

    async def was_encrypted(self, room_id: str) -> bool:
        """Whether one of our rooms is encrypted for good; those that the bot makes are, from the beginning."""
        ours = select(rooms.c.room_id).where(rooms.c.room_id == room_id, rooms.c.encrypted | rooms.c.made_by_bot)
        return await self._connection.scalar(ours) is not None

    async def encrypted(self, room_id: str) -> None:
        """It is, from now on, whatever anybody says of it later."""
        await self._connection.execute(update(rooms).where(rooms.c.room_id == room_id).values(encrypted=True))

    async def first_join(self, room_id: str) -> str | None:
        """The event by which the bot came into the room; None where its arrival was not seen yet."""
        query = select(joins.c.event_id).where(joins.c.room_id == room_id)
        event_id: str | None = await self._connection.scalar(query)
        return event_id

    async def joined(self, room_id: str, event_id: str) -> None:
        """Keeps the first join; later ones change nothing."""
        row = upsert(joins).values(room_id=room_id, event_id=event_id)
        await self._connection.execute(row.on_conflict_do_nothing(index_elements=["room_id"]))


def _planned(row: object) -> PlannedRoom:
    values = row._mapping  # type: ignore[attr-defined]  # noqa: SLF001 - SQLAlchemy's public name for it
    return PlannedRoom(
        values["marker"], Purpose(values["purpose"]), values["peer"], values["room_id"], values["made_by_bot"]
    )
