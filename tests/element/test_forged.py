"""What members forge and what a server makes of true words: the admin is obeyed once, and nobody else in their name."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from nio.crypto import InboundGroupSession, OutboundGroupSession

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import REGISTER, Between, Passing
from tests.e2e.bot_process import Launch
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView
from tests.element.client import Element
from tests.element.conversation import Conversation, open_conversation
from tests.element.events import Event, Json
from tests.element.forger import Forger, Homeserver, forger_in, in_every_sync
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Scene:
    """A conversation with Ada, and those who would like to be in her place.

    `mallory` has Element, and the forger a client that encrypts whatever she likes; both are members without power,
    with devices that they signed. The server tells the bot what `between` makes of it.
    """

    talk: Conversation
    between: Between
    server: Homeserver
    mallory: Element
    forger: Forger

    def new_user(self, name: str) -> str:
        return self.talk.view.user_id(unique(name))

    async def obeys_ada(self) -> None:
        """An account is made at her word."""
        user_id = self.new_user("obeyed")
        await self.brings(user_id, await self.talk.ada.say(self.talk.room_id, f"!register {user_id}"))

    async def brings(self, user_id: str, command: str) -> Event:
        """The account that Ada asked for is made, and all is said about it; the message with the password."""
        answer = await self.talk.answer_to(command)
        assert (answer.about["kind"], answer.about.get("user_id")) == ("account", user_id), answer
        return await self.talk.credentials(user_id)

    async def obeys_nobody_else(self) -> None:
        """Mallory and the forger still have no say: what they ask for has to be decided."""
        for person in (self.mallory.user_id, self.forger.user_id):
            user_id = self.new_user("refused")
            if person == self.mallory.user_id:
                command = await self.mallory.say(self.talk.room_id, f"!register {user_id}")
            else:
                command = await self.forger.says(said(f"!register {user_id}", self.talk.room_id))
            answer = await self.talk.ada.reply_to(command)
            assert (answer.about["kind"], answer.about["state"]) == ("request", "pending"), answer
            await self.talk.ada.signs_under(answer.event_id)
            assert await self.talk.view.account(user_id) is None

    def times_made(self, user_id: str) -> int:
        """How often the bot asked the server to make an account."""
        name = user_id[1:].partition(":")[0].encode()
        return sum(passing.is_a("POST", REGISTER) and name in passing.body for passing in self.between.passed)


def said(body: str, room_id: str) -> Json:
    """The payload of an honest message."""
    return {"type": "m.room.message", "room_id": room_id, "content": {"msgtype": "m.text", "body": body}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(
    synapse: RunningSynapse,
    view: ServerView,
    node: Node,
    tmp_path_factory: pytest.TempPathFactory,
    quickly: Launch,
) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    async with (
        Between(synapse.url) as between,
        open_conversation(folder, synapse, view, node, url=between.url, launch=quickly) as talk,
        talk.member("mallory") as mallory,
        forger_in(talk, folder) as forger,
    ):
        scene = Scene(talk, between, Homeserver(view), mallory, forger)
        await scene.obeys_nobody_else()
        yield scene


# What nobody but a server can authorise


async def test_power_that_mallory_encrypts_for_herself_is_none(scene: Scene) -> None:
    """From a real session of Element, which knows that the server never sees what is inside."""
    talk, mallory = scene.talk, scene.mallory
    room, ada = talk.room_id, talk.ada.user_id
    forged: list[tuple[str, Json]] = [
        ("m.room.power_levels", {"users": {mallory.user_id: 100}, "users_default": 100}),
        ("m.room.power_levels", {"users": {ada: 0, talk.bot_id: 0}, "events_default": 100}),
        ("m.room.member", {"membership": "leave"}),
        ("m.room.create", {"creator": mallory.user_id, "additional_creators": [mallory.user_id], "room_version": "12"}),
        ("m.room.encryption", {"algorithm": "none"}),
    ]
    for event_type, content in forged:
        event = await mallory.send(room, content, event_type)
        assert (await talk.ada.reads(event)).encrypted
        await scene.obeys_nobody_else()
        await scene.obeys_ada()


async def test_state_inside_an_encrypted_event_is_none(scene: Scene) -> None:
    talk, forger = scene.talk, scene.forger
    room, ada, own = talk.room_id, talk.ada.user_id, forger.user_id
    levels = {"users": {own: 100, ada: 0}, "users_default": 100}
    for payload in [
        {"type": "m.room.power_levels", "state_key": "", "content": levels},
        {"type": "m.room.power_levels", "state_key": "", "content": levels, "sender": ada, "event_id": "$forged"},
        {"type": "m.room.member", "state_key": ada, "content": {"membership": "leave"}},
        {"type": "m.room.member", "state_key": talk.bot_id, "content": {"membership": "leave"}},
        {"type": "m.room.create", "state_key": "", "sender": own, "content": {"room_version": "12"}},
        {"type": "m.room.encryption", "state_key": "", "content": {}},
        {"type": "m.room.tombstone", "state_key": "", "content": {"replacement_room": "!elsewhere"}},
    ]:
        await forger.says({"room_id": room, **payload})
    await scene.obeys_nobody_else()
    await scene.obeys_ada()
    # A command is none either where it says that it is state, another room's, or somebody else's.
    names = [scene.new_user("forged") for _ in range(3)]
    since = await forger.says(said(f"!register {names[0]}", room) | {"state_key": ""})
    await forger.says(said(f"!register {names[1]}", "!elsewhere"))
    await talk.ignored(since)
    command = await forger.says(said(f"!register {names[2]}", room) | {"sender": ada, "user_id": ada})
    assert (await talk.ada.reply_to(command)).about["state"] == "pending"
    assert [await talk.view.account(name) for name in names] == [None, None, None]


async def test_a_redaction_inside_an_encrypted_event_takes_nothing_back(scene: Scene) -> None:
    talk, user_id = scene.talk, scene.new_user("kept")
    await talk.bot.stop()
    command = await talk.ada.say(talk.room_id, f"!register {user_id}")
    inside = {"type": "m.room.redaction", "room_id": talk.room_id, "redacts": command}
    await scene.forger.says(inside | {"content": {"redacts": command, "reason": "spam"}})
    await talk.bot.start()
    await scene.brings(user_id, command)


# The same ciphertext again


async def test_a_command_is_obeyed_once_whoever_repeats_its_ciphertext_and_whenever(scene: Scene) -> None:
    talk, user_id = scene.talk, scene.new_user("once")
    command = await talk.ada.say(talk.room_id, f"!register {user_id}")
    direct = (await scene.brings(user_id, command)).room_id
    ciphertext = await scene.server.content_of(talk.room_id, command)
    repeated: list[str] = []

    async def repeat() -> str:
        repeated.append(await scene.server.says(talk.ada.user_id, talk.room_id, ciphertext))
        return repeated[-1]

    async def is_repeated_in_vain() -> None:
        since = await repeat()
        await scene.server.says(talk.ada.user_id, direct, ciphertext)
        await scene.server.says(scene.mallory.user_id, talk.room_id, ciphertext)
        await scene.server.says(scene.forger.user_id, talk.room_id, ciphertext)
        await talk.ignored(since)
        await scene.obeys_ada()

    await is_repeated_in_vain()
    await talk.bot.stop()
    since = await repeat()
    await talk.bot.start()
    await talk.ignored(since)
    await is_repeated_in_vain()
    await talk.loses_keys()
    await is_repeated_in_vain()
    # To the new device the old key is given by somebody who has it, and who may well say those words herself.
    await scene.forger.passes_on(ciphertext["session_id"], scene.forger.room_keys[ciphertext["session_id"]])
    await repeat()
    await talk.all_said()
    assert [e for e in talk.ada.said_by(talk.bot_id) if e.in_reply_to in repeated] == []
    assert scene.times_made(user_id) == 1
    await scene.obeys_nobody_else()


# Other people's keys


async def test_whoever_passes_adas_key_on_as_her_own_neither_speaks_as_ada_nor_silences_her(scene: Scene) -> None:
    talk, forger, user_id = scene.talk, scene.forger, scene.new_user("passed")
    await talk.ada.discard(talk.room_id)
    command = await talk.ada.say(talk.room_id, f"!register {user_id}")
    await scene.brings(user_id, command)
    ciphertext = await scene.server.content_of(talk.room_id, command)
    session_id = ciphertext["session_id"]

    for of in (forger.keys, forger.keys_of(talk.ada.user_id, talk.ada.device_id)):
        await forger.passes_on(session_id, forger.room_keys[session_id], of=of)
        repeated = await scene.server.says(forger.user_id, talk.room_id, ciphertext)
        await talk.all_said()
        answers = [e for e in talk.ada.said_by(talk.bot_id) if e.in_reply_to == repeated]
        assert all(e.about["kind"] in ("request", "error") for e in answers), answers
        assert scene.times_made(user_id) == 1

        for restarted in (False, True):
            if restarted:
                await talk.bot.stop()
                await talk.bot.start()
            new = scene.new_user("adas")
            later = await talk.ada.say(talk.room_id, f"!register {new}")
            assert (await talk.ada.reads(later)).session_id == session_id
            await scene.brings(new, later)


async def test_a_key_that_is_given_away_as_adas_opens_nothing_in_her_name(scene: Scene) -> None:
    """The forger and the homeserver together: her words, Ada's user id above them, Ada's device named in the key."""
    talk, forger, session = scene.talk, scene.forger, OutboundGroupSession()
    adas = forger.keys_of(talk.ada.user_id, talk.ada.device_id)
    user_id = scene.new_user("mallory")
    own = InboundGroupSession(session.session_key, forger.keys.fingerprint, forger.keys.sender_key, talk.room_id)
    await forger.passes_on(session.id, session.session_key, of=adas)
    await forger.forwards(session.id, own.export_session(0), of=adas)
    content = await forger.encrypted(said(f"!register {user_id}", talk.room_id), session)
    adas_device = {"sender_key": adas.sender_key, "device_id": talk.ada.device_id}
    since = await scene.server.says(talk.ada.user_id, talk.room_id, content)
    await scene.server.says(talk.ada.user_id, talk.room_id, content | adas_device)
    await talk.ignored(since)
    await talk.bot.stop()
    await talk.bot.start()
    content = await forger.encrypted(said(f"!register {user_id}", talk.room_id), session)
    since = await scene.server.says(talk.ada.user_id, talk.room_id, content | adas_device)
    await talk.ignored(since)
    assert await talk.view.account(user_id) is None
    await scene.obeys_ada()


async def test_a_command_that_the_server_ascribes_to_ada_is_not_obeyed(scene: Scene) -> None:
    """In an honest session of the forger; only who said it is a lie."""
    talk, forger, user_id = scene.talk, scene.forger, scene.new_user("ascribed")
    lies: list[str] = []

    def ascribe(event: Json) -> None:
        if event["type"] == "m.room.encrypted" and event["sender"] == forger.user_id:
            event["sender"] = talk.ada.user_id
            lies.append(event["event_id"])

    scene.between.alter = in_every_sync(ascribe)
    command = await forger.says(said(f"!register {user_id}", talk.room_id))
    await talk.ignored(command)
    scene.between.leave_alone()
    assert lies == [command]
    assert await talk.view.account(user_id) is None
    await scene.obeys_nobody_else()


# What was changed or taken back


async def test_a_redacted_command_is_not_obeyed_although_the_server_still_shows_it(scene: Scene) -> None:
    """The redaction comes in the same sync as what it took back."""
    talk, user_id = scene.talk, scene.new_user("withdrawn")
    await talk.bot.stop()
    since = await talk.ada.say(talk.room_id, "good night")
    command = await talk.ada.say(talk.room_id, f"!register {user_id}")
    ciphertext = await scene.server.content_of(talk.room_id, command)
    await talk.ada.redact(talk.room_id, command)
    shown: list[str] = []

    def put_back(event: Json) -> None:
        if event["event_id"] == command:
            assert event["content"] == {}
            event["content"] = ciphertext
            event["unsigned"].pop("redacted_because")
            shown.append(command)

    scene.between.alter = in_every_sync(put_back)
    await talk.bot.start()
    await talk.ignored(since)
    scene.between.leave_alone()
    assert shown == [command]
    assert await talk.view.account(user_id) is None


async def test_an_edit_does_not_become_a_command_when_the_server_hides_that_it_is_one(scene: Scene) -> None:
    """What it relates to stands in clear beside the ciphertext; what it says instead stands inside."""
    talk, user_id = scene.talk, scene.new_user("edited")
    hidden: list[Json] = []

    def hide(event: Json) -> None:
        if event["type"] == "m.room.encrypted" and event["content"].get("m.relates_to", {}).get("rel_type"):
            hidden.append(event["content"].pop("m.relates_to"))

    scene.between.alter = in_every_sync(hide)
    greeting = await talk.ada.say(talk.room_id, "good morning")
    edit = await talk.ada.edit(talk.room_id, greeting, f"!register {user_id}", mark="")
    await talk.ignored(edit)
    scene.between.leave_alone()
    assert {"rel_type": "m.replace", "event_id": greeting} in hidden
    assert await talk.view.account(user_id) is None


async def test_whoever_passes_adas_key_on_before_it_came_from_her_does_not_silence_her(scene: Scene) -> None:
    """Ada's key is late; the forger's copy of it is there at once."""
    talk, forger, user_id = scene.talk, scene.forger, scene.new_user("late")
    held: list[Json] = []
    late = True

    def hold_back(passing: Passing, body: bytes) -> bytes:
        if not passing.is_a("GET", "/sync"):
            return body
        sync = json.loads(body)
        events = sync.setdefault("to_device", {}).setdefault("events", [])
        held.extend(event for event in events if event["sender"] == talk.ada.user_id)
        events[:] = [event for event in events if event["sender"] != talk.ada.user_id]
        if not late:
            events.extend(held)
            held.clear()
        return json.dumps(sync).encode()

    scene.between.alter = hold_back
    await talk.ada.discard(talk.room_id)
    command = await talk.ada.say(talk.room_id, f"!register {user_id}")
    session_id = str((await talk.ada.reads(command)).session_id)
    async with asyncio.timeout(10):
        while session_id not in forger.room_keys:  # noqa: ASYNC110 - the person's own conditions are not for others
            await asyncio.sleep(0.05)
    await forger.passes_on(session_id, forger.room_keys[session_id])
    await scene.obeys_nobody_else()
    late = False
    await scene.obeys_nobody_else()  # something has to come, for the key to come with it
    await scene.brings(user_id, command)
    scene.between.leave_alone()
