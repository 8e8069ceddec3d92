"""Owns that a cancellation never tears a connection: what was begun on it comes to its end first.

A statement that is broken off half way leaves its cursor open. The connection is closed over it, but SQLite keeps its
transaction, and with it the write lock, until the cursor is gone; and a driver that is cancelled twice while it closes
waits for a thread that has ended. The first held a stop up for ten seconds, the second for ever.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """The work's result; a cancellation that comes meanwhile is raised once the work is done."""
    doing = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not doing.done():
        try:
            await asyncio.wait((doing,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return doing.result()
    if not doing.cancelled():
        doing.exception()  # nobody hears of it: the cancellation counts for more
    raise cancelled


class UntornConnection(AsyncConnection):
    """A connection on which every statement comes to its end; a transaction is cancelled between two of them.

    `stream` is not among them: what is fetched little by little belongs to a verb, not to the bot at work.
    """

    __slots__ = ()

    async def open(self, **options: Any) -> None:
        """Connects and begins a transaction; to be followed by `put_back`, however it went."""
        await to_the_end(self._open(options))

    async def _open(self, options: dict[str, Any]) -> None:
        await self.start()
        await self.execution_options(**options)
        await self.begin()

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        """As of any connection."""
        return await to_the_end(super().execute(*args, **kwargs))

    async def commit(self) -> None:
        """As of any connection."""
        await to_the_end(super().commit())

    async def put_back(self) -> None:
        """Rolls back what was not committed and gives the connection back to the pool, or up if it is of no use."""
        if self.sync_connection is not None:
            await to_the_end(self._put_back())

    async def _put_back(self) -> None:
        try:
            await self.close()
        except DBAPIError:
            await self.invalidate()
            await self.close()
            raise
