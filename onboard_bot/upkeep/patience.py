"""Owns waiting for a homeserver that is not there yet, or for room on the disk: `run` never ends because of either."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from onboard_bot.backoff import Backoff
from onboard_bot.clock import Clock
from onboard_bot.errors import FatalError, OnboardError
from onboard_bot.homeserver.port import TryLater
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.store.trouble import LOOK_AGAIN_AFTER, StoreUnavailableError

_log = logging.getLogger(__name__)

T = TypeVar("T")

# What nonsense in an answer makes of the code that reads it.
_NONSENSE = (KeyError, ValueError, TypeError, AttributeError, RecursionError)
_LONGEST_WAIT = 30.0


class Patience:
    """Repeats a step until it succeeds.

    Args:
        clock: For waiting.
        on_waiting: Told why, before each wait.
        on_trouble: Told whenever a step cannot store what it has to; says so to whom it concerns.
    """

    def __init__(
        self,
        clock: Clock,
        on_waiting: Callable[[str], None],
        on_trouble: Callable[[StoreUnavailableError], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._on_waiting = on_waiting
        self._on_trouble = on_trouble
        self.renew: Callable[[], Awaitable[object]] | None = None
        """What brings an expired session back; None until there is one."""

    async def until_done(self, step: Callable[[], Awaitable[T]]) -> T:
        """The step's result, whenever it comes.

        Raises:
            FatalError: No later try can succeed.
            TokenRejectedError: The session is over.
        """
        backoff = Backoff(cap=_LONGEST_WAIT)
        while True:
            try:
                return await self._once_it_can_be_stored(step)
            except FatalError:
                raise
            except TokenRejectedError as error:
                if not error.soft or self.renew is None or step == self.renew:
                    raise
                await self.until_done(self.renew)
                continue
            except RateLimitedError as error:
                wait, why = error.wait, str(error)
            except TryLater as error:
                wait, why = error.after or backoff.after_failure(), error.sentence
            except OnboardError as error:
                wait, why = backoff.after_failure(), error.sentence
            except (UnreachableError, RefusedError) as error:
                wait, why = backoff.after_failure(), f"the homeserver: {error}"
            except _NONSENSE as error:
                _log.debug("nonsense", exc_info=True)
                wait, why = backoff.after_failure(), f"the homeserver's answer makes no sense ({error!r})"
            self._on_waiting(why)
            _log.warning("waiting %.1f s: %s", wait, why)
            await self._clock.sleep(wait)

    async def _once_it_can_be_stored(self, step: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await step()
            except StoreUnavailableError as error:
                self._on_trouble(error)
            await self._clock.sleep(LOOK_AGAIN_AFTER)
