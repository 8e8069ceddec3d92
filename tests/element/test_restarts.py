"""However often the bot starts anew, Element reads all that it says and is obeyed."""

from pathlib import Path

import pytest

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import Launch
from tests.e2e.server_view import ServerView
from tests.element.conversation import open_conversation
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESTARTS = 20


async def test_twenty_restarts_in_a_row_take_nothing_away(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    """Every start has a new key for the room. Some commands come while the bot is away, some while it is there."""
    async with open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk:
        await talk.ask("!status")
        before = await talk.ada.keys_of(talk.bot_id)
        for number in range(RESTARTS):
            if number % 2:
                await talk.bot.kill()
            else:
                await talk.bot.stop()
            early = await talk.ada.say(talk.room_id, "!help")
            await talk.bot.start()
            await talk.answer_to(early)
            await talk.ask("!status")
        await talk.registers()
        assert await talk.ada.keys_of(talk.bot_id) == before
        sessions = {e.session_id for e in talk.ada.said_by(talk.bot_id, talk.room_id) if e.session_id}
        assert len(sessions) == RESTARTS + 1
