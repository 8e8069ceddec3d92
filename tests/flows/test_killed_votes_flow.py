"""The process is killed at every step of asking and deciding, and started again: everything happens once.

Steps are counted, as in `test_killed_flow.py`: one life that nobody kills tells how many there are, and what the record
holds in the end.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

from onboard_bot.domain.approvals import ApprovalRules
from tests.flows.conftest import OpenRoom
from tests.flows.room import Card, Room

HOUR = 3600.0
RULES = ApprovalRules(required=2, expires_after=3 * HOUR, remind_after=HOUR)

Act = Callable[[Room], Awaitable[str | None]]
"""What is about to happen; the event that the server will tell of again, if it is one."""


async def asked(room: Room) -> None:
    """There is a request, and one of two approvals."""
    _, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve)
    await card.tap(grace)


async def nothing(room: Room) -> None:
    """Everybody is there."""
    room.people(ada=100, grace=50, eve=0)


async def somebody_asks(room: Room) -> str:
    """Which makes a card."""
    return await room.types(room.person("@eve:example.org"), "!register bob")


async def the_second_approves(room: Room) -> str:
    """Which decides."""
    return await room.puts_sign(room.person("@ada:example.org", 100), card_in(room).posted.event_id)


async def somebody_denies(room: Room) -> str:
    """Which decides."""
    return await room.types(room.person("@ada:example.org", 100), f"!deny {card_in(room).id} no")


async def time_passes(room: Room) -> None:
    """Until something happens by itself."""
    room.clock.advance(HOUR)


async def a_voter_leaves(room: Room) -> None:
    """Whose vote does not count any more."""
    await room.moves(room.person("@grace:example.org", 50), "leave")


def card_in(room: Room) -> Card:
    """The one card: what asks for a decision mentions people."""
    (card,) = [said for said in room.posted if said.about["kind"] == "request" and said.mentions]
    return Card(room, card)


def others(room: Room) -> list[tuple[str, str | None, list[str]]]:
    """What was posted beside the card: its kind, the state in it, and whom it mentions."""
    card = card_in(room).posted
    return [(said.about["kind"], said.about.get("state"), said.mentions) for said in room.posted if said is not card]


async def record(room: Room) -> list[str]:
    """What the record holds; that it is whole, every room is asked at its end."""
    return [row.verb for row in await room.rows("SELECT verb FROM audit ORDER BY seq")]


async def lives(
    open_room: OpenRoom,
    before: Callable[[Room], Awaitable[None]],
    act: Act,
    *,
    rules: ApprovalRules = RULES,
    stride: int = 1,
) -> AsyncIterator[Room]:
    """The room at the end of each life: nobody kills the first one, and the others die some steps later each."""
    steps, last, undisturbed = 0, 0, list[str]()
    while last <= steps:
        room = await open_room(approval=rules)
        await before(room)
        room.life.fate.steps.clear()
        room.life.fate.dies_at = last or None
        event_id = await act(room)
        await room.wait(30)
        if last == 0:
            steps, undisturbed = len(room.life.fate.steps), await record(room)
        else:
            assert room.life.fate.died.is_set(), f"there was no step {last}"
            await room.restart()
            if event_id is not None:
                await room.arrives(event_id)
            await room.wait(120)
        assert await record(room) == undisturbed
        yield room
        last += stride if last else 1
    assert steps >= 6, "hardly anything happened"


async def test_killed_while_somebody_asks_there_is_one_card(open_room: OpenRoom) -> None:
    async for room in lives(open_room, nothing, somebody_asks):
        card = card_in(room)
        assert (card.state, others(room), room.signs) == ("pending", [], ["✅", "❌"])
        assert await room.states() == ["pending"]
        assert await room.open_jobs() == ["expire", "remind"]
        assert (room.accounts, room.passwords) == ({}, [])


async def test_killed_at_the_vote_that_decides_there_is_one_account_and_one_answer(
    open_room: OpenRoom, *, long: bool
) -> None:
    async for room in lives(open_room, asked, the_second_approves, stride=1 if long else 3):
        card = card_in(room)
        assert (card.state, list(room.accounts)) == ("created", ["@bob:example.org"])
        assert others(room) == [("account", "created", ["@eve:example.org"])]
        (credentials,) = room.direct(room.person("@eve:example.org"))
        assert room.may_sign_in("@bob:example.org", credentials.body.split("`")[1])
        assert await room.open_jobs() == ["erase_credentials"]


async def test_killed_at_a_denial_it_is_told_once(open_room: OpenRoom, *, long: bool) -> None:
    async for room in lives(open_room, asked, somebody_denies, stride=1 if long else 2):
        assert (card_in(room).state, room.accounts) == ("denied", {})
        assert sorted(others(room)) == [("request", "denied", []), ("status", "denied", ["@eve:example.org"])]
        assert await room.open_jobs() == []


async def test_killed_while_it_expires_it_is_told_once(open_room: OpenRoom) -> None:
    rules = ApprovalRules(required=2, expires_after=HOUR, remind_after=0)
    async for room in lives(open_room, asked, time_passes, rules=rules):
        assert (card_in(room).state, room.accounts) == ("expired", {})
        assert others(room) == [("status", "expired", ["@eve:example.org"])]
        assert await room.open_jobs() == []


async def test_killed_while_it_reminds_it_reminds_once(open_room: OpenRoom) -> None:
    async for room in lives(open_room, asked, time_passes):
        assert card_in(room).state == "pending"
        assert others(room) == [("status", "pending", ["@ada:example.org"])]
        assert await room.open_jobs() == ["expire"]


async def test_killed_while_votes_are_weighed_again_they_are(open_room: OpenRoom) -> None:
    async for room in lives(open_room, asked, a_voter_leaves):
        assert (card_in(room).state, "0 of 2 approvals" in card_in(room).body) == ("pending", True)
        assert others(room) == []
