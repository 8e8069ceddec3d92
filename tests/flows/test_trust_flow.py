"""Only devices that their owner signed are obeyed, and a changed identity counts once somebody else accepted it."""

import asyncio
from dataclasses import replace

import pytest

from onboard_bot.domain.devices import Standing
from onboard_bot.onboarding.identities import AcceptedIdentities
from onboard_bot.onboarding.ports import UnreachableError
from onboard_bot.onboarding.turned_away import NOTICES
from onboard_bot.store.inbox import Envelope
from tests.flows.conftest import OpenRoom
from tests.flows.room import ADMIN_ROOM, Person, Room


@pytest.fixture
def bob(room: Room) -> Person:
    """Another approver."""
    return room.person("@bob:example.org", level=50)


def is_unsigned(room: Room, who: Person, standing: Standing = Standing.UNSIGNED) -> None:
    """How the device that somebody types at stands to them."""
    room.chat.standings[who.user_id, who.device] = standing


async def becomes(room: Room, who: Person, master_key: str) -> bool:
    """The server names this identity of somebody; whether it counts."""
    return who.user_id in await AcceptedIdentities(room.life.store).accepted({who.user_id: master_key})


async def test_a_command_from_an_unsigned_device_does_nothing_and_its_owner_reads_why_on_any_device(
    room: Room, ada: Person
) -> None:
    is_unsigned(room, ada)
    command = await room.say(ada, "!register bob")
    (notice,) = room.said
    assert notice.about == {"v": 1, "kind": "error", "error": "device_not_signed", "user_id": ada.user_id}
    assert notice.device is None, "it would be encrypted, and they could not read it"
    assert notice.answers == command
    assert notice.content["m.mentions"] == {"user_ids": [ada.user_id]}
    assert "Verify it" in notice.body
    assert "bob" not in notice.body
    assert not room.accounts
    assert await room.states() == []


async def test_it_is_said_once_for_each_device_also_after_a_restart(room: Room, ada: Person) -> None:
    laptop = replace(ada, device="LAPTOP")
    is_unsigned(room, ada)
    is_unsigned(room, laptop)
    await room.say(ada, "!register bob")
    await room.say(ada, "!status")
    await room.restart()
    await room.say(ada, "!help")
    assert len(room.said) == 1
    await room.say(laptop, "!help")
    assert len(room.said) == 2


async def test_who_has_signed_is_obeyed_at_once(room: Room, ada: Person) -> None:
    is_unsigned(room, ada)
    await room.say(ada, "!register bob")
    is_unsigned(room, ada, Standing.SIGNED)
    await room.say(ada, "!register bob")
    assert room.last.about["state"] == "created"
    assert room.last.device is not None


async def test_words_that_are_no_command_are_nobodys_business(room: Room, ada: Person) -> None:
    is_unsigned(room, ada)
    await room.say(ada, "good morning")
    assert room.said == []


async def test_who_left_hears_nothing(room: Room, ada: Person) -> None:
    is_unsigned(room, ada)
    await room.types(ada, "!register bob")
    room.leaves(ada)
    await room.settle()
    assert room.said == []


async def test_with_allow_unsigned_devices_and_clear_text_are_obeyed(open_room: OpenRoom) -> None:
    room = await open_room(only_signed=False)
    ada = room.person("@ada:example.org", level=100)
    is_unsigned(room, ada)
    await room.say(ada, "!register bob")
    await room.sends(ada, "m.room.message", {"msgtype": "m.text", "body": "!register carol"}, in_clear=True)
    await room.settle()
    assert set(room.accounts) == {"@bob:example.org", "@carol:example.org"}


@pytest.mark.parametrize("only_signed", [True, False], ids=["refuse", "allow"])
async def test_what_none_of_the_senders_devices_said_is_never_obeyed_and_told_once_a_day(
    open_room: OpenRoom, *, only_signed: bool
) -> None:
    room = await open_room(only_signed=only_signed)
    ada = room.person("@ada:example.org", level=100)
    is_unsigned(room, ada, Standing.FOREIGN)
    for _ in range(3):
        await room.say(ada, "!register bob")
    (notice,) = room.said
    assert "none of the devices" in notice.body
    assert not room.accounts


async def test_a_command_in_clear_text_in_an_encrypted_room_does_nothing_and_says_why_once_a_day(
    room: Room, ada: Person
) -> None:
    for _ in range(3):
        await room.sends(ada, "m.room.message", {"msgtype": "m.text", "body": "!register bob"}, in_clear=True)
        await room.settle()
    (notice,) = room.said
    assert notice.about["error"] == "device_not_signed"
    assert notice.device is None
    assert not room.accounts
    await room.wait(24 * 3600)
    await room.sends(ada, "m.room.message", {"msgtype": "m.text", "body": "!help"}, in_clear=True)
    await room.settle()
    assert len(room.said) == 2


async def test_in_a_room_that_is_not_encrypted_everybody_is_obeyed(room: Room, ada: Person) -> None:
    room.chat.unencrypted = True
    await room.say(ada, "!status")
    assert room.last.about["kind"] == "status"


async def test_while_a_homeserver_is_silent_about_its_people_they_are_asked_to_come_again(
    room: Room, ada: Person
) -> None:
    is_unsigned(room, ada, Standing.UNKNOWN)
    await room.say(ada, "!register bob")
    assert room.last.about["error"] == "homeserver_unreachable"
    assert not room.accounts
    is_unsigned(room, ada, Standing.SIGNED)
    await room.say(ada, "!register bob")
    assert room.last.about["state"] == "created"


async def test_a_command_that_was_redacted_before_it_was_obeyed_does_nothing(room: Room, ada: Person) -> None:
    command = await room.types(ada, "!register bob")
    await room.sends(ada, "m.room.redaction", {"redacts": command})
    await room.settle()
    assert room.said == []
    assert not room.accounts


async def test_a_copy_of_a_command_does_nothing_also_after_a_restart(room: Room, ada: Person) -> None:
    command = await room.say(ada, "!register bob")
    answered = len(room.said)
    await room.restart()
    await room._arrive([room._raw(room.chat.event(command)) | {"event_id": "$copy"}])
    await room.settle()
    assert len(room.said) == answered


async def test_another_identity_is_told_once_and_counts_when_another_approver_accepts_it(
    room: Room, ada: Person, bob: Person
) -> None:
    assert await becomes(room, bob, "oldk")
    assert not await becomes(room, bob, "newk")
    await room.settle()
    assert room.last.about == {"v": 1, "kind": "error", "error": "identity_changed", "user_id": bob.user_id}
    assert room.last.device is not None, "nobody but the room may read or change which keys these are"
    assert "oldk" in room.last.body
    assert "newk" in room.last.body
    assert not await becomes(room, bob, "newk")
    await room.restart()
    await room.settle()
    assert len(room.said) == 1
    await room.say(ada, f"!trust {bob.user_id}")
    assert room.last.about == {"v": 1, "kind": "status", "user_id": bob.user_id}
    assert "newk" in room.last.body
    assert await becomes(room, bob, "newk")
    assert not await becomes(room, bob, "oldk")


async def test_of_two_changes_only_the_last_one_can_be_accepted(room: Room, ada: Person, bob: Person) -> None:
    for key in ("frst", "scnd", "thrd"):
        await becomes(room, bob, key)
    await room.settle()
    assert [("thrd" in said.body) for said in room.said] == [True], "what is not so any more is not told"
    await room.say(ada, "!trust @bob:example.org")
    assert await becomes(room, bob, "thrd")


async def test_who_types_with_a_changed_identity_is_told_what_to_do(room: Room, bob: Person) -> None:
    is_unsigned(room, bob, Standing.CHANGED)
    await room.say(bob, "!register carol")
    assert room.last.about["error"] == "device_not_signed"
    assert "!trust @bob:example.org" in room.last.body
    assert not room.accounts


async def test_nobody_accepts_their_own_identity(room: Room, ada: Person) -> None:
    await becomes(room, ada, "oldk")
    await becomes(room, ada, "newk")
    await room.say(ada, "!trust @ada:example.org")
    assert room.last.about["error"] == "not_permitted"
    assert not await becomes(room, ada, "newk")


async def test_who_may_not_approve_may_not_accept(room: Room, bob: Person) -> None:
    eve = room.person("@eve:example.org")
    await becomes(room, bob, "oldk")
    await becomes(room, bob, "newk")
    await room.say(eve, "!trust @bob:example.org")
    assert room.last.about["error"] == "not_permitted"
    assert not await becomes(room, bob, "newk")


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ("!trust @bob:example.org", "not_found"),
        ("!trust @stranger:elsewhere.org", "not_found"),
        ("!trust", "bad_argument"),
        ("!trust @b ob", "bad_argument"),
        ("!trust b:ob", "bad_argument"),
    ],
)
async def test_what_cannot_be_accepted_is_named(room: Room, ada: Person, bob: Person, typed: str, error: str) -> None:
    await becomes(room, bob, "oldk")
    await room.say(ada, typed)
    assert room.last.about["error"] == error


async def test_a_change_and_who_accepted_it_are_in_the_audit_log(room: Room, ada: Person, bob: Person) -> None:
    await becomes(room, bob, "oldk")
    await becomes(room, bob, "newk")
    await room.settle()
    await room.say(ada, "!trust bob")
    rows = await room.rows("SELECT verb, personal FROM audit WHERE verb LIKE 'identity:%' ORDER BY seq")
    assert [row[0] for row in rows] == ["identity:changed", "identity:accepted"]
    assert ada.user_id in rows[1][1]
    assert "newk" in rows[1][1]


async def test_two_who_look_at_the_same_moment_tell_of_a_change_once(room: Room, bob: Person) -> None:
    await becomes(room, bob, "oldk")
    await asyncio.gather(*(becomes(room, bob, "newk") for _ in range(5)))
    await room.settle()
    assert len(room.said) == 1
    assert [event.room_id for event in room.said] == [ADMIN_ROOM]


async def test_one_of_whom_the_server_tells_nothing_holds_nobody_up_for_long(
    room: Room, ada: Person, bob: Person
) -> None:
    look = room.chat.standing

    async def not_of_bob(user_id: str, envelope: Envelope) -> Standing:
        if user_id == bob.user_id:
            raise UnreachableError("POST keys/query: more than 67108864 bytes")
        return await look(user_id, envelope)

    room.chat.standing = not_of_bob  # type: ignore[method-assign]
    await room.types(bob, "!help")
    await room.types(ada, "!status")
    async with room.running():
        for _ in range(20):
            await asyncio.sleep(0.02)
            room.passes(10)
        await room.until(lambda: len(room.said) == 2)
    assert [said.about.get("error") for said in room.said] == ["homeserver_unreachable", None]


async def test_a_server_that_is_gone_turns_nobody_away(room: Room, ada: Person) -> None:
    for call in ("standing", "power_levels"):
        room.chat.fail_next(call, UnreachableError("no connection"), times=30)
    await room.types(ada, "!status")
    async with room.running():
        for _ in range(80):
            await asyncio.sleep(0.01)
            room.passes(10)
        await room.until(lambda: room.said)
    assert [said.about["kind"] for said in room.said] == ["status"]


async def test_talk_about_the_bot_is_not_answered_from_an_unsigned_device_either(room: Room, bob: Person) -> None:
    is_unsigned(room, bob)
    await room.say(bob, "Onboarding is slow today")
    assert room.said == []


@pytest.mark.parametrize("standing", [Standing.UNSIGNED, Standing.UNKNOWN, Standing.FOREIGN])
async def test_nobody_makes_the_bot_say_the_same_all_day(room: Room, bob: Person, standing: Standing) -> None:
    for n in range(40):
        device = replace(bob, device=f"DEVICE{n}")
        is_unsigned(room, device, standing)
        await room.say(device, "!status")
    assert len(room.said) <= NOTICES.of_one


async def test_all_together_do_not_make_the_bot_say_it_all_day(room: Room) -> None:
    for n in range(50):
        person = room.person(f"@p{n}:example.org")
        is_unsigned(room, person)
        await room.say(person, "!status")
    assert len(room.said) == NOTICES.altogether
    await room.wait(3600)
    person = room.person("@late:example.org")
    is_unsigned(room, person)
    await room.say(person, "!status")
    assert len(room.said) == NOTICES.altogether + 1
