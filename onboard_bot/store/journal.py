"""Owns what arrived from the server and is not yet in its place: raw sync bodies, and the token to go on from."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.store.meta import Meta
from onboard_bot.store.tables import sync_journal

_TOKEN = "sync_token"  # noqa: S105 - the name of a row


@dataclass(frozen=True, slots=True)
class JournalledSync:
    """One raw `/sync` body.

    `since` is the token that it was asked with; None for the very first.
    """

    seq: int
    since: str | None
    body: str


class Journal:
    """The sync bodies, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def token(self) -> str | None:
        """Where to go on; None before the first sync."""
        return await Meta(self._connection).get(_TOKEN)

    async def add(self, *, since: str | None, body: str, next_batch: str) -> int:
        """Keeps a body together with the token after it: the server may forget both from then on. Its number."""
        row = insert(sync_journal).values(since=since, body=body).returning(sync_journal.c.seq)
        seq: int = (await self._connection.execute(row)).scalar_one()
        await self.skip_to(next_batch)
        return seq

    async def skip_to(self, next_batch: str) -> None:
        """Moves the token over a body that holds nothing for us."""
        await Meta(self._connection).set(_TOKEN, next_batch)

    async def pending(self) -> list[JournalledSync]:
        """What a stop left behind, oldest first."""
        rows = await self._connection.execute(select(sync_journal).order_by(sync_journal.c.seq))
        return [JournalledSync(row.seq, row.since, row.body) for row in rows]

    async def drop(self, seq: int) -> None:
        """Everything in this body has its place."""
        await self._connection.execute(delete(sync_journal).where(sync_journal.c.seq == seq))
