"""The bot looks at its own identity when there is a reason to, and the admin room is told what it must know, once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from onboard_bot.chat.messages import render
from onboard_bot.chat.replies import OwnKeys, StatusReport, status
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.health import Health
from onboard_bot.matrix.own_identity import OwnStanding, foreign_identity, not_taken
from onboard_bot.onboarding.ports import RateLimitedError, TokenRejectedError, UnreachableError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.transaction import Store
from onboard_bot.store.trouble import StoreUnavailableError
from onboard_bot.upkeep.identity import IdentityWatch, record_reset
from onboard_bot.upkeep.notices import AdminRoomNotices
from tests.fakes.clock import FakeClock
from tests.fakes.own_account import identity_of

BOT, ROOM = "@onboard:example.org", "!admins:example.org"
GOOD = OwnStanding("ours")


def foreign(master_key: str) -> OwnStanding:
    return OwnStanding("ours", foreign_identity(BOT, master_key), master_key)


class Looks:
    """What each look finds, or raises; the last one for ever."""

    def __init__(self, *found: OwnStanding | Exception) -> None:
        self._found = list(found)
        self.count = 0

    async def __call__(self) -> OwnStanding:
        self.count += 1
        found = self._found.pop(0) if len(self._found) > 1 else self._found[0]
        if isinstance(found, Exception):
            raise found
        return found


def watch_over(*found: OwnStanding | Exception) -> tuple[IdentityWatch, Looks, Health]:
    looks, health = Looks(*found), Health(running_since=0.0)
    return IdentityWatch(looks, health, FakeClock()), looks, health


@asynccontextmanager
async def running(watch: IdentityWatch) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(watch.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_without_a_reason_nobody_asks_the_server() -> None:
    watch, looks, _ = watch_over(GOOD)
    async with running(watch):
        await settle()
        assert looks.count == 0
        watch.look_again()
        watch.look_again()
        await settle()
        assert looks.count == 1


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("502"),
        RateLimitedError("POST keys/query", 3),
        StoreUnavailableError("the disk is full"),
        OnboardError(ErrorCode.STATE_IN_USE, "a reset is under way"),
    ],
)
async def test_what_hinders_a_look_only_delays_it(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    watch, looks, _ = watch_over(error, error, GOOD)
    async with running(watch) as task:
        watch.look_again()
        await settle()
        assert looks.count == 3
        assert watch.standing == GOOD
        assert not task.done()
    assert "Traceback" not in caplog.text


async def test_the_end_of_the_session_ends_the_watch_and_the_look_is_made_with_the_next() -> None:
    watch, looks, _ = watch_over(TokenRejectedError(401, {"soft_logout": True}), GOOD)
    async with running(watch) as task:
        watch.look_again()
        with pytest.raises(TokenRejectedError):
            await task
    async with running(watch):
        await settle()
        assert looks.count == 2


async def test_trouble_is_in_the_health_and_once_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    watch, _, health = watch_over(foreign("X"), foreign("X"), foreign("Y"), GOOD)
    changes: list[str] = []
    watch.on_change = lambda: changes.append(watch.standing.about)
    await watch.look()
    await watch.look()
    assert caplog.text.count("master key X") == 1
    assert health.identity is not None
    await watch.look()
    assert caplog.text.count("master key Y") == 1
    await watch.look()
    assert health.identity is None
    assert changes == ["X", "Y", ""]


# What the admin room is told.


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    path = tmp_path / "onboard.db"
    await asyncio.to_thread(bring_up_to_date, path)
    store = Store(Database(sqlite_url(path)), FakeClock())
    yield store
    await store.close()


async def intended(store: Store) -> list[dict[str, Any]]:
    """What is to be said, oldest first."""
    async with store._database.reading() as connection:
        rows = await connection.execute(text("SELECT payload FROM jobs ORDER BY id"))
        return [json.loads(row[0]) for row in rows]


async def told(store: Store, watch: IdentityWatch, *, encrypted: bool, room_id: str = ROOM) -> list[dict[str, Any]]:
    """What a start of the bot adds, and its second look."""

    async def is_encrypted(_: str) -> bool:
        return encrypted

    before = len(await intended(store))
    notices = AdminRoomNotices(store, is_encrypted, watch)
    for _ in range(2):
        await notices.bring_up_to_date(room_id)
    return (await intended(store))[before:]


async def test_a_room_in_clear_is_told_so_once_over_all_starts(store: Store) -> None:
    watch, _, _ = watch_over(GOOD)
    (warning,) = await told(store, watch, encrypted=False)
    assert warning["room_id"] == ROOM
    assert warning["content"]["io.github.onboard_bot"] == {"v": 1, "kind": "status"}
    assert "The homeserver can read what is said here" in warning["content"]["body"]
    assert await told(store, watch, encrypted=False) == []
    (other,) = await told(store, watch, encrypted=False, room_id="!other:example.org")
    assert other["room_id"] == "!other:example.org"


async def test_an_encrypted_room_with_a_good_identity_is_told_nothing(store: Store) -> None:
    watch, _, _ = watch_over(GOOD)
    await watch.look()
    assert await told(store, watch, encrypted=True) == []


async def test_a_foreign_identity_is_told_in_clear_once_for_each(store: Store) -> None:
    watch, _, _ = watch_over(foreign("X"), foreign("X"), foreign("Y"))
    await watch.look()
    (first,) = await told(store, watch, encrypted=True)
    assert first["in_clear"] is True
    assert first["content"]["io.github.onboard_bot"] == {"v": 1, "kind": "error", "error": "identity_mismatch"}
    assert "onboard-bot reset-identity" in first["content"]["body"]
    await watch.look()
    assert await told(store, watch, encrypted=True) == []
    await watch.look()
    (second,) = await told(store, watch, encrypted=True)
    assert "master key Y" in second["content"]["body"]


async def test_what_a_later_start_may_mend_is_no_business_of_the_room(store: Store) -> None:
    watch, _, health = watch_over(OwnStanding("ours", not_taken("400"), "refused"))
    await watch.look()
    assert health.identity is not None
    assert await told(store, watch, encrypted=True) == []


async def test_a_reset_is_recorded_once_whoever_brings_it_to_its_end(store: Store) -> None:
    one, two = identity_of(1), identity_of(2)
    for identity in (one, one, two):
        await record_reset(store, identity)
    async with store._database.reading() as connection:
        rows = await connection.execute(text("SELECT facts FROM audit WHERE verb = 'identity:reset' ORDER BY seq"))
        recorded = [json.loads(row[0])["master_key"] for row in rows]
    assert recorded == [one.public("master"), two.public("master")]


# What `!status` shows.


def report(keys: OwnKeys | None) -> dict[str, str]:
    values = {"at": 10.0, "version": "1", "homeserver_url": "http://localhost", "server_name": "example.org"}
    shown = StatusReport(**values, running_since=0.0, last_sync=9.0, open_jobs=0, keys=keys)  # type: ignore[arg-type]
    return render(status(shown))


def test_people_see_keys_in_groups_of_four_and_programs_in_one_piece() -> None:
    shown = report(OwnKeys("BOTDEVICE", "abcdefghi", None))
    assert "My device: BOTDEVICE\n" in shown["body"]
    assert "Its fingerprint: abcdefghi\n" in shown["body"]
    assert "Its fingerprint: <code>abcd efgh i</code>" in shown["formatted_body"]
    assert "My identity's master key: lost" in shown["body"]
