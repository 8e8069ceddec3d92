"""Staying in the admin room: whatever one look meets, another follows; only what no look can mend ends the bot."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
from sqlalchemy.exc import OperationalError

from onboard_bot.errors import ErrorCode, FatalError, UnusableError
from onboard_bot.health import Health
from onboard_bot.matrix.admin_room import NotThereYetError
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.upkeep import admin_room
from onboard_bot.upkeep.admin_room import AdminRoomWatch
from onboard_bot.upkeep.patience import Patience
from tests.fakes.clock import FakeClock

ROOM = "!admins:example.org"
LOCKED = OperationalError("SELECT 1", {}, Exception("database is locked"))
PASSING = {
    "the database": LOCKED,
    "the server is away": UnreachableError("502"),
    "a limit": RateLimitedError("GET joined_rooms", 3.0),
    "a refusal": RefusedError(403, {"errcode": "M_UNKNOWN"}),
    "nonsense": TypeError("'NoneType' object is not iterable"),
    "a missing key": KeyError("room_id"),
    "a fault of ours": ZeroDivisionError("a fault"),
}
FINAL = {
    "unusable": UnusableError("accounts.delivery", "in clear text"),
    "the state": FatalError(ErrorCode.STATE_LOST, "gone"),
    "the session": TokenRejectedError(401, {"errcode": "M_UNKNOWN_TOKEN"}),
}


@dataclass
class Door:
    """The admin room as the watch meets it: `before` and `after` are raised once each, then it lets the bot in."""

    before: list[Exception] = field(default_factory=list)
    after: list[Exception] = field(default_factory=list)
    looks: int = 0
    health: Health = field(default_factory=lambda: Health(running_since=0.0))

    def __post_init__(self) -> None:
        self.watch = AdminRoomWatch(self.enter, self.settled, self.health, Patience(FakeClock(), lambda _why: None))

    @classmethod
    def that_raises(cls, error: Exception, when: str) -> Self:
        """Once, `before` or `after` entering."""
        return cls(before=[error]) if when == "before" else cls(after=[error])

    async def enter(self) -> str:
        self.looks += 1
        if self.before:
            raise self.before.pop(0)
        return ROOM

    async def settled(self, room_id: str) -> None:
        assert room_id == ROOM
        if self.after:
            raise self.after.pop(0)


@asynccontextmanager
async def watching(door: Door) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(door.watch.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - what is waited for happens in the fakes, which ring no bell
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every minute, but quicker."""
    monkeypatch.setattr(admin_room, "_LOOK_EVERY", 0.01)


async def test_the_room_is_kept_once_the_bot_is_in() -> None:
    door = Door()
    async with watching(door) as task:
        await until(lambda: door.health.admin_room == ROOM)
        assert (door.health.waits_for_invitation, door.health.waiting_for) == (False, None)
        await until(lambda: door.looks > 2)
        assert not task.done()


@pytest.mark.parametrize(("what", "when"), [*((what, "before") for what in PASSING), ("the database", "after")])
async def test_what_passes_is_outlived_and_the_next_look_counts(what: str, when: str) -> None:
    door = Door.that_raises(PASSING[what], when)
    async with watching(door) as task:
        await until(lambda: door.health.admin_room == ROOM)
        assert not task.done()
    assert door.looks >= 2


async def test_a_database_that_is_away_for_many_looks_is_outlived_too() -> None:
    door = Door(before=[LOCKED] * 5, after=[LOCKED] * 5)
    async with watching(door) as task:
        await until(lambda: door.health.admin_room == ROOM)
        assert not task.done()
    assert door.looks >= 11


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", FINAL)
async def test_what_no_look_can_mend_ends_it(what: str, when: str) -> None:
    door = Door.that_raises(FINAL[what], when)
    async with watching(door) as task:
        await until(task.done)
        assert task.exception() is FINAL[what]
    assert door.health.admin_room is None


async def test_a_room_that_does_not_let_the_bot_in_is_waited_for_and_said_so() -> None:
    door = Door(before=[NotThereYetError("waiting for an invitation")] * 3)
    async with watching(door):
        await until(lambda: door.looks >= 1)
        await until(lambda: door.health.waits_for_invitation or door.health.admin_room)
        await until(lambda: door.health.admin_room == ROOM)
    assert (door.health.waits_for_invitation, door.health.waiting_for) == (False, None)


async def test_an_invitation_is_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_room, "_LOOK_EVERY", 3600)
    door = Door(before=[NotThereYetError("waiting for an invitation")])
    async with watching(door):
        await until(lambda: door.health.waits_for_invitation)
        assert door.health.waiting_for == "waiting for an invitation"
        door.watch.look_now()
        await until(lambda: door.health.admin_room == ROOM)


async def test_a_bot_that_was_put_out_is_not_in_the_room_any_more() -> None:
    door = Door()
    async with watching(door):
        await until(lambda: door.health.admin_room == ROOM)
        door.before += [NotThereYetError("somebody removed the bot")] * 1000
        await until(lambda: door.health.admin_room is None)
        assert door.health.waiting_for == "somebody removed the bot"
        door.before.clear()
        await until(lambda: door.health.admin_room == ROOM)
