"""After a jump of the clock nothing expires for ten minutes, and the admin room hears of it once."""

import asyncio
import json
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from onboard_bot.chat.messages import Message, render
from onboard_bot.chat.notice_replies import clock_jumped
from onboard_bot.chat.replies import status
from onboard_bot.clock_jump import JUMP, PAUSE, ClockJumps, Jump
from onboard_bot.config import Config
from onboard_bot.health import Health
from onboard_bot.matrix.machine import Machine
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.transaction import Store
from onboard_bot.store.trouble import StoreUnavailableError
from onboard_bot.upkeep import clock as upkeep_clock
from onboard_bot.upkeep.clock import LOOK_EVERY, ClockWatch
from onboard_bot.upkeep.identity import IdentityWatch
from onboard_bot.upkeep.status import Status
from tests.fakes.clock import FakeClock
from tests.fakes.sick_disk import SickDisk

ROOM = "!admins:example.org"
HOUR, DAY, YEAR = 3_600, 86_400, 31_536_000

# Whole seconds, which a clock adds up without rounding; None is a look.
steps = st.lists(st.none() | st.integers(0, 3 * DAY), max_size=30)
# More than an hour, either way.
far = st.integers(HOUR + 1, 10 * YEAR) | st.integers(-10 * YEAR, -HOUR - 1)
# An hour at most, either way.
near = st.integers(-HOUR, HOUR)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)


def take(steps: list[int | None], clock: FakeClock, jumps: ClockJumps) -> None:
    for step in steps:
        if step is None:
            jumps.look()
        else:
            clock.advance(step)


# What is a jump


@given(steps)
def test_time_that_passes_is_no_jump_however_long_nobody_looks(steps: list[int | None]) -> None:
    clock = FakeClock()
    jumps = ClockJumps(clock)
    for step in steps:
        take([step], clock, jumps)
        if step is None:
            assert jumps.pause_left() == 0.0
    assert jumps.pause_left() == 0.0
    assert jumps.last is None


@given(steps, far, steps)
def test_a_jump_of_more_than_an_hour_is_noticed_at_the_next_look(
    before: list[int | None], seconds: int, after: list[int | None]
) -> None:
    clock = FakeClock()
    jumps = ClockJumps(clock)
    take(before, clock, jumps)
    clock.jump(seconds)
    take([step for step in after if step is not None], clock, jumps)
    assert jumps.pause_left() == PAUSE
    assert list(jumps.untold) == [Jump(1, seconds, clock.now())]
    take(after, clock, jumps)
    assert len(jumps.untold) == 1, "it was noticed twice"


@given(steps, near, steps)
def test_a_jump_of_an_hour_or_less_is_none(before: list[int | None], seconds: int, after: list[int | None]) -> None:
    clock = FakeClock()
    jumps = ClockJumps(clock)
    take(before, clock, jumps)
    clock.jump(seconds)
    take([*after, None], clock, jumps)
    assert jumps.pause_left() == 0.0
    assert jumps.last is None


@given(st.lists(st.tuples(st.integers(1, DAY), near), max_size=30))
def test_slow_drift_never_adds_up_to_a_jump(drifts: list[tuple[int, int]]) -> None:
    clock = FakeClock()
    jumps = ClockJumps(clock)
    for passed, seconds in drifts:
        clock.advance(passed)
        clock.jump(seconds)
        assert jumps.pause_left() == 0.0


def test_what_happens_between_two_looks_adds_up() -> None:
    clock = FakeClock()
    jumps = ClockJumps(clock)
    for _ in range(3):
        clock.jump(HOUR / 2)
        clock.advance(DAY)
    assert jumps.pause_left() == PAUSE
    assert jumps.last is not None
    assert jumps.last.seconds == 1.5 * HOUR
    # There and back, and nobody looked: nothing that anybody could have acted on.
    clock.advance(DAY)
    clock.jump(DAY)
    clock.jump(-DAY)
    assert jumps.pause_left() == 0.0


# How long it lasts


@given(far, st.lists(st.tuples(st.integers(1, 300), near), max_size=20))
def test_the_pause_lasts_ten_minutes_of_time_whatever_the_wall_clock_does_meanwhile(
    seconds: int, meanwhile: list[tuple[int, int]]
) -> None:
    clock = FakeClock()
    jumps = ClockJumps(clock)
    clock.jump(seconds)
    assert jumps.pause_left() == 600.0
    gone = 0
    for passed, nudge in meanwhile:
        clock.advance(passed)
        clock.jump(nudge)
        gone += passed
        assert jumps.pause_left() == max(0.0, 600.0 - gone)
    clock.advance(max(0, 600 - gone))
    assert jumps.pause_left() == 0.0


def test_the_last_second_of_the_pause_is_paused() -> None:
    clock = FakeClock()
    jumps = ClockJumps(clock)
    clock.jump(2 * HOUR)
    assert jumps.pause_left() == PAUSE
    clock.advance(PAUSE - 1)
    assert jumps.pause_left() == 1.0
    clock.advance(1)
    assert jumps.pause_left() == 0.0


@given(far, st.integers(0, 599))
def test_setting_the_clock_back_right_begins_a_new_pause(seconds: int, passed: int) -> None:
    clock = FakeClock()
    jumps = ClockJumps(clock)
    clock.jump(seconds)
    jumps.look()
    clock.advance(passed)
    clock.jump(-seconds)
    assert jumps.pause_left() == PAUSE
    assert [(jump.number, jump.seconds) for jump in jumps.untold] == [(1, seconds), (2, -seconds)]


def test_the_figures_are_those_of_the_design() -> None:
    assert (JUMP, PAUSE) == (3600.0, 600.0)
    assert LOOK_EVERY <= 10.0


# What the admin room is told


class Kept:
    """A machine with a clock and a disk, and the bot's watch on it."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock()
        self.health = Health(running_since=self.clock.now(), admin_room=ROOM)
        database = Database(sqlite_url(path))
        self.disk = SickDisk(database)
        self.trouble: list[StoreUnavailableError] = []
        self.store = Store(database, self.clock, on_trouble=self.trouble.append)
        self.start("first start")

    def start(self, mark: str) -> None:
        """A process begins."""
        self.jumps = ClockJumps(self.clock)
        self.watch = ClockWatch(self.jumps, self.store, self.health, self.clock, mark=mark)

    async def notices(self) -> list[dict[str, Any]]:
        """What is to be said, oldest first."""
        async with self.store._database.reading() as connection:
            rows = await connection.execute(text("SELECT payload FROM jobs WHERE kind = 'send' ORDER BY id"))
            return [json.loads(row[0]) for row in rows]

    async def bodies(self) -> list[str]:
        return [notice["content"]["body"] for notice in await self.notices()]

    async def recorded(self) -> list[float]:
        """By how much the clock jumped, as the audit log has it."""
        async with self.store._database.reading() as connection:
            rows = await connection.execute(text("SELECT facts FROM audit WHERE verb = 'clock:jumped' ORDER BY seq"))
            return [json.loads(row[0])["seconds"] for row in rows]


@pytest_asyncio.fixture
async def kept(tmp_path: Path, fresh_database: Path) -> AsyncIterator[Kept]:
    kept = Kept(Path(shutil.copy(fresh_database, tmp_path / "onboard.db")))
    yield kept
    async with kept.store.reading() as tx:
        assert await tx.audit.verify() is None
    await kept.store.close()


async def test_the_room_reads_by_how_much_to_what_time_and_what_to_do(kept: Kept) -> None:
    kept.clock.jump(3 * HOUR + 120)
    await kept.watch.look()
    (notice,) = await kept.notices()
    assert notice["room_id"] == ROOM
    assert notice["in_clear"] is False
    assert notice["content"]["io.github.onboard_bot"] == {"v": 1, "kind": "status"}
    assert notice["content"]["m.mentions"] == {}
    body = notice["content"]["body"]
    assert "jumped forward by 3 hours and 2 minutes, to 2027-01-15 11:02 UTC." in body
    assert "For ten minutes no request expires" in body
    assert "have the clock set right within these ten minutes" in body
    assert body.endswith("requests expire too early.")


async def test_a_clock_that_went_back_is_told_of_as_such(kept: Kept) -> None:
    kept.clock.jump(-2 * DAY - HOUR - 60)
    await kept.watch.look()
    (body,) = await kept.bodies()
    assert "jumped back by 2 days and 1 hour, to 2027-01-13 06:59 UTC." in body
    assert body.endswith("requests expire too late.")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (HOUR + 1, "by 1 hour,"),
        (HOUR + 31, "by 1 hour and 1 minute,"),
        (DAY - 1, "by 1 day,"),
        (DAY + 60, "by 1 day and 1 minute,"),
        (9 * YEAR, "by 3285 days,"),
        (-2 * HOUR, "by 2 hours,"),
    ],
)
def test_lengths_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert said in render(clock_jumped(Jump(1, seconds, 0.0)))["body"]


async def test_a_jump_is_told_once_and_recorded_once_however_often_anybody_looks(kept: Kept) -> None:
    kept.clock.jump(-5 * HOUR)
    assert kept.jumps.pause_left() == PAUSE, "a job that looks first is paused by what nobody has told of yet"
    for _ in range(3):
        await kept.watch.look()
        kept.clock.advance(LOOK_EVERY)
        kept.jumps.look()
    assert len(await kept.notices()) == 1
    assert await kept.recorded() == [-5 * HOUR]


async def test_each_jump_is_told_for_itself_also_the_same_again_and_in_the_next_process(kept: Kept) -> None:
    for process in ("second start", "third start"):
        for seconds in (4 * HOUR, -4 * HOUR):
            kept.clock.jump(seconds)
            kept.jumps.look()
        await kept.watch.look()
        kept.start(process)
    assert await kept.recorded() == [4 * HOUR, -4 * HOUR] * 2
    assert ["back" in body for body in await kept.bodies()] == [False, True] * 2


async def test_without_a_jump_nothing_is_said(kept: Kept) -> None:
    for seconds in (HOUR, -HOUR, 1):
        kept.clock.jump(seconds)
        kept.clock.advance(7 * DAY)
        await kept.watch.look()
    assert await kept.notices() == []
    assert await kept.recorded() == []


async def test_as_long_as_there_is_no_room_it_waits_to_be_told(kept: Kept) -> None:
    kept.health.admin_room = None
    kept.clock.jump(DAY)
    await kept.watch.look()
    assert await kept.recorded() == []
    kept.clock.advance(DAY)
    kept.health.admin_room = ROOM
    await kept.watch.look()
    (body,) = await kept.bodies()
    assert "to 2027-01-16 08:00 UTC" in body, "the time of the jump, not of the telling"
    assert await kept.recorded() == [DAY]


async def test_what_cannot_be_stored_now_is_told_when_it_can(kept: Kept) -> None:
    kept.clock.jump(DAY)
    kept.disk.read_only = True
    with pytest.raises(StoreUnavailableError):
        await kept.watch.look()
    kept.disk.heal()
    await kept.watch.look()
    assert len(await kept.notices()) == 1
    assert await kept.recorded() == [DAY]


async def test_a_look_that_is_cut_off_behind_its_commit_tells_nothing_twice(kept: Kept) -> None:
    kept.clock.jump(DAY)
    kept.jumps.look()
    (jump,) = kept.jumps.untold
    await kept.watch.look()
    kept.jumps.untold.append(jump)
    await kept.watch.look()
    assert len(await kept.notices()) == 1
    assert await kept.recorded() == [DAY]


async def test_a_clock_that_two_programs_set_in_turn_does_not_flood_the_room(kept: Kept) -> None:
    for turn in range(20):
        kept.clock.jump(DAY if turn % 2 else -DAY)
        await kept.watch.look()
        kept.clock.advance(LOOK_EVERY)
    assert len(await kept.notices()) == 5
    assert len(await kept.recorded()) == 20
    kept.clock.advance(HOUR)
    kept.clock.jump(DAY)
    await kept.watch.look()
    assert len(await kept.notices()) == 6


@asynccontextmanager
async def watching(kept: Kept) -> AsyncIterator[None]:
    task = asyncio.create_task(kept.watch.run())
    yield
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - the watch rings no bell
            await asyncio.sleep(0)


async def test_the_watch_looks_by_itself_and_a_sick_disk_only_delays_it(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.disk.read_only = True
    kept.clock.jump(DAY)
    async with watching(kept):
        await until(lambda: len(kept.trouble) >= 2)
        kept.disk.heal()
        await until(lambda: not kept.jumps.untold)
    assert await kept.recorded() == [DAY]
    assert caplog.text == "", "the storage watch says it, and nobody else"


async def test_a_fault_of_ours_ends_neither_the_watch_nor_the_telling(
    kept: Kept, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [ZeroDivisionError("a fault")]

    def faulty(jump: Jump) -> Message:
        if faults:
            raise faults.pop()
        return clock_jumped(jump)

    monkeypatch.setattr(upkeep_clock, "clock_jumped", faulty)
    kept.clock.jump(DAY)
    async with watching(kept):
        await until(lambda: kept.jumps.last is not None and not kept.jumps.untold)
    assert await kept.recorded() == [DAY]
    assert caplog.text.count("a fault") == 1


# What `!status` shows


async def shown(kept: Kept) -> str:
    config = SimpleNamespace(
        encryption=SimpleNamespace(unsigned_devices="refuse"), homeserver=SimpleNamespace(url="http://localhost")
    )
    machine = SimpleNamespace(user_id="@onboard:example.org", device_id="BOTDEVICE", fingerprint="abcd")
    identity = SimpleNamespace(standing=SimpleNamespace(master_key="efgh"))
    asked = Status(
        cast("Config", config),
        kept.health,
        cast("Machine", machine),
        cast("IdentityWatch", identity),
        kept.jumps,
        list,
    )
    async with kept.store.reading() as tx:
        return str(render(status(await asked.report(tx)))["body"])


async def test_the_status_notes_the_pause_while_it_lasts(kept: Kept) -> None:
    assert "All is well." in await shown(kept)
    kept.clock.jump(3 * HOUR)
    body = await shown(kept)
    assert "⚠️ The clock of my machine jumped forward by 3 hours, to 2027-01-15 11:00 UTC." in body
    assert "No request expires for another 10 minutes;" in body
    kept.clock.advance(PAUSE - 1)
    assert "for another 1 minute;" in await shown(kept)
    kept.clock.advance(1)
    assert "All is well." in await shown(kept)
