"""Owns telling when nothing can be stored, and in which words: the disk, the file, who else holds it."""

import errno
import sqlite3
from collections.abc import Iterator

LOOK_AGAIN_AFTER = 2.0
"""Seconds after which whoever could not store something tries again."""


class StoreUnavailableError(Exception):
    """The state cannot be used now. What was to be stored is as good as before, and may be tried again.

    Args:
        sentence: What is wrong, in words that go into a log, a room and `/readyz`.
        lasting: Whether only a person can mend it, with the bot stopped.
    """

    def __init__(self, sentence: str, *, lasting: bool = False) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.lasting = lasting


FULL = "the disk is full"
_READ_ONLY = "the state directory cannot be written"
_FAULTY = "the disk does not take what is written to it"
_DAMAGED = "a database in the state directory is damaged; stop the bot and restore a backup"

_OF_SQLITE = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_IOERR: _FAULTY,
    sqlite3.SQLITE_CANTOPEN: "a database in the state directory cannot be opened",
    sqlite3.SQLITE_BUSY: "another process holds the database",
    sqlite3.SQLITE_LOCKED: "another process holds the database",
    sqlite3.SQLITE_PROTOCOL: "another process holds the database",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
_OF_THE_SYSTEM = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: _FAULTY,
    errno.EIO: _FAULTY,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
}


def trouble_in(error: BaseException) -> StoreUnavailableError | None:
    """What an error of a database or of the system says about the storage; None where it says nothing about it."""
    for root in _roots(error):
        sentence = None
        if isinstance(root, sqlite3.Error):
            # The lower byte is the kind; what is above it says where in SQLite.
            sentence = _OF_SQLITE.get(getattr(root, "sqlite_errorcode", 0) & 0xFF)
        elif isinstance(root, OSError):
            sentence = _OF_THE_SYSTEM.get(root.errno or 0)
        if sentence is not None:
            return StoreUnavailableError(sentence, lasting=sentence is _DAMAGED)
    return None


def _roots(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that SQLAlchemy and peewee wrapped in it."""
    yield error
    for inner in (getattr(error, "orig", None), error.__cause__, *error.args):
        if isinstance(inner, BaseException):
            yield from _roots(inner)
