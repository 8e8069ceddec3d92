"""What the bot cannot read, on a real Synapse: its sender is asked once, their device hears of a new session.

The people here have nio's client. It takes an `m.dummy` and does nothing about it, so that a test starts a new room key
where a current client gives the present one again by itself (`tests/element` shows that).
"""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp import web
from nio import DummyEvent

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import Between, Passing
from tests.e2e.bot_process import READY_WITHIN, Launch
from tests.e2e.desk import Desk, open_desk
from tests.e2e.interruption import Fault, Interruption, Place, Way
from tests.e2e.person import Person, Seen, unique
from tests.e2e.server_view import ServerView

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEALING, ASKING = ("heal_person", "heal_device", "tell_of_session"), ("ask_again",)


@dataclass
class Caller:
    """A member of the room whose keys get lost on their way; `dummies` are the new sessions that they heard of."""

    desk: Desk
    person: Person
    way: Between
    lost: list[dict[str, Any]] = field(default_factory=list)
    dummies: list[str] = field(default_factory=list)
    loses: bool = False

    def __post_init__(self) -> None:
        self.way.before = self._before
        self.person.client.homeserver = self.way.url
        self.person.client.add_to_device_callback(self._hears, DummyEvent)

    async def _before(self, passing: Passing) -> web.Response | None:
        if not self.loses or "/sendToDevice/m.room.encrypted/" not in passing.path:
            return None
        self.lost.append(json.loads(passing.body))
        return web.json_response({})

    async def _hears(self, event: DummyEvent) -> None:
        self.dummies.append(event.sender)

    def starts_a_new_key(self) -> None:
        """As after `/discardsession`."""
        self.person.client.invalidate_outbound_session(self.desk.room_id)

    async def says_unreadably(self, what: str) -> str:
        """With a new key that never arrives; the event's id."""
        self.starts_a_new_key()
        self.loses = True
        event_id = await self.person.say(self.desk.room_id, what)
        self.loses = False
        return event_id

    async def gives_lost_keys(self) -> None:
        """What was lost arrives after all."""
        for number, body in enumerate(self.lost):
            await self.person.ask("PUT", f"sendToDevice/m.room.encrypted/late{number}{unique('t')}", body)

    async def hears_of_session(self) -> None:
        """Waits until the bot's `m.dummy` has been opened."""
        await self.person.until(lambda: self.dummies, why="a new session", within=READY_WITHIN)
        assert set(self.dummies) == {self.desk.bot_id}

    def questions(self) -> list[Seen]:
        """What the bot could not read, as it told this person."""
        said = self.person.said_by(self.desk.bot_id, self.desk.room_id)
        return [e for e in said if e.about.get("error") == "not_readable" and self.person.user_id in mentioned(e)]


def mentioned(event: Seen) -> list[str]:
    found: list[str] = (event.content.get("m.mentions") or {}).get("user_ids", [])
    return found


@asynccontextmanager
async def caller_at(desk: Desk) -> AsyncIterator[Caller]:
    """Somebody new in the room, whom the bot has answered once."""
    async with Between(desk.synapse.url) as way, desk.member("caller") as person:
        caller = Caller(desk, person, way)
        await desk.ask("!help", by=person)
        yield caller


def state_of(desk: Desk, *kinds: str) -> list[str]:
    """Where jobs stand."""
    with closing(sqlite3.connect(f"file:{desk.bot.state / 'onboard.db'}?mode=ro", uri=True)) as database:
        return [state for kind, state in database.execute("SELECT kind, state FROM jobs") if kind in kinds]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(
    synapse: RunningSynapse, view: ServerView, tmp_path_factory: pytest.TempPathFactory, quickly: Launch
) -> AsyncIterator[Desk]:
    """A bot for the tests that disturb nobody else."""
    async with open_desk(tmp_path_factory.mktemp("office"), synapse, view, launch=quickly) as desk:
        yield desk


async def test_a_lost_key_is_asked_for_once_and_the_way_for_the_next_one_is_mended(office: Desk) -> None:
    async with caller_at(office) as caller:
        lost = await caller.says_unreadably("!status")
        await office.bot.comes_due(*HEALING)
        await caller.hears_of_session()
        await office.bot.comes_due(*ASKING)
        question = await caller.person.reply_to(lost)
        assert question.sender == office.bot_id
        assert question.about == {"v": 1, "kind": "error", "error": "not_readable"}
        assert mentioned(question) == [caller.person.user_id]
        caller.starts_a_new_key()
        assert (await office.ask("!help", by=caller.person)).about["kind"] == "help"
        assert caller.questions() == [question]
        assert "was started over" in office.bot.log()


async def test_a_key_that_comes_after_the_question_is_obeyed_once(office: Desk) -> None:
    async with caller_at(office) as caller:
        late = await caller.says_unreadably("!help")
        await office.bot.comes_due(*ASKING)
        question = await caller.person.reply_to(late)
        await caller.gives_lost_keys()
        answer = await caller.person.reply_to(late, kind="help")
        await caller.gives_lost_keys()
        caller.starts_a_new_key()
        await office.ask("!status", by=caller.person)
        replies = [e for e in caller.person.said_by(office.bot_id, office.room_id) if e.in_reply_to == late]
        assert replies == [question, answer]


async def test_what_was_typed_again_is_obeyed_and_the_late_key_does_nothing(office: Desk) -> None:
    async with caller_at(office) as caller:
        late = await caller.says_unreadably("!help")
        await office.bot.comes_due(*ASKING)
        question = await caller.person.reply_to(late)
        caller.starts_a_new_key()
        assert (await office.ask("!help", by=caller.person)).about["kind"] == "help"
        await caller.gives_lost_keys()
        await office.ask("!status", by=caller.person)
        replies = [e for e in caller.person.said_by(office.bot_id, office.room_id) if e.in_reply_to == late]
        assert replies == [question]


async def test_whose_client_withholds_the_key_hears_so_within_seconds(office: Desk) -> None:
    async with caller_at(office) as caller:
        device = office.bot.remembered("session.json")["device_id"]
        caller.starts_a_new_key()
        caller.loses = True
        event_id = await caller.person.say(office.room_id, "!help")
        raw = await caller.person.ask("GET", f"rooms/{quote(office.room_id)}/event/{quote(event_id)}")
        notice = {
            "algorithm": "m.megolm.v1.aes-sha2",
            "room_id": office.room_id,
            "session_id": raw["content"]["session_id"],
            "sender_key": raw["content"]["sender_key"],
            "code": "m.unverified",
            "reason": "The words of a client",
        }
        messages = {"messages": {office.bot_id: {device: notice}}}
        await caller.person.ask("PUT", f"sendToDevice/m.room_key.withheld/{unique('t')}", messages)
        question = await caller.person.reply_to(event_id)
        assert question.about["error"] == "not_readable"
        assert "verified devices only" in question.body
        assert "words of a client" not in question.body.lower()
        assert f"a device of {caller.person.user_id} keeps a key from us: m.unverified" in office.bot.log()


async def test_after_the_loss_of_its_encryption_store_the_bot_leaves_nobody_without_an_answer(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk, caller_at(desk) as caller:
        await desk.bot.stop()
        for file in (desk.bot.state / "crypto").iterdir():
            file.unlink()
        meanwhile = await caller.person.say(desk.room_id, "!help")  # for the device that is no more
        await desk.bot.start()
        await desk.bot.wait_ready()
        assert (await desk.ask("!status", by=caller.person)).about["kind"] == "status"
        if not any(e.in_reply_to == meanwhile for e in caller.person.seen):
            await desk.bot.comes_due(*ASKING)
        answer = await caller.person.reply_to(meanwhile)
        assert answer.about.get("kind") in ("help", "error")
        assert len(caller.questions()) <= 1


async def test_a_bot_that_is_killed_while_it_heals_heals_and_asks_once_in_the_end(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, *, long: bool
) -> None:
    """The long form kills it at every request in between; the short one at those that have an effect."""
    async with (
        Between(synapse.url) as between,
        open_desk(tmp_path, synapse, view, url=between.url, launch=quickly) as desk,
    ):
        (heard,) = (await one_lost_key(desk, between)).heard
        moments = [moment for moment in dict.fromkeys(heard) if moment.route != "GET sync"]
        routes = {moment.route for moment in moments}
        assert {"POST keys/claim", "PUT sendToDevice/m.room.encrypted", "PUT rooms/…/send/m.room.encrypted"} <= routes
        if not long:
            moments = [m for m in moments if m.number == 1 and not m.route.startswith("GET ")]
        faults = [Fault(moment, place, Way.KILL) for moment in moments for place in (Place.BEFORE, Place.AFTER)]
        faults = [fault for fault in faults if long or fault.place is Place.AFTER]
        missed = [fault for fault in faults if not (await one_lost_key(desk, between, fault)).all_happened]
        if long:
            print(
                f"\nunreadable: killed {len(faults) - len(missed)} times at {len(moments)} requests, each healed once"
            )


async def one_lost_key(desk: Desk, between: Between, *faults: Fault) -> Interruption:
    """An event that cannot be read, from its arrival to the question."""

    async def start_again() -> None:
        await desk.bot.kill()
        await desk.bot.start()

    async with caller_at(desk) as caller:
        interruption = Interruption(between, start_again, *faults)
        lost = await caller.says_unreadably("!help")
        await desk.bot.comes_due(*HEALING)
        await caller.hears_of_session()
        await desk.bot.comes_due(*ASKING)
        question = await caller.person.reply_to(lost, within=READY_WITHIN)
        interruption.stop_counting()
        between.leave_alone()
        caller.starts_a_new_key()
        answer = await caller.person.reply_to(await caller.person.say(desk.room_id, "!help"), within=READY_WITHIN)
        assert answer.about["kind"] == "help"
        assert caller.questions() == [question]
        assert len(caller.dummies) == 1
        assert set(state_of(desk, *HEALING, *ASKING)) == {"done"}
        return interruption
