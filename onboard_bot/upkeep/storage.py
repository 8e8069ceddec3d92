"""Owns saying that nothing can be stored, once, and noticing when that is over.

Every part that cannot store something tries again by itself; nobody but this module speaks of it. It is over when a
megabyte and a transaction went through and no part failed for a while: a last free page on the disk is not enough.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from onboard_bot.chat.messages import About, Kind, Message, Paragraph, render
from onboard_bot.clock import Clock, Timestamp
from onboard_bot.health import Health
from onboard_bot.store.trouble import StoreUnavailableError

_log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
_NOT_AGAIN_FOR = 3600.0
_TELLING_TAKES = 20.0

Tell = Callable[[dict[str, object]], Awaitable[object]]


class StorageWatch:
    """Keeps `health.storage` true.

    Args:
        health: Where it is kept.
        clock: For the pause between two looks.
    """

    def __init__(self, health: Health, clock: Clock) -> None:
        self._health = health
        self._clock = clock
        self._begun = asyncio.Event()
        self._failed_again = False
        self._lasting = False
        self._told_at: Timestamp | None = None
        self._told_now = False
        self.tell: Tell | None = None
        """Says something in the admin room at once, without a job; None until there is a room."""

    def note(self, trouble: StoreUnavailableError) -> None:
        """Something could not be stored, or read."""
        if not self._begun.is_set():
            _log.error("nothing can be stored: %s; going on when that is over", trouble.sentence)
        if not self._lasting:
            self._health.storage, self._lasting = trouble.sentence, trouble.lasting
        self._failed_again = True
        self._begun.set()

    @asynccontextmanager
    async def kept(self, prove: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """While this is open, trouble is told and its end is noticed.

        Args:
            prove: Stores something, or raises `StoreUnavailableError`.
        """
        watching = asyncio.create_task(self._watch(prove), name="storage watch")
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self, prove: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._begun.wait()
            telling = asyncio.create_task(self._tell_of_trouble())
            try:
                await self._until_over(prove)
            finally:
                telling.cancel()
            self._begun.clear()
            self._health.storage = None
            _log.info("the state can be stored again")
            if self._told_now:
                self._told_now = False
                await self._say("The state can be stored again; I go on with what was said meanwhile.")

    async def _until_over(self, prove: Callable[[], Awaitable[None]]) -> None:
        while True:
            self._failed_again = False
            await self._clock.sleep(LOOK_EVERY)
            try:
                await prove()
            except StoreUnavailableError as error:
                self.note(error)
            except Exception:  # noqa: BLE001 - the watch outlives whatever a sick disk makes of its proof
                _log.debug("no proof", exc_info=True)
                self._failed_again = True
            if not self._failed_again and not self._lasting:
                return

    async def _tell_of_trouble(self) -> None:
        now = self._clock.now()
        if self._told_at is not None and 0 <= now - self._told_at < _NOT_AGAIN_FOR:
            return
        self._told_now = await self._say(
            f"I cannot store anything: {self._health.storage}. Until that is mended I obey nobody; what is said here is"
            " not lost, I come back to it by myself. Please tell whoever runs this bot."
        )
        if self._told_now:
            self._told_at = now

    async def _say(self, sentence: str) -> bool:
        """Whether it was said: without the disk that may not be possible, and is not tried again."""
        if self.tell is None:
            return False
        try:
            async with asyncio.timeout(_TELLING_TAKES):
                await self.tell(render(Message((Paragraph((sentence,)),), About(Kind.STATUS))))
        except Exception as error:  # noqa: BLE001 - whatever hinders it, the log and /readyz have said it already
            _log.info("the admin room could not be told: %s", error)
            return False
        return True
