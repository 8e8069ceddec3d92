"""Every intent is carried out: in its lane's order, when it is due, as often as it takes and no oftener."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text

from onboard_bot.errors import ErrorCode
from onboard_bot.homeserver.port import TryLater
from onboard_bot.jobs.effect import Effect, PostponedError, Record
from onboard_bot.jobs.runner import Runner
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.jobs import Job, NewJob
from onboard_bot.store.transaction import Store, Transaction
from tests.fakes.clock import SOME_DAY, FakeClock

Act = Callable[[Job], Awaitable[None]]


async def _nothing(_job: Job) -> None:
    """Succeeds at once."""


class Deed(Effect[str]):
    """An effect whose deed is the test's."""

    def __init__(self, *, at_once: int = 1) -> None:
        self.at_once = at_once
        self.act: Act = _nothing
        self.begun: list[str] = []
        self.first = asyncio.Event()
        self.ended: list[str] = []
        self.running = 0
        self.most_running = 0
        self.skips: set[str] = set()
        self.prepare_fails = False

    async def prepare(self, tx: Transaction, job: Job) -> str | None:
        """Notes it in the database, so that a rollback shows."""
        await tx.meta.set(f"prepared {job.key}", str(job.attempts))
        if self.prepare_fails:
            raise ZeroDivisionError("in prepare")
        return None if job.key in self.skips else job.key

    async def perform(self, job: Job, prepared: str) -> Record | None:
        """Does what the test wants."""
        self.begun.append(prepared)
        self.first.set()
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.act(job)
        finally:
            self.running -= 1
        self.ended.append(prepared)

        async def record(tx: Transaction) -> None:
            await tx.meta.set(f"done {prepared}", "yes")

        return record


@dataclass
class Workshop:
    """A runner with one kind of job."""

    store: Store
    clock: FakeClock
    deed: Deed = field(default_factory=Deed)

    def __post_init__(self) -> None:
        self.runner = Runner(self.store, {"deed": self.deed}, self.clock, device_id="DEVICE")

    async def intend(self, key: str, *, lane: str | None = None, delay: float = 0.0) -> None:
        """A job."""
        async with self.store.transaction() as tx:
            await tx.intend(NewJob("deed", key=key, lane=lane or key, delay=delay))

    async def done(self, key: str) -> bool:
        """Whether what the job's end records is there."""
        async with self.store.reading() as tx:
            return await tx.meta.get(f"done {key}") is not None

    async def state(self, key: str) -> tuple[str, int, float]:
        """The job's state, tries, and how long it still waits."""
        query = text("SELECT state, attempts, run_after FROM jobs WHERE key = :key")
        async with self.store._database.reading() as connection:
            state, attempts, run_after = (await connection.execute(query, {"key": key})).one()
        return state, attempts, run_after - self.clock.now()


@pytest_asyncio.fixture
async def shop(tmp_path: Path, fresh_database: Path) -> AsyncIterator[Workshop]:
    clock = FakeClock()
    store = Store(Database(sqlite_url(Path(shutil.copy(fresh_database, tmp_path / "onboard.db")))), clock)
    yield Workshop(store, clock)
    await store.close()


def failing(error: Exception, *, times: int = 1) -> Act:
    left = [error] * times

    async def act(_job: Job) -> None:
        if left:
            raise left.pop()

    return act


async def test_a_job_is_carried_out_once_and_what_follows_is_recorded(shop: Workshop) -> None:
    await shop.intend("a")
    await shop.runner.run_due()
    await shop.runner.run_due()
    assert shop.deed.ended == ["a"]
    assert await shop.done("a")
    assert (await shop.state("a"))[:2] == ("done", 1)


async def test_a_job_waits_until_it_is_due(shop: Workshop) -> None:
    await shop.intend("later", delay=10)
    await shop.runner.run_due()
    assert shop.deed.begun == []
    shop.clock.advance(10)
    await shop.runner.run_due()
    assert shop.deed.ended == ["later"]


async def test_where_nothing_is_to_be_done_the_job_is_over(shop: Workshop) -> None:
    shop.deed.skips.add("a")
    await shop.intend("a")
    await shop.runner.run_due()
    assert shop.deed.begun == []
    assert (await shop.state("a"))[0] == "done"


async def test_jobs_of_one_lane_go_one_after_the_other_in_order(shop: Workshop) -> None:
    shop.deed.at_once = 10
    shop.deed.act = lambda _job: asyncio.sleep(0.001)
    for key in ("c", "a", "b"):
        await shop.intend(key, lane="room")
    await shop.runner.run_due()
    assert shop.deed.ended == ["c", "a", "b"]
    assert shop.deed.most_running == 1


async def test_jobs_of_different_lanes_go_side_by_side_but_no_more_than_their_kind_allows(shop: Workshop) -> None:
    shop.deed.at_once = 2
    shop.deed.act = lambda _job: asyncio.sleep(0.005)
    for number in range(6):
        await shop.intend(str(number))
    await shop.runner.run_due()
    assert sorted(shop.deed.ended) == [str(number) for number in range(6)]
    assert shop.deed.most_running == 2


async def test_a_job_that_waits_for_another_try_holds_its_lane(shop: Workshop) -> None:
    shop.deed.act = failing(UnreachableError("cut"))
    await shop.intend("first", lane="room")
    await shop.intend("second", lane="room")
    await shop.intend("elsewhere")
    await shop.runner.run_due()
    assert "second" not in shop.deed.begun
    assert shop.deed.ended == ["elsewhere"]
    shop.clock.advance(60)
    await shop.runner.run_due()
    assert shop.deed.ended == ["elsewhere", "first", "second"]


async def test_a_job_that_is_not_due_yet_does_not_hold_its_lane(shop: Workshop) -> None:
    await shop.intend("hourglass", lane="room", delay=1.5)
    await shop.intend("answer", lane="room")
    await shop.runner.run_due()
    assert shop.deed.ended == ["answer"]


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (PostponedError("not now", wait=42.0), 42.0, 42.0),
        (PostponedError("not now"), 0.25, 0.5),
        (RateLimitedError("PUT send", 17.0), 17.0, 17.0),
        (TryLater(ErrorCode.RATE_LIMITED, "slow down", after=8.0), 8.0, 8.0),
        (TryLater(ErrorCode.HOMESERVER_UNREACHABLE, "away"), 0.25, 0.5),
        (UnreachableError("cut"), 0.25, 0.5),
        (TokenRejectedError(401, {}), 5.0, 5.0),
        (ZeroDivisionError("a fault"), 0.25, 0.5),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
async def test_what_came_to_nothing_is_tried_again_after_the_wait_that_fits(
    shop: Workshop, error: Exception, least: float, most: float
) -> None:
    shop.deed.act = failing(error)
    await shop.intend("a")
    await shop.runner.run_due()
    state, attempts, wait = await shop.state("a")
    assert (state, attempts) == ("open", 1)
    assert least <= wait <= most
    assert not await shop.done("a")
    shop.clock.advance(most)
    await shop.runner.run_due()
    assert shop.deed.ended == ["a"]


async def test_waits_grow_up_to_half_a_minute_while_the_server_is_away_and_nothing_is_given_up(shop: Workshop) -> None:
    shop.deed.act = failing(UnreachableError("away"), times=200)
    await shop.intend("a")
    waits = []
    for _ in range(100):
        await shop.runner.run_due()
        waits.append((await shop.state("a"))[2])
        shop.clock.advance(waits[-1] + 0.001)
    assert max(waits) <= 30
    assert min(waits[10:]) >= 15
    assert (await shop.state("a"))[0] == "open"


async def test_a_refusal_that_says_nothing_about_what_was_asked_is_asked_again_for_a_day(shop: Workshop) -> None:
    shop.deed.act = failing(RefusedError(404, {"errcode": "M_UNRECOGNIZED"}), times=10_000)
    await shop.intend("a")
    while (await shop.state("a"))[0] == "open":
        await shop.runner.run_due()
        shop.clock.advance(3600)
        assert shop.clock.now() - SOME_DAY < 27 * 3600
    assert shop.clock.now() - SOME_DAY > 24 * 3600


async def test_tries_that_met_an_outage_are_no_faults(shop: Workshop) -> None:
    shop.deed.act = failing(UnreachableError("away"), times=30)
    await shop.intend("a")
    for _ in range(30):
        await shop.runner.run_due()
        shop.clock.advance(31)
    shop.deed.act = failing(ZeroDivisionError("a fault"), times=9)
    for _ in range(10):
        await shop.runner.run_due()
        shop.clock.advance(31)
    assert await shop.done("a")


async def test_a_refusal_ends_the_job_and_lets_its_lane_go_on(shop: Workshop) -> None:
    shop.deed.act = failing(RefusedError(403, {"errcode": "M_FORBIDDEN"}))
    await shop.intend("refused", lane="room")
    await shop.intend("next", lane="room")
    await shop.runner.run_due()
    assert shop.deed.ended == ["next"]
    assert (await shop.state("refused"))[0] == "failed"
    assert not await shop.done("refused")


async def test_a_fault_is_logged_with_its_trace_and_given_up_after_ten_tries(
    shop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.deed.act = failing(ZeroDivisionError("inside"), times=100)
    await shop.intend("a")
    for _ in range(20):
        await shop.runner.run_due()
        shop.clock.advance(60)
    assert len(shop.deed.begun) == 10
    assert (await shop.state("a"))[0] == "failed"
    assert "ZeroDivisionError: inside" in caplog.text


async def test_a_fault_while_preparing_is_rolled_back_counted_and_given_up_too(
    shop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.deed.prepare_fails = True
    await shop.intend("a")
    waits = []
    for _ in range(20):
        await shop.runner.run_due()
        waits.append((await shop.state("a"))[2])
        shop.clock.advance(60)
    assert (await shop.state("a"))[0] == "failed"
    assert waits[5] > waits[0]
    async with shop.store.reading() as tx:
        assert await tx.meta.get("prepared a") is None
    assert caplog.text.count("ZeroDivisionError: in prepare") == 10


async def test_a_job_whose_end_could_not_be_stored_is_done_again(
    shop: Workshop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.intend("a")
    finish = shop.runner._finish

    async def disk_full(*_args: object, **_kwargs: object) -> None:
        monkeypatch.setattr(shop.runner, "_finish", finish)
        raise OSError("disk full")

    monkeypatch.setattr(shop.runner, "_finish", disk_full)
    await shop.runner.run_due()
    assert shop.deed.ended == ["a", "a"]
    assert await shop.done("a")
    assert "disk full" in caplog.text


async def test_a_process_that_died_within_a_try_takes_it_up_again_at_once(shop: Workshop) -> None:
    shop.deed.act = lambda _job: asyncio.sleep(3600)
    await shop.intend("a")
    running = asyncio.create_task(shop.runner.run_due())
    await shop.deed.first.wait()
    tasks = [running, *shop.runner._running.values()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    again = Workshop(shop.store, shop.clock)
    await again.runner.run_due()
    assert again.deed.ended == ["a"]
    assert (await again.state("a"))[:2] == ("done", 2)


async def test_the_running_runner_wakes_for_a_new_job_and_for_one_that_becomes_due(shop: Workshop) -> None:
    running = asyncio.create_task(shop.runner.run())
    async with asyncio.timeout(5):
        await shop.intend("new")
        await shop.deed.first.wait()
        shop.deed.first.clear()
        await shop.intend("due", delay=0.05)
        shop.clock.advance(0.05)
        await shop.deed.first.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert shop.deed.ended == ["new", "due"]


async def test_a_stop_lets_what_is_running_come_to_its_end(shop: Workshop) -> None:
    shop.deed.act = lambda _job: asyncio.sleep(0.05)
    running = asyncio.create_task(shop.runner.run())
    await shop.intend("a")
    await shop.deed.first.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert shop.deed.ended == ["a"]
    assert await shop.done("a")
