"""Owns noticing that the wall clock jumped, and for how long nothing may expire after that.

What the wall clock says is held against the monotonic clock, which nobody sets. On Linux the monotonic clock stands
still while the machine sleeps, so waking up after more than an hour is a jump as well. That is wanted: while nobody
could vote, nothing ran out, and there are ten minutes in which to notice.

A process knows only of what happened in it: a clock that was set while the bot was stopped is believed.
"""

import logging
from collections import deque
from dataclasses import dataclass

from onboard_bot.clock import Clock, Timestamp

_log = logging.getLogger(__name__)

JUMP = 3600.0
"""Seconds by which the two clocks may come apart between two looks; more is a jump (design, section 3, "Operation")."""
PAUSE = 600.0
"""Seconds for which nothing may expire after a jump, by the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Jump:
    """The wall clock went another way than time.

    Args:
        number: Counts the jumps of this process, from 1.
        seconds: By how much; less than zero where the clock went back.
        to: What the wall clock showed when it was noticed.
    """

    number: int
    seconds: float
    to: Timestamp


class ClockJumps:
    """Looks at both clocks whenever it is asked, so that nobody acts on a jump before it is noticed.

    Each look is held against the one before: slow drift never adds up to a jump, and whatever happened between two
    looks does, however far apart they are.

    Args:
        clock: With both of its hands.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall = clock.now()
        self._steady = clock.monotonic()
        self._paused_until = self._steady
        self.last: Jump | None = None
        """The latest one; None as long as there was none."""
        self.untold: deque[Jump] = deque()
        """What the admins do not know yet, oldest first; whoever tells them takes it out."""

    def look(self) -> None:
        """Notices what happened since the last look."""
        wall, steady = self._clock.now(), self._clock.monotonic()
        drift = (wall - self._wall) - (steady - self._steady)
        self._wall, self._steady = wall, steady
        if abs(drift) > JUMP:
            self.last = Jump(1 if self.last is None else self.last.number + 1, drift, wall)
            self.untold.append(self.last)
            self._paused_until = steady + PAUSE
            _log.warning("the wall clock jumped by %+.0f s; nothing expires for %.0f s", drift, PAUSE)

    def pause_left(self) -> float:
        """Seconds for which nothing may expire; 0.0 where time can be trusted."""
        self.look()
        return max(0.0, self._paused_until - self._steady)
