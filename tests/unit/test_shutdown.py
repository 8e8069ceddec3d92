"""A cancellation, whenever it comes, tears no connection, keeps nobody waiting and leaves nothing half done."""

import asyncio
import gc
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiosqlite.core
import pytest
import pytest_asyncio

from onboard_bot.store.connection import to_the_end
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.transaction import Store
from tests.fakes.clock import FakeClock

_PATIENCE = 3.0
"""Seconds: far more than a write takes, far less than SQLite waits for a lock."""


@pytest.fixture
def path(tmp_path: Path, fresh_database: Path) -> Path:
    return Path(shutil.copy(fresh_database, tmp_path / "onboard.db"))


@pytest_asyncio.fixture
async def bystander(path: Path) -> AsyncIterator[Store]:
    """Somebody else who writes into the same database."""
    store = Store(Database(sqlite_url(path)), FakeClock())
    yield store
    await store.close()


@pytest.fixture
def litter() -> Iterator[None]:
    """What a torn connection leaves behind stays behind: the collector comes when it likes, or too late."""
    gc.disable()
    yield
    gc.enable()


class SlowDriver:
    """The driver, whose n-th call takes its time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.slow: int | None = None
        self.reached = asyncio.Event()
        execute: Callable[..., Awaitable[Any]] = aiosqlite.core.Connection._execute
        driver = self

        async def counted(self: Any, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            driver.calls += 1
            if driver.calls != driver.slow:
                return await execute(self, fn, *args, **kwargs)
            driver.reached.set()

            def slowly(*args: Any, **kwargs: Any) -> Any:
                time.sleep(0.03)
                return fn(*args, **kwargs)

            return await execute(self, slowly, *args, **kwargs)

        monkeypatch.setattr(aiosqlite.core.Connection, "_execute", counted)

    def slow_at(self, call: int) -> None:
        self.calls, self.slow = 0, call
        self.reached.clear()


async def write(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.meta.set("key", "half")
        assert await tx.meta.get("key") == "half"
        assert await tx.journal.token() is None


async def read(store: Store) -> None:
    async with store.reading() as tx:
        await tx.meta.get("key")


@pytest.mark.usefixtures("litter")
@pytest.mark.parametrize("use", [write, read])
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
async def test_a_transaction_cancelled_within_any_call_of_the_driver_holds_nobody_up(
    path: Path,
    bystander: Store,
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[Store], Awaitable[None]],
    times: int,
) -> None:
    driver, call = SlowDriver(monkeypatch), 0
    while True:
        call += 1
        store = Store(Database(sqlite_url(path)), FakeClock())
        driver.slow_at(call)
        using = asyncio.ensure_future(use(store))
        reaching = asyncio.create_task(driver.reached.wait())
        await asyncio.wait((using, reaching), return_when=asyncio.FIRST_COMPLETED)
        if not driver.reached.is_set():
            reaching.cancel()
            await store.close()
            break
        for _ in range(times):
            using.cancel()
            await asyncio.sleep(0.005)
        async with asyncio.timeout(_PATIENCE):
            await asyncio.wait((using,))
            async with bystander.transaction() as tx:
                await tx.meta.set("bystander", str(call))
            await write(store)
            await store.close()
    assert call > 5, "a transaction makes more calls than that"
    assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}


async def test_a_cancelled_transaction_is_rolled_back_unless_it_was_committing(
    path: Path, bystander: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = SlowDriver(monkeypatch)
    store = Store(Database(sqlite_url(path)), FakeClock())
    await read(store)
    driver.slow_at(4)
    writing = asyncio.create_task(write(store))
    await driver.reached.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with bystander.reading() as tx:
        assert await tx.meta.get("key") is None
    await store.close()


async def test_work_that_was_begun_comes_to_its_end_however_often_it_is_cancelled() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.02)
        ended.set()

    waiting = asyncio.create_task(to_the_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_work_that_fails_while_it_is_cancelled_counts_as_cancelled_and_leaves_no_complaint() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))

    async def work() -> None:
        await asyncio.sleep(0.01)
        raise ZeroDivisionError

    waiting = asyncio.create_task(to_the_end(work()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    del waiting
    gc.collect()
    assert complaints == []


async def test_work_that_nobody_cancels_gives_its_result_or_its_error() -> None:
    async def answer() -> int:
        return 42

    async def fail() -> None:
        raise ZeroDivisionError

    assert await to_the_end(answer()) == 42
    with pytest.raises(ZeroDivisionError):
        await to_the_end(fail())
