"""Owns the connection to the database and what a transaction on it means.

SQLAlchemy's SQLite defaults lose updates: the driver opens transactions late and without the write lock. The recipe
here (driver autocommit, our own BEGIN IMMEDIATE, WAL, a busy timeout) makes a transaction one; `synchronous=FULL`
because a forgotten `creating` after a power cut would be a lost password.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from onboard_bot.store.connection import UntornConnection, to_the_end
from onboard_bot.store.trouble import StoreUnavailableError, trouble_in

_READING = "onboard_reading"
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # Less than what a stop may take: a statement that waits for another process cannot be broken off.
    "PRAGMA busy_timeout=5000",
    "PRAGMA secure_delete=ON",
)


def sqlite_url(path: Path, *, driver: str = "aiosqlite") -> str:
    """The SQLAlchemy address of a SQLite file."""
    return f"sqlite+{driver}:///{quote(str(path))}"


class Database:
    """The engine, and the rule that this process writes one transaction at a time.

    A waiting writer queues here in order instead of in SQLite's busy handler, which sleeps in steps of up to 100 ms.
    """

    def __init__(self, url: str) -> None:
        self._engine: AsyncEngine = create_async_engine(url, pool_size=3, max_overflow=2, hide_parameters=True)
        self._writing = asyncio.Lock()
        apply_recipe(self._engine.sync_engine)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end, rolled back on any exception, cancellation included.

        Raises:
            StoreUnavailableError: Nothing can be stored now.
        """
        async with self._writing, self._transaction() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A consistent look at the database that holds no writer up.

        Raises:
            StoreUnavailableError: The database cannot be read now.
        """
        async with self._transaction(**{_READING: True}) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(self, **options: bool) -> AsyncIterator[AsyncConnection]:
        connection = UntornConnection(self._engine)
        try:
            try:
                await connection.open(**options)
                yield connection
                await connection.commit()
            finally:
                await connection.put_back()
        except PoolTimeoutError as error:
            raise StoreUnavailableError("the database is too busy") from error
        except DBAPIError as error:
            trouble = trouble_in(error)
            if trouble is None:
                raise
            raise trouble from error.orig

    async def close(self) -> None:
        """Closes all connections."""
        await to_the_end(self._engine.dispose())


def apply_recipe(engine: Engine) -> None:
    """Makes an engine's transactions what the module says, whichever driver it uses."""
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


def _on_connect(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _on_begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
