"""A device that its owner did not sign gets no keys and is not obeyed, until it is signed or the operator allows it."""

from pathlib import Path

import pytest

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import Launch
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView
from tests.element.client import Element
from tests.element.conversation import open_conversation
from tests.element.events import Event
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

WITHHELD = "MEGOLM_KEY_WITHHELD_FOR_UNVERIFIED_DEVICE"
"""What Element says of a message whose sender told why the key is kept back."""


async def turned_away(person: Element, command: str, *, as_seen_by: Element | None = None) -> Event:
    """The answer to such a device stands in clear, says what mends it and repeats nothing."""
    event = await (as_seen_by or person).reply_to(command)
    assert (event.type, event.wire_type, event.shield) == ("m.room.message", "m.room.message", None)
    assert (event.about["kind"], event.about["error"]) == ("error", "device_not_signed")
    assert event.in_reply_to == command
    assert event.content["m.mentions"] == {"user_ids": [person.user_id]}
    assert "Verify" in event.body
    assert "!register" not in event.body
    return event


async def kept_back(person: Element, event_id: str) -> None:
    """Their client says that the key is kept back from it: it hears so after the message, which does not wait."""
    await person.sees(event_id)
    await person.until(lambda: person.events[event_id].failure == WITHHELD, why=f"the reason for {event_id}")


async def test_an_unsigned_device_gets_no_key_and_is_not_obeyed_until_it_is_signed(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk,
        talk.member("grace", level=50, cross_sign=False, isolation="all") as grace,
    ):
        assert not (await grace.keys_of(grace.user_id)).signed
        answer = await talk.ask("!status")
        await kept_back(grace, answer.event_id)
        assert answer.session_id not in await grace.sessions(talk.room_id)

        user_id = view.user_id(unique("unsigned"))
        notice = await turned_away(grace, await grace.say(talk.room_id, f"!register {user_id}"))
        await grace.say(talk.room_id, f"!register {user_id}")  # said once for each device
        await talk.ignored(notice.event_id)
        assert await view.account(user_id) is None

        await grace.make_identity()
        command = await grace.say(talk.room_id, f"!register {user_id}")
        answer = await talk.answer_to(command, by=grace)
        assert answer.first_failure is None
        assert (answer.about["kind"], answer.about["user_id"]) == ("account", user_id)
        await talk.credentials(user_id, to=grace)


async def test_a_device_that_stays_unsigned_is_served_under_allow(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    allow = {"unsigned_devices": "allow"}
    async with open_conversation(
        tmp_path, synapse, view, node, launch=quickly, cross_sign=False, isolation="all", encryption=allow
    ) as talk:
        assert not (await talk.ada.keys_of(talk.ada.user_id)).signed
        assert (await talk.ask("!help")).about["kind"] == "help"
        await talk.registers()
        await talk.bot.stop()
        await talk.bot.start()
        await talk.registers()


async def test_a_new_device_is_turned_away_where_the_old_one_can_read_it(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    """It may be an intruder's: whoever holds somebody's password, or the homeserver, can add a device."""
    async with open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk:
        await talk.ask("!status")
        async with talk.second_device() as intruder:
            await intruder.until(lambda: intruder.rooms.get(talk.room_id) == "join")
            user_id = view.user_id(unique("intruder"))
            command = await intruder.say(talk.room_id, f"!register {user_id}")
            await turned_away(intruder, command)
            await turned_away(intruder, command, as_seen_by=talk.ada)

            answer = await talk.ask("!help")  # the first device is served as before
            await kept_back(intruder, answer.event_id)
            assert answer.session_id not in await intruder.sessions(talk.room_id)
            assert await view.account(user_id) is None
            brought = await talk.registers()
            assert (await intruder.sees(brought.event_id)).failure is not None


async def test_the_only_admin_without_a_signed_device_is_told_so_and_then_served(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    """There is nobody who could read what the bot encrypts, and yet it is not silent."""
    async with open_conversation(
        tmp_path, synapse, view, node, launch=quickly, cross_sign=False, isolation="all"
    ) as talk:
        await turned_away(talk.ada, await talk.ada.say(talk.room_id, "!help"))
        await talk.ada.make_identity()
        assert (await talk.ask("!help")).about["kind"] == "help"
        await talk.registers()
