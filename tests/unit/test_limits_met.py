"""Limits that the homeserver set are remembered, in few transactions, and never at the price of the bot's work."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from onboard_bot.matrix.limits_met import FLUSH_EVERY, LimitsMet
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.rate_limits import MetLimit, RateLimits
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.transaction import Store

SEND, INVITE = "PUT rooms/…/send", "POST rooms/…/invite"


class HeldClock:
    """A clock whose sleeps end when the test says so."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self.sleeping = asyncio.Event()
        self.slept: list[float] = []

    def now(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.sleeping.set()
        await self._wake.wait()
        self._wake.clear()

    async def wake(self) -> None:
        """Lets the sleep end, and waits for the next one."""
        self.sleeping.clear()
        self._wake.set()
        async with asyncio.timeout(5):
            await self.sleeping.wait()


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest_asyncio.fixture
async def store(tmp_path: Path, clock: HeldClock) -> AsyncIterator[Store]:
    database = tmp_path / "onboard.db"
    await asyncio.to_thread(bring_up_to_date, database)
    store = Store(Database(sqlite_url(database)), clock)
    yield store
    await store.close()


async def counted(store: Store) -> list[MetLimit]:
    async with store.reading() as tx:
        return await tx.rate_limits.of_the_last_day(now=tx.now)


async def first_write(clock: HeldClock) -> None:
    async with asyncio.timeout(5):
        await clock.sleeping.wait()


async def test_the_first_is_written_at_once_and_the_next_ones_together_ten_seconds_later(
    store: Store, clock: HeldClock
) -> None:
    limits = LimitsMet(store, clock)
    async with limits.kept():
        limits.note(SEND, 2.0)
        await first_write(clock)
        assert await counted(store) == [MetLimit(SEND, 1, 2.0)]
        limits.note(SEND, 9.0)
        limits.note(SEND, 4.0)
        limits.note(INVITE, 1.0)
        await asyncio.sleep(0.05)
        assert await counted(store) == [MetLimit(SEND, 1, 2.0)]
        await clock.wake()
        assert await counted(store) == [MetLimit(SEND, 3, 9.0), MetLimit(INVITE, 1, 1.0)]
        assert clock.slept == [FLUSH_EVERY, FLUSH_EVERY]


async def test_what_is_left_is_written_at_the_end(store: Store, clock: HeldClock) -> None:
    limits = LimitsMet(store, clock)
    async with limits.kept():
        limits.note(SEND, 2.0)
        await first_write(clock)
        limits.note(INVITE, 1.0)
    assert {met.route for met in await counted(store)} == {SEND, INVITE}


async def test_what_was_met_many_times_is_written_once(
    store: Store, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[tuple[str, float, int]] = []
    met = RateLimits.met

    async def counting(self: RateLimits, route: str, wait: float, *, now: float, times: int = 1) -> None:
        writes.append((route, wait, times))
        await met(self, route, wait, now=now, times=times)

    monkeypatch.setattr(RateLimits, "met", counting)
    limits = LimitsMet(store, clock)
    async with limits.kept():
        for wait in (1.0, 7.0, 2.0):
            limits.note(SEND, wait)
        await first_write(clock)
        for _ in range(40):
            limits.note(SEND, 3.0)
    assert writes == [(SEND, 7.0, 3), (SEND, 3.0, 40)]
    assert await counted(store) == [MetLimit(SEND, 43, 7.0)]


async def test_a_bot_that_is_never_limited_writes_nothing(
    store: Store, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store, "transaction", None)
        async with LimitsMet(store, clock).kept():
            await asyncio.sleep(0)
    assert clock.slept == []


async def test_a_database_that_fails_costs_no_count_and_no_bot(
    store: Store, clock: HeldClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = LimitsMet(store, clock)
    async with limits.kept():
        with monkeypatch.context() as patch:
            patch.setattr(store, "transaction", lambda: (_ for _ in ()).throw(OSError("disk full")))
            limits.note(SEND, 2.0)
            await first_write(clock)
        limits.note(SEND, 3.0)
        await clock.wake()
        assert await counted(store) == [MetLimit(SEND, 2, 3.0)]
    assert "rate limits could not be remembered" in caplog.text
