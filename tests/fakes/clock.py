"""A clock that a test holds in its hand."""

import asyncio

SOME_DAY = 1_800_000_000.0


class FakeClock:
    """Time stands still; a sleep is over at once, and later it is by as much as was slept.

    Both hands show the same until the wall clock jumps.
    """

    def __init__(self, start: float = SOME_DAY) -> None:
        self._now = start
        self._set_by = 0.0

    def now(self) -> float:
        """The wall clock."""
        return self._now + self._set_by

    def monotonic(self) -> float:
        """Goes on as time does, whatever is done to the wall clock."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Lets others work, and moves the hands."""
        await asyncio.sleep(0)
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self._now += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock, forward or back; no time passes."""
        self._set_by += seconds
