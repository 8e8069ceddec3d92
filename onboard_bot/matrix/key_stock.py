"""Owns that the server does not run out of our keys, beside the sync: a limit on one does not hold the other up."""

import asyncio
import logging

from onboard_bot.backoff import Backoff
from onboard_bot.clock import Clock
from onboard_bot.matrix.encryption import Encryption
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.store.trouble import LOOK_AGAIN_AFTER, StoreUnavailableError

_log = logging.getLogger(__name__)


class KeyStock:
    """Uploads what is missing after each sync.

    Args:
        encryption: Knows what is missing.
        clock: For waiting.
    """

    def __init__(self, encryption: Encryption, clock: Clock) -> None:
        self._encryption = encryption
        self._clock = clock
        self._look_now = asyncio.Event()

    def look_now(self) -> None:
        """A sync told of the keys that the server has left."""
        self._look_now.set()

    async def run(self) -> None:
        """Goes on until cancelled.

        Raises:
            TokenRejectedError: The session is over.
        """
        backoff = Backoff()
        while True:
            await self._look_now.wait()
            self._look_now.clear()
            try:
                await self._encryption.keep_keys_stocked()
                backoff.succeeded()
                continue
            except TokenRejectedError:
                raise
            except StoreUnavailableError:
                wait = LOOK_AGAIN_AFTER
            except RateLimitedError as error:
                wait = error.wait
            except Exception as error:  # noqa: BLE001 - without new keys everything goes on, for a long while
                wait = backoff.after_failure()
                expected = isinstance(error, UnreachableError | RefusedError)
                _log.warning("keys could not be uploaded (%s); again in %.1f s", error, wait, exc_info=not expected)
            await self._clock.sleep(wait)
            self._look_now.set()
