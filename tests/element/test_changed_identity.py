"""Somebody's identity is another one: they reset it, or somebody else speaks in their name. A person decides."""

from pathlib import Path

import pytest

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import Launch
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView
from tests.element.client import Element
from tests.element.conversation import Conversation, open_conversation
from tests.element.events import Event
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")


def told_of(user_id: str, talk: Conversation) -> list[Event]:
    """What the admin room was told of this person's identity, as Ada sees it."""
    wanted = {"kind": "error", "error": "identity_changed", "user_id": user_id}
    return [e for e in talk.ada.said_by(talk.bot_id, talk.room_id) if wanted.items() <= e.about.items()]


async def refused(talk: Conversation, person: Element, user_id: str) -> None:
    """A command for this account has no effect, and no account."""
    command = await person.say(talk.room_id, f"!register {user_id}")
    await talk.ada.sees(command)
    await talk.all_said()
    answers = [e for e in talk.ada.said_by(talk.bot_id, talk.room_id) if e.in_reply_to == command]
    assert all(e.about.get("error") == "device_not_signed" for e in answers), answers
    assert await talk.view.account(user_id) is None


async def test_a_reset_identity_is_obeyed_once_another_approver_trusts_it(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk,
        talk.member("grace", level=50) as grace,
    ):
        await talk.registers(by=grace)
        before = (await talk.ada.keys_of(grace.user_id)).master
        await grace.make_identity(anew=True)
        user_id = view.user_id(unique("reset"))
        await refused(talk, grace, user_id)
        await refused(talk, grace, user_id)

        await talk.ada.until(lambda: told_of(grace.user_id, talk), why="a word about the identity")
        (told,) = told_of(grace.user_id, talk)
        assert told.unmarked
        after = (await grace.keys_of(grace.user_id)).master
        assert before != after
        assert str(before) in told.body
        assert str(after) in told.body
        seen = await grace.sees(told.event_id)
        assert seen.failure is not None  # nothing is encrypted for an identity that nobody accepted

        # It survives a restart, and nobody accepts their own.
        await talk.bot.stop()
        await talk.bot.start()
        await grace.say(talk.room_id, f"!trust {grace.user_id}")
        await refused(talk, grace, user_id)
        assert told_of(grace.user_id, talk) == [told]

        accepted = await talk.ask(f"!trust {grace.user_id}")
        assert str(after) in accepted.body
        assert await view.account(user_id) is None  # what was typed before has to be typed again
        answer = await talk.ask(f"!register {user_id}", by=grace)
        assert answer.about["user_id"] == user_id
        await talk.credentials(user_id, to=grace)
        await talk.registers(by=grace)


async def test_who_has_no_say_cannot_accept_an_identity(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk,
        talk.member("grace", level=50) as grace,
        talk.member("mallory") as mallory,
    ):
        await talk.ask("!status", by=grace)
        assert (await talk.ask(f"!trust {grace.user_id}")).about["error"] == "not_found"
        await grace.make_identity(anew=True)
        user_id = view.user_id(unique("reset"))
        await refused(talk, grace, user_id)
        answer = await talk.ask(f"!trust {grace.user_id}", by=mallory)
        assert answer.about["error"] == "not_permitted"
        await refused(talk, grace, user_id)


async def test_the_bots_own_identity_stays_the_same_for_everybody(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch
) -> None:
    """What Element would warn of: the key that its people saw first is the key that they see last."""
    async with open_conversation(tmp_path, synapse, view, node, launch=quickly) as talk:
        status = await talk.ask("!status")
        keys = await talk.ada.keys_of(talk.bot_id)
        await talk.loses_keys()
        assert (await talk.ada.keys_of(talk.bot_id)).master == keys.master
        assert not await talk.ada.needs_approval(talk.bot_id)
        # What `!status` shows can be compared with what Element shows.
        (device_id,) = keys.devices
        for shown in (device_id, keys.devices[device_id], str(keys.master)):
            assert shown in status.body.replace(" ", "")
