"""Owns a look at the database of a bot that may be running: no lock is taken and nothing is written.

SQLite's write-ahead log lets us read beside whoever writes. Without a log next to it the database is opened as
something that cannot change, since SQLite would otherwise leave files of its own behind.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from onboard_bot.clock import Clock
from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.store.engine import Database
from onboard_bot.store.schema import refuse_newer
from onboard_bot.store.transaction import Store
from onboard_bot.store.trouble import StoreUnavailableError


@dataclass(frozen=True, slots=True)
class Look:
    """A database to be read, and the schema that it has: an older one lacks what came later."""

    store: Store
    revision: str


@asynccontextmanager
async def look_into(path: Path, clock: Clock) -> AsyncIterator[Look]:
    """Reads a database that is there.

    Args:
        path: The file; it, and what lies beside it, stays as it is.
        clock: For the transactions.

    Raises:
        FatalError: `state_unusable`: it cannot be read, is of another program, or newer than this one.
    """
    what, log = f"The database {path}", path.with_name(f"{path.name}-wal")
    at_work = log.exists()
    database = Database(_url(path, "mode=ro" if at_work else "immutable=1"))
    try:
        yield Look(Store(database, clock), await _revision(database, what))
    except (SQLAlchemyError, StoreUnavailableError) as error:
        why = error.sentence if isinstance(error, StoreUnavailableError) else getattr(error, "orig", None) or error
        raise FatalError(ErrorCode.STATE_UNUSABLE, f"{what} cannot be read: {why}.") from error
    finally:
        await database.close()
        if not at_work and log.exists():
            _refuse_what_moved(what)


def _url(path: Path, how: str) -> str:
    escaped = quote(quote(str(path.absolute())))  # SQLAlchemy takes one layer off, SQLite the other
    return f"sqlite+aiosqlite:///file:{escaped}?{how}&uri=true"


async def _revision(database: Database, what: str) -> str:
    async with database.reading() as connection:
        tables = await connection.scalars(text("SELECT name FROM sqlite_master WHERE name = 'alembic_version'"))
        found = await connection.scalar(text("SELECT version_num FROM alembic_version")) if tables.first() else None
    if found is None:
        raise FatalError(ErrorCode.STATE_UNUSABLE, f"{what} holds nothing of onboard-bot.")
    refuse_newer(str(found), what)
    return str(found)


def _refuse_what_moved(what: str) -> None:
    """Whatever was made of it: it was read as something that cannot change."""
    raise FatalError(ErrorCode.STATE_UNUSABLE, f"{what} came into use while it was read. Please run it again.")
