"""A room key of Element that got lost on its way: the bot asks for the lost words once, and reads the next ones."""

from pathlib import Path

import pytest
from aiohttp import web

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import Between, Passing
from tests.e2e.bot_process import Launch
from tests.e2e.person import PASSWORD, has_account
from tests.e2e.server_view import ServerView
from tests.element.client import signed_in
from tests.element.conversation import open_conversation
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def loses_keys(passing: Passing) -> web.Response | None:
    """What Element gives to devices goes nowhere, and Element is told that it went well."""
    return web.json_response({}) if "/sendToDevice/m.room.encrypted/" in passing.path else None


async def test_element_gives_its_key_again_over_the_new_session(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    grace_id = await has_account(synapse, "grace")
    async with (
        open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk,
        Between(synapse.url) as way,
        signed_in(node, way.url, grace_id, PASSWORD) as grace,
    ):
        await talk.ada.invite(talk.room_id, grace_id)
        await grace.invitation_from(talk.ada.user_id)
        await grace.join(talk.room_id)
        await talk.ask("!status", by=grace)
        await grace.discard(talk.room_id)
        way.before = loses_keys
        lost = await grace.say(talk.room_id, "!help")
        way.leave_alone()
        await talk.bot.comes_due("heal_person")
        await talk.bot.has_logged("was started over")
        await talk.bot.comes_due("ask_again")
        question = await grace.reads((await grace.reply_to(lost)).event_id)
        assert (question.about["kind"], question.about["error"]) == ("error", "not_readable")
        assert question.unmarked
        again = await grace.say(talk.room_id, "!help")
        assert (await talk.answer_to(again, by=grace)).about["kind"] == "help"
        assert grace.events[lost].session_id == grace.events[again].session_id
