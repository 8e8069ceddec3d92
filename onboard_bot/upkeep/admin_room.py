"""Owns staying in the admin room: entering it at the start, and again whenever the bot was put out of it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from onboard_bot.errors import FatalError, UnusableError
from onboard_bot.health import Health
from onboard_bot.matrix.admin_room import NotThereYetError
from onboard_bot.onboarding.ports import TokenRejectedError
from onboard_bot.upkeep.patience import Patience

_log = logging.getLogger(__name__)

_LOOK_EVERY = 15.0


class AdminRoomWatch:
    """Keeps `health.admin_room` true.

    Args:
        enter: Enters the room; its id.
        settled: Told the id after each look at which the bot was in; may refuse to go on.
        health: Where the outcome is kept.
        patience: For a homeserver that is away.
    """

    def __init__(
        self,
        enter: Callable[[], Awaitable[str]],
        settled: Callable[[str], Awaitable[None]],
        health: Health,
        patience: Patience,
    ) -> None:
        self._enter = enter
        self._settled = settled
        self._health = health
        self._patience = patience
        self._look_now = asyncio.Event()

    def look_now(self) -> None:
        """Something happened that may have let the bot in."""
        self._look_now.set()

    async def run(self) -> None:
        """Goes on until cancelled."""
        while True:
            self._look_now.clear()
            try:
                await self._look()
            except (UnusableError, FatalError, TokenRejectedError):
                raise
            except Exception:  # noqa: BLE001 - the database, most likely; the next look mends it
                _log.exception("could not look after the admin room")
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._look_now.wait()

    async def _look(self) -> None:
        room_id = await self._patience.until_done(self._enter_if_let)
        if room_id is not None:
            await self._settled(room_id)
            if self._health.admin_room is None:
                _log.info("ready in the admin room %s", room_id)
            self._health.admin_room, self._health.waiting_for = room_id, None
        self._health.waits_for_invitation = room_id is None

    async def _enter_if_let(self) -> str | None:
        try:
            return await self._enter()
        except NotThereYetError as error:
            if self._health.waiting_for != str(error):
                _log.info("%s", error)
            self._health.admin_room, self._health.waiting_for = None, str(error)
            return None
