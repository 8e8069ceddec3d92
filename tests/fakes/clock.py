"""A clock that a test holds in its hand."""

import asyncio

SOME_DAY = 1_800_000_000.0


class FakeClock:
    """Time stands still; a sleep is over at once, and later it is by as much as was slept."""

    def __init__(self, start: float = SOME_DAY) -> None:
        self._now = start

    def now(self) -> float:
        """The wall clock."""
        return self._now

    def monotonic(self) -> float:
        """The same hands: a test that moves the wall clock alone has a clock of its own."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Lets others work, and moves the hands."""
        await asyncio.sleep(0)
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self._now += seconds
