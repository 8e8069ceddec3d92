"""Owns the time: the one place that asks the machine for it, so that every rule gets it as an argument."""

import asyncio
import time
from typing import Protocol

Timestamp = float
"""Seconds since the Unix epoch, by the wall clock. What the database stores and what expiry goes by."""


class Clock(Protocol):
    """What a caller may know of time."""

    def now(self) -> Timestamp:
        """The wall clock."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment, whatever is done to the wall clock: for measuring how long something takes."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> Timestamp:
        """The wall clock."""
        return time.time()  # noqa: TID251 - this is the place

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
