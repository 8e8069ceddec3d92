"""Owns the disk under the encryption state: opened, written in one transaction, opened anew when that came to nothing.

What nio has in memory is ahead of the disk until the transaction is through. Where it is not, memory is thrown away: a
body that is fed to it again would otherwise be taken for known, and its keys would never reach the disk. What is lost
with it, the keys for our own next messages, is made anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nio.crypto import Olm

from onboard_bot.matrix.given_keys import GivenKeys
from onboard_bot.store.trouble import StoreUnavailableError, trouble_in


class OlmOnDisk:
    """The Olm machine of one device and its file.

    Args:
        user_id: Ours.
        device_id: Ours.
        folder: Where the file lies.
        store_key: Encrypts the sessions in it.
        on_lost: Told when what was only in memory is gone.
        on_trouble: Told whenever nothing can be stored, or read.
    """

    def __init__(
        self,
        user_id: str,
        device_id: str,
        folder: Path,
        store_key: bytes,
        *,
        on_lost: Callable[[], None],
        on_trouble: Callable[[StoreUnavailableError], None],
    ) -> None:
        self._whose = user_id, device_id
        self._folder = folder
        self._pickle_key = store_key.hex()
        self._on_lost = on_lost
        self._on_trouble = on_trouble
        self._database: Any = None
        self._in_memory: Olm | None = None
        self._open()

    @property
    def olm(self) -> Olm:
        """What is in memory, and what the disk holds.

        Raises:
            StoreUnavailableError: It has to be read from the disk, and cannot be now.
        """
        return self._in_memory or self._open()

    def _open(self) -> Olm:
        with self._telling():
            store = GivenKeys(*self._whose, str(self._folder), pickle_key=self._pickle_key, database_name="olm.db")
            self._database = store.database
            self._in_memory = Olm(*self._whose, store)
        return self._in_memory

    def close(self) -> None:
        """Closes the file."""
        self._in_memory = None
        if self._database is not None:
            self._database.close()

    @contextmanager
    def stored(self) -> Iterator[None]:
        """One transaction: what changes in memory is on the disk at the end, or in neither place.

        Raises:
            StoreUnavailableError: Nothing can be stored now.
        """
        _ = self.olm
        try:
            with self._telling(), self._database.atomic():
                yield
        except BaseException:
            self._in_memory = None
            with suppress(Exception):  # it may be past closing; what counts is that it is not used again
                self._database.close()
            self._on_lost()
            raise

    def note_use(self, session: Any) -> None:
        """Something in a room could be read with this key."""
        if not getattr(session, "is_used", True):
            with self.stored():
                self.olm.store.note_use(session)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            trouble = trouble_in(error)
            if trouble is None:
                raise
            self._on_trouble(trouble)
            raise trouble from error
