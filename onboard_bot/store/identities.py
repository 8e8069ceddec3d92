"""Owns which cross-signing identity of a person counts, and that another one took its place."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.store.tables import identities

# SQLite takes 32,766 values in a statement; a room may have more people.
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class KnownIdentity:
    """A person's master keys, unpadded base64.

    Args:
        user_id: Whose.
        master_key: The one that counts.
        changed_to: The one that the server names by now, if it is another.
        change: How often the server named another one than before; also one that had been there already.
        told_after: The last event of the inbox when the room had been told of this change; None where it was not.
    """

    user_id: str
    master_key: str
    changed_to: str | None = None
    change: int = 0
    told_after: int | None = None


class Identities:
    """The identities, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def of(self, users: Iterable[str]) -> dict[str, KnownIdentity]:
        """What is known of these people."""
        wanted, found = list(users), {}
        for start in range(0, len(wanted), _AT_ONCE):
            query = select(identities).where(identities.c.user_id.in_(wanted[start : start + _AT_ONCE]))
            for row in await self._connection.execute(query):
                found[row.user_id] = KnownIdentity(
                    row.user_id, row.master_key, row.changed_to, row.change, row.told_after
                )
        return found

    async def keep(self, user_id: str, master_key: str) -> None:
        """The first identity of a person counts."""
        row = insert(identities).values(user_id=user_id, master_key=master_key)
        await self._connection.execute(row.on_conflict_do_nothing())

    async def not_accepted(self) -> list[str]:
        """Whose identity is another one than the one that counts."""
        query = select(identities.c.user_id).where(identities.c.changed_to.is_not(None))
        return list(await self._connection.scalars(query.order_by(identities.c.user_id)))

    async def changed(self, user_id: str, changed_to: str | None) -> int:
        """The server names another one, or (None) the old one again; nobody was told. The number of the change."""
        number = await self._connection.scalar(
            update(identities)
            .where(identities.c.user_id == user_id)
            .values(changed_to=changed_to, change=identities.c.change + 1, told_after=None)
            .returning(identities.c.change)
        )
        return int(number)

    async def told(self, user_id: str, change: int, *, after: int) -> None:
        """The admin room knows of this change, if it is still the last one; `after` is an event of the inbox."""
        await self._connection.execute(
            update(identities)
            .where(identities.c.user_id == user_id, identities.c.change == change)
            .values(told_after=after)
        )

    async def accept(self, user_id: str) -> None:
        """What the server names counts from now on."""
        await self._connection.execute(
            update(identities)
            .where(identities.c.user_id == user_id, identities.c.changed_to.is_not(None))
            .values(master_key=identities.c.changed_to, changed_to=None, told_after=None)
        )
