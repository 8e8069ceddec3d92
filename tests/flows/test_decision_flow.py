"""Deciding: what the rules make of the votes, what the card shows of it, and who hears what."""

import pytest

from onboard_bot.domain.approvals import ApprovalRules, Group
from tests.flows.conftest import OpenRoom
from tests.flows.room import Person, Room

STAFF_ROOM = "!staff:example.org"
TEACHERS = Group("teachers", members=frozenset({"@grace:example.org"}))


async def test_one_tap_decides_and_everybody_hears_of_it(room: Room, ada: Person, eve: Person) -> None:
    command = await room.say(eve, "!register bob")
    card = room.card_of(command)
    await card.tap(ada)
    assert "@bob:example.org" in room.accounts
    assert card.shown.content["m.new_content"]["io.github.onboard_bot"] == card.shown.about
    assert card.shown.about == {
        "v": 1,
        "kind": "request",
        "id": card.id,
        "state": "created",
        "user_id": "@bob:example.org",
    }
    _, answer = room.answers_to(command)
    assert answer.about == {
        "v": 1,
        "kind": "account",
        "state": "created",
        "id": card.id,
        "user_id": "@bob:example.org",
    }
    assert answer.mentions == [eve.user_id]
    assert room.posted == [card.posted, answer]


async def test_the_credentials_go_to_the_one_who_asked_and_to_nobody_else(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await card.tap(ada)
    (credentials,) = room.direct(eve)
    assert credentials.about == {"v": 1, "kind": "credentials", "user_id": "@bob:example.org"}
    assert room.may_sign_in("@bob:example.org", credentials.body.split("`")[1])
    assert room.direct(ada) == []
    assert set(room.chat.rooms) == {room.room.room_id, "!direct-with-eve:example.org"}


async def test_a_quorum_of_two_needs_two(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve)
    await card.tap(ada)
    assert (card.state, room.accounts) == ("pending", {})
    assert "1 of 2 approvals" in card.body
    assert ada.user_id in card.body
    typed = await room.say(grace, f"!approve {card.id} fine with me")
    assert card.state == "created"
    (voted,) = room.answers_to(typed)
    assert (voted.about["kind"], voted.about["id"]) == ("request", card.id)
    for word in (ada.user_id, grace.user_id, "“fine with me”"):
        assert word in card.body


async def test_a_vote_edits_the_card_and_nothing_is_posted_for_it(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=5))
    people = room.people(ada=100, grace=50, heidi=50)
    card = await room.asks(room.person("@eve:example.org"))
    for who in people:
        await card.tap(who)
    assert room.posted == [card.posted]
    assert len(card.edits) == len(people)
    assert "3 of 5 approvals" in card.body
    for edit in card.edits:
        assert (edit.mentions, edit.about["id"], edit.about["state"]) == ([], card.id, "pending")
    assert card.shown.content["m.new_content"]["m.mentions"] == {"user_ids": [who.user_id for who in people]}


async def test_the_same_person_twice_is_one_vote(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, eve = room.people(ada=100, eve=0)
    card = await room.asks(eve)
    await card.tap(ada)
    await card.tap(ada, "👍")
    await room.say(ada, f"!approve {card.id}")
    assert (card.state, room.accounts) == ("pending", {})
    assert "1 of 2 approvals" in card.body


async def test_the_same_person_under_another_spelling_is_one_vote(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, eve = room.people(ada=100, eve=0)
    card = await room.asks(eve)
    await card.tap(ada)
    await card.tap(room.person("@ADA:example.org", level=100))
    assert (card.state, room.accounts) == ("pending", {})


# Against it


async def test_who_is_denied_is_told_with_the_reason(room: Room, ada: Person, eve: Person) -> None:
    command = await room.say(eve, "!register bob")
    card = room.card_of(command)
    typed = await room.say(ada, f"!deny {card.id} we have never met them")
    _, told = room.answers_to(command)
    assert told.about == {
        "v": 1,
        "kind": "status",
        "id": card.id,
        "state": "denied",
        "user_id": "@bob:example.org",
    }
    assert told.mentions == [eve.user_id]
    (answer,) = room.answers_to(typed)
    assert (answer.about["kind"], answer.about["state"]) == ("request", "denied")
    assert card.state == "denied"
    for said in (told.body, card.body):
        assert "we have never met them" in said
    assert (room.accounts, room.passwords, await room.open_jobs()) == ({}, [], [])


async def test_silently_nobody_is_told_but_the_card_and_the_record_show_it(
    room: Room, ada: Person, eve: Person
) -> None:
    command = await room.say(eve, "!register bob")
    card = room.card_of(command)
    await room.say(ada, f"!deny {card.id} --silent spam")
    assert room.answers_to(command) == [card.posted]
    assert all(eve.user_id not in said.mentions for said in room.said)
    assert card.state == "denied"
    await room.say(ada, f"!show {card.id}")
    assert "who asked was not told" in room.last.body


async def test_denying_by_a_tap_tells_the_one_who_asked(room: Room, ada: Person, eve: Person) -> None:
    command = await room.say(eve, "!register bob")
    await room.card_of(command).tap(ada, "❌")
    _, told = room.answers_to(command)
    assert (told.about["state"], told.mentions) == ("denied", [eve.user_id])


async def test_one_veto_ends_what_needs_three_approvals(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=3, deny=1))
    ada, grace, heidi, eve = room.people(ada=100, grace=50, heidi=50, eve=0)
    card = await room.asks(eve)
    await card.tap(ada)
    await card.tap(grace)
    await card.tap(heidi, "❌")
    assert (card.state, room.accounts) == ("denied", {})


async def test_where_two_denials_decide_one_does_not(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2, deny=2))
    ada, grace, heidi, eve = room.people(ada=100, grace=50, heidi=50, eve=0)
    card = await room.asks(eve)
    await card.tap(ada, "❌")
    assert (card.state, "0 of 2 approvals, 1 of 2 denials" in card.body) == ("pending", True)
    await card.tap(grace)
    await room.say(heidi, f"!deny {card.id} no")
    assert (card.state, room.accounts) == ("denied", {})
    assert "and 1 other" in card.body


# Groups


async def test_a_group_has_to_be_represented(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=1, groups=(TEACHERS,)))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve)
    assert "still missing: 1 of teachers" in card.body
    await card.tap(ada)
    assert (card.state, room.accounts) == ("pending", {})
    assert "1 of 1 approval; still missing: 1 of teachers" in card.body
    await card.tap(grace)
    assert card.state == "created"


async def test_one_person_may_count_for_the_quorum_and_for_their_group(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=1, groups=(TEACHERS,)))
    grace, eve = room.people(grace=50, eve=0)
    card = await room.asks(eve)
    await card.tap(grace)
    assert card.state == "created"


async def test_a_member_of_a_group_who_may_not_vote_represents_nobody(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=1, groups=(TEACHERS,)))
    ada, grace, eve = room.people(ada=100, grace=49, eve=0)
    card = await room.asks(eve)
    await card.tap(ada)
    await card.tap(grace)
    assert card.state == "pending"


@pytest.fixture
async def staffed(open_room: OpenRoom) -> Room:
    """A room where somebody of the staff room has to approve; grace is in that one."""
    room = await open_room(approval=ApprovalRules(groups=(Group("staff", room="#staff:example.org"),)))
    room.chat.make_room(STAFF_ROOM).members["@grace:example.org"] = "join"
    room.group_rooms["#staff:example.org"] = STAFF_ROOM
    return room


async def test_a_group_may_be_the_people_of_a_room(staffed: Room) -> None:
    ada, grace, eve = staffed.people(ada=100, grace=50, eve=0)
    card = await staffed.asks(eve)
    await card.tap(ada)
    assert (card.state, "1 of staff" in card.body) == ("pending", True)
    await card.tap(grace)
    assert card.state == "created"


async def test_somebody_who_is_only_invited_there_does_not_belong(staffed: Room) -> None:
    ada, eve = staffed.people(ada=100, eve=0)
    staffed.chat.rooms[STAFF_ROOM].members[ada.user_id] = "invite"
    card = await staffed.asks(eve)
    await card.tap(ada)
    assert card.state == "pending"


@pytest.mark.parametrize("why", ["never entered", "put out"])
async def test_of_a_room_that_the_bot_is_not_in_nobody_counts(staffed: Room, why: str) -> None:
    grace, eve = staffed.people(grace=50, eve=0)
    if why == "never entered":
        del staffed.group_rooms["#staff:example.org"]
    else:
        staffed.chat.rooms[STAFF_ROOM].members["@onboard:example.org"] = "leave"
    card = await staffed.asks(eve)
    await card.tap(grace)
    assert (card.state, staffed.accounts) == ("pending", {})
