"""Owns remembering where the homeserver limited us, without a transaction for every 429.

What is met lies in memory for ten seconds at most: losing that much in a crash loses a count, nothing else. `check`
reads the counts from the database.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from onboard_bot.clock import Clock
from onboard_bot.store.transaction import Store
from onboard_bot.store.trouble import StoreUnavailableError

_log = logging.getLogger(__name__)

FLUSH_EVERY = 10.0


@dataclass(slots=True)
class _Met:
    times: int = 0
    longest_wait: float = 0.0


class LimitsMet:
    """Takes note of limits, and brings them into the database now and then.

    Args:
        store: Where they are counted.
        clock: For the pause between two writes.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: dict[str, _Met] = {}
        self._news = asyncio.Event()

    def note(self, route: str, wait: float) -> None:
        """The server limited this kind of call for so many seconds; what `Transport` wants as `on_limited`."""
        met = self._waiting.setdefault(route, _Met())
        met.times += 1
        met.longest_wait = max(met.longest_wait, wait)
        self._news.set()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """While this is open, what is noted is written every ten seconds; the rest when it closes."""
        writing = asyncio.create_task(self._write_now_and_then(), name="limits met")
        try:
            yield
        finally:
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
            await self._write()

    async def _write_now_and_then(self) -> None:
        while True:
            await self._news.wait()
            await self._write()
            await self._clock.sleep(FLUSH_EVERY)

    async def _write(self) -> None:
        batch, self._waiting = self._waiting, {}
        self._news.clear()
        written = False
        try:
            if batch:
                await self._count(batch)
            written = True
        except StoreUnavailableError:
            pass  # they wait in memory; that nothing can be stored is said elsewhere
        except Exception:  # noqa: BLE001 - a figure for the operator is no reason to end or to stop answering
            _log.warning("rate limits could not be remembered", exc_info=True)
        finally:
            if not written:
                self._put_back(batch)

    async def _count(self, batch: Mapping[str, _Met]) -> None:
        async with self._store.transaction() as tx:
            for route, met in batch.items():
                await tx.rate_limits.met(route, met.longest_wait, now=tx.now, times=met.times)

    def _put_back(self, batch: Mapping[str, _Met]) -> None:
        for route, met in batch.items():
            newer = self._waiting.setdefault(route, _Met())
            newer.times += met.times
            newer.longest_wait = max(newer.longest_wait, met.longest_wait)
            self._news.set()
