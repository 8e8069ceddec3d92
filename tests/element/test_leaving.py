"""Whoever is gone cannot read what the bot says afterwards: it gives the others a new key."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import Launch
from tests.e2e.server_view import ServerView
from tests.element.client import Element
from tests.element.conversation import Conversation, open_conversation
from tests.element.events import Event
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(
    synapse: RunningSynapse,
    view: ServerView,
    node: Node,
    tmp_path_factory: pytest.TempPathFactory,
    quickly: Launch,
) -> AsyncIterator[Conversation]:
    async with open_conversation(tmp_path_factory.mktemp("talk"), synapse, view, node, launch=quickly) as opened:
        yield opened


async def got_everything_until_now(person: Element, talk: Conversation) -> None:
    """Ada writes to them elsewhere: whatever was sent to their device before has come with it, or before it."""
    room_id = await talk.ada.make_room(invite=[person.user_id])
    await person.join(room_id)
    await talk.ada.sees_membership(room_id, person.user_id, "join")
    await person.reads(await talk.ada.say(room_id, "a last word"))


async def is_shut_out(person: Element, answer: Event, talk: Conversation) -> None:
    assert answer.session_id is not None
    assert (await talk.ada.reads(answer.event_id)).unmarked
    assert answer.session_id in await talk.ada.sessions(talk.room_id)
    await got_everything_until_now(person, talk)
    assert answer.session_id not in await person.sessions(talk.room_id)


@pytest.mark.parametrize("way", ["left", "was kicked"])
async def test_who_is_gone_cannot_read_on(talk: Conversation, way: str) -> None:
    async with talk.member("grace", level=50) as grace:
        before = await talk.ask("!status", by=grace)
        assert before.session_id in await grace.sessions(talk.room_id)
        if way == "left":
            await grace.leave(talk.room_id)
        else:
            await talk.ada.kick(talk.room_id, grace.user_id)
        await talk.ada.sees_membership(talk.room_id, grace.user_id, "leave")

        after = await talk.ask("!help")
        assert after.session_id != before.session_id
        await is_shut_out(grace, after, talk)

        # Who comes back reads on, and not what was said meanwhile.
        await talk.ada.invite(talk.room_id, grace.user_id)
        await grace.join(talk.room_id)
        await talk.ada.sees_membership(talk.room_id, grace.user_id, "join")
        await talk.ask("!status", by=grace)
        assert (await grace.sees(after.event_id)).failure is not None


async def test_who_goes_while_the_bot_is_away_cannot_read_on(talk: Conversation) -> None:
    async with talk.member("grace", level=50) as grace:
        before = await talk.ask("!status", by=grace)
        await talk.bot.stop()
        await talk.ada.kick(talk.room_id, grace.user_id)
        await talk.bot.start()
        after = await talk.ask("!help")
        assert after.session_id != before.session_id
        await is_shut_out(grace, after, talk)


async def test_a_device_that_was_signed_out_is_given_no_more_keys(talk: Conversation) -> None:
    """The person is still there; what is gone is one of the devices that had the key."""
    async with talk.member("grace", level=50) as grace:
        before = await talk.ask("!status", by=grace)
        await grace.sign_out()
        after = await talk.ask("!help")
        assert after.session_id != before.session_id


async def test_who_comes_later_cannot_read_what_was_said_before(talk: Conversation) -> None:
    early = await talk.ask("!status")
    async with talk.member("late", level=50) as late:
        answer = await talk.ask("!status", by=late)
        assert answer.session_id in await late.sessions(talk.room_id)
        assert (await late.sees(early.event_id)).failure is not None
