"""Owns the memory of where the homeserver limited the bot: a plain account cannot ask what its limits are."""

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Timestamp
from onboard_bot.store.tables import rate_limits

_HOUR = 3600
_REMEMBERED_HOURS = 24


@dataclass(frozen=True, slots=True)
class MetLimit:
    """How often, within the last day, a kind of call was limited.

    `longest_wait` is in seconds.
    """

    route: str
    times: int
    longest_wait: float


class RateLimits:
    """The limits that were met, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def met(self, route: str, wait: float, *, now: Timestamp, times: int = 1) -> None:
        """Counts so many more times, the longest of which asked for this wait; older than a day is forgotten."""
        row = insert(rate_limits).values(route=route, hour=int(now // _HOUR), times=times, longest_wait=wait)
        await self._connection.execute(
            row.on_conflict_do_update(
                index_elements=["route", "hour"],
                set_={
                    "times": rate_limits.c.times + times,
                    "longest_wait": func.max(rate_limits.c.longest_wait, wait),
                },
            )
        )
        await self._connection.execute(
            delete(rate_limits).where(rate_limits.c.hour < int(now // _HOUR) - _REMEMBERED_HOURS)
        )

    async def of_the_last_day(self, *, now: Timestamp) -> list[MetLimit]:
        """The limits, most often met first."""
        times = func.sum(rate_limits.c.times)
        query = (
            select(rate_limits.c.route, times, func.max(rate_limits.c.longest_wait))
            .where(rate_limits.c.hour >= int(now // _HOUR) - _REMEMBERED_HOURS)
            .group_by(rate_limits.c.route)
            .order_by(times.desc())
        )
        return [MetLimit(*row) for row in await self._connection.execute(query)]
