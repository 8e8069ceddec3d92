"""What the tables keep for approvals: taps that wait for their card, denials of a new round, cards that are behind."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import text

from onboard_bot.domain.approvals import Choice, Vote
from onboard_bot.domain.requests import Card, Origin, Request, State, Wish
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.inbox import Arrival, RoomEvent
from onboard_bot.store.jobs import Job, NewJob
from onboard_bot.store.transaction import Store, Transaction
from tests.fakes.clock import FakeClock

ADA, BOB = "@ada:example.org", "@bob:example.org"
CARD = Card("!room", "$card")


@pytest_asyncio.fixture
async def store(tmp_path: Path, fresh_database: Path) -> AsyncIterator[Store]:
    store = Store(Database(sqlite_url(Path(shutil.copy(fresh_database, tmp_path / "onboard.db")))), FakeClock())
    yield store
    await store.close()


@pytest_asyncio.fixture
async def tx(store: Store) -> AsyncIterator[Transaction]:
    async with store.transaction() as transaction:
        yield transaction


async def asked(tx: Transaction, request_id: str = "2aaaa") -> Request:
    request = Request(
        id=request_id,
        state=State.PENDING,
        wish=Wish(f"newcomer-{request_id}"),
        origin=Origin.ADMIN_ROOM,
        requester="@zoe:example.org",
        origin_room="!room",
        origin_event=f"$asked-{request_id}",
        thread_root=None,
        created_at=1000.0,
        expires_at=5000.0,
    )
    await tx.requests.add(request)
    return request


async def now(tx: Transaction, request_id: str = "2aaaa") -> Request:
    found = await tx.requests.get(request_id)
    assert found is not None
    return found


def vote(event_id: str, voter: str = ADA, choice: Choice = Choice.APPROVE) -> Vote:
    return Vote(voter, choice, typed=True, event_id=event_id, at=7.0)


# What is set aside


def tap(event_id: str) -> RoomEvent:
    return RoomEvent(event_id, "!room", ADA, "m.reaction", {"key": event_id}, None)


async def arrive(tx: Transaction, *event_ids: str) -> None:
    for event_id in event_ids:
        await tx.inbox.accept(tap(event_id), now=1.0)


async def waiting(tx: Transaction) -> list[str]:
    """What has its turn, in order; afterwards nothing has."""
    found = []
    while (event := await tx.inbox.next_open()) is not None:
        found.append(event.event_id)
        await tx.inbox.close(event.event_id)
    return found


async def test_what_is_set_aside_has_its_turn_when_it_is_taken_up_with_all_that_it_says(tx: Transaction) -> None:
    await arrive(tx, "$1", "$2", "$3")
    for event_id in ("$1", "$3"):
        await tx.inbox.set_aside(event_id, reacts_to="$card")
    assert await waiting(tx) == ["$2"]
    await tx.inbox.take_up("$other")
    assert await waiting(tx) == []
    await tx.inbox.take_up("$card")
    assert await tx.inbox.next_open() == tap("$1")
    assert await waiting(tx) == ["$1", "$3"]
    await tx.inbox.take_up("$card")
    assert await waiting(tx) == []


async def test_who_waits_for_events_is_woken_by_what_is_taken_up_and_by_nothing_else(store: Store) -> None:
    async with store.transaction() as tx:
        await arrive(tx, "$1")
        await tx.inbox.set_aside("$1", reacts_to="$card")
    store.inbox_filled.clear()
    async with store.transaction() as tx:
        await tx.inbox.take_up("$other")
    assert not store.inbox_filled.is_set()
    async with store.transaction() as tx:
        await tx.inbox.take_up("$card")
    assert store.inbox_filled.is_set()


@pytest.mark.parametrize("aside", [False, True])
async def test_what_is_withdrawn_never_has_its_turn_and_what_it_said_is_forgotten(store: Store, *, aside: bool) -> None:
    async with store.transaction() as tx:
        await arrive(tx, "$1")
        if aside:
            await tx.inbox.set_aside("$1", reacts_to="$card")
        await tx.inbox.withdraw("$1")
        await tx.inbox.take_up("$card")
        assert await waiting(tx) == []
        assert await tx.inbox.accept(tap("$1"), now=2.0) is Arrival.KNOWN
    async with store._database.reading() as connection:
        assert (await connection.execute(text("SELECT content FROM inbox"))).scalar_one() in (None, "null")


async def test_what_had_its_turn_is_neither_set_aside_nor_withdrawn_any_more(tx: Transaction) -> None:
    await arrive(tx, "$1")
    await tx.inbox.close("$1")
    await tx.inbox.set_aside("$1", reacts_to="$card")
    await tx.inbox.withdraw("$1")
    await tx.inbox.take_up("$card")
    assert await waiting(tx) == []


# Another round


async def test_only_the_votes_that_are_carried_over_count_in_the_next_round(tx: Transaction) -> None:
    subject, other = await asked(tx), await asked(tx, "3bbbb")
    denial = vote("$2", BOB, Choice.DENY)
    for request in (subject, other):
        await tx.votes.cast(request, vote("$1"))
        await tx.votes.cast(request, denial)
    await tx.votes.carry_over(subject, [denial])
    assert await tx.votes.of(subject) == [vote("$1")]
    await tx.requests.begin_round(subject, username="other-name", expires_at=5000.0)
    assert await tx.votes.of(await now(tx)) == [denial]
    assert await tx.votes.of(other) == [vote("$1"), denial]
    assert await tx.votes.said_with("$2") == ["2aaaa", "3bbbb"]
    await tx.votes.take_back("2aaaa", "$2")
    assert await tx.votes.of(await now(tx)) == []


async def test_what_is_carried_over_once_is_carried_over_again(tx: Transaction) -> None:
    subject = await asked(tx)
    denial = replace(vote("$1", choice=Choice.DENY), silent=True, note="no", groups=frozenset({"staff"}))
    await tx.votes.cast(subject, denial)
    for name in ("second", "third"):
        await tx.votes.carry_over(subject, [denial])
        await tx.requests.begin_round(subject, username=name, expires_at=5000.0)
        subject = await now(tx)
    assert (subject.round, await tx.votes.of(subject)) == (2, [denial])


# What a card shows


async def test_a_card_shows_its_name_unless_that_was_changed_since(tx: Transaction) -> None:
    subject = await asked(tx)
    await tx.requests.show("2aaaa", 0, CARD)
    assert await tx.requests.shows_its_name("2aaaa")
    await tx.requests.touch("2aaaa")
    assert await tx.requests.shows_its_name("2aaaa")
    await tx.requests.begin_round(subject, username="other-name", expires_at=5000.0)
    revision = (await tx.requests.touch("2aaaa")).revision
    await tx.requests.show("2aaaa", revision - 1)
    assert not await tx.requests.shows_its_name("2aaaa")
    await tx.requests.show("2aaaa", revision)
    assert await tx.requests.shows_its_name("2aaaa")


async def test_another_round_under_the_same_name_is_no_other_name(tx: Transaction) -> None:
    subject = await asked(tx)
    await tx.requests.begin_round(subject, username=subject.wish.username, expires_at=5000.0)
    await tx.requests.touch("2aaaa")
    assert await tx.requests.shows_its_name("2aaaa")


async def test_behind_are_the_cards_that_do_not_show_how_their_requests_stand(tx: Transaction) -> None:
    for request_id in ("2aaaa", "3bbbb", "4ffff"):
        await asked(tx, request_id)
        await tx.requests.touch(request_id)
    await tx.requests.show("2aaaa", 0, CARD)
    await tx.requests.show("3bbbb", 1, Card("!room", "$card-3"))
    assert await tx.requests.behind() == ["2aaaa"]
    await tx.requests.show("2aaaa", 1)
    assert await tx.requests.behind() == []
    await tx.requests.touch("3bbbb")
    assert await tx.requests.behind() == ["3bbbb"]
    await tx.requests.forget_card("3bbbb")
    assert (await tx.requests.behind(), (await now(tx, "3bbbb")).card) == ([], None)


# Jobs


async def first(tx: Transaction) -> Job:
    job = (await tx.jobs.first_of_lanes(now=tx.now))[0]
    begun = await tx.jobs.begin(job, now=tx.now, by="DEVICE")
    assert begun is not None
    return begun


async def test_under_way_is_what_was_tried_and_has_not_come_to_its_end(tx: Transaction) -> None:
    await tx.intend(NewJob("answer", key="a", lane="into !room"), NewJob("send", key="b", lane="elsewhere"))
    assert not await tx.jobs.is_under_way("answer", "into !room")
    begun = await first(tx)
    assert await tx.jobs.is_under_way("answer", "into !room")
    for kind, lane in (("send", "into !room"), ("answer", "elsewhere"), ("send", "elsewhere")):
        assert not await tx.jobs.is_under_way(kind, lane)
    await tx.jobs.postpone(begun, until=tx.now + 60, error="later", fault=False)
    assert await tx.jobs.is_under_way("answer", "into !room")
    await tx.jobs.finish(begun, now=tx.now)
    assert not await tx.jobs.is_under_way("answer", "into !room")


async def test_one_job_takes_the_place_of_those_of_its_kind_that_nobody_has_begun(tx: Transaction) -> None:
    await tx.intend(NewJob("weigh", key="begun", lane="1"))
    await first(tx)
    await tx.intend(*(NewJob("weigh", key=key, lane="2") for key in "abc"), NewJob("send", key="d", lane="3"))
    (job,) = [job for job in await tx.jobs.first_of_lanes(now=tx.now) if job.key == "a"]
    await tx.jobs.withdraw_others(job, now=tx.now)
    still = [key for key in ("begun", *"abcd") if await tx.jobs.is_open(key)]
    assert still == ["begun", "a", "d"]


async def test_a_job_of_an_unknown_kind_holds_neither_its_lane_nor_a_turn(tx: Transaction) -> None:
    await tx.intend(
        NewJob("fly", key="a", lane="room", turn="ada"),
        NewJob("send", key="b", lane="room", turn="ada"),
        NewJob("send", key="c", lane="sky", turn="ada"),
    )
    assert await tx.jobs.other_kinds(["send", "answer"]) == ["fly"]
    assert [job.key for job in await tx.jobs.first_of_lanes(now=tx.now)] == ["a"]
    assert [job.key for job in await tx.jobs.first_of_lanes(now=tx.now, unknown=["fly"])] == ["b"]
    await tx.jobs.finish((await tx.jobs.first_of_lanes(now=tx.now))[0], now=tx.now)
    assert await tx.jobs.other_kinds(["send", "answer"]) == []
