"""Owns telling the admin room of a wall clock that jumped: each jump once, and no flood where two things set it."""

import logging
from collections import deque

from onboard_bot.chat.messages import render
from onboard_bot.chat.notice_replies import clock_jumped
from onboard_bot.clock import Clock
from onboard_bot.clock_jump import ClockJumps, Jump
from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.health import Health
from onboard_bot.onboarding import effects
from onboard_bot.store.transaction import Store
from onboard_bot.store.trouble import StoreUnavailableError

_log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
# A clock that two programs set in turn must not use up what the server lets the bot say.
_SAID_AT_MOST = 5
_WITHIN = 3600.0


class ClockWatch:
    """Writes each jump into the audit log and tells the admin room.

    Args:
        jumps: Where they are noticed, by whoever looks first.
        store: Takes the job.
        health: Knows the admin room; until there is one, the telling waits.
        clock: For the pause between two looks.
        mark: Tells this process's jumps from those of every other start.
    """

    def __init__(self, jumps: ClockJumps, store: Store, health: Health, clock: Clock, *, mark: str) -> None:
        self._jumps = jumps
        self._store = store
        self._health = health
        self._clock = clock
        self._mark = mark
        self._said_at: deque[float] = deque(maxlen=_SAID_AT_MOST)

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            try:
                await self.look()
            except StoreUnavailableError:  # the store has told whom it concerns; nothing is lost
                pass
            except Exception:  # noqa: BLE001 - a fault of ours must not end the bot; the next look tries again
                _log.exception("could not tell of the clock")
            await self._clock.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """One look at the clocks, and everything told that is not yet.

        Raises:
            StoreUnavailableError: It cannot be stored now.
        """
        self._jumps.look()
        room_id = self._health.admin_room
        while room_id is not None and self._jumps.untold:
            await self._tell(self._jumps.untold[0], room_id)
            self._jumps.untold.popleft()

    async def _tell(self, jump: Jump, room_id: str) -> None:
        now = self._clock.monotonic()
        enough_said = len(self._said_at) == _SAID_AT_MOST and now - self._said_at[0] < _WITHIN
        notice = effects.say(
            about=f"clock_jump:{self._mark}:{jump.number}", room_id=room_id, content=render(clock_jumped(jump))
        )
        async with self._store.transaction() as tx:
            if await tx.jobs.exists(notice.key):  # the try before was cut off behind its commit
                return
            await tx.record(Entry(Verb.CLOCK_JUMPED, facts={"seconds": round(jump.seconds)}))
            if not enough_said:
                await tx.intend(notice)
        if not enough_said:
            self._said_at.append(now)
