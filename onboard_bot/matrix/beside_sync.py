"""Owns work that a sync gives rise to and that is done beside it: a limit on one does not hold the other up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from onboard_bot.backoff import Backoff
from onboard_bot.clock import Clock
from onboard_bot.errors import OnboardError
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.store.trouble import LOOK_AGAIN_AFTER, StoreUnavailableError

_log = logging.getLogger(__name__)


class BesideSync:
    """Does one thing whenever it is told to look, again and again until it went through.

    Args:
        work: The thing; it finds out by itself what there is to do.
        clock: For waiting.
        failed: Says in the log what did not go through.
    """

    def __init__(self, work: Callable[[], Awaitable[None]], clock: Clock, failed: str) -> None:
        self._work = work
        self._clock = clock
        self._failed = failed
        self._look_now = asyncio.Event()

    def look_now(self) -> None:
        """A sync told of something that may give work."""
        self._look_now.set()

    async def run(self) -> None:
        """Goes on until cancelled.

        Raises:
            TokenRejectedError: The session is over; with the next one it is tried again.
        """
        backoff = Backoff()
        while True:
            await self._look_now.wait()
            self._look_now.clear()
            try:
                await self._work()
                backoff.succeeded()
                continue
            except TokenRejectedError:
                self._look_now.set()
                raise
            except StoreUnavailableError:
                wait = LOOK_AGAIN_AFTER
            except RateLimitedError as error:
                wait = error.wait
            except Exception as error:  # noqa: BLE001 - everything else goes on without it, for a long while
                wait = backoff.after_failure()
                expected = isinstance(error, UnreachableError | RefusedError | OnboardError)
                _log.warning("%s (%s); again in %.1f s", self._failed, error, wait, exc_info=not expected)
            await self._clock.sleep(wait)
            self._look_now.set()
