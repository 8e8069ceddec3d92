"""Owns where the seeds of the bot's identity lie: those that count, and those of a reset that is under way.

New seeds lie in the pending file, on the disk, before the server hears of them, and stay there until the server shows
that it took them. Which of the two files counts is thus the server's answer, whoever was killed and when. A reset that
was cut off is never forgotten: the next one takes the same seeds, for its upload may still be on its way.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from onboard_bot.errors import ErrorCode, FatalError, OnboardError
from onboard_bot.matrix.cross_signing import SEED_BYTES, USAGES, Identity
from onboard_bot.state_dir import StateDir
from onboard_bot.store.trouble import StoreUnavailableError, trouble_in

SEEDS = "cross_signing.json"
PENDING = "cross_signing.pending.json"

_LOOK_AGAIN_AFTER = 0.1


class OwnSeeds:
    """The seeds of one account's identity.

    Args:
        state: Where they lie.
        user_id: Whose they are.
        entropy: Gives random bytes.
    """

    def __init__(self, state: StateDir, user_id: str, entropy: Callable[[int], bytes]) -> None:
        self._state = state
        self._user_id = user_id
        self._entropy = entropy

    @asynccontextmanager
    async def held(self, *, wait: float = 20.0) -> AsyncIterator[None]:
        """Keeps the bot and a reset beside it apart; whoever dies lets go.

        Args:
            wait: Seconds for which another process is waited for.

        Raises:
            OnboardError: `state_in_use`.
            FatalError: `state_unusable`: nothing can be held there.
        """
        try:
            descriptor = os.open(self._state.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _trouble(error) from error
        try:
            await self._take(descriptor, wait)
            yield
        finally:
            os.close(descriptor)

    async def _take(self, descriptor: int, wait: float) -> None:
        try:
            async with asyncio.timeout(wait):
                while True:
                    try:
                        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        await asyncio.sleep(_LOOK_AGAIN_AFTER)
                    else:
                        return
        except TimeoutError as error:
            raise OnboardError(
                ErrorCode.STATE_IN_USE,
                f"Another onboard-bot is at work on the bot's identity in {self._state.path}. Try again in a minute.",
            ) from error
        except OSError as error:
            raise FatalError(
                ErrorCode.STATE_UNUSABLE,
                f"The state directory {self._state.path} cannot be locked: {error.strerror}. Set bot.state_dir to a"
                " folder on a disk of this machine; network file systems often cannot lock.",
            ) from error

    def current(self) -> Identity | None:
        """The identity that counts; None where there is none, or no more.

        Raises:
            FatalError: `state_unusable`.
            StoreUnavailableError: It cannot be read now.
        """
        return self._read(SEEDS)

    def pending(self) -> Identity | None:
        """The identity of a reset that did not come to its end here.

        Raises:
            FatalError: `state_unusable`.
            StoreUnavailableError: It cannot be read now.
        """
        return self._read(PENDING)

    def make(self) -> Identity:
        """The first identity.

        Raises:
            StoreUnavailableError: It cannot be stored.
        """
        return self._make(SEEDS)

    def make_pending(self) -> Identity:
        """The identity of a reset; does not count yet.

        Raises:
            StoreUnavailableError: It cannot be stored.
        """
        return self._make(PENDING)

    def let_pending_count(self) -> None:
        """The server has the pending identity.

        Raises:
            StoreUnavailableError: It cannot be stored.
        """
        self._state.put_in_place(PENDING, of=SEEDS)

    def _make(self, name: str) -> Identity:
        identity = Identity(self._user_id, {usage: self._entropy(SEED_BYTES) for usage in USAGES})
        self._state.write_json(name, identity.to_stored())
        if os.geteuid() == 0:  # what root makes belongs to whom the directory belongs to: the bot does not run as root
            owner = self._state.path.stat()
            os.chown(self._state.path / name, owner.st_uid, owner.st_gid)
        return identity

    def _read(self, name: str) -> Identity | None:
        try:
            stored = self._state.read_json(name, "user_id", *USAGES)
            identity = None if stored is None else Identity.from_stored(stored)
        except OSError as error:
            raise _trouble(error) from error
        except (ValueError, TypeError, FatalError):
            pass  # as if it belonged to another account
        else:
            if identity is None or identity.user_id == self._user_id:
                return identity
        mend = "Restore it from a backup, or run" if name == SEEDS else "Move it away, and run"
        raise FatalError(
            ErrorCode.STATE_UNUSABLE,
            f"{self._state.path / name} does not hold what the bot wrote there, or belongs to another account. {mend}"
            " “onboard-bot reset-identity” for a new identity.",
        )


def _trouble(error: OSError) -> StoreUnavailableError:
    words = f"the seeds of the bot's identity cannot be read ({error.strerror})"
    return trouble_in(error) or StoreUnavailableError(words)
