"""What the tables of votes and requests tell who counts, lists, or wonders what an event is about."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy.exc import IntegrityError

from onboard_bot.domain.approvals import ApprovalRules, Choice, Vote, tally
from onboard_bot.domain.requests import OPEN, Card, Origin, Request, State, Wish
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.transaction import Store, Transaction
from tests.fakes.clock import FakeClock

ADA, BOB, CLEO = "@ada:example.org", "@bob:example.org", "@cleo:example.org"


@pytest_asyncio.fixture
async def store(tmp_path: Path, fresh_database: Path) -> AsyncIterator[Store]:
    store = Store(Database(sqlite_url(Path(shutil.copy(fresh_database, tmp_path / "onboard.db")))), FakeClock())
    yield store
    await store.close()


@pytest_asyncio.fixture
async def tx(store: Store) -> AsyncIterator[Transaction]:
    async with store.transaction() as transaction:
        yield transaction


def request(request_id: str = "2aaaa", *, state: State = State.PENDING, age: float = 0, room: str = "!room") -> Request:
    return Request(
        id=request_id,
        state=state,
        wish=Wish(f"newcomer-{request_id}"),
        origin=Origin.ADMIN_ROOM,
        requester="@zoe:example.org",
        origin_room=room,
        origin_event=f"$asked-{request_id}",
        thread_root=None,
        created_at=1000.0 - age,
        voucher="@vera:example.org",
        expires_at=5000.0,
    )


def vote(event_id: str, voter: str = ADA, choice: Choice = Choice.APPROVE) -> Vote:
    return Vote(voter, choice, typed=True, event_id=event_id, at=7.0)


async def asked(tx: Transaction, *new: Request) -> Request:
    for each in new:
        await tx.requests.add(each)
    return new[0]


async def now(tx: Transaction, request_id: str = "2aaaa") -> Request:
    found = await tx.requests.get(request_id)
    assert found is not None
    return found


async def test_a_vote_is_read_as_it_was_cast(tx: Transaction) -> None:
    subject = await asked(tx, request())
    groups = frozenset({"teachers", "parents"})
    typed = Vote(ADA, Choice.DENY, typed=True, event_id="$1", at=7.5, note="not <b>yet</b>", counts=True, groups=groups)
    reacted = Vote(BOB, Choice.APPROVE, typed=False, event_id="$2", at=8.0, counts=False)
    await tx.votes.cast(subject, typed)
    await tx.votes.cast(subject, reacted)
    assert await tx.votes.of(subject) == [typed, reacted]


async def test_votes_stand_in_the_order_in_which_they_came_whatever_their_clocks_say(tx: Transaction) -> None:
    subject = await asked(tx, request())
    cast = [replace(vote(event_id), at=at) for event_id, at in (("$z", 9.0), ("$a", 3.0), ("$m", 3.0))]
    for each in cast:
        await tx.votes.cast(subject, each)
    assert await tx.votes.of(subject) == cast


async def test_a_vote_that_was_taken_back_does_not_stand_and_the_one_before_it_does(tx: Transaction) -> None:
    subject = await asked(tx, request())
    rules = ApprovalRules(required=2, deny=2)
    await tx.votes.cast(subject, vote("$1"))
    await tx.votes.cast(subject, vote("$2", choice=Choice.DENY))
    assert [each.event_id for each in tally(subject, await tx.votes.of(subject), rules).denials] == ["$2"]
    await tx.votes.take_back(subject.id, "$2")
    assert await tx.votes.of(subject) == [vote("$1")]
    assert [each.event_id for each in tally(subject, await tx.votes.of(subject), rules).approvals] == ["$1"]
    await tx.votes.take_back(subject.id, "$2")
    assert await tx.votes.of(subject) == [vote("$1")]


async def test_one_event_speaks_to_a_request_once(store: Store) -> None:
    async with store.transaction() as tx:
        subject = await asked(tx, request())
        await tx.votes.cast(subject, vote("$1"))
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await tx.votes.cast(subject, vote("$1", choice=Choice.DENY))
    async with store.reading() as tx:
        assert await tx.votes.of(subject) == [vote("$1")]


async def test_an_event_that_speaks_to_two_requests_is_taken_back_and_judged_for_each_by_itself(
    tx: Transaction,
) -> None:
    one = await asked(tx, request("2aaaa"), other := request("3bbbb"))
    for subject in (other, one):
        await tx.votes.cast(subject, vote("$1"))
    assert await tx.votes.said_with("$1") == ["3bbbb", "2aaaa"]
    await tx.votes.judged(one, replace(vote("$1"), counts=False, groups=frozenset({"teachers"})))
    assert [each.counts for each in await tx.votes.of(one)] == [False]
    assert [each.groups for each in await tx.votes.of(one)] == [frozenset({"teachers"})]
    assert await tx.votes.of(other) == [vote("$1")]
    await tx.votes.take_back("3bbbb", "$1")
    assert await tx.votes.said_with("$1") == ["2aaaa"]
    assert await tx.votes.of(other) == []
    assert len(await tx.votes.of(one)) == 1
    assert await tx.votes.said_with("$elsewhere") == []


async def test_a_look_changes_only_who_the_voter_is(tx: Transaction) -> None:
    subject = await asked(tx, request())
    for each in (vote("$1"), vote("$2", BOB)):
        await tx.votes.cast(subject, each)
    teachers = frozenset({"teachers"})
    otherwise = Vote(CLEO, Choice.DENY, typed=False, event_id="$1", at=99.0, note="?", counts=False, groups=teachers)
    await tx.votes.judged(subject, otherwise)
    assert await tx.votes.of(subject) == [
        replace(vote("$1"), counts=False, groups=teachers),
        vote("$2", BOB),
    ]


async def test_votes_of_another_round_count_no_more(tx: Transaction) -> None:
    subject = await asked(tx, request())
    await tx.votes.cast(subject, vote("$1", choice=Choice.DENY))
    await tx.requests.advance(subject, State.DENIED, now=8.0)
    denied = await now(tx)
    assert (denied.finished_at, denied.round) == (8.0, 0)
    assert await tx.votes.of(denied) == [vote("$1", choice=Choice.DENY)]
    await tx.requests.begin_round(denied, username="other-name", expires_at=9000.0)
    await tx.requests.advance(denied, State.PENDING, now=9.0)
    anew = await now(tx)
    assert anew.wish.username == "other-name"
    assert (anew.state, anew.round, anew.expires_at, anew.finished_at) == (State.PENDING, 1, 9000.0, None)
    assert await tx.votes.of(anew) == []
    assert await tx.votes.said_with("$1") == []
    assert await tx.votes.undecided() == {}
    await tx.votes.cast(anew, vote("$2", BOB))
    assert await tx.votes.of(anew) == [vote("$2", BOB)]
    assert await tx.votes.of(subject) == [vote("$1", choice=Choice.DENY)]
    assert await tx.votes.undecided() == {"2aaaa": {BOB}}
    assert await tx.votes.voters(["2aaaa"]) == {ADA, BOB}


async def test_who_is_to_be_looked_at_again_is_who_has_a_standing_vote_on_what_is_pending(tx: Transaction) -> None:
    await asked(tx, one := request("2aaaa"), two := request("3bbbb"), request("4ffff"), done := request("6hhhh"))
    for subject, each in (
        (one, vote("$1")),
        (one, vote("$2", BOB)),
        (one, vote("$3", BOB)),
        (two, vote("$2", BOB)),
        (two, vote("$4", CLEO)),
        (done, vote("$5", CLEO)),
    ):
        await tx.votes.cast(subject, each)
    await tx.votes.take_back("3bbbb", "$4")
    await tx.requests.advance(done, State.APPROVED, now=9.0)
    assert await tx.votes.undecided() == {"2aaaa": {ADA, BOB}, "3bbbb": {BOB}}
    await tx.votes.take_back("3bbbb", "$2")
    assert await tx.votes.undecided() == {"2aaaa": {ADA, BOB}}


async def test_who_ever_voted_on_some_requests(tx: Transaction) -> None:
    await asked(tx, one := request("2aaaa"), two := request("3bbbb"))
    for subject, each in ((one, vote("$1")), (one, vote("$2", BOB)), (two, vote("$3", CLEO)), (two, vote("$4", BOB))):
        await tx.votes.cast(subject, each)
    await tx.votes.take_back("2aaaa", "$1")
    assert await tx.votes.voters(["2aaaa"]) == {ADA, BOB}
    assert await tx.votes.voters(["2aaaa", "3bbbb"]) == {ADA, BOB, CLEO}
    assert await tx.votes.voters(["7zzzz"]) == set()
    assert await tx.votes.voters([]) == set()


async def test_a_request_is_read_as_it_was_asked(tx: Transaction) -> None:
    subject = await asked(tx, request())
    assert await now(tx) == subject
    assert await tx.requests.exists("2aaaa")
    assert not await tx.requests.exists("2AAAA")


async def test_a_page_is_some_of_them_by_age(tx: Transaction) -> None:
    young_to_old = ["2aaaa", "3bbbb", "4ffff", "6hhhh", "7kkkk"]
    for age, request_id in enumerate(young_to_old):
        await tx.requests.add(request(request_id, age=age))
    await tx.requests.add(request("8rrrr", age=2.5, state=State.CREATED))

    async def page(after: int, at_most: int, *, newest_first: bool, states: frozenset[State]) -> list[str]:
        found = await tx.requests.page(states, after=after, at_most=at_most, newest_first=newest_first)
        return [each.id for each in found]

    pending, every = frozenset({State.PENDING}), frozenset(State)
    assert await page(0, 2, newest_first=True, states=pending) == ["2aaaa", "3bbbb"]
    assert await page(2, 2, newest_first=True, states=pending) == ["4ffff", "6hhhh"]
    assert await page(4, 2, newest_first=True, states=pending) == ["7kkkk"]
    assert await page(5, 2, newest_first=True, states=pending) == []
    assert await page(0, 3, newest_first=False, states=pending) == ["7kkkk", "6hhhh", "4ffff"]
    assert await page(0, 3, newest_first=False, states=every) == ["7kkkk", "6hhhh", "8rrrr"]
    assert await page(0, 9, newest_first=False, states=frozenset({State.CREATED, State.DENIED})) == ["8rrrr"]
    assert await page(0, 9, newest_first=False, states=frozenset()) == []


async def test_pages_of_a_wave_within_one_moment_leave_nothing_out_and_repeat_nothing(tx: Transaction) -> None:
    ids = [f"{one}{two}aaa" for one in "2346789" for two in "2346789"]
    for request_id in sorted(ids, key=lambda each: each[::-1]):
        await tx.requests.add(request(request_id))
    for newest_first in (True, False):
        seen: list[str] = []
        for after in range(0, len(ids), 10):
            found = await tx.requests.page(OPEN, after=after, at_most=10, newest_first=newest_first)
            seen += [each.id for each in found]
        assert seen == sorted(ids, reverse=newest_first)


async def test_so_many_are_in_these_states(tx: Transaction) -> None:
    ids = ("2aaaa", "3bbbb", "4ffff", "6hhhh")
    states = (State.PENDING, State.PENDING, State.DENIED, State.UNKNOWN)
    for request_id, state in zip(ids, states, strict=True):
        await tx.requests.add(request(request_id, state=state))
    assert await tx.requests.count(frozenset({State.PENDING})) == 2
    assert await tx.requests.count(OPEN) == 2
    assert await tx.requests.count(frozenset({State.DENIED, State.PENDING})) == 3
    assert await tx.requests.count(frozenset({State.CREATED})) == 0
    assert await tx.requests.count(frozenset(State)) == 4
    assert await tx.requests.count(frozenset()) == 0


async def test_a_card_is_one_only_in_its_own_room(tx: Transaction) -> None:
    await asked(tx, request("2aaaa"), request("3bbbb"))
    card = Card("!room", "$card", (ADA, BOB))
    await tx.requests.show("2aaaa", 1, card)
    found = await tx.requests.with_card("!room", "$card")
    assert found is not None
    assert (found.id, found.card) == ("2aaaa", card)
    assert await tx.requests.with_card("!elsewhere", "$card") is None
    assert await tx.requests.with_card("!room", "$asked-2aaaa") is None
    assert (await now(tx, "3bbbb")).card is None


async def test_no_message_is_the_card_of_two_requests(store: Store) -> None:
    async with store.transaction() as tx:
        await asked(tx, request("2aaaa"), request("3bbbb"))
        await tx.requests.show("2aaaa", 1, Card("!room", "$card"))
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await tx.requests.show("3bbbb", 1, Card("!room", "$card"))


async def test_an_edit_of_the_card_leaves_it_where_it_stands(tx: Transaction) -> None:
    await asked(tx, request())
    card = Card("!room", "$card", (ADA,))
    await tx.requests.show("2aaaa", 0, card)
    assert (await tx.requests.touch("2aaaa")).revision == 1
    assert (await tx.requests.touch("2aaaa")).revision == 2
    assert await tx.requests.shown("2aaaa") == 0
    await tx.requests.show("2aaaa", 2)
    assert await tx.requests.shown("2aaaa") == 2
    assert (await now(tx)).card == card


async def test_an_event_is_about_the_card_what_asked_for_it_and_its_thread(tx: Transaction) -> None:
    await asked(
        tx,
        replace(request("2aaaa", age=3), thread_root="$root"),
        replace(request("3bbbb", age=2), thread_root="$root"),
        request("4ffff", age=1),
        replace(request("6hhhh", room="!elsewhere"), thread_root="$root"),
    )
    await tx.requests.show("3bbbb", 1, Card("!room", "$card-3"))
    await tx.requests.show("4ffff", 1, Card("!other", "$card-4"))

    async def shown(event_id: str, room: str = "!room") -> str | None:
        found = await tx.requests.with_card(room, event_id)
        return None if found is None else found.id

    async def asked_for(event_id: str, room: str = "!room") -> str | None:
        found = await tx.requests.asked_with(room, event_id)
        return None if found is None else found.id

    assert (await shown("$card-3"), await shown("$card-3", "!other"), await shown("$nothing")) == ("3bbbb", None, None)
    assert (await shown("$card-4"), await shown("$card-4", "!other")) == (None, "4ffff")
    assert (await asked_for("$asked-4ffff"), await asked_for("$asked-4ffff", "!other")) == ("4ffff", None)
    assert [each.id for each in await tx.requests.pending_in_thread("!room", "$root")] == ["2aaaa", "3bbbb"]
    assert [each.id for each in await tx.requests.pending_in_thread("!elsewhere", "$root")] == ["6hhhh"]
    first = await tx.requests.get("2aaaa")
    assert first is not None
    await tx.requests.advance(first, State.DENIED, now=9.0)
    assert [each.id for each in await tx.requests.pending_in_thread("!room", "$root")] == ["3bbbb"]
    await tx.requests.forget_card("3bbbb")
    assert await shown("$card-3") is None


@pytest.mark.parametrize("state", State)
async def test_a_username_is_free_for_another_request_unless_an_open_one_holds_it(store: Store, state: State) -> None:
    same_name = replace(request("3bbbb"), wish=request("2aaaa").wish)
    async with store.transaction() as tx:
        first = await asked(tx, request("2aaaa", state=state))
        assert await tx.requests.open_for(first.wish.username) == (first if state in OPEN else None)
    if state not in OPEN:
        async with store.transaction() as tx:
            await asked(tx, same_name)
        return
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await asked(tx, same_name)


async def test_no_id_is_used_again_however_its_request_ended(store: Store) -> None:
    async with store.transaction() as tx:
        await asked(tx, request(state=State.EXPIRED))
    with pytest.raises(IntegrityError):
        async with store.transaction() as tx:
            await asked(tx, replace(request(), wish=Wish("somebody-else"), origin_event="$other"))
