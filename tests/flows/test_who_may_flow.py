"""Who is obeyed, who is told that they may not, and who gets no answer at all."""

from typing import Any

import pytest

from onboard_bot.onboarding.ports import TokenRejectedError, UnreachableError
from tests.fakes.chat import BOT
from tests.flows.conftest import OpenRoom
from tests.flows.room import ADMIN_ROOM, Person, Room


async def test_below_the_level_people_ask_and_make_no_accounts(room: Room) -> None:
    bob = room.person("@bob:example.org", level=49)
    await room.say(bob, "!register carol")
    assert (room.last.about["kind"], room.last.about["state"]) == ("request", "pending")
    assert (room.accounts, room.passwords) == ({}, [])


async def test_the_level_itself_is_enough(room: Room) -> None:
    await room.say(room.person("@bob:example.org", level=50), "!register carol")
    assert list(room.accounts) == ["@carol:example.org"]


async def test_below_the_level_help_and_status_are_answered(room: Room) -> None:
    bob = room.person("@bob:example.org")
    await room.say(bob, "!help")
    await room.say(bob, "!status")
    assert [said.about["kind"] for said in room.said] == ["help", "status"]


async def test_the_creator_of_a_version_12_room_is_above_all_levels(open_room: OpenRoom) -> None:
    room = await open_room(room_version="12")
    await room.say(room.creator, "!register bob")
    assert list(room.accounts) == ["@bob:example.org"]


async def test_the_creator_of_an_older_room_has_the_level_that_the_room_gives(room: Room) -> None:
    await room.say(room.creator, "!register bob")
    assert room.last.about["state"] == "pending"
    assert room.accounts == {}


async def test_somebody_taken_out_of_the_levels_is_no_approver_any_more(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    room.loses_level(ada)
    await room.say(ada, "!register carol")
    assert room.last.about["state"] == "pending"
    request_id = room.last.about["id"]
    await room.say(ada, f"!approve {request_id}")
    assert room.last.about == {"v": 1, "kind": "error", "error": "not_permitted"}
    assert "50" in room.last.body
    assert list(room.accounts) == ["@bob:example.org"]


async def test_what_counts_is_the_level_when_the_command_is_obeyed(room: Room, ada: Person) -> None:
    await room.types(ada, "!register bob")
    room.loses_level(ada)
    await room.settle()
    assert room.last.about["state"] == "pending"
    assert room.accounts == {}


async def test_somebody_who_left_since_gets_no_answer(room: Room, ada: Person) -> None:
    await room.types(ada, "!register bob")
    room.leaves(ada)
    await room.settle()
    assert (room.said, room.accounts) == ([], {})
    room.person(ada.user_id, level=100)
    await room.settle()
    assert (room.said, room.accounts) == ([], {})


@pytest.mark.parametrize(
    "content",
    [
        {"msgtype": "m.notice", "body": "!register bob"},
        {"msgtype": "m.emote", "body": "!register bob"},
        {"msgtype": "m.text", "body": "register bob"},
        {"msgtype": "m.text", "body": "> !register bob"},
        {"msgtype": "m.text", "body": "yes!"},
        {"msgtype": "m.text", "body": "!"},
        {"msgtype": "m.text", "body": "!!! read this"},
        {"msgtype": "m.text", "body": ["!register bob"]},
        {
            "msgtype": "m.text",
            "body": "* !register bob",
            "m.new_content": {"msgtype": "m.text", "body": "!register bob"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": "$event1"},
        },
        {
            "msgtype": "m.text",
            "body": "> <@grace:example.org> !register bob\n\nwhat do you think?",
            "m.relates_to": {"m.in_reply_to": {"event_id": "$event1"}},
        },
        {"body": "!register bob"},
        {},
    ],
)
async def test_what_is_not_said_to_the_bot_is_passed_over_in_silence(
    room: Room, ada: Person, content: dict[str, Any]
) -> None:
    await room.sends(ada, "m.room.message", content)
    await room.settle()
    assert (room.said, room.accounts) == ([], {})
    assert room.chat.calls == []


async def test_the_bot_does_not_obey_itself(room: Room) -> None:
    await room.say(Person(BOT), "!register bob")
    assert room.accounts == {}
    room.room.events.clear()  # the bot never speaks like this


async def test_reactions_and_redactions_are_no_commands(room: Room, ada: Person) -> None:
    await room.sends(ada, "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$x", "key": "✅"}})
    await room.sends(ada, "m.room.redaction", {"redacts": "$x", "body": "!register bob"})
    await room.settle()
    assert (room.said, room.accounts) == ([], {})


async def test_in_other_rooms_nobody_is_obeyed(room: Room, ada: Person) -> None:
    room.chat.make_room("!elsewhere:example.org").members[ada.user_id] = "join"
    content = {"msgtype": "m.text", "body": "!register bob"}
    await room.sends(ada, "m.room.message", content, room_id="!elsewhere:example.org")
    await room.settle()
    assert room.accounts == {}
    assert room.chat.rooms["!elsewhere:example.org"].said_by(BOT) == []


async def test_what_stands_in_the_direct_room_is_no_command_of_the_admin_room(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    direct = room.chat.direct_room(ada.user_id)
    assert direct is not None
    content = {"msgtype": "m.text", "body": "!register carol"}
    await room.sends(ada, "m.room.message", content, room_id=direct.room_id)
    await room.settle()
    assert list(room.accounts) == ["@bob:example.org"]


async def test_a_mention_is_as_good_as_the_prefix(room: Room, ada: Person) -> None:
    await room.say(ada, f"{BOT}: register bob")
    await room.say(ada, "Onboarding, register carol")
    assert list(room.accounts) == ["@bob:example.org", "@carol:example.org"]


async def test_talk_about_the_bot_gets_no_answer(room: Room, ada: Person) -> None:
    await room.say(ada, "Onboarding is slow today")
    assert room.said == []


async def test_a_bot_that_was_put_out_of_the_room_says_nothing(room: Room, ada: Person) -> None:
    await room.types(ada, "!register bob")
    room.room.members[BOT] = "leave"
    await room.settle()
    assert room.accounts == {}


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("the server restarts"),
        TokenRejectedError(401, {"errcode": "M_UNKNOWN_TOKEN", "soft_logout": True}),
    ],
    ids=["unreachable", "token rejected"],
)
async def test_a_command_waits_where_its_sender_cannot_be_looked_up(room: Room, ada: Person, error: Exception) -> None:
    await room.types(ada, "!register bob")
    room.chat.fail_next("membership", error)
    with pytest.raises(type(error)):
        await room.settle()
    assert room.said == []
    await room.settle()
    assert list(room.accounts) == ["@bob:example.org"]


async def test_the_running_bot_looks_a_sender_up_again_later(room: Room, ada: Person) -> None:
    room.chat.fail_next("power_levels", UnreachableError("the server restarts"), times=3)
    async with room.running():
        await room.types(ada, "!register bob")
        await room.until(lambda: room.direct(ada) and room.said)
    assert room.chat.calls.count("power_levels") == 4
    assert room.said[0].room_id == ADMIN_ROOM
