"""What cannot be read is not lost: sessions are healed, people are asked once, and what comes late is obeyed once."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from onboard_bot.chat.messages import CONTENT_KEY
from onboard_bot.domain.allowance import Allowance, Spent
from onboard_bot.domain.withheld import Withheld
from onboard_bot.jobs.effect import Effect
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.jobs.runner import Runner
from onboard_bot.jobs.unread import AskAgain, HealDevice, HealPerson, TellOfSession
from onboard_bot.matrix.encryption import Encryption
from onboard_bot.matrix.healing import Healing
from onboard_bot.matrix.intake import Intake
from onboard_bot.matrix.known_devices import KnownDevices
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.olm_gaps import session_with
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.matrix.unread import withheld_in
from onboard_bot.onboarding.effects import JobKind
from onboard_bot.onboarding.ports import UnreachableError
from onboard_bot.onboarding.unread import HEALINGS, QUESTIONS
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.journal import JournalledSync
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.transaction import Store
from onboard_bot.store.withheld import ALTOGETHER, OF_ONE_PERSON, WithheldKey
from tests.fakes.chat import BOT, FakeChat, Said
from tests.fakes.clock import SOME_DAY, FakeClock
from tests.fakes.key_server import KeyApi, KeyServer
from tests.flows.mortal import Fate, MortalStore

ADA, EVE = "@ada:example.org", "@eve:example.org"
ADMIN_ROOM, OTHER_ROOM = "!admin:example.org", "!other:example.org"
MEGOLM = "m.megolm.v1.aes-sha2"

Json = dict[str, Any]


async def _nothing(_name: str) -> None:
    """The step of an ordinary day."""


class StepApi(KeyApi):
    """The calls of a bot that may die around each of them; `told` is every to-device message with its transaction."""

    step: Callable[[str], Awaitable[None]] = staticmethod(_nothing)

    def __init__(self, server: KeyServer, user_id: str, device_id: str) -> None:
        super().__init__(server, user_id, device_id)
        self.told: list[tuple[str, str]] = []

    async def keys_claim(self, devices: Mapping[str, Sequence[str]]) -> Json:
        await self.step("before claim")
        answer = await super().keys_claim(devices)
        await self.step("after claim")
        return answer

    async def send_to_device(
        self, event_type: str, messages: Mapping[str, Mapping[str, Any]], *, transaction_id: str
    ) -> None:
        await self.step("before tell")
        self.told.append((transaction_id, json.dumps(messages)))
        await super().send_to_device(event_type, messages, transaction_id=transaction_id)
        await self.step("after tell")


class Person:
    """Somebody with one device; it answers a new session as current clients do: it gives its room keys again."""

    def __init__(self, server: KeyServer, user_id: str, folder: Path, device_id: str = "PHONE") -> None:
        folder.mkdir(parents=True)
        self.user_id, self.device_id = user_id, device_id
        self.server = server
        self.machine = Machine(user_id, device_id, folder, b"k" * 32)
        self.encryption = Encryption(server.api(user_id, device_id), self.machine)  # type: ignore[arg-type]
        self._said = 0

    async def says(self, body: str, *, room_id: str = ADMIN_ROOM, thread: str | None = None) -> Json:
        """An encrypted event."""
        content: Json = {"msgtype": "m.text", "body": body}
        if thread is not None:
            content["m.relates_to"] = {"rel_type": "m.thread", "event_id": thread}
        sealed = await self.encryption.encrypt(room_id, [BOT, self.user_id], "m.room.message", content)
        self._said += 1
        event_id = f"${self.user_id[1:4]}-{self._said}"
        return {"type": "m.room.encrypted", "event_id": event_id, "sender": self.user_id, "content": sealed}

    def starts_a_new_key(self, room_id: str = ADMIN_ROOM) -> None:
        """As after `/discardsession`."""
        self.machine.room_keys.rotate(room_id)

    async def syncs(self) -> None:
        """Takes what the server has for them."""
        self.machine.receive(self.server.sync(self.user_id, self.device_id))
        await self.encryption.keep_keys_stocked()


class Ward:
    """A bot in its admin room, with encryption, and what it does about what it cannot read."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.folder = folder
        self.database = Path(shutil.copy(database, folder / "onboard.db"))
        (folder / "crypto").mkdir()
        self.clock = FakeClock()
        self.server = KeyServer()
        self.chat = FakeChat()
        self.chat.make_room(ADMIN_ROOM)
        self.people: list[Person] = []
        self.syncs = 0
        self.api = StepApi(self.server, BOT, "BOT")
        self.open()

    def open(self) -> None:
        """The process starts."""
        self.fate = Fate()
        self.store = MortalStore(Database(sqlite_url(self.database)), self.clock)
        self.store.step = _nothing
        self.machine = Machine(BOT, "BOT", self.folder / "crypto", b"k" * 32)
        known = KnownDevices(self.api, self.machine)  # type: ignore[arg-type]
        self.encryption = Encryption(self.api, self.machine, known)  # type: ignore[arg-type]
        healing = Healing(self.api, self.machine, known)  # type: ignore[arg-type]
        self.intake = Intake(self.api, self.machine, Rooms(self.api), self.store)  # type: ignore[arg-type]
        effects: dict[str, Effect[Any]] = {
            JobKind.HEAL_PERSON: HealPerson(self.chat, healing),
            JobKind.HEAL_DEVICE: HealDevice(healing),
            JobKind.TELL_OF_SESSION: TellOfSession(healing),
            JobKind.ASK_AGAIN: AskAgain(self.chat, self.chat, Naming("epoch", "BOT", self.clock)),
        }
        self.runner = Runner(self.store, effects, self.clock, device_id="BOT")

    async def close(self) -> None:
        """The process ends."""
        self.machine.close()
        await self.store.close()

    async def restart(self) -> None:
        """… and starts again."""
        await self.close()
        self.open()

    async def begin(self) -> None:
        """The first start."""
        await self.encryption.keep_keys_stocked()
        async with Store.transaction(self.store) as tx:
            await tx.rooms.plan(PlannedRoom("marker", Purpose.ADMIN, "", ADMIN_ROOM, made_by_bot=True))
            await tx.rooms.joined(ADMIN_ROOM, "$join")

    async def person(self, user_id: str, device_id: str = "PHONE") -> Person:
        """Somebody in the room."""
        person = Person(self.server, user_id, self.folder / f"{user_id[1:4]}{device_id}", device_id)
        self.people.append(person)
        self.chat.rooms[ADMIN_ROOM].members[user_id] = "join"
        await person.encryption.keep_keys_stocked()
        return person

    async def syncs_with(self, *events: Json, room_id: str = ADMIN_ROOM, to_device: Sequence[Json] = ()) -> None:
        """The bot's next sync brings these, and what the server has for its device."""
        body = self.server.sync(BOT, "BOT")
        body["to_device"]["events"] += to_device
        self.syncs += 1
        body["next_batch"] = f"s{self.syncs}"
        if events:
            timeline = {"events": list(events), "limited": False, "prev_batch": "p"}
            body["rooms"] = {"join": {room_id: {"timeline": timeline}}}
        async with Store.transaction(self.store) as tx:
            seq = await tx.journal.add(since="s0", body=json.dumps(body), next_batch=body["next_batch"])
        await self.intake.apply(JournalledSync(seq, "s0", json.dumps(body)))
        await self.encryption.keep_keys_stocked()

    def loses_keys(self) -> None:
        """What waits for the bot's device never arrives."""
        self.server.waiting.pop((BOT, "BOT"), None)

    async def waits(self, seconds: float) -> None:
        """Time passes, and everything is done when it is due."""
        until = self.clock.now() + seconds
        await self.runner.run_due()
        while True:
            async with self.store.reading() as tx:
                due = await tx.jobs.next_due(now=self.clock.now())
            if due is None or due > until:
                break
            self.clock.advance(due - self.clock.now())
            await self.runner.run_due()
        self.clock.advance(until - self.clock.now())
        await self.runner.run_due()

    async def obeys(self) -> list[str]:
        """What was said to the bot and has had no effect yet, in order; now it has."""
        said: list[str] = []
        while True:
            async with self.store.transaction() as tx:
                event = await tx.inbox.next_open()
                if event is None:
                    return said
                await tx.inbox.close(event.event_id)
                said.append(str(event.content["body"]))

    @property
    def questions(self) -> list[Said]:
        """What the bot asked."""
        return self.chat.rooms[ADMIN_ROOM].said_by(BOT)

    def sessions_started(self) -> int:
        """How many one-time keys the bot claimed."""
        return self.api.calls.count("keys_claim")


@pytest_asyncio.fixture
async def ward(tmp_path: Path, fresh_database: Path) -> AsyncIterator[Ward]:
    ward = Ward(tmp_path, fresh_database)
    await ward.begin()
    yield ward
    for person in ward.people:
        person.machine.close()
    await ward.close()


@asynccontextmanager
async def unreadable(ward: Ward, body: str = "!register bob") -> AsyncIterator[tuple[Person, Json, list[Json]]]:
    """Somebody's message whose key is on its way; the to-device messages with it."""
    ada = await ward.person(ADA)
    event = await ada.says(body)
    late = ward.server.waiting.pop((BOT, "BOT"))
    await ward.syncs_with(event)
    yield ada, event, late


# Healing


async def test_a_key_that_was_lost_is_given_again_over_a_new_session(ward: Ward) -> None:
    async with unreadable(ward) as (ada, _, _):
        await ward.waits(9)
        assert ward.sessions_started() == 0
        await ward.waits(2)
        assert ward.sessions_started() == 1
        await ada.syncs()
        await ward.syncs_with(await ada.says("!register carol"))
        assert await ward.obeys() == ["!register carol"]


async def test_a_key_that_comes_soon_needs_no_healing_and_no_question(ward: Ward) -> None:
    async with unreadable(ward) as (_, _, late):
        await ward.waits(5)
        await ward.syncs_with(to_device=late)
        async with ward.store.reading() as tx:
            assert await tx.jobs.next_due(now=0.0) is None
        assert await ward.obeys() == ["!register bob"]
        await ward.waits(3600)
        assert (ward.sessions_started(), ward.questions) == (0, [])


async def test_a_device_is_healed_once_an_hour_however_many_keys_it_lost(ward: Ward) -> None:
    ada = await ward.person(ADA)
    for _ in range(30):
        ada.starts_a_new_key()
        event = await ada.says("!help")
        ward.loses_keys()
        await ward.syncs_with(event)
        await ward.waits(60)
    assert ward.sessions_started() == 1
    await ward.waits(3600)
    ada.starts_a_new_key()
    event = await ada.says("!help")
    ward.loses_keys()
    await ward.syncs_with(event)
    await ward.waits(60)
    assert ward.sessions_started() == 2


async def test_whoever_names_no_device_of_theirs_is_healed_on_all_that_get_keys(ward: Ward) -> None:
    ada, eve = await ward.person(ADA), await ward.person(EVE)
    await ward.person(ADA, "LAPTOP")
    event = await ada.says("!help")
    ward.loses_keys()
    event["content"] |= {"sender_key": eve.machine.device_keys["keys"]["curve25519:PHONE"], "device_id": "NOWHERE"}
    await ward.syncs_with(event)
    await ward.waits(11)
    told = [list(json.loads(messages).items()) for _, messages in ward.api.told]
    assert sorted(next(iter(devices)) for ((user, devices),) in told if user == ADA) == ["LAPTOP", "PHONE"]
    assert len(told) == 2


@pytest.mark.parametrize("unnamed", ["sender_key", "device_id"])
async def test_only_the_device_that_the_event_names_is_healed(ward: Ward, unnamed: str) -> None:
    ada = await ward.person(ADA)
    await ward.person(ADA, "LAPTOP")
    event = await ada.says("!help")
    ward.loses_keys()
    del event["content"][unnamed]
    await ward.syncs_with(event)
    await ward.waits(11)
    ((_, messages),) = ward.api.told
    assert list(json.loads(messages)[ADA]) == ["PHONE"]


def garbage(sender: str, sender_key: str, own_key: str, kind: int = 1) -> Json:
    body = {"type": kind, "body": "AwogcGxlYXNlIGRvIG5vdCByZWFkIHRoaXMsIGl0IGlzIGEgdGVzdBAAIgA"}
    content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": sender_key, "ciphertext": {own_key: body}}
    return {"type": "m.room.encrypted", "sender": sender, "content": content}


def broken_message(ward: Ward, person: Person) -> Json:
    """An Olm message of a session that the bot does not have."""
    keys = person.machine.device_keys["keys"]
    return garbage(person.user_id, keys["curve25519:PHONE"], ward.machine.device_keys["keys"]["curve25519:BOT"])


async def test_a_broken_session_with_a_member_is_healed_before_anything_is_said_and_nothing_piles_up(
    ward: Ward,
) -> None:
    ada = await ward.person(ADA)
    await ward.encryption.encrypt(ADMIN_ROOM, [BOT, ADA], "m.room.message", {"body": "hello"})
    claimed = ward.sessions_started()
    for _ in range(20):
        await ward.syncs_with(to_device=[broken_message(ward, ada)])
    await ward.waits(60)
    assert ward.sessions_started() == claimed + 1
    await ada.syncs()
    await ward.syncs_with(await ada.says("!help"))
    assert await ward.obeys() == ["!help"]
    await ward.syncs_with(to_device=[broken_message(ward, ada)])
    olm = ward.machine._olm
    assert (olm.wedged_devices, dict(olm.key_re_requests_events), olm.outgoing_to_device_messages) == ([], {}, [])


@pytest.mark.parametrize("answered", [True, False])
async def test_a_session_that_the_bot_alone_has_lost_is_healed(ward: Ward, answered: bool) -> None:  # noqa: FBT001 - a case of the test
    """The other side goes on with it: with ordinary messages once it was answered, before that with its first ones."""
    ada = await ward.person(ADA)
    their_key = ada.machine.device_keys["keys"]["curve25519:PHONE"]
    await ward.syncs_with(await ada.says("!help"))
    await ward.encryption.encrypt(ADMIN_ROOM, [BOT, ADA], "m.room.message", {"body": "hello"})
    if answered:
        await ada.syncs()
    claimed = ward.sessions_started()
    ward.machine._olm.session_store[their_key][:] = []
    ada.starts_a_new_key()
    await ward.syncs_with(await ada.says("!status"))
    await ward.waits(1)
    assert ward.sessions_started() == claimed + 1
    await ada.syncs()
    await ward.syncs_with(await ada.says("!help again"))
    assert await ward.obeys() == ["!help", "!help again"]


async def test_strangers_take_no_room_in_memory(ward: Ward) -> None:
    own_key = ward.machine.device_keys["keys"]["curve25519:BOT"]
    await ward.syncs_with(to_device=[garbage(f"@eve{n}:evil.org", "x" * 43, own_key) for n in range(50)])
    olm = ward.machine._olm
    assert not olm.device_store._entries.keys() - {BOT}
    assert not olm.session_store._entries


async def test_strangers_cannot_make_the_bot_claim_keys(ward: Ward) -> None:
    eve = await ward.person(EVE)
    await ward.encryption.encrypt(ADMIN_ROOM, [BOT, EVE], "m.room.message", {"body": "hello"})
    ward.chat.rooms[ADMIN_ROOM].members[EVE] = "leave"
    claimed = ward.sessions_started()
    event = await eve.says("!help")
    ward.loses_keys()
    await ward.syncs_with(event, to_device=[broken_message(ward, eve), garbage("@x:evil.org", "x" * 43, "y")])
    await ward.waits(3600)
    assert ward.sessions_started() == claimed
    assert ward.questions == []


async def test_a_body_that_is_applied_again_breaks_nothing(ward: Ward) -> None:
    ada = await ward.person(ADA)
    await ward.encryption.encrypt(ADMIN_ROOM, [BOT, ADA], "m.room.message", {"body": "hello"})
    claimed = ward.sessions_started()
    event = await ada.says("!help")
    keys = list(ward.server.waiting[BOT, "BOT"])
    await ward.syncs_with(event)
    await ward.syncs_with(event, to_device=keys)
    await ward.waits(60)
    assert await ward.obeys() == ["!help"]
    assert ward.sessions_started() == claimed


@pytest.mark.parametrize("restarted", [True, False])
async def test_after_healing_the_new_session_is_the_one_that_is_used(ward: Ward, restarted: bool) -> None:  # noqa: FBT001 - a case of the test
    ada = await ward.person(ADA)
    await ward.syncs_with(await ada.says("!help"))
    their_key = ada.machine.device_keys["keys"]["curve25519:PHONE"]
    (old,) = ward.machine._olm.session_store[their_key]
    ada.starts_a_new_key()
    event = await ada.says("!status")
    late = ward.server.waiting.pop((BOT, "BOT"))
    old.creation_time, old.use_time = old.creation_time + timedelta(1), old.use_time + timedelta(1)  # a clock set back
    await ward.syncs_with(event)
    await ward.waits(11)
    made = session_with(ward.machine._olm, ward.machine._olm.device_store[ADA]["PHONE"])
    assert made.id != old.id
    # The old session is used once more, by the key that comes late: it is the one that was used last.
    await ward.syncs_with(to_device=late)
    assert await ward.obeys() == ["!help", "!status"]
    assert session_with(ward.machine._olm, ward.machine._olm.device_store[ADA]["PHONE"]) is made
    if restarted:
        await ward.restart()
    ada.machine._olm.session_store[ward.machine.device_keys["keys"]["curve25519:BOT"]][:] = []  # she lost the old one
    await ada.syncs()
    sent = await ward.encryption.encrypt(ADMIN_ROOM, [BOT, ADA], "m.room.message", {"body": "readable"})
    await ada.syncs()
    event = {"type": "m.room.encrypted", "event_id": "$bot", "sender": BOT, "content": sent}
    assert ada.machine.decrypt(ADMIN_ROOM, event).content["body"] == "readable"


async def test_a_person_who_starts_over_gets_the_bots_room_key_again(ward: Ward) -> None:
    async with unreadable(ward) as (ada, _, _):
        await ward.encryption.encrypt(ADMIN_ROOM, [BOT, ADA], "m.room.message", {"body": "lost on them"})
        ward.server.waiting.pop((ADA, "PHONE"))
        answer = await ward.server.api(ADA, "PHONE").keys_claim({BOT: ["BOT"]})
        messages = ada.machine.broken.start_over((BOT, "BOT"), answer)
        assert messages is not None
        await ward.syncs_with(to_device=[{"type": "m.room.encrypted", "sender": ADA, "content": messages[BOT]["BOT"]}])
        sent = await ward.encryption.encrypt(ADMIN_ROOM, [BOT, ADA], "m.room.message", {"body": "readable"})
        await ada.syncs()
        event = {"type": "m.room.encrypted", "event_id": "$bot", "sender": BOT, "content": sent}
        assert ada.machine.decrypt(ADMIN_ROOM, event).content["body"] == "readable"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"one_time_keys": None},
        {"one_time_keys": {ADA: []}},
        {"one_time_keys": {ADA: {"PHONE": {}}}},
        {"one_time_keys": {ADA: {"PHONE": {"signed_curve25519:A": {"key": "x"}}}}},
    ],
)
async def test_a_device_without_a_good_key_is_left_alone(ward: Ward, answer: Json) -> None:
    async with unreadable(ward):
        await ward.waits(11)
        sessions = sum(map(len, ward.machine._olm.session_store.values()))
        assert ward.machine.broken.start_over((ADA, "PHONE"), answer) is None
        assert ward.machine.broken.start_over((EVE, "PHONE"), answer) is None
        assert sum(map(len, ward.machine._olm.session_store.values())) == sessions


async def test_what_another_device_of_ours_wrote_is_not_sent_any_more(ward: Ward) -> None:
    async with unreadable(ward):
        ward.api.fail_next["send_to_device"] = UnreachableError("502")
        await ward.waits(10)
        await ward.close()
        for file in (ward.folder / "crypto").iterdir():
            file.unlink()
        ward.open()
        before = len(ward.api.told)
        await ward.waits(60)
        assert len(ward.api.told) == before


# Asking


async def test_after_a_minute_the_sender_is_asked_once_to_type_it_again(ward: Ward) -> None:
    async with unreadable(ward) as (ada, event, _):
        await ward.waits(59)
        assert ward.questions == []
        await ward.waits(2)
        (question,) = ward.questions
        assert question.answers == event["event_id"]
        assert question.content["m.mentions"] == {"user_ids": [ADA]}
        assert question.content[CONTENT_KEY] == {"v": 1, "kind": "error", "error": "not_readable"}
        assert "type it again" in question.body
        assert "!register" not in question.body
        await ward.restart()
        more = await ada.says("!help")
        await ward.syncs_with(more)
        await ward.waits(7200)
        assert ward.questions == [question]


async def test_the_question_stands_in_the_thread_of_what_it_is_about(ward: Ward) -> None:
    ada = await ward.person(ADA)
    event = await ada.says("!help", thread="$root")
    ward.loses_keys()
    await ward.syncs_with(event)
    await ward.waits(61)
    assert ward.questions[0].content["m.relates_to"]["rel_type"] == "m.thread"
    assert ward.questions[0].content["m.relates_to"]["event_id"] == "$root"


async def test_a_flood_with_one_key_makes_one_question(ward: Ward) -> None:
    ada = await ward.person(ADA)
    events = [await ada.says(f"!help {n}") for n in range(500)]
    ward.loses_keys()
    await ward.syncs_with(*events)
    await ward.waits(3600)
    (question,) = ward.questions
    assert question.answers == events[0]["event_id"]
    assert ward.sessions_started() == 1


async def test_a_flood_with_many_keys_makes_few_questions_and_all_are_asked_about(ward: Ward) -> None:
    ada = await ward.person(ADA)
    for _ in range(40):
        ada.starts_a_new_key()
        event = await ada.says("!help")
        ward.loses_keys()
        await ward.syncs_with(event)
        before = len(ward.questions)
        await ward.waits(3)
        assert len(ward.questions) <= before + 1
    assert len(ward.questions) <= 2 * QUESTIONS.of_one
    await ward.waits(600)
    assert len(ward.questions) <= 4 * QUESTIONS.of_one
    async with ward.store.reading() as tx:
        assert all(kept.asked_at is not None for kept in await tx.undecrypted.all())


async def test_nobody_is_asked_in_rooms_where_the_bot_obeys_nobody(ward: Ward) -> None:
    ada = await ward.person(ADA)
    direct = ward.chat.make_room(OTHER_ROOM)
    direct.members[ADA] = "join"
    async with ward.store.transaction() as tx:
        await tx.rooms.plan(PlannedRoom("direct", Purpose.DIRECT, ADA, OTHER_ROOM, made_by_bot=True))
        await tx.rooms.joined(OTHER_ROOM, "$join")
    event, elsewhere = await ada.says("hello", room_id=OTHER_ROOM), await ada.says("hello", room_id="!x:example.org")
    ward.loses_keys()
    await ward.syncs_with(event, room_id=OTHER_ROOM)
    await ward.syncs_with(elsewhere, room_id="!x:example.org")
    await ward.waits(3600)
    assert direct.said_by(BOT) == []
    assert ward.sessions_started() == 1  # of the one that it has a purpose for


async def test_a_question_that_the_room_did_not_take_at_once_is_asked_once(ward: Ward) -> None:
    async with unreadable(ward):
        ward.chat.fail_next("send", UnreachableError("502"), after=True, times=3)
        await ward.waits(300)
        assert len(ward.questions) == 1


async def test_who_could_not_read_the_question_is_asked_in_clear(ward: Ward) -> None:
    async with unreadable(ward):
        ward.chat.without_devices.add(ADA)
        await ward.waits(61)
        (question,) = ward.questions
        assert question.content[CONTENT_KEY]["error"] == "not_readable"


async def test_what_can_be_read_by_the_time_of_a_second_try_is_not_asked_about(ward: Ward) -> None:
    async with unreadable(ward) as (_, _, late):
        ward.chat.fail_next("send", UnreachableError("502"))
        await ward.waits(60)
        await ward.syncs_with(to_device=late)
        await ward.waits(300)
        assert ward.questions == []
        assert await ward.obeys() == ["!register bob"]


# What comes late


async def test_a_key_that_comes_after_the_question_is_obeyed_once(ward: Ward) -> None:
    async with unreadable(ward) as (_, _, late):
        await ward.waits(3600)
        await ward.syncs_with(to_device=late)
        assert await ward.obeys() == ["!register bob"]
        await ward.syncs_with(to_device=late)
        assert await ward.obeys() == []
        assert len(ward.questions) == 1


async def test_what_was_typed_again_is_obeyed_and_the_late_key_does_nothing(ward: Ward) -> None:
    async with unreadable(ward) as (ada, _, late):
        await ward.waits(61)
        ada.starts_a_new_key()
        await ward.syncs_with(await ada.says("!register bob again"))
        await ward.syncs_with(to_device=late)
        assert await ward.obeys() == ["!register bob again"]


async def test_what_was_typed_again_with_the_same_late_key_is_obeyed_once(ward: Ward) -> None:
    async with unreadable(ward) as (ada, _, late):
        await ward.waits(61)
        await ward.syncs_with(await ada.says("!register bob again"))
        await ward.waits(5)
        await ward.syncs_with(to_device=late)
        assert await ward.obeys() == ["!register bob again"]


async def test_what_was_typed_again_in_the_sync_that_brings_the_late_key_is_obeyed_once(ward: Ward) -> None:
    async with unreadable(ward) as (ada, _, late):
        await ward.waits(61)
        await ward.syncs_with(await ada.says("!register bob again"), to_device=late)
        assert await ward.obeys() == ["!register bob again"]


async def test_what_others_say_takes_nothing_from_what_comes_late(ward: Ward) -> None:
    async with unreadable(ward) as (_, _, late):
        await ward.waits(61)
        eve = await ward.person(EVE)
        await ward.syncs_with(await eve.says("!status"))
        await ward.syncs_with(to_device=late)
        assert await ward.obeys() == ["!status", "!register bob"]


async def test_two_commands_with_one_late_key_are_both_obeyed(ward: Ward) -> None:
    async with unreadable(ward) as (ada, _, late):
        await ward.waits(1)
        await ward.syncs_with(await ada.says("!register carol"))
        await ward.waits(120)
        await ward.syncs_with(to_device=late)
        assert await ward.obeys() == ["!register bob", "!register carol"]


async def test_what_was_asked_about_makes_room_after_three_days_and_all_after_a_week(ward: Ward) -> None:
    async with unreadable(ward) as (_, _, late):
        await ward.waits(61)
        ward.clock.advance(3 * 24 * 3600)
        await ward.syncs_with(to_device=late)
        assert await ward.obeys() == []
        async with ward.store.reading() as tx:
            assert await tx.undecrypted.all() == []


# Withheld keys


def withheld(event: Json | None, code: str, sender: str = ADA, **more: Any) -> Json:
    content: Json = {"algorithm": MEGOLM, "code": code, "reason": "words of a stranger", "sender_key": "x"}
    if event is not None:
        content |= {"room_id": ADMIN_ROOM, "session_id": event["content"]["session_id"]}
    return {"type": "m.room_key.withheld", "sender": sender, "content": content | more}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("code", ["m.blacklisted", "m.unverified", "m.unauthorised", "m.unavailable", "x.stranger"])
async def test_whose_key_is_withheld_is_asked_at_once_with_the_reason(ward: Ward, code: str, before: bool) -> None:  # noqa: FBT001 - a case of the test
    ada = await ward.person(ADA)
    event = await ada.says("!help")
    ward.loses_keys()
    notice = withheld(event, code)
    await ward.syncs_with(*[] if before else [event], to_device=[notice] if before else [])
    await ward.waits(1)
    await ward.syncs_with(*[event] if before else [], to_device=[] if before else [notice])
    assert ward.questions == []
    await ward.waits(5)
    (question,) = ward.questions
    assert "stranger" not in question.body
    words = {"m.blacklisted": "blocked", "m.unverified": "verified devices only", "m.unauthorised": "may not have"}
    assert {**words, "m.unavailable": "any more"}.get(code, "do not know") in question.body
    await ward.waits(3600)
    assert len(ward.questions) == 1


async def test_a_device_that_finds_no_way_to_us_is_about_all_its_keys(ward: Ward) -> None:
    async with unreadable(ward):
        await ward.syncs_with(to_device=[withheld(None, "m.no_olm")])
        await ward.waits(4)
        assert "secure channel" in ward.questions[0].body


async def test_what_is_said_of_keys_decides_nothing(ward: Ward) -> None:
    """It is signed by nobody; where the key comes all the same, it is obeyed."""
    async with unreadable(ward) as (_, event, late):
        other = withheld(event, "m.blacklisted", sender=EVE)
        elsewhere = withheld(event, "m.blacklisted", room_id="!elsewhere:example.org")
        await ward.syncs_with(to_device=[other, elsewhere])
        await ward.waits(10)
        assert ward.questions == []
        await ward.syncs_with(to_device=[withheld(event, "m.blacklisted")])
        await ward.syncs_with(to_device=late)
        await ward.waits(3600)
        assert ward.questions == []
        assert await ward.obeys() == ["!register bob"]


async def test_withheld_keys_are_told_to_the_log_once(ward: Ward, caplog: pytest.LogCaptureFixture) -> None:
    async with unreadable(ward) as (_, event, _):
        for _ in range(3):
            await ward.syncs_with(to_device=[withheld(event, "m.unverified")])
        told = [record.getMessage() for record in caplog.records if "keeps" in record.getMessage()]
        assert told == [f"a device of {ADA} keeps a key from us: m.unverified"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([ADA, MEGOLM, "m.no_olm", "!r"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["algorithm", "code", "room_id", "session_id", "x"]), inner, max_size=5)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(sender=JSON, content=JSON)
def test_whatever_is_said_of_keys_what_is_taken_of_it_can_be_stored(sender: Any, content: Any) -> None:
    event = {"type": "m.room_key.withheld", "sender": sender, "content": content}
    for sync in ({"to_device": {"events": [event]}}, {"to_device": content}, {"to_device": {"events": content}}):
        for notice in withheld_in(sync):
            assert notice.sender == ADA
            assert (notice.room_id == "") == (notice.session_id == "")
            assert notice.reason in Withheld


async def test_nobody_can_fill_the_store_with_what_they_withhold(ward: Ward) -> None:
    async with ward.store.transaction() as tx:
        for n in range(OF_ONE_PERSON + 10):
            noted = await tx.withheld.note(WithheldKey(EVE, "!r", f"s{n}", Withheld.OTHER), now=float(n))
            assert noted == (n < OF_ONE_PERSON)
        for n in range(ALTOGETHER):
            await tx.withheld.note(WithheldKey(f"@eve{n}:evil.org", "!r", "s", Withheld.OTHER), now=float(n))
        ada = WithheldKey(ADA, "!r", "s", Withheld.UNVERIFIED)
        assert await tx.withheld.note(ada, now=1e6) is False  # everybody has one by now, and none is worth less
        assert await tx.withheld.reason(EVE, f"s{OF_ONE_PERSON - 1}", "!r") is Withheld.OTHER
        await tx.withheld.forget_before(100.0)
        assert await tx.withheld.note(ada, now=1e6)
        assert await tx.withheld.reason(ADA, "s", "!r") is Withheld.UNVERIFIED


# Stops


async def test_a_bot_that_dies_at_any_step_heals_once_and_asks_once(tmp_path: Path, fresh_database: Path) -> None:
    for number in range(1, 60):
        folder = tmp_path / str(number)
        folder.mkdir()
        ward = Ward(folder, fresh_database)
        await ward.begin()
        async with unreadable(ward) as (ada, event, _):
            died = await _dies_at(ward, number)
            await ward.restart()
            await ward.waits(300)
            (question,) = ward.questions
            assert question.answers == event["event_id"]
            contents = dict(ward.api.told)
            assert len(contents) == 1, "a message that may have gone out is repeated as it was"
            assert {(name, contents[name]) for name in contents} == set(ward.api.told)
            await ada.syncs()
            await ward.syncs_with(await ada.says("!help"))
            assert await ward.obeys() == ["!help"]
        ada.machine.close()
        await ward.close()
        if not died:
            assert number > 10
            return
    raise AssertionError("it never came to its end")


async def _dies_at(ward: Ward, number: int) -> bool:
    """Two minutes, in which the process ends at this step; whether there were so many."""
    ward.fate.dies_at = number
    ward.store.step = ward.chat.step = ward.api.step = ward.fate.step
    living = asyncio.create_task(ward.waits(120))
    dying = asyncio.create_task(ward.fate.died.wait())
    await asyncio.wait((living, dying), return_when=asyncio.FIRST_COMPLETED)
    tasks = [living, dying, *ward.runner._running.values()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    ward.chat.step = ward.api.step = _nothing
    return ward.fate.died.is_set()


# Rules


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abc"), st.integers(0, 9)), max_size=60))
def test_an_allowance_is_kept_in_any_stretch_of_time(tries: list[tuple[int, str, int]]) -> None:
    allowance = Allowance(period=60.0, of_one=3, altogether=6)
    now, spent, done = SOME_DAY, list[Spent](), list[Spent]()
    for pause, who, what in tries:
        now += pause
        after = allowance.spend(spent, who, str(what), now=now)
        if after is not None:
            spent = list(after)
            done.append(spent[-1])
        for end in done:
            recent = [one for one in done if end.at - allowance.period < one.at <= end.at]
            assert len(recent) <= allowance.altogether
            assert all(sum(one.who == each for one in recent) <= allowance.of_one for each in "abc")
            assert len({(one.who, one.what) for one in recent}) == len(recent)


def test_a_clock_that_was_set_back_does_not_lock_anybody_out() -> None:
    spent = [Spent(SOME_DAY + 1000, ADA, "x")] * HEALINGS.altogether
    assert HEALINGS.spend(spent, ADA, "x", now=SOME_DAY) is not None


async def test_the_intents_of_intake_have_an_effect_each(ward: Ward) -> None:
    async with unreadable(ward), ward.store.reading() as tx:
        firsts = await tx.jobs.first_of_lanes(now=ward.clock.now() + 100)
        assert {job.kind for job in firsts} == {JobKind.HEAL_PERSON, JobKind.ASK_AGAIN}
