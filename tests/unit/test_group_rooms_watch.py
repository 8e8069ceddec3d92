"""Staying in the rooms of groups: whatever one look meets, another follows, and each change is told once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from sqlalchemy.exc import OperationalError

from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.matrix.group_rooms import GroupRooms
from onboard_bot.onboarding.ports import RateLimitedError, TokenRejectedError, UnreachableError
from onboard_bot.store.trouble import StoreUnavailableError
from onboard_bot.upkeep import group_rooms
from onboard_bot.upkeep.group_rooms import GroupRoomsWatch
from onboard_bot.upkeep.patience import Patience
from tests.fakes.clock import FakeClock

PASSING = {
    "the server is away": UnreachableError("502"),
    "a limit": RateLimitedError("GET joined_rooms", 3.0),
    "nonsense": KeyError("room_id"),
    "a fault of ours": ZeroDivisionError("a fault"),
    "the database": OperationalError("SELECT 1", {}, Exception("database is locked")),
    "no room on the disk": StoreUnavailableError("The disk is full."),
}
FINAL = {
    "the state": FatalError(ErrorCode.STATE_LOST, "gone"),
    "the session": TokenRejectedError(401, {"errcode": "M_UNKNOWN_TOKEN"}),
}


@dataclass
class Doors:
    """The rooms as the watch meets them: what is in the lists is raised once each."""

    before: list[Exception] = field(default_factory=list)
    untold: list[Exception] = field(default_factory=list)
    inside: dict[str, str] = field(default_factory=dict)
    looks: int = 0
    told: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        patience = Patience(FakeClock(), lambda _why: None)
        self.watch = GroupRoomsWatch(cast("GroupRooms", self), self.changed, patience)

    async def enter(self) -> None:
        self.looks += 1
        if self.before:
            raise self.before.pop(0)

    def entered(self) -> dict[str, str]:
        return dict(self.inside)

    async def changed(self) -> None:
        if self.untold:
            raise self.untold.pop(0)
        self.told.append(self.entered())


@asynccontextmanager
async def watching(doors: Doors) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(doors.watch.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - what is waited for happens in the fakes, which ring no bell
            await asyncio.sleep(0.001)


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every minute, but quicker."""
    monkeypatch.setattr(group_rooms, "_LOOK_EVERY", 0.01)


@pytest.mark.usefixtures("looks_often")
async def test_each_change_is_told_once() -> None:
    doors = Doors()
    async with watching(doors) as task:
        await until(lambda: doors.looks > 2)
        assert doors.told == []
        for inside in ({"#a": "!a"}, {"#a": "!a", "#b": "!b"}, {"#a": "!other", "#b": "!b"}, {}):
            doors.inside, seen = inside, doors.looks
            await until(lambda seen=seen: doors.looks > seen + 2)  # type: ignore[misc] # mypy and defaults of lambdas
            assert doors.told[-1] == inside
        assert len(doors.told) == 4
        assert not task.done()


@pytest.mark.usefixtures("looks_often")
@pytest.mark.parametrize("what", PASSING)
@pytest.mark.parametrize("when", ["looking", "telling"])
async def test_what_passes_is_outlived_and_the_change_is_told(what: str, when: str) -> None:
    doors = Doors(inside={"#a": "!a"})
    (doors.before if when == "looking" else doors.untold).append(PASSING[what])
    async with watching(doors) as task:
        await until(lambda: doors.told == [{"#a": "!a"}])
        assert not task.done()


@pytest.mark.parametrize("what", FINAL)
async def test_what_no_look_can_mend_ends_the_bot(what: str) -> None:
    doors = Doors(before=[FINAL[what]])
    async with watching(doors) as task:
        await until(task.done)
        assert task.exception() is FINAL[what]


async def test_nothing_is_looked_at_twice_in_a_row_unless_something_happens() -> None:
    doors = Doors()
    async with watching(doors):
        await until(lambda: doors.looks == 1)
        await asyncio.sleep(0.05)
        assert doors.looks == 1
        doors.inside = {"#a": "!a"}
        doors.watch.look_now()
        await until(lambda: doors.told)
        assert doors.looks == 2
