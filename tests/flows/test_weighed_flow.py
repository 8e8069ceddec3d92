"""Voters who leave, lose their level or come back before the decision: their votes count as long as they could vote."""

from collections.abc import Awaitable, Callable

import pytest

from onboard_bot.domain.approvals import ApprovalRules, Group
from onboard_bot.onboarding.ports import UnreachableError
from tests.flows.conftest import OpenRoom
from tests.flows.room import Card, Person, Room

STAFF = "#staff:example.org"
STAFF_ROOM = "!staff:example.org"

Change = Callable[[Room, Person], Awaitable[None]]


@pytest.fixture
async def room(open_room: OpenRoom) -> Room:
    """A room in which two have to agree, for or against."""
    return await open_room(approval=ApprovalRules(required=2, deny=2))


@pytest.fixture
async def card(room: Room, ada: Person, eve: Person) -> Card:
    """A request that ada has voted for."""
    asked = await room.asks(eve)
    await asked.tap(ada)
    return asked


async def leaves(room: Room, who: Person) -> None:
    """Somebody goes."""
    await room.moves(who, "leave")


async def is_banned(room: Room, who: Person) -> None:
    """Somebody is put out for good."""
    await room.moves(who, "ban")


async def loses_level(room: Room, who: Person) -> None:
    """Somebody is no approver any more."""
    await room.has_level(who, 49)


async def comes_back(room: Room, who: Person) -> None:
    """Somebody is there again, with their level."""
    await room.has_level(who, 50)
    await room.moves(who, "join")


async def verbs(room: Room) -> list[str]:
    """What the record says of votes."""
    return [row.verb for row in await room.rows("SELECT verb FROM audit WHERE verb LIKE 'vote:%' ORDER BY seq")]


@pytest.mark.parametrize("change", [leaves, is_banned, loses_level])
async def test_who_goes_before_the_decision_no_longer_counts(
    room: Room, ada: Person, grace: Person, card: Card, change: Change
) -> None:
    await change(room, ada)
    assert ("0 of 2 approvals" in card.body, ada.user_id in card.body) == (True, False)
    await card.tap(grace)
    assert (card.state, room.accounts) == ("pending", {})
    assert await verbs(room) == ["vote:cast", "vote:lapsed", "vote:cast"]


@pytest.mark.parametrize("change", [leaves, is_banned, loses_level])
async def test_who_comes_back_counts_again_and_that_may_decide(
    room: Room, ada: Person, grace: Person, card: Card, change: Change
) -> None:
    await change(room, ada)
    await card.tap(grace)
    await comes_back(room, ada)
    assert (card.state, list(room.accounts)) == ("created", ["@bob:example.org"])
    assert "vote:restored" in await verbs(room)


async def test_also_a_denial_comes_and_goes_with_its_voter(room: Room, ada: Person, grace: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await card.tap(ada, "❌")
    await leaves(room, ada)
    await card.tap(grace, "❌")
    assert card.state == "pending"
    await comes_back(room, ada)
    assert (card.state, room.accounts) == ("denied", {})


async def test_a_vote_is_looked_at_also_where_the_server_has_not_told_yet_who_left(
    room: Room, ada: Person, grace: Person, card: Card
) -> None:
    room.leaves(ada)
    await card.tap(grace)
    assert (card.state, room.accounts) == ("pending", {})
    assert "1 of 2 approvals" in card.body


async def test_after_the_decision_it_makes_no_difference_who_goes(
    room: Room, ada: Person, grace: Person, card: Card
) -> None:
    await card.tap(grace)
    said = room.said
    await leaves(room, ada)
    await loses_level(room, grace)
    assert (card.state, room.said) == ("created", said)


async def test_people_who_never_voted_come_and_go_unnoticed(room: Room, card: Card) -> None:
    said, calls = room.said, len(room.chat.calls)
    dave = room.person("@dave:example.org", level=50)
    for membership in ("leave", "join", "leave", "join"):
        await room.moves(dave, membership)
    assert room.said == said
    assert len(room.chat.calls) - calls < 20
    assert card.state == "pending"


async def test_where_nobody_has_voted_nobody_is_looked_up(room: Room, ada: Person, eve: Person) -> None:
    await room.asks(eve)
    calls = list(room.chat.calls)
    await loses_level(room, ada)
    assert room.chat.calls == calls


async def test_all_that_wait_are_weighed_at_once(room: Room, ada: Person, eve: Person) -> None:
    cards = [await room.asks(eve, f"!register bob{number}") for number in range(3)]
    for one in cards:
        await one.tap(ada)
    await leaves(room, ada)
    assert all("0 of 2 approvals" in one.body for one in cards)
    await comes_back(room, ada)
    assert all("1 of 2 approvals" in one.body for one in cards)


async def test_a_level_that_cannot_be_looked_up_now_is_looked_up_later(
    room: Room, ada: Person, grace: Person, card: Card
) -> None:
    room.chat.fail_next("power_levels", UnreachableError("the server restarts"), times=3)
    await leaves(room, ada)
    await room.wait(60)
    assert "0 of 2 approvals" in card.body
    await card.tap(grace)
    assert card.state == "pending"


async def test_over_a_restart_the_vote_of_who_left_stays_lapsed(
    room: Room, ada: Person, grace: Person, card: Card
) -> None:
    await leaves(room, ada)
    await room.restart()
    await card.tap(grace)
    assert (card.state, room.accounts) == ("pending", {})


async def test_who_leaves_the_room_of_a_group_does_not_represent_it_any_more(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2, groups=(Group("staff", room=STAFF),)))
    ada, grace, heidi, eve = room.people(ada=100, grace=50, heidi=50, eve=0)
    staff = room.chat.make_room(STAFF_ROOM)
    staff.members[grace.user_id] = "join"
    room.group_rooms[STAFF] = STAFF_ROOM
    card = await room.asks(eve)
    await card.tap(grace)
    assert "still missing" not in card.body
    await room.moves(grace, "leave", room_id=STAFF_ROOM)
    assert "1 of 2 approvals; still missing: 1 of staff" in card.body
    await card.tap(ada)
    assert card.state == "pending"
    await room.moves(heidi, "join", room_id=STAFF_ROOM)
    assert card.state == "pending"
    await room.moves(ada, "join", room_id=STAFF_ROOM)
    assert card.state == "created"
