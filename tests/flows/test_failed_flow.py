"""Requests that were approved and whose account could not be made: what is told, and how they are tried again."""

import pytest

from onboard_bot.domain.approvals import ApprovalRules
from tests.flows.conftest import OpenRoom
from tests.flows.room import Card, Person, Room


@pytest.fixture
async def taken(room: Room, ada: Person, eve: Person) -> Card:
    """A request whose name was given to somebody else while the room decided."""
    card = await room.asks(eve)
    room.endpoint.add_account("bob")
    await card.tap(ada)
    return card


async def test_a_name_that_was_taken_meanwhile_ends_in_failed_with_a_hint(room: Room, eve: Person, taken: Card) -> None:
    assert (taken.state, taken.shown.about["error"]) == ("failed", "username_taken")
    assert f"`!approve {taken.id} --username=…`" in taken.body
    _, told = room.answers_to(str(taken.posted.answers))
    assert told.about == {
        "v": 1,
        "kind": "error",
        "error": "username_taken",
        "id": taken.id,
        "state": "failed",
        "user_id": "@bob:example.org",
    }
    assert told.mentions == [eve.user_id]
    assert "choose another" in told.body
    assert room.direct(eve) == []


async def test_an_approver_corrects_the_name(room: Room, ada: Person, eve: Person, taken: Card) -> None:
    await room.say(ada, f"!approve {taken.id} --username=Bob2")
    assert (taken.state, taken.shown.about["user_id"]) == ("created", "@bob2:example.org")
    assert "@bob2:example.org" in room.accounts
    outcomes = room.answers_to(str(taken.posted.answers))[1:]
    assert [said.about["kind"] for said in outcomes] == ["error", "account"]
    (credentials,) = room.direct(eve)
    assert room.may_sign_in("@bob2:example.org", credentials.body.split("`")[1])


async def test_the_same_name_again_is_of_no_use(room: Room, ada: Person, taken: Card) -> None:
    for line in (f"!approve {taken.id}", f"!approve {taken.id} --username=bob"):
        assert (await room.answer(ada, line)).about["error"] == "bad_argument"
        assert "--username" in room.last.body
    assert (await room.answer(ada, f"!approve {taken.id} --username=root")).about["error"] == "username_reserved"
    assert (await room.answer(ada, f"!deny {taken.id}")).about["error"] == "already_decided"
    assert taken.state == "failed"


async def test_a_corrected_name_may_be_taken_too(room: Room, ada: Person, taken: Card) -> None:
    room.endpoint.add_account("bob2")
    await room.say(ada, f"!approve {taken.id} --username=bob2")
    assert taken.state == "failed"
    await room.say(ada, f"!approve {taken.id} --username=bob3")
    assert taken.state == "created"
    assert "@bob3:example.org" in room.accounts


async def test_a_name_that_another_request_holds_cannot_be_chosen(room: Room, ada: Person, taken: Card) -> None:
    other = await room.asks(room.person("@dave:example.org"), "!register carol")
    about = (await room.answer(ada, f"!approve {taken.id} --username=carol")).about
    assert (about["error"], about["id"]) == ("duplicate_request", other.id)


async def test_with_a_quorum_of_two_a_corrected_name_needs_two_again(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve)
    room.endpoint.add_account("bob")
    await card.tap(ada)
    await card.tap(grace)
    about = (await room.answer(ada, f"!approve {card.id} --username=bob2")).about
    assert about["state"] == "pending"
    assert (card.state, "1 of 2 approvals" in card.body, "bob2" in card.body) == ("pending", True, True)
    await card.tap(grace, "👍")
    assert card.state == "created"
    assert "@bob2:example.org" in room.accounts


async def test_a_secret_that_was_wrong_for_a_while_is_no_reason_to_vote_again(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve)
    right, room.endpoint.shared_secret = room.endpoint.shared_secret, "another one"
    await card.tap(ada)
    await card.tap(grace)
    assert (card.state, card.shown.about["error"]) == ("failed", "secret_rejected")
    assert f"`!approve {card.id}`" in card.body
    room.endpoint.shared_secret = right
    await card.tap(grace, "👍")
    assert card.state == "failed"  # a sign under the card says nothing about the secret
    await room.say(grace, f"!approve {card.id}")
    assert card.state == "created"
    (credentials,) = room.direct(eve)
    assert room.may_sign_in("@bob:example.org", credentials.body.split("`")[1])


async def test_another_name_while_it_waits_drops_the_votes_for_the_old_one(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, heidi, eve = room.people(ada=100, grace=50, heidi=50, eve=0)
    card = await room.asks(eve)
    await card.tap(ada)
    await room.say(grace, f"!approve {card.id} --username=bobby")
    assert (card.state, "1 of 2 approvals" in card.body) == ("pending", True)
    assert card.shown.about["user_id"] == "@bobby:example.org"
    await card.tap(heidi)
    assert list(room.accounts) == ["@bobby:example.org"]


async def test_what_an_approver_made_at_once_is_tried_again_by_another_one(
    room: Room, ada: Person, grace: Person
) -> None:
    right, room.endpoint.shared_secret = room.endpoint.shared_secret, "another one"
    command = await room.say(ada, "!register bob")
    request_id = room.last.about["id"]
    room.endpoint.shared_secret = right
    assert (await room.answer(ada, f"!approve {request_id}")).about["error"] == "not_permitted"
    assert (await room.answer(grace, f"!approve {request_id}")).about["kind"] == "request"
    failed, made = room.answers_to(command)
    assert (failed.about["error"], made.about["state"], made.mentions) == ("secret_rejected", "created", [ada.user_id])
    assert (len(room.direct(ada)), room.direct(grace)) == (1, [])
