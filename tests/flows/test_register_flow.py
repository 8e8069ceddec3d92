"""`!register` from the line in the room to the account: what people, programs and the homeserver see of it."""

import json
import re

from onboard_bot.chat.messages import CONTENT_KEY
from tests.fakes.chat import BOT
from tests.flows.conftest import OpenRoom
from tests.flows.room import ADMIN_ROOM, Person, Room

A_DAY = 24 * 3600.0


def password_in(body: str) -> str:
    """The only text between backticks."""
    (password,) = re.findall(r"`([^`]*)`", body)
    return str(password)


async def test_an_admin_types_register_and_the_account_is_there(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob Bob the Builder")
    account = room.accounts["@bob:example.org"]
    assert (account.display_name, account.admin, account.user_type) == ("Bob the Builder", False, None)
    assert account.sessions == {}
    assert "@bob:example.org" in room.last.body
    assert "Bob the Builder" in room.last.body
    assert await room.states() == ["created"]


async def test_the_answer_is_one_notice_in_reply_with_the_content_key_of_the_contract(room: Room, ada: Person) -> None:
    command = await room.say(ada, "!register bob")
    (answer,) = room.said
    request_id = answer.about["id"]
    assert answer.content[CONTENT_KEY] == {
        "v": 1,
        "kind": "account",
        "state": "created",
        "id": request_id,
        "user_id": "@bob:example.org",
    }
    assert answer.content["msgtype"] == "m.notice"
    assert answer.content["m.relates_to"] == {"m.in_reply_to": {"event_id": command}}
    assert answer.content["m.mentions"] == {}
    assert [tuple(row) for row in await room.rows("SELECT id, user_id FROM requests")] == [
        (request_id, "@bob:example.org")
    ]


async def test_a_command_in_a_thread_is_answered_in_the_thread(room: Room, ada: Person) -> None:
    thread = {"rel_type": "m.thread", "event_id": "$root", "is_falling_back": True}
    for line in ("!register bob", "!register admin"):
        command = await room.say(ada, line, **{"m.relates_to": thread})
        relation = room.last.content["m.relates_to"]
        assert (relation["rel_type"], relation["event_id"]) == ("m.thread", "$root")
        assert relation["m.in_reply_to"] == {"event_id": command}


async def test_the_password_comes_as_a_direct_message_only_and_works(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    (message,) = room.direct(ada)
    assert message.about == {"v": 1, "kind": "credentials", "user_id": "@bob:example.org"}
    password = password_in(message.body)
    assert room.may_sign_in("@bob:example.org", password)
    assert len(password) >= 20
    assert password.isascii()
    assert not set(password) & set("` \t\n")
    assert password not in json.dumps([said.content for said in room.said])


async def test_delivery_room_brings_the_password_as_a_second_reply(open_room: OpenRoom) -> None:
    room = await open_room(delivery_in_room=True)
    ada = room.person("@ada:example.org", level=50)
    command = await room.say(ada, "!register bob")
    answer, credentials = room.answers_to(command)
    assert (answer.about["kind"], credentials.about["kind"]) == ("account", "credentials")
    assert room.may_sign_in("@bob:example.org", password_in(credentials.body))
    assert room.direct(ada) == []


async def test_a_quick_success_costs_one_event_in_the_room_and_one_direct_message(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    await room.wait(60)
    assert len([event for event in room.room.events if event.sender == BOT]) == 1
    direct = room.chat.direct_room(ada.user_id)
    assert direct is not None
    assert len(direct.events) == 1
    assert room.chat.calls.count("send") == 2


async def test_the_credentials_are_removed_and_forgotten_after_24_hours(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    (message,) = room.direct(ada)
    await room.wait(A_DAY - 60)
    assert message.removed_because is None
    assert [row[0] is None for row in await room.rows("SELECT sealed_password FROM requests")] == [False]
    await room.wait(120)
    assert message.content == {}
    assert message.removed_because is not None
    assert [row[0] for row in await room.rows("SELECT sealed_password FROM requests")] == [None]
    assert await room.open_jobs() == []
    assert room.accounts["@bob:example.org"].deactivated is False


async def test_a_password_is_forgotten_also_when_its_message_cannot_be_removed(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    direct = room.chat.direct_room(ada.user_id)
    assert direct is not None
    direct.members[BOT] = "leave"
    await room.wait(A_DAY + 60)
    assert [row[0] for row in await room.rows("SELECT sealed_password FROM requests")] == [None]
    assert await room.open_jobs() == []


async def test_a_failed_request_keeps_no_password(room: Room, ada: Person) -> None:
    room.endpoint.add_account("bob")
    await room.say(ada, "!register bob")
    assert [row[0] for row in await room.rows("SELECT sealed_password FROM requests")] == [None]
    assert room.direct(ada) == []


async def test_a_bot_account_can_be_made(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bridge --type=bot")
    assert room.accounts["@bridge:example.org"].user_type == "bot"


async def test_the_same_event_arriving_twice_does_nothing_twice(room: Room, ada: Person) -> None:
    command = await room.say(ada, "!register bob")
    await room.arrives(command)
    await room.settle()
    await room.restart()
    await room.arrives(command)
    await room.settle()
    assert len(room.said) == 1
    assert len(room.direct(ada)) == 1
    assert list(room.accounts) == ["@bob:example.org"]
    assert await room.states() == ["created"]


async def test_a_quick_answer_withdraws_the_hourglass(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    await room.wait(10)
    assert room.signs == []


async def test_a_slow_server_gets_an_hourglass_that_stays(room: Room, ada: Person) -> None:
    room.answers.clear()
    async with room.running():
        command = await room.types(ada, "!register bob")
        await room.until(lambda: "@bob:example.org" in room.accounts)
        room.passes(1.4)
        await room.until(lambda: not room.life.store.jobs_added.is_set())
        assert room.signs == []
        room.passes(0.2)
        await room.until(lambda: room.signs)
        room.answers.set()
        await room.until(lambda: room.direct(ada) and room.said)
    (hourglass,) = room.room.said_by(BOT, "m.reaction")
    assert hourglass.content["m.relates_to"] == {"rel_type": "m.annotation", "event_id": command, "key": "⏳"}
    assert hourglass.removed_because is None
    assert room.last.about["state"] == "created"


async def test_the_running_bot_obeys_several_people_at_once(room: Room, ada: Person) -> None:
    grace = room.person("@grace:example.org", level=50)
    async with room.running():
        for name in ("one", "two", "three"):
            await room.types(ada, f"!register {name}")
            await room.types(grace, f"!register g{name}")
        await room.until(lambda: len(room.direct(ada)) == 3 and len(room.direct(grace)) == 3)
        await room.until(lambda: len(room.said) == 6)
    assert len(room.accounts) == 6


async def test_every_step_of_a_registration_stands_in_the_audit_log(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    await room.wait(A_DAY + 60)
    verbs = [row[0] for row in await room.rows("SELECT verb FROM audit ORDER BY seq")]
    assert verbs == [
        "request:made",
        "request:approved",
        "account:creating",
        "account:created",
        "credentials:sent",
        "credentials:erased",
    ]
    personal = json.loads((await room.rows("SELECT personal FROM audit WHERE seq = 1"))[0][0])
    assert (personal["requester"], personal["username"], personal["room_id"]) == (ada.user_id, "bob", ADMIN_ROOM)


async def test_what_was_typed_is_forgotten_once_it_was_obeyed(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    assert [row[0] for row in await room.rows("SELECT content FROM inbox")] == ["null"]
    assert await room.rows("SELECT 1 FROM sync_journal") == []
