"""Owns staying in the rooms of groups: looking again and again, and telling when the bot came into one or out of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from onboard_bot.errors import FatalError, UnusableError
from onboard_bot.matrix.group_rooms import GroupRooms
from onboard_bot.onboarding.ports import TokenRejectedError
from onboard_bot.upkeep.patience import Patience

_log = logging.getLogger(__name__)

_LOOK_EVERY = 60.0


class GroupRoomsWatch:
    """Keeps what `GroupRooms` knows true.

    Args:
        rooms: The rooms.
        changed: Told after the bot came into one of them, or out of it, or an alias moved: other people count now.
        patience: For a homeserver that is away.
    """

    def __init__(self, rooms: GroupRooms, changed: Callable[[], Awaitable[None]], patience: Patience) -> None:
        self._rooms = rooms
        self._changed = changed
        self._patience = patience
        self._told: dict[str, str] = {}
        self._look_now = asyncio.Event()

    def look_now(self) -> None:
        """Something happened that may have let the bot in."""
        self._look_now.set()

    async def run(self) -> None:
        """Goes on until cancelled; where no group has a room, without a request.

        Raises:
            TokenRejectedError: The session is over.
        """
        while True:
            self._look_now.clear()
            try:
                await self._look()
            except (UnusableError, FatalError, TokenRejectedError):
                raise
            except Exception:  # noqa: BLE001 - the next look mends it
                _log.exception("could not look after the rooms of groups")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._look_now.wait()

    async def _look(self) -> None:
        await self._patience.until_done(self._rooms.enter)
        entered = self._rooms.entered()
        if entered != self._told:
            await self._patience.until_done(self._changed)
            self._told = entered
