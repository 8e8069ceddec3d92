"""A disk that refuses: what SQLite says of it is SQLite's own, only the reason is made up."""

from itertools import count
from typing import Any

from sqlalchemy import event

from onboard_bot.store.engine import Database

_AS_MANY_AS_THERE_ARE = 1_073_741_823


class SickDisk:
    """The disk under one database.

    Args:
        database: The one.
    """

    def __init__(self, database: Database) -> None:
        self.full = False
        """Not one page more."""
        self.read_only = False
        """Not one write more."""
        self._numbers = count()
        # Before the transaction begins: a connection that was read-only would refuse that.
        event.listen(database._engine.sync_engine, "checkout", self._on_checkout)

    def heal(self) -> None:
        """There is room again."""
        self.full = self.read_only = False

    def _on_checkout(self, connection: Any, *_more: object) -> None:
        # A pragma takes effect when it is compiled, and what was compiled before is not compiled again: hence numbers.
        number = next(self._numbers)
        pages = 1 if self.full else _AS_MANY_AS_THERE_ARE  # SQLite takes at least as many as there are
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count = {pages} -- {number}")
        cursor.execute(f"PRAGMA query_only = {int(self.read_only)} -- {number}")
        cursor.close()


def fill(machine: Any) -> None:
    """The encryption store gets not one page more, until it is opened anew."""
    machine._disk.olm.store.database.execute_sql("PRAGMA max_page_count = 1")
