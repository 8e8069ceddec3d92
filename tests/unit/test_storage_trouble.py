"""A disk that is full or cannot be written: nothing is taken for stored that is not, and it goes on by itself."""

import asyncio
import errno
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import peewee
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.health import Health
from onboard_bot.matrix.limits_met import LimitsMet
from onboard_bot.matrix.sync_loop import SyncLoop
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.jobs import NewJob
from onboard_bot.store.journal import JournalledSync
from onboard_bot.store.transaction import Store
from onboard_bot.store.trouble import FULL, StoreUnavailableError, trouble_in
from onboard_bot.upkeep.patience import Patience
from onboard_bot.upkeep.storage import LOOK_EVERY, StorageWatch
from tests.fakes.clock import FakeClock
from tests.fakes.sick_disk import SickDisk
from tests.unit.test_jobs_runner import Workshop, failing

LARGE = "x" * 100_000


class Kept:
    """A store, the disk under it, and what was said of the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.said: list[str] = []
        database = Database(sqlite_url(path))
        self.disk = SickDisk(database)
        self.store = Store(database, self.clock, on_trouble=lambda error: self.said.append(error.sentence))

    async def remember(self, value: str) -> None:
        async with self.store.transaction() as tx:
            await tx.meta.set("key", value)

    async def remembered(self) -> str | None:
        async with self.store.reading() as tx:
            return await tx.meta.get("key")


@pytest_asyncio.fixture
async def kept(tmp_path: Path, fresh_database: Path) -> AsyncIterator[Kept]:
    kept = Kept(Path(shutil.copy(fresh_database, tmp_path / "onboard.db")))
    yield kept
    await kept.store.close()


# What an error says


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "any.db", isolation_level=None, timeout=0)) as connection:
        connection.execute("CREATE TABLE t (a)")
        yield connection


def caught(connection: sqlite3.Connection, statement: str, *values: object) -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as error:
        connection.execute(statement, values)
    return error.value


def test_a_full_a_locked_and_a_damaged_database_are_told_apart(connection: sqlite3.Connection, tmp_path: Path) -> None:
    connection.execute("PRAGMA max_page_count = 1")
    full = trouble_in(caught(connection, "INSERT INTO t VALUES (?)", LARGE))
    assert full is not None
    assert (full.sentence, full.lasting) == ("the disk is full", False)
    connection.execute("PRAGMA query_only = 1")
    read_only = trouble_in(caught(connection, "INSERT INTO t VALUES (1)"))
    assert read_only is not None
    assert "cannot be written" in read_only.sentence
    with closing(sqlite3.connect(tmp_path / "any.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        busy = trouble_in(caught(connection, "SELECT * FROM t"))
    assert busy is not None
    assert "another process" in busy.sentence
    (tmp_path / "not.db").write_bytes(b"no database at all " * 100)
    with closing(sqlite3.connect(tmp_path / "not.db")) as garbage:
        damaged = trouble_in(caught(garbage, "SELECT * FROM t"))
    assert damaged is not None
    assert damaged.lasting
    assert "restore a backup" in damaged.sentence


def test_a_mistake_of_ours_is_no_trouble_of_the_disk(connection: sqlite3.Connection) -> None:
    assert trouble_in(caught(connection, "SELECT nothing FROM nowhere")) is None
    connection.execute("CREATE UNIQUE INDEX i ON t (a)")
    connection.execute("INSERT INTO t VALUES (1)")
    assert trouble_in(caught(connection, "INSERT INTO t VALUES (1)")) is None
    assert trouble_in(ValueError("disk")) is None
    assert trouble_in(ConnectionRefusedError(errno.ECONNREFUSED, "refused")) is None


def test_what_peewee_wraps_is_seen_through(tmp_path: Path) -> None:
    database = peewee.SqliteDatabase(str(tmp_path / "any.db"))
    database.execute_sql("CREATE TABLE t (a)")
    database.execute_sql("PRAGMA max_page_count = 1")
    with pytest.raises(peewee.OperationalError) as caught:
        database.execute_sql("INSERT INTO t VALUES (?)", (LARGE,))
    database.close()
    trouble = trouble_in(caught.value)
    assert trouble is not None
    assert trouble.sentence == FULL


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "full"), (errno.EROFS, "cannot be written"), (errno.EIO, "does not take")]
)
def test_what_the_system_says_is_said_in_the_same_words(number: int, word: str) -> None:
    trouble = trouble_in(OSError(number, os.strerror(number)))
    assert trouble is not None
    assert word in trouble.sentence


# The database


async def test_what_does_not_fit_is_not_there_and_the_next_that_fits_is(kept: Kept) -> None:
    await kept.remember("before")
    kept.disk.full = True
    for _ in range(10):  # more often than there are connections
        with pytest.raises(StoreUnavailableError, match="full"):
            await kept.remember(LARGE)
    assert await kept.remembered() == "before"
    assert kept.said == [FULL] * 10
    kept.disk.heal()
    await kept.remember(LARGE)
    assert await kept.remembered() == LARGE


async def test_a_database_that_turns_read_only_can_still_be_read(kept: Kept) -> None:
    await kept.remember("before")
    kept.disk.read_only = True
    with pytest.raises(StoreUnavailableError, match="cannot be written"):
        await kept.remember("after")
    assert await kept.remembered() == "before"


async def test_a_database_that_is_damaged_says_so(kept: Kept) -> None:
    await kept.remember(LARGE)
    await kept.store.close()
    content = bytearray(kept.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    kept.path.write_bytes(content)
    with pytest.raises(StoreUnavailableError, match="damaged") as caught:
        await kept.remembered()
    assert caught.value.lasting


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40_000)), max_size=12))
async def test_whatever_fits_and_whatever_does_not_a_transaction_is_there_or_it_is_not(
    fresh_database: Path, tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[bool, int]]
) -> None:
    kept = Kept(Path(shutil.copy(fresh_database, tmp_path_factory.mktemp("any") / "onboard.db")))
    expected: str | None = None
    for number, (full, size) in enumerate(writes):
        kept.disk.full = full
        value = f"{number}:" + "y" * size
        try:
            await kept.remember(value)
            expected = value
        except StoreUnavailableError:
            assert full
        assert await kept.remembered() == expected
    kept.disk.heal()
    await kept.remember(LARGE)
    await kept.store.close()


# Syncs


class Homeserver:
    """Answers every sync with the same news; notes which token it was asked with."""

    def __init__(self) -> None:
        self.asked_since: list[str | None] = []

    async def sync(self, *, since: str | None, **_how: object) -> str:
        self.asked_since.append(since)
        timeline = {"events": [], "note": LARGE}
        return json.dumps({"next_batch": "s1", "rooms": {"join": {"!r:x": {"timeline": timeline}}}})


class SickIntake:
    """Takes bodies in, unless its own disk refuses."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.refuses = 0
        self.taken: list[int] = []

    async def apply(self, journalled: JournalledSync) -> None:
        if self.refuses:
            self.refuses -= 1
            raise StoreUnavailableError(FULL)
        self.taken.append(journalled.seq)
        async with self._store.transaction() as tx:
            await tx.journal.drop(journalled.seq)


def sync_loop(kept: Kept) -> tuple[SyncLoop, Homeserver, SickIntake]:
    server, intake = Homeserver(), SickIntake(kept.store)
    loop = SyncLoop(server, intake, kept.store, clock=kept.clock, on_synced=lambda: None)  # type: ignore[arg-type]
    return loop, server, intake


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - what is waited for rings no bell
            await asyncio.sleep(0.002)


async def test_a_body_that_cannot_be_stored_is_not_acknowledged(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    loop, server, intake = sync_loop(kept)
    kept.disk.full = True
    running = asyncio.create_task(loop.run())
    await until(lambda: len(server.asked_since) >= 5)
    assert set(server.asked_since) == {None}
    assert intake.taken == []
    kept.disk.heal()
    await until(lambda: intake.taken)
    await until(lambda: "s1" in server.asked_since)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert caplog.text == ""


async def test_a_body_is_not_given_up_because_of_the_disk(kept: Kept) -> None:
    loop, server, intake = sync_loop(kept)
    intake.refuses = 20
    running = asyncio.create_task(loop.run())
    await until(lambda: intake.taken)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert intake.refuses == 0
    assert server.asked_since[0] is None


# Jobs


@pytest_asyncio.fixture
async def shop(kept: Kept) -> Workshop:
    return Workshop(kept.store, kept.clock)


async def test_no_effect_is_begun_that_was_not_written_down(kept: Kept, shop: Workshop) -> None:
    await shop.intend("a")
    kept.disk.read_only = True
    running = asyncio.create_task(shop.runner.run())
    await until(lambda: len(kept.said) >= 5)
    assert shop.deed.begun == []
    kept.disk.heal()
    await until(lambda: shop.deed.ended)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert shop.deed.ended == ["a"]
    assert (await shop.state("a"))[:2] == ("done", 1)


async def test_a_job_whose_effect_cannot_store_something_is_never_given_up(
    shop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.deed.act = failing(StoreUnavailableError(FULL), times=30)
    await shop.intend("a")
    await shop.runner.run_due()
    assert shop.deed.ended == ["a"]
    assert await shop.done("a")
    assert caplog.text == ""


async def test_an_outcome_that_cannot_be_stored_is_stored_later(kept: Kept, shop: Workshop) -> None:
    async def fills_the_disk(_job: object) -> None:
        kept.disk.read_only = not kept.said

    shop.deed.act = fills_the_disk
    await shop.intend("a")
    running = asyncio.create_task(shop.runner.run())
    await until(lambda: len(kept.said) >= 3)
    assert shop.deed.ended == ["a"]  # and not once more: the next try could not be written down either
    kept.disk.heal()
    await until(lambda: len(shop.deed.ended) == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await shop.state("a"))[0] == "done"


async def test_looking_for_jobs_in_a_database_that_cannot_be_read_fills_no_log(
    kept: Kept, shop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = 0

    async def first_of_lanes(*_args: object, **_more: object) -> list[Any]:
        nonlocal looks
        looks += 1
        raise StoreUnavailableError(FULL)

    monkeypatch.setattr("onboard_bot.store.jobs.Jobs.first_of_lanes", first_of_lanes)
    running = asyncio.create_task(shop.runner.run())
    await until(lambda: len(kept.said) >= 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert caplog.text == ""
    assert looks >= 5


async def test_limits_that_cannot_be_stored_wait_and_fill_no_log(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    limits = LimitsMet(kept.store, kept.clock)
    kept.disk.read_only = True
    async with limits.kept():
        limits.note("send", 3.0)
        await until(lambda: len(kept.said) >= 3)
        kept.disk.heal()
    async with kept.store.reading() as tx:
        (met,) = await tx.rate_limits.of_the_last_day(now=tx.now)
    assert met.times == 1
    assert caplog.text == ""


# Waiting at the start


async def test_a_step_that_cannot_store_something_is_repeated_until_it_can() -> None:
    clock, said = FakeClock(), []
    failures = [StoreUnavailableError(FULL)] * 4

    async def step() -> str:
        if failures:
            raise failures.pop()
        return "done"

    patience = Patience(clock, lambda _why: None, lambda error: said.append(error.sentence))
    began = clock.now()
    assert await patience.until_done(step) == "done"
    assert said == [FULL] * 4
    assert clock.now() - began <= 15


# The state directory


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path / "state")
    state.prepare()
    return state


@pytest.mark.parametrize("call", ["open", "pwrite", "ftruncate"])
def test_a_lock_that_cannot_be_written_is_a_sentence_and_leaves_nothing_locked(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        with pytest.raises(FatalError) as caught, state.held():
            pytest.fail("held")
    assert caught.value.code is ErrorCode.STATE_UNUSABLE
    assert "No space left" in caught.value.sentence
    assert str(state.path) in caught.value.sentence
    with state.held():
        pass


def test_an_error_of_what_runs_under_the_lock_stays_what_it_is(state: StateDir) -> None:
    with pytest.raises(FileNotFoundError), state.held():
        raise FileNotFoundError


def test_a_key_that_cannot_be_made_is_a_sentence(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(FatalError, match="Read-only") as caught:
        state.key("secrets.key")
    assert caught.value.code is ErrorCode.STATE_UNUSABLE


def test_room_is_proved_by_a_megabyte_that_is_gone_afterwards(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    fsync = os.fsync
    before = set(state.path.iterdir())

    def note_size(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        fsync(descriptor)
        if len(sizes) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", note_size)
    state.prove_room()
    with pytest.raises(StoreUnavailableError, match="full"):
        state.prove_room()
    assert sizes == [1024 * 1024] * 2
    assert set(state.path.iterdir()) == before


# Who says so


class Watched:
    """A watch whose every part is in the test's hand."""

    def __init__(self) -> None:
        self.health = Health(running_since=0.0, database=True, session=True, last_sync=0.0, admin_room="!r")
        self.clock = HeldClock()
        self.watch = StorageWatch(self.health, self.clock)
        self.watch.tell = self._tell
        self.told: list[str] = []
        self.proofs = 0
        self.room: StoreUnavailableError | None = StoreUnavailableError(FULL)

    async def _tell(self, content: dict[str, object]) -> None:
        self.told.append(str(content["body"]))

    async def prove(self) -> None:
        self.proofs += 1
        if self.room is not None:
            raise self.room

    async def look(self) -> None:
        """One more look has been taken."""
        proofs = self.proofs
        self.clock.pass_on.set()
        await until(lambda: self.proofs > proofs)
        for _ in range(5):
            await asyncio.sleep(0)


class HeldClock(FakeClock):
    """A sleep lasts until the test lets it end."""

    def __init__(self) -> None:
        super().__init__()
        self.pass_on = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        await self.pass_on.wait()
        self.pass_on.clear()
        await super().sleep(seconds)


@pytest.fixture
def watched(caplog: pytest.LogCaptureFixture) -> Watched:
    caplog.set_level(logging.INFO)
    return Watched()


async def test_trouble_is_said_once_everywhere_and_its_end_once(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched.watch.kept(watched.prove):
        for _ in range(50):
            watched.watch.note(StoreUnavailableError(FULL))
        assert watched.health.missing(0.0) == ["nothing can be stored: the disk is full"]
        for _ in range(3):
            await watched.look()
        assert len(watched.told) == 1
        assert "the disk is full" in watched.told[0]
        assert watched.health.storage is not None
        watched.room = None
        await watched.look()
        await until(lambda: len(watched.told) == 2)
        assert watched.health.missing(0.0) == []
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "the disk is full" in caplog.records[0].message


async def test_it_is_not_over_while_any_part_still_fails(watched: Watched) -> None:
    watched.room = None
    async with watched.watch.kept(watched.prove):
        watched.watch.note(StoreUnavailableError(FULL))
        for _ in range(3):
            await until(lambda: watched.clock.pass_on.is_set() is False)
            await asyncio.sleep(0.01)
            watched.watch.note(StoreUnavailableError(FULL))  # between two looks
            await watched.look()
            assert watched.health.storage is not None
        await watched.look()
        assert watched.health.storage is None


async def test_a_damaged_database_is_not_over_by_itself(watched: Watched) -> None:
    watched.room = None
    async with watched.watch.kept(watched.prove):
        watched.watch.note(StoreUnavailableError("damaged", lasting=True))
        watched.watch.note(StoreUnavailableError(FULL))
        for _ in range(3):
            await watched.look()
        assert watched.health.missing(0.0) == ["nothing can be stored: damaged"]


async def test_a_room_that_cannot_be_told_is_no_further_trouble(watched: Watched) -> None:
    async def tell(_content: dict[str, object]) -> None:
        raise StoreUnavailableError(FULL)

    watched.watch.tell = tell
    async with watched.watch.kept(watched.prove):
        watched.watch.note(StoreUnavailableError(FULL))
        await watched.look()
        watched.room = None
        await watched.look()
        assert watched.health.storage is None
    assert watched.told == []


async def test_trouble_that_comes_and_goes_is_told_in_the_room_once_an_hour(watched: Watched) -> None:
    async with watched.watch.kept(watched.prove):
        for _ in range(4):
            watched.room = StoreUnavailableError(FULL)
            watched.watch.note(watched.room)
            await watched.look()
            watched.room = None
            await watched.look()
            await until(lambda: watched.health.storage is None)
        await until(lambda: len(watched.told) == 2)  # that it began and that it was over, the first time
        watched.clock.advance(3600)
        watched.watch.note(StoreUnavailableError(FULL))
        await until(lambda: len(watched.told) == 3)


def test_there_being_room_again_is_noticed_within_fifteen_seconds() -> None:
    assert 2 * LOOK_EVERY <= 15  # the look before, and the one that finds nothing wrong


async def test_a_job_waits_for_nothing_but_the_disk(kept: Kept, shop: Workshop) -> None:
    """From there being room again to the job's end: the pauses of a runner whose clock is true."""
    await shop.intend("a")
    kept.disk.read_only = True
    running = asyncio.create_task(shop.runner.run())
    await until(lambda: kept.said)
    kept.disk.heal()
    healed = kept.clock.now()
    await until(lambda: shop.deed.ended)
    assert kept.clock.now() - healed <= 15
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    async with kept.store.transaction() as tx:
        await tx.intend(NewJob("deed", key="b", lane="b"))
