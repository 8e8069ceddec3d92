"""What one transaction means, and what each table promises to whoever is killed, comes twice or comes late."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.requests import Origin, Request, State, Wish
from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.inbox import Arrival, Envelope, RoomEvent
from onboard_bot.store.jobs import NewJob
from onboard_bot.store.requests import StateMovedError
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Store
from onboard_bot.store.undecrypted import KeptEvent
from tests.fakes.clock import FakeClock


@pytest.fixture
def path(tmp_path: Path, fresh_database: Path) -> Path:
    return Path(shutil.copy(fresh_database, tmp_path / "onboard.db"))


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    store = Store(Database(sqlite_url(path)), FakeClock())
    yield store
    await store.close()


def request(request_id: str = "aaaaa", username: str = "bob", state: State = State.APPROVED) -> Request:
    return Request(
        id=request_id,
        state=state,
        wish=Wish(username, display_name="Bob", room_sets=("staff", "all"), note="new"),
        origin=Origin.ADMIN_ROOM,
        requester="@ada:example.org",
        origin_room="!room",
        origin_event=f"$of-{request_id}",
        thread_root=None,
        created_at=5.0,
    )


def event(event_id: str = "$1", body: str = "hello", *, index: int = 0) -> RoomEvent:
    envelope = Envelope("sender key", "fingerprint", "session", index)
    return RoomEvent(event_id, "!room", "@ada:example.org", "m.room.message", {"body": body}, envelope)


async def test_a_transaction_that_fails_leaves_nothing_behind(store: Store) -> None:
    async def fail() -> None:
        async with store.transaction() as tx:
            await tx.meta.set("key", "value")
            await tx.record(Entry(Verb.BOT_REGISTERED))
            await tx.intend(NewJob("send", key="k", lane="l"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with store.reading() as tx:
        assert await tx.meta.get("key") is None
        assert await tx.jobs.first_of_lanes(now=1e12) == []
    assert not store.jobs_added.is_set()


async def test_a_transaction_that_is_cancelled_leaves_nothing_behind_and_holds_nobody_up(store: Store) -> None:
    began = asyncio.Event()

    async def write_for_ever() -> None:
        async with store.transaction() as tx:
            await tx.meta.set("key", "half")
            began.set()
            await asyncio.Event().wait()

    writing = asyncio.create_task(write_for_ever())
    await began.wait()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    async with asyncio.timeout(5), store.transaction() as tx:
        assert await tx.meta.get("key") is None


async def test_writers_queue_and_none_of_their_updates_is_lost(store: Store) -> None:
    async def add_one() -> None:
        async with store.transaction() as tx:
            count = int(await tx.meta.get("count") or "0")
            await asyncio.sleep(0)
            await tx.meta.set("count", str(count + 1))

    await asyncio.gather(*(add_one() for _ in range(20)))
    async with store.reading() as tx:
        assert await tx.meta.get("count") == "20"


async def test_another_process_waits_for_the_write_lock_instead_of_overwriting(store: Store, path: Path) -> None:
    other = Store(Database(sqlite_url(path)), FakeClock())
    order: list[str] = []

    async def second() -> None:
        async with other.transaction() as tx:
            order.append(f"second sees {await tx.meta.get('key')}")

    async with store.transaction() as tx:
        await tx.meta.set("key", "first")
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.05)
        order.append("first commits")
    await waiting
    await other.close()
    assert order == ["first commits", "second sees first"]


async def test_a_reader_holds_no_writer_up_and_sees_one_moment(store: Store) -> None:
    async with store.reading() as reading:
        assert await reading.meta.get("key") is None
        async with asyncio.timeout(5), store.transaction() as writing:
            await writing.meta.set("key", "new")
        assert await reading.meta.get("key") is None
    async with store.reading() as later:
        assert await later.meta.get("key") == "new"


async def test_a_commit_is_on_the_disk_when_it_returns(store: Store) -> None:
    async with store._database.reading() as connection:
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar_one() == 2
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
        assert (await connection.execute(text("PRAGMA foreign_keys"))).scalar_one() == 1


async def test_one_username_has_one_open_request(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.requests.add(request("aaaaa"))
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await tx.requests.add(request("bbbbb"))
    async with store.transaction() as tx:
        first = await tx.requests.open_for("bob")
        assert first == request("aaaaa")
        await tx.requests.advance(first, State.FAILED, now=6.0, error="username_taken")
        await tx.requests.add(request("bbbbb"))
        again = await tx.requests.open_for("bob")
        assert again is not None
        assert again.id == "bbbbb"


async def test_a_request_moves_on_only_from_where_the_caller_saw_it(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.requests.add(request())
        seen = request()
        await tx.requests.advance(seen, State.CREATING, now=6.0)
        with pytest.raises(StateMovedError, match="no longer approved"):
            await tx.requests.advance(seen, State.CREATING, now=7.0)
        with pytest.raises(StateMovedError, match="approved does not become created"):
            await tx.requests.advance(seen, State.CREATED, now=7.0)
        now = await tx.requests.get("aaaaa")
        assert now is not None
        assert now.state is State.CREATING


async def test_an_event_has_its_effect_once(store: Store) -> None:
    async with store.transaction() as tx:
        assert await tx.inbox.accept(event(), now=1.0) is Arrival.NEW
    store.inbox_filled.clear()
    async with store.transaction() as tx:
        assert await tx.inbox.accept(event(body="forged"), now=2.0) is Arrival.KNOWN
    assert not store.inbox_filled.is_set()
    async with store.transaction() as tx:
        assert await tx.inbox.next_open() == event()
        assert await tx.inbox.close("$1")
        assert not await tx.inbox.close("$1")
        assert await tx.inbox.accept(event(), now=3.0) is Arrival.KNOWN
        assert await tx.inbox.next_open() is None


async def test_the_same_ciphertext_in_another_event_is_a_replay_for_ever(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.inbox.accept(event(), now=1.0)
        await tx.inbox.close("$1")
    async with store.transaction() as tx:
        assert await tx.inbox.accept(event("$2"), now=2.0) is Arrival.REPLAY
        assert await tx.inbox.accept(event("$3", index=1), now=2.0) is Arrival.NEW
        assert await tx.inbox.accept(replace(event("$4"), sender="@eve:example.org"), now=2.0) is Arrival.NEW


async def test_events_are_obeyed_in_the_order_of_their_arrival(store: Store) -> None:
    async with store.transaction() as tx:
        for index, event_id in enumerate(("$z", "$a", "$m")):
            await tx.inbox.accept(event(event_id, index=index), now=1.0)
    order = []
    async with store.transaction() as tx:
        while (following := await tx.inbox.next_open()) is not None:
            order.append(following.event_id)
            await tx.inbox.close(following.event_id)
    assert order == ["$z", "$a", "$m"]


async def test_the_same_intent_twice_is_one_job_also_after_it_was_carried_out(store: Store) -> None:
    job = NewJob("send", key="answer:$1", lane="room", payload={"n": 1})
    async with store.transaction() as tx:
        await tx.intend(job, NewJob("send", key="answer:$1", lane="other", payload={"n": 2}))
        (only,) = await tx.jobs.first_of_lanes(now=tx.now)
        assert (only.lane, only.payload) == ("room", {"n": 1})
        begun = await tx.jobs.begin(only, now=tx.now, by="DEVICE")
        assert begun is not None
        await tx.jobs.finish(begun, now=tx.now)
        assert await tx.jobs.begin(only, now=tx.now, by="DEVICE") is None
        await tx.intend(job)
        assert await tx.jobs.first_of_lanes(now=tx.now) == []


async def test_only_an_intent_that_nobody_has_begun_is_withdrawn(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.intend(NewJob("send", key="a", lane="a"), NewJob("send", key="b", lane="b"))
        a, _ = await tx.jobs.first_of_lanes(now=tx.now)
        await tx.jobs.begin(a, now=tx.now, by="DEVICE")
        await tx.jobs.withdraw("a", now=tx.now)
        await tx.jobs.withdraw("b", now=tx.now)
        assert [job.key for job in await tx.jobs.first_of_lanes(now=tx.now)] == ["a"]


async def test_a_job_forgets_its_payload_when_it_is_over(store: Store) -> None:
    async with store.transaction() as tx:
        await tx.intend(NewJob("send", key="a", lane="a", payload={"body": "something said"}))
        (job,) = await tx.jobs.first_of_lanes(now=tx.now)
        await tx.jobs.finish(job, now=tx.now)
    async with store._database.reading() as connection:
        assert (await connection.execute(text("SELECT payload FROM jobs"))).scalar_one() == "{}"


async def test_journal_and_token_move_together(store: Store) -> None:
    async with store.transaction() as tx:
        assert await tx.journal.token() is None
        seq = await tx.journal.add(since=None, body="{}", next_batch="s1")
    async with store.transaction() as tx:
        assert await tx.journal.token() == "s1"
        (pending,) = await tx.journal.pending()
        assert (pending.seq, pending.since, pending.body) == (seq, None, "{}")
        await tx.journal.drop(seq)
        await tx.journal.skip_to("s2")
    async with store.reading() as tx:
        assert (await tx.journal.token(), await tx.journal.pending()) == ("s2", [])


async def test_a_room_is_planned_once_for_its_purpose_and_found_by_its_id(store: Store) -> None:
    planned = PlannedRoom("m1", Purpose.DIRECT, "@ada:example.org", None, made_by_bot=True)
    async with store.transaction() as tx:
        await tx.rooms.plan(planned)
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await tx.rooms.plan(PlannedRoom("m2", Purpose.DIRECT, "@ada:example.org", None, made_by_bot=True))
    async with store.transaction() as tx:
        assert await tx.rooms.find(Purpose.DIRECT, "@ada:example.org") == planned
        await tx.rooms.settle("m1", "!direct")
        settled = await tx.rooms.of_room("!direct")
        assert settled is not None
        assert settled.peer == "@ada:example.org"
        await tx.rooms.forget("m1")
        assert await tx.rooms.of_room("!direct") is None


async def test_the_first_join_stays_the_first(store: Store) -> None:
    async with store.transaction() as tx:
        assert await tx.rooms.first_join("!room") is None
        await tx.rooms.joined("!room", "$first")
        await tx.rooms.joined("!room", "$second")
        assert await tx.rooms.first_join("!room") == "$first"


async def test_an_unreadable_event_is_kept_once_until_it_could_be_read(store: Store) -> None:
    kept = KeptEvent("!room", "@ada:e", {"event_id": "$1", "sender": "@ada:e", "content": {"session_id": "s"}})
    async with store.transaction() as tx:
        await tx.undecrypted.keep(kept, now=1.0)
        await tx.undecrypted.keep(kept, now=2.0)
        assert await tx.undecrypted.all() == [kept]
        await tx.undecrypted.drop("$1")
        assert await tx.undecrypted.all() == []


async def test_limits_are_remembered_for_a_day(store: Store) -> None:
    start, hour = 1_800_000_000.0, 3600
    async with store.transaction() as tx:
        for at, wait in ((0, 5.0), (60, 9.0), (2 * hour, 3.0)):
            await tx.rate_limits.met("PUT send", wait, now=start + at)
        await tx.rate_limits.met("POST invite", 60.0, now=start)
        met = [
            (limit.route, limit.times, limit.longest_wait) for limit in await tx.rate_limits.of_the_last_day(now=start)
        ]
        assert met == [("PUT send", 3, 9.0), ("POST invite", 1, 60.0)]
        assert await tx.rate_limits.of_the_last_day(now=start + 30 * hour) == []


async def test_the_audit_log_is_a_chain_from_its_first_row(store: Store) -> None:
    async with store.transaction() as tx:
        assert await tx.audit.verify() is None
        for verb in Verb:
            await tx.record(Entry(verb, "aaaaa", facts={"n": 1}, personal={"user": "@ada:example.org"}))
        assert await tx.audit.verify() is None
    async with store._database.reading() as connection:
        seqs = [row[0] for row in await connection.execute(text("SELECT seq FROM audit ORDER BY seq"))]
    assert seqs == list(range(1, len(Verb) + 1))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.binary(min_size=32, max_size=32))
def test_a_sealed_secret_opens_only_with_its_key_and_under_its_name(secret: str, key: bytes) -> None:
    sealed = Sealer(key).seal(SecretStr(secret), belongs_to="request:a:password")
    assert Sealer(key).open(sealed, belongs_to="request:a:password").get_secret_value() == secret
    assert sealed != Sealer(key).seal(SecretStr(secret), belongs_to="request:a:password")
    another = Sealer(key).seal(SecretStr("another"), belongs_to="request:a:password")
    for other_key, name in ((key, "request:b:password"), (bytes(b ^ 1 for b in key), "request:a:password")):
        # What is said is the same whatever the secret was, so it tells nothing of it.
        assert refusal(other_key, sealed, name) == refusal(other_key, another, name)


def refusal(key: bytes, sealed: bytes, belongs_to: str) -> str:
    with pytest.raises(FatalError) as caught:
        Sealer(key).open(sealed, belongs_to=belongs_to)
    assert caught.value.code is ErrorCode.STATE_UNUSABLE
    return str(caught.value)
