"""What a server holds back holds up nothing else: the sync goes on without keys, and what waits is not lost."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from onboard_bot.matrix.beside_sync import BesideSync
from onboard_bot.matrix.encryption import Encryption
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.sync_loop import SyncLoop
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.journal import JournalledSync
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.transaction import Store
from tests.fakes.clock import FakeClock
from tests.fakes.key_server import KeyServer

BOT = "@onboard:example.org"
LIMITED = RateLimitedError("POST keys/upload", 600.0)
AWAY = UnreachableError("no connection")


class Watched(FakeClock):
    """Remembers what it was asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await super().sleep(seconds)


@pytest.fixture
def clock() -> Watched:
    return Watched()


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - what is waited for rings no bell
            await asyncio.sleep(0.001)


async def ended(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# The sync


class Homeserver:
    """Fails as told, then has the same news each time."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.asked = 0

    async def sync(self, **_how: object) -> str:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return json.dumps({"next_batch": f"s{self.asked}", "rooms": {"join": {"!r:x": {"timeline": {"events": []}}}}})


class Gaps:
    """An intake that has to ask for what a sync left out."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.failures: list[Exception] = []
        self.applied: list[int] = []

    async def apply(self, journalled: JournalledSync) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.applied.append(journalled.seq)
        async with self._store.transaction() as tx:
            await tx.journal.drop(journalled.seq)


class Loop:
    def __init__(self, store: Store, clock: Watched) -> None:
        self.server, self.intake, self.good = Homeserver(), Gaps(store), 0
        self.loop = SyncLoop(
            self.server,  # type: ignore[arg-type]
            self.intake,  # type: ignore[arg-type]
            store,
            clock=clock,
            on_synced=self._note,
        )

    def _note(self) -> None:
        self.good += 1


@pytest.fixture
async def loop(tmp_path: Path, clock: Watched) -> AsyncIterator[Loop]:
    database = tmp_path / "onboard.db"
    await asyncio.to_thread(bring_up_to_date, database)
    store = Store(Database(sqlite_url(database)), clock)
    yield Loop(store, clock)
    await store.close()


async def test_a_limited_sync_is_asked_again_within_half_a_minute(loop: Loop, clock: Watched) -> None:
    loop.server.failures = [RateLimitedError("GET sync", 3600.0), RateLimitedError("GET sync", 2.0)]
    running = asyncio.create_task(loop.loop.run())
    await until(lambda: loop.good)
    await ended(running)
    assert clock.slept[:2] == [30.0, 2.0]


async def test_a_server_that_is_away_is_looked_for_every_ten_seconds_in_the_end(loop: Loop, clock: Watched) -> None:
    loop.server.failures = [AWAY] * 20
    running = asyncio.create_task(loop.loop.run())
    await until(lambda: loop.good)
    await ended(running)
    assert clock.slept[0] <= 0.5
    assert all(5 <= slept <= 10 for slept in clock.slept[6:20])


async def test_what_a_gap_left_out_is_asked_for_until_it_comes_and_the_bot_says_that_it_is_not_up_to_date(
    loop: Loop, clock: Watched
) -> None:
    limited = RateLimitedError("GET rooms/…/messages", 600.0)
    loop.intake.failures = [AWAY, AWAY, AWAY, limited, limited]
    running = asyncio.create_task(loop.loop.run())
    await until(lambda: not loop.intake.failures)
    assert (loop.good, loop.server.asked) == (0, 1)
    await until(lambda: loop.good)
    await ended(running)
    assert loop.intake.applied[:1] == [1]
    assert clock.slept[0] < clock.slept[2]
    assert clock.slept[3:5] == [30.0, 30.0]


# The keys


class Stocked:
    def __init__(self, folder: Path, clock: Watched) -> None:
        self.server = KeyServer()
        self.api = self.server.api(BOT, "DEVICE")
        self.bodies: list[str] = []
        self._fails: list[Exception] = []
        self._upload: Callable[[Any], Awaitable[Any]] = self.api.keys_upload
        self.api.keys_upload = self._watched  # type: ignore[method-assign]
        self.machine = Machine(BOT, "DEVICE", folder, b"k" * 32)
        self.encryption = Encryption(self.api, self.machine)  # type: ignore[arg-type]
        self.stock = BesideSync(self.encryption.keep_keys_stocked, clock, "keys could not be uploaded")

    def fails(self, *errors: Exception) -> None:
        self._fails += errors

    async def _watched(self, body: Any) -> Any:
        self.bodies.append(json.dumps(body))
        if self._fails:
            raise self._fails.pop(0)
        return await self._upload(body)

    def synced(self) -> None:
        self.machine.receive(self.server.sync(BOT, "DEVICE"))
        self.stock.look_now()


@pytest.fixture
async def stocked(tmp_path: Path, clock: Watched) -> AsyncIterator[Stocked]:
    made = Stocked(tmp_path, clock)
    await made.encryption.keep_keys_stocked()
    made.bodies.clear()
    yield made
    made.machine.close()


def use_up_keys(stocked: Stocked) -> None:
    """Strangers took them all, and the last resort too."""
    stocked.server.one_time_keys.clear()
    stocked.server.fallback_keys.clear()


async def test_keys_are_stocked_after_a_sync_and_not_without_one(stocked: Stocked) -> None:
    running = asyncio.create_task(stocked.stock.run())
    use_up_keys(stocked)
    await asyncio.sleep(0.01)
    assert stocked.bodies == []
    stocked.synced()
    await until(lambda: stocked.server.one_time_keys[BOT, "DEVICE"])
    stocked.synced()
    await asyncio.sleep(0.01)
    await ended(running)
    assert len(stocked.bodies) == 1


async def test_keys_that_could_not_be_uploaded_are_the_same_at_the_next_try(stocked: Stocked, clock: Watched) -> None:
    """Each new body has another fallback key, and the machine remembers two: a third would make the first useless."""
    running = asyncio.create_task(stocked.stock.run())
    stocked.fails(AWAY, LIMITED, AWAY, AWAY)
    use_up_keys(stocked)
    stocked.synced()
    await until(lambda: stocked.server.fallback_keys)
    await ended(running)
    assert len(stocked.bodies) == 5
    assert len(set(stocked.bodies)) == 1
    assert clock.slept[1] == 600.0
    assert clock.slept[0] < clock.slept[3]


async def test_keys_that_the_server_refuses_are_made_anew(stocked: Stocked) -> None:
    running = asyncio.create_task(stocked.stock.run())
    stocked.fails(RefusedError(400, {"errcode": "M_UNKNOWN", "error": "One time key already exists"}))
    use_up_keys(stocked)
    stocked.synced()
    await until(lambda: stocked.server.fallback_keys)
    await ended(running)
    assert len(set(stocked.bodies)) == 2


async def test_a_session_that_is_over_ends_the_stocking(stocked: Stocked) -> None:
    running = asyncio.create_task(stocked.stock.run())
    stocked.fails(TokenRejectedError(401, {"errcode": "M_UNKNOWN_TOKEN"}))
    use_up_keys(stocked)
    stocked.synced()
    with pytest.raises(TokenRejectedError):
        async with asyncio.timeout(5):
            await running
