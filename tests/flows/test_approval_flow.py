"""Asking, from the line in the room to the card: who has to, what the room sees of it, and who is asked to decide."""

import json
from typing import Any

import pytest

from onboard_bot.chat.messages import CONTENT_KEY
from onboard_bot.domain.approvals import ApprovalRules
from tests.fakes.chat import BOT, Said
from tests.flows.conftest import OpenRoom
from tests.flows.room import Person, Room


def offered(room: Room) -> list[tuple[str, str]]:
    """What the bot put under which message."""
    relations = [event.content["m.relates_to"] for event in room.room.said_by(BOT, "m.reaction")]
    return [(relation["event_id"], relation["key"]) for relation in relations]


def in_thread(root: str, answering: str) -> dict[str, Any]:
    """A message in a thread, as clients send it."""
    return {
        "m.relates_to": {
            "rel_type": "m.thread",
            "event_id": root,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": answering},
        }
    }


async def test_somebody_below_the_level_gets_a_card_and_no_account(room: Room, ada: Person, eve: Person) -> None:
    command = await room.say(eve, "!register bob Bob the Builder --note=plumber")
    (card,) = room.posted
    assert card.content[CONTENT_KEY] == {
        "v": 1,
        "kind": "request",
        "id": card.about["id"],
        "state": "pending",
        "user_id": "@bob:example.org",
    }
    assert card.content["m.relates_to"] == {"m.in_reply_to": {"event_id": command}}
    assert card.mentions == [ada.user_id]
    assert offered(room) == [(card.event_id, "✅"), (card.event_id, "❌")]
    assert (room.accounts, room.passwords) == ({}, [])


async def test_the_card_tells_all_that_a_decision_needs(open_room: OpenRoom) -> None:
    room = await open_room(room_sets=("staff",), approval=ApprovalRules(required=2))
    _, _, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve, "!register bob Bob the Builder --note=plumber --type=bot --rooms=staff")
    for word in ("bob", "Bob the Builder", "plumber", "bot", "staff", eve.user_id, card.id, "0 of 2 approvals"):
        assert word in card.body
    assert "• Expires: 2027-01-22 08:00 UTC" in card.body.splitlines()
    for how in ("✅ or ❌ below", f"`!approve {card.id} [note]`", f"`!deny {card.id} [reason]`"):
        assert how in card.body


async def test_asking_makes_one_message_and_lists_nobody_who_is_asked(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    assert room.said == [card.posted]
    assert ada.user_id not in str(card.posted.content["formatted_body"])


# Who is asked


async def test_only_those_are_mentioned_who_may_decide(room: Room, ada: Person, grace: Person, eve: Person) -> None:
    room.person("@dave:example.org", level=49)
    room.person("@frank:example.org", level=100)
    room.room.members["@frank:example.org"] = "leave"
    room.room.members["@heidi:example.org"] = "invite"
    room.room.power_levels["users"]["@heidi:example.org"] = 100
    room.person("@EVE:example.org", level=100)  # who asks, under another spelling
    card = await room.asks(eve)
    assert card.posted.mentions == [ada.user_id, grace.user_id]


async def test_the_creator_of_a_version_12_room_is_asked(open_room: OpenRoom) -> None:
    room = await open_room(room_version="12")
    card = await room.asks(room.person("@eve:example.org"))
    assert card.posted.mentions == [room.creator.user_id]
    await card.tap(room.creator)
    assert list(room.accounts) == ["@bob:example.org"]


async def test_a_card_that_nobody_can_decide_says_so(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    assert card.posted.mentions == []
    assert "cannot be approved yet" in card.body


async def test_with_self_approval_the_asker_may_decide_and_is_not_rung_for_it(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(always=True, self_approval=True))
    ada, grace = room.people(ada=100, grace=50)
    card = await room.asks(ada)
    assert card.posted.mentions == [grace.user_id]
    await card.tap(ada)
    assert list(room.accounts) == ["@bob:example.org"]


# Who has to ask


async def test_with_always_also_approvers_ask(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(always=True))
    ada, grace = room.people(ada=100, grace=50)
    card = await room.asks(ada)
    assert card.posted.mentions == [grace.user_id]
    await card.tap(ada)
    assert (card.state, room.accounts) == ("pending", {})
    refused = await room.say(ada, f"!approve {card.id}")
    assert room.answers_to(refused)[0].about == {
        "v": 1,
        "kind": "error",
        "error": "not_permitted",
        "id": card.id,
        "state": "pending",
    }
    await card.tap(grace)
    assert list(room.accounts) == ["@bob:example.org"]
    assert [said.about["kind"] for said in room.direct(ada)] == ["credentials"]
    assert room.direct(grace) == []


async def test_an_account_with_admin_rights_is_asked_for_by_anybody_and_decided_by_typing(open_room: OpenRoom) -> None:
    room = await open_room(allow_admin=True)
    ada, grace, heidi = room.people(ada=100, grace=50, heidi=50)
    card = await room.asks(ada, "!register bob --admin")
    assert offered(room) == []
    for word in ("SERVER-ADMIN RIGHTS", "0 of 2 approvals", "Reactions do not count here", "please type"):
        assert word in card.body
    await card.tap(grace)
    await card.tap(heidi)
    assert (card.state, room.accounts, card.edits) == ("pending", {}, [])
    await room.say(grace, f"!approve {card.id}")
    await card.tap(heidi)
    assert (card.state, room.accounts) == ("pending", {})
    await room.say(heidi, f"!approve {card.id}")
    assert card.state == "created"
    assert room.accounts["@bob:example.org"].admin


async def test_a_reaction_does_not_deny_an_account_with_admin_rights_either(open_room: OpenRoom) -> None:
    room = await open_room(allow_admin=True)
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve, "!register bob --admin")
    await card.tap(ada, "❌")
    assert card.state == "pending"
    await room.say(grace, f"!deny {card.id}")
    assert card.state == "denied"


async def test_without_allow_admin_nobody_may_even_ask(room: Room, ada: Person, eve: Person) -> None:
    for who in (ada, eve):
        await room.say(who, "!register bob --admin")
        assert room.last.about["error"] == "not_permitted"
    assert await room.states() == []


# Threads


async def test_in_a_thread_the_card_and_the_outcome_stand_in_the_thread(room: Room, ada: Person, eve: Person) -> None:
    root = await room.types(eve, "Hello")
    command = await room.say(eve, "!register bob", **in_thread(root, root))
    card = room.card_of(command)
    await card.tap(ada)
    _, outcome = room.answers_to(command)
    for said in (card.posted, outcome):
        relation = said.content["m.relates_to"]
        assert (relation["rel_type"], relation["event_id"]) == ("m.thread", root)
        assert relation["m.in_reply_to"] == {"event_id": command}
    assert card.edits
    assert all(edit.replaces == card.posted.event_id for edit in card.edits)


# Names


async def test_a_second_request_for_a_name_is_refused_with_the_id_of_the_first(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    dave = room.person("@dave:example.org")
    second = await room.say(dave, "!register @BOB:example.org")
    (refusal,) = room.answers_to(second)
    assert refusal.about == {
        "v": 1,
        "kind": "error",
        "error": "duplicate_request",
        "id": card.id,
        "state": "pending",
    }
    assert card.id in refusal.body
    assert await room.states() == ["pending"]


async def test_also_an_approver_cannot_pass_a_request_over(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.say(ada, "!register bob")
    assert (room.last.about["error"], room.last.about["id"]) == ("duplicate_request", card.id)
    assert room.accounts == {}


async def test_of_two_who_ask_at_the_same_moment_one_gets_the_card(room: Room, ada: Person, eve: Person) -> None:
    dave = room.person("@dave:example.org")
    first = await room.types(eve, "!register bob")
    second = await room.types(dave, "!register bob")
    async with room.running():
        await room.until(lambda: len(room.posted) == 2 and len(room.signs) == 2)
    card = room.card_of(first)
    (refusal,) = room.answers_to(second)
    assert (refusal.about["error"], refusal.about["id"]) == ("duplicate_request", card.id)
    await card.tap(ada)
    assert (room.direct(dave), len(room.direct(eve))) == ([], 1)


async def test_ids_are_never_given_out_twice(room: Room, ada: Person, eve: Person) -> None:
    cards = [await room.asks(eve, f"!register bob{number}") for number in range(5)]
    await room.say(ada, "!deny " + " ".join(card.id for card in cards))
    cards += [await room.asks(eve, f"!register bob{number}") for number in range(5)]
    assert len({card.id for card in cards}) == len(cards)


# What nobody may read


def everything_said(room: Room) -> str:
    """All that stands in the room."""
    said: list[Said] = room.room.events
    return json.dumps([event.content for event in said])


@pytest.mark.parametrize("in_room", [False, True], ids=["direct message", "in the room"])
async def test_no_password_stands_on_a_card_or_in_the_record(open_room: OpenRoom, *, in_room: bool) -> None:
    room = await open_room(delivery_in_room=in_room)
    ada, eve = room.people(ada=100, eve=0)
    card = await room.asks(eve, "!register bob --note=plumber")
    await room.say(ada, f"!approve {card.id} welcome")
    await room.say(ada, f"!show {card.id}")
    (password,) = room.passwords
    with_password = [said for said in room.said if password in json.dumps(said.content)]
    assert [said.about["kind"] for said in with_password] == (["credentials"] if in_room else [])
    record = [tuple(row) for row in await room.rows("SELECT verb, facts, personal FROM audit")]
    assert {"request:made", "vote:cast", "request:approved", "account:created"} <= {row[0] for row in record}
    assert password not in str(record)
    secret = room.secret_file.read_text().strip()
    assert secret not in str(record) + everything_said(room)
