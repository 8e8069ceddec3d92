"""Owns taking a copy of the database while it is in use, telling whether a copy is whole, and working on one."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from onboard_bot.clock import Clock
from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.schema import refuse_newer, revision_of
from onboard_bot.store.transaction import Store, Transaction
from onboard_bot.store.trouble import StoreUnavailableError

_BUSY_FOR = 10.0
_NOT_WRITTEN = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE"})


def copy_database(source: Path, target: Path) -> None:
    """Copies a database that may be in use, as it is at one moment.

    All pages in one step, under one look at the write-ahead log: the bot goes on writing meanwhile, and whatever it
    writes does not make the copy begin anew.

    Args:
        source: Stays as it is.
        target: An empty file.

    Raises:
        OSError: The copy cannot be written.
        FatalError: `state_unusable`, when the source cannot be read.
    """
    original = f"{source.absolute().as_uri()}?mode=rw"
    try:
        with (
            closing(sqlite3.connect(original, uri=True, timeout=_BUSY_FOR)) as reading,
            closing(sqlite3.connect(target)) as copy,
        ):
            reading.backup(copy, pages=-1)
        make_one_file(target)
    except sqlite3.Error as error:
        if _was_not_written(error):
            raise OSError(0, str(error)) from error
        raise FatalError(
            ErrorCode.STATE_UNUSABLE,
            f"The database {source} cannot be read: {error}. Run backup as the user that the bot runs as; if the file"
            " is damaged, restore an earlier backup.",
        ) from error


def make_one_file(path: Path) -> None:
    """Takes what lies in a write-ahead log beside a database into it, so that the file alone is all of it.

    Raises:
        OSError: It cannot be written.
    """
    try:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        if _was_not_written(error):
            raise OSError(0, str(error)) from error
        raise


def revision_of_whole(path: Path, what: str) -> str:
    """The schema of a copy, once its every page was looked at.

    Args:
        path: The copy.
        what: It is, for the sentence.

    Raises:
        FatalError: `state_unusable`: damaged, of another program, or newer than this one.
    """
    try:
        with closing(sqlite3.connect(path)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        revision = revision_of(path)
    except sqlite3.Error as error:
        verdict, revision = str(error), None
    if verdict != "ok":
        raise FatalError(ErrorCode.STATE_UNUSABLE, f"{what} is damaged: {' '.join(str(verdict).split())}.")
    if revision is None:
        raise FatalError(ErrorCode.STATE_UNUSABLE, f"{what} holds nothing of onboard-bot.")
    refuse_newer(revision, what)
    return revision


def change_copy(copy: Path, what: str, clock: Clock, work: Callable[[Transaction], Awaitable[None]]) -> None:
    """Does something in one transaction on a copy that nobody else uses.

    Args:
        copy: Of the latest schema.
        what: It is, for the sentence.
        clock: When.
        work: What is done; whatever it raises takes all of it back.

    Raises:
        FatalError: `state_unusable`, when the copy lets nothing be done.
    """

    async def doing() -> None:
        store = Store(Database(sqlite_url(copy)), clock)
        try:
            async with store.transaction() as tx:
                await work(tx)
        finally:
            await store.close()

    try:
        asyncio.run(doing())
    except (SQLAlchemyError, StoreUnavailableError) as error:
        why = getattr(error, "orig", None) or error
        raise FatalError(ErrorCode.STATE_UNUSABLE, f"{what} cannot be used: {why}.") from error


def _was_not_written(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "") in _NOT_WRITTEN
