"""What Element's people do beside typing commands: it is understood or left alone, and none of it disturbs the bot."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from nio.crypto.attachments import decrypt_attachment, encrypt_attachment
from pydantic import SecretStr

from onboard_bot.demo.person import Person, signed_in
from onboard_bot.demo.synapse import RunningSynapse
from onboard_bot.onboarding.ports import Outgoing
from tests.e2e.bot_process import Launch
from tests.e2e.person import PASSWORD, has_account, unique
from tests.e2e.server_view import ServerView
from tests.element.conversation import Conversation, open_conversation
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "Ada, Grace, Katherine\n" * 50


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["11", "12"])
async def talk(
    request: pytest.FixtureRequest,
    synapse: RunningSynapse,
    view: ServerView,
    node: Node,
    tmp_path_factory: pytest.TempPathFactory,
    quickly: Launch,
) -> AsyncIterator[Conversation]:
    """In rooms of both versions, which redact differently."""
    folder = tmp_path_factory.mktemp("talk")
    async with open_conversation(folder, synapse, view, node, launch=quickly, made_by_ada=request.param) as opened:
        yield opened


async def test_a_command_in_a_thread_is_answered_in_the_thread(talk: Conversation) -> None:
    root = await talk.ada.say(talk.room_id, "about the new people")
    command = await talk.ada.say_in_thread(talk.room_id, root, f"!register {unique('thread')}")
    answer = await talk.answer_to(command)
    assert (answer.about["kind"], answer.thread) == ("account", root)
    again = await talk.ada.say_in_thread(talk.room_id, root, "!help")
    assert (await talk.answer_to(again)).thread == root
    assert (await talk.ask("!help")).thread is None


async def test_a_command_in_a_reply_is_answered_as_a_reply_to_it(talk: Conversation) -> None:
    earlier = await talk.ask("!status")
    command = await talk.ada.say_in_reply(talk.room_id, earlier.event_id, "!help register")
    answer = await talk.answer_to(command)
    assert (answer.about["kind"], answer.in_reply_to, answer.thread) == ("help", command, None)


async def test_reactions_say_nothing(talk: Conversation) -> None:
    answer = await talk.ask("!status")
    since = await talk.ada.react(talk.room_id, answer.event_id, "✅")
    await talk.ada.react(talk.room_id, since, "👍")
    await talk.ignored(since)


async def test_an_edit_has_no_effect(talk: Conversation) -> None:
    said = await talk.ada.say(talk.room_id, "good morning")
    command = await talk.ada.say(talk.room_id, "!help")
    await talk.answer_to(command)
    names = [talk.view.user_id(unique("edited")) for _ in range(3)]
    since = await talk.ada.edit(talk.room_id, said, f"!register {names[0]}")
    await talk.ada.edit(talk.room_id, command, f"!register {names[1]}")
    await talk.ada.edit(talk.room_id, said, f"!register {names[2]}", mark="")  # as not all clients mark it
    await talk.ignored(since)
    assert [await talk.view.account(name) for name in names] == [None, None, None]


async def test_an_edit_while_the_bot_is_away_does_not_change_the_command(talk: Conversation) -> None:
    first, second = (talk.view.user_id(unique("before")) for _ in range(2))
    await talk.bot.stop()
    command = await talk.ada.say(talk.room_id, f"!register {first}")
    await talk.ada.edit(talk.room_id, command, f"!register {second}")
    await talk.bot.start()
    assert (await talk.answer_to(command)).about["user_id"] == first
    assert await talk.view.account(second) is None


async def test_what_was_taken_back_before_the_bot_saw_it_has_no_effect(talk: Conversation) -> None:
    user_id = talk.view.user_id(unique("withdrawn"))
    await talk.bot.stop()
    since = await talk.ada.say(talk.room_id, "good night")
    command = await talk.ada.say(talk.room_id, f"!register {user_id}")
    await talk.ada.redact(talk.room_id, command)
    await talk.bot.start()
    await talk.ignored(since)
    assert await talk.view.account(user_id) is None


async def test_taking_back_what_was_answered_changes_nothing(talk: Conversation) -> None:
    command = await talk.ada.say(talk.room_id, f"!register {unique('regretted')}")
    answer = await talk.answer_to(command)
    since = await talk.ada.redact(talk.room_id, command)
    await talk.ignored(since)
    assert await talk.view.account(answer.about["user_id"]) is not None


async def test_events_of_other_kinds_say_nothing(talk: Conversation) -> None:
    since = await talk.ada.send(talk.room_id, {"msgtype": "m.notice", "body": "!help"})
    await talk.ada.send(talk.room_id, {"msgtype": "m.emote", "body": "!help"})
    await talk.ada.send(talk.room_id, {"body": "!help", "url": "mxc://localhost/sticker", "info": {}}, "m.sticker")
    poll = {"question": {"m.text": "!help"}, "answers": [], "max_selections": 1}
    await talk.ada.send(talk.room_id, {"m.poll": poll, "m.text": "!help"}, "m.poll.start")
    forged = {"users": {talk.ada.user_id: 0}}
    await talk.ada.send(talk.room_id, forged, "m.room.power_levels")  # encrypted, and no state event
    await talk.ignored(since)
    assert (await talk.ask(f"!register {unique('level')}")).about["kind"] == "account"


async def test_an_encrypted_file_disturbs_nobody(talk: Conversation) -> None:
    since = await talk.ada.send_file(talk.room_id, "!help.txt", TEXT)
    await talk.ignored(since)
    assert await talk.ada.read_file((await talk.ada.reads(since)).event_id) == TEXT


async def test_files_are_read_in_both_directions(talk: Conversation, tmp_path: Path) -> None:
    """Between Element and somebody who is made of the same pieces as the bot."""
    async with aiohttp.ClientSession() as http, like_the_bot(talk, http, tmp_path) as grace:
        sent = await talk.ada.send_file(talk.room_id, "names.txt", TEXT)
        content = await decrypted(talk.room_id, sent, grace)
        assert (content["msgtype"], content["body"]) == ("m.file", "names.txt")
        assert await downloaded(content["file"], grace, http) == TEXT

        once = secrets.token_hex(8)
        message = {"msgtype": "m.file", "body": "answer.txt", "file": await uploaded(TEXT, grace, http)}
        event_id = await grace._sending.send(talk.room_id, "m.room.message", message, Outgoing(once, label=once))
        assert (await talk.ada.reads(event_id)).unmarked
        assert await talk.ada.read_file(event_id) == TEXT


@asynccontextmanager
async def like_the_bot(talk: Conversation, http: aiohttp.ClientSession, folder: Path) -> AsyncIterator[Person]:
    """A person in the room whose client is the bot's own Matrix side."""
    user_id = await has_account(talk.synapse, "grace")
    name = user_id[1:].partition(":")[0]
    url, password = talk.synapse.url, SecretStr(PASSWORD)
    async with signed_in(http, url, name, password, folder=folder / "grace", on_said=lambda _: None) as grace:
        living = asyncio.create_task(grace.live())
        try:
            await talk.ada.invite(talk.room_id, user_id)
            await grace.accept(await grace.invitation())
            await talk.ada.sees_membership(talk.room_id, user_id, "join")
            yield grace
        finally:
            living.cancel()
            with suppress(asyncio.CancelledError):
                await living


async def decrypted(room_id: str, event_id: str, person: Person) -> dict[str, Any]:
    """What an event says, opened with the machine's keys, once they are there."""
    async with asyncio.timeout(10):
        while event_id not in person.said:  # noqa: ASYNC110 - the person's own conditions are not for others
            await asyncio.sleep(0.05)
    content: dict[str, Any] = person._machine.decrypt(room_id, await person._api.event(room_id, event_id)).content
    return content


def bearer(person: Person) -> dict[str, str]:
    token = person._api.transport.token
    assert token is not None
    return {"Authorization": f"Bearer {token.get_secret_value()}"}


async def downloaded(file: dict[str, Any], person: Person, http: aiohttp.ClientSession) -> str:
    path = "/_matrix/client/v1/media/download/" + file["url"].removeprefix("mxc://")
    async with http.get(person._api.transport._base_url + path, headers=bearer(person)) as answer:
        assert answer.status == 200
        locked = await answer.read()
    return str(decrypt_attachment(locked, file["key"]["k"], file["hashes"]["sha256"], file["iv"]).decode())


async def uploaded(text: str, person: Person, http: aiohttp.ClientSession) -> dict[str, Any]:
    """The `file` of a message; the bot's Matrix side has no call for media yet."""
    locked, keys = encrypt_attachment(text.encode())
    url = person._api.transport._base_url + "/_matrix/media/v3/upload"
    headers = bearer(person) | {"Content-Type": "application/octet-stream"}
    async with http.post(url, data=locked, headers=headers) as answer:
        assert answer.status == 200
        return {**keys, "url": (await answer.json())["content_uri"]}
