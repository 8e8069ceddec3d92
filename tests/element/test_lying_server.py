"""A homeserver that lies: it gives its people devices and identities, and says of rooms that they are open."""

import json
import re
from pathlib import Path

import pytest
from aiohttp import web

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import Between, Passing
from tests.e2e.bot_process import Launch
from tests.e2e.person import PASSWORD, Person, signed_in, unique
from tests.e2e.server_view import ServerView
from tests.element.client import Element
from tests.element.conversation import Conversation, open_conversation
from tests.element.events import Event
from tests.element.forger import Homeserver
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")


def given_to(intruder: Person, room_id: str) -> set[str]:
    """The ids of the room's sessions that an ordinary client got keys of."""
    assert intruder.client.olm is not None
    by_sender = intruder.client.olm.inbound_group_store[room_id]
    return {session_id for sessions in by_sender.values() for session_id in sessions}


def changes_told(reader: Element, talk: Conversation) -> list[Event]:
    """What the room was told of changed identities, as one of its approvers sees it."""
    return [e for e in reader.said_by(talk.bot_id, talk.room_id) if e.about.get("error") == "identity_changed"]


async def is_turned_away(intruder: Person, command: str, talk: Conversation, reader: Element, *, told: bool) -> None:
    """A command has no effect; its sender is told so in clear, where everybody can read it, or was told before."""
    event_id = await intruder.say(talk.room_id, command)
    await reader.sees(event_id)
    await talk.ask("!status", by=reader)
    if told:
        notice = await reader.reply_to(event_id)
        assert (notice.about["error"], notice.encrypted) == ("device_not_signed", False)
        assert command not in notice.body
    else:
        assert [e for e in reader.said_by(talk.bot_id) if e.in_reply_to == event_id] == []


async def test_neither_a_device_nor_an_identity_that_the_server_adds_speaks_for_ada(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        open_conversation(tmp_path, synapse, view, node, launch=quickly, checks=()) as talk,
        talk.member("grace", level=50) as grace,
    ):
        await talk.registers()
        await talk.ask("!status", by=grace)
        ada, user_id = talk.ada.user_id, view.user_id(unique("intruder"))
        async with signed_in(synapse.url, ada, PASSWORD, tmp_path / "intruder", cross_sign=False) as intruder:
            await intruder.until(lambda: talk.room_id in intruder.client.rooms, why="the room")
            await is_turned_away(intruder, f"!register {user_id}", talk, grace, told=True)
            answer = await talk.ask("!help")
            assert answer.session_id not in given_to(intruder, talk.room_id)

            await intruder.reset_identity()
            await is_turned_away(intruder, f"!register {user_id}", talk, grace, told=True)
            told = await grace.event(lambda e: e.about.get("error") == "identity_changed", why="a word about it")
            assert (told.unmarked, told.about["user_id"]) == (True, ada)
            assert intruder.identity.public("master") in told.body
            for command in (f"!trust {ada}", f"!register {user_id}"):
                await is_turned_away(intruder, command, talk, grace, told=False)
            await talk.bot.stop()
            await talk.bot.start()
            for command in (f"!trust {ada}", f"!register {user_id}", f"!trust {grace.user_id}"):
                await is_turned_away(intruder, command, talk, grace, told=False)
            answer = await talk.ask("!status", by=grace)
            assert answer.session_id not in given_to(intruder, talk.room_id)
            assert changes_told(grace, talk) == [told]

            # Ada notices, takes her identity back, and tells Grace of it.
            await talk.ada.make_identity(anew=True)
            await talk.ada.say(talk.room_id, "!status")
            await grace.until(lambda: len(changes_told(grace, talk)) == 2, why="a word about the next change")
            accepted = await talk.ask(f"!trust {ada}", by=grace)
            assert str((await talk.ada.keys_of(ada)).master) in accepted.body
            await talk.registers()
            await is_turned_away(intruder, f"!register {user_id}", talk, grace, told=False)
            said = grace.said_by(talk.bot_id, talk.room_id)
            notices = [e for e in said if e.about.get("error") == "device_not_signed"]
            assert len(notices) == 3, notices  # one for the device, one for its identity, and one for Ada before Grace
            of_bot = {e.session_id for e in said if e.encrypted}
            assert given_to(intruder, talk.room_id).isdisjoint(of_bot)
        assert await view.account(user_id) is None


async def test_a_room_that_was_encrypted_stays_so_whatever_the_server_says_after_a_restart(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    """Nor are clear words obeyed there, which anybody at the server could have written."""

    async def deny(passing: Passing) -> web.Response | None:
        if re.search("/state/m.room.encryption/?$", passing.path):
            return web.json_response({"errcode": "M_NOT_FOUND", "error": "Event not found."}, status=404)
        return None

    def leave_out(passing: Passing, body: bytes) -> bytes:
        if not passing.is_a("GET", "/state"):
            return body
        return json.dumps([event for event in json.loads(body) if event["type"] != "m.room.encryption"]).encode()

    async with (
        Between(synapse.url) as between,
        open_conversation(tmp_path, synapse, view, node, url=between.url, launch=quickly, made_by_ada="12") as talk,
    ):
        server, user_id = Homeserver(view), view.user_id(unique("clear"))
        await talk.registers()
        await talk.bot.stop()
        between.before, between.alter = deny, leave_out
        await talk.bot.start()
        await talk.registers()
        await talk.loses_keys()
        await talk.registers()
        words = {"msgtype": "m.text", "body": f"!register {user_id}"}
        command = await server.says(talk.ada.user_id, talk.room_id, words, "m.room.message")
        notice = await talk.ada.reply_to(command)
        assert (notice.about["error"], notice.encrypted) == ("device_not_signed", False)
        await talk.ask("!status")
        assert await view.account(user_id) is None
