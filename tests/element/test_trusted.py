"""Element, told to leave out devices that nobody signed, reads all that the bot says, and the bot obeys it."""

from pathlib import Path

import pytest
from aiohttp import web

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import Between, Passing
from tests.e2e.bot_process import Launch
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView
from tests.element.conversation import open_conversation
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("made_by_ada", [None, "11", "12"], ids=["the bot's room", "version 11", "version 12"])
async def test_element_reads_everything_that_the_bot_says_without_a_shield(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch, made_by_ada: str | None
) -> None:
    async with open_conversation(tmp_path, synapse, view, node, launch=quickly, made_by_ada=made_by_ada) as talk:
        assert (await talk.ask("!help")).about["kind"] == "help"
        assert (await talk.ask("!help register")).about["kind"] == "help"
        assert (await talk.ask("!status")).about["kind"] == "status"
        assert (await talk.ask("!sattus")).about["error"] == "unknown_command"
        assert (await talk.ask("!register root")).about["error"] == "username_reserved"
        brought = await talk.registers()
        assert brought.room_id != talk.room_id
        assert not await talk.ada.needs_approval(talk.bot_id)

        # After a restart the same, on the same device.
        before = await talk.ada.keys_of(talk.bot_id)
        await talk.bot.stop()
        await talk.bot.start()
        assert (await talk.registers()).room_id == brought.room_id
        assert await talk.ada.keys_of(talk.bot_id) == before
        assert before.signed == set(before.devices) == {talk.bot.remembered("session.json")["device_id"]}


async def test_what_a_list_says_can_be_read(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    """Answers are merged into a list while the server limits the bot."""
    limit = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too many requests", "retry_after_ms": 1000}
    refused = 0

    async def refuse_the_first(passing: Passing) -> web.Response | None:
        nonlocal refused
        if passing.method == "PUT" and "/send/m.room.encrypted/" in passing.path and refused < 2:
            refused += 1
            return web.json_response(limit, status=429)
        return None

    async with (
        Between(synapse.url) as between,
        open_conversation(
            tmp_path, synapse, view, node, url=between.url, launch=quickly, checks=("is_readable",)
        ) as talk,
    ):
        between.before = refuse_the_first
        commands = [await talk.ada.say(talk.room_id, "!help") for _ in range(8)]

        def listed() -> list[str]:
            said = talk.ada.said_by(talk.bot_id, talk.room_id)
            return [item["event_id"] for event in said for item in event.about.get("items", [])]

        def answered() -> bool:
            said = talk.ada.said_by(talk.bot_id, talk.room_id)
            return {*listed(), *(e.in_reply_to for e in said)} >= set(commands)

        await talk.ada.until(answered, within=30, why="an answer to each")
        assert len(listed()) > 1


async def test_a_lost_encryption_store_is_a_new_device_that_element_trusts_at_once(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    async with open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk:
        await talk.registers()
        before = await talk.ada.keys_of(talk.bot_id)
        await talk.loses_keys()
        await talk.ask("!status")
        await talk.registers()

        after = await talk.ada.keys_of(talk.bot_id)
        assert after.master == before.master
        assert after.signed == set(after.devices) == {talk.bot.remembered("session.json")["device_id"]}
        assert not set(after.devices) & set(before.devices)
        assert not set(after.devices.values()) & set(before.devices.values())
        assert not await talk.ada.needs_approval(talk.bot_id)


async def test_keys_that_are_rotated_while_the_bot_is_away_wait_for_it(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    async with open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk:
        await talk.ask("!status")
        await talk.bot.stop()
        commands = []
        for _ in range(3):
            await talk.ada.discard(talk.room_id)
            commands.append(await talk.ada.say(talk.room_id, "!help"))
            commands.append(await talk.ada.say(talk.room_id, f"!register {view.user_id(unique('away'))}"))
        used = {(await talk.ada.reads(command)).session_id for command in commands}
        assert len(used) == 3
        await talk.bot.start()
        for command in commands:
            await talk.answer_to(command)


async def test_the_first_words_ever_may_be_said_while_the_bot_is_away(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    """Ada's client has no Olm session with the bot yet, and starts one with a key that the bot left on the server."""
    async with open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk:
        await talk.bot.stop()
        first = await talk.ada.say(talk.room_id, "!help")
        second = await talk.ada.say(talk.room_id, f"!register {view.user_id(unique('first'))}")
        await talk.bot.start()
        assert (await talk.answer_to(first)).about["kind"] == "help"
        assert (await talk.answer_to(second)).about["kind"] == "account"


async def test_a_person_who_was_offline_reads_what_was_said_meanwhile(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk,
        talk.member("grace", level=50) as grace,
    ):
        await talk.ask("!status", by=grace)
        await grace.go_offline()
        answers = []
        for _ in range(3):
            await talk.bot.stop()
            await talk.bot.start()
            answers.append(await talk.ask("!help"))
        await grace.come_back()
        for answer in answers:
            assert (await grace.reads(answer.event_id)).unmarked
        await talk.is_readable(to=grace)
        await talk.registers(by=grace)
