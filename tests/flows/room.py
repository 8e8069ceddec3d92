"""The admin room as a test sees it: people who type, a bot that answers, and a process that can be killed at any step.

Real are the database, intake, dispatch, use cases, jobs and the shared-secret backend; faked are Matrix
(`tests/fakes/chat.py`), the homeserver's endpoint (`tests/fakes/synapse_endpoint.py`, over HTTP) and the time.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import aiohttp
from sqlalchemy import text

from onboard_bot.chat.dispatch import Dispatch
from onboard_bot.chat.replies import StatusReport
from onboard_bot.clock_jump import ClockJumps
from onboard_bot.config.model import Accounts
from onboard_bot.domain.approvals import ApprovalRules
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from onboard_bot.jobs.invitations import AnswerInvitation, InviteAdmin
from onboard_bot.jobs.outgoing import Naming, Restoration
from onboard_bot.jobs.runner import Runner
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.intake import Intake
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.onboarding.effects import JobKind
from onboard_bot.onboarding.register import RegistrationRules
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.journal import JournalledSync
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Store, Transaction
from onboard_bot.work import Ports, Rules, Work
from tests.fakes.chat import BOT, FakeChat, FakeRoom, Said
from tests.fakes.clock import FakeClock
from tests.fakes.synapse_endpoint import FakeAccount, SynapseEndpoint
from tests.flows.mortal import Fate, GlassMachine, MortalBackend, MortalStore, WatchedSealer

SERVER = "example.org"
ADMIN_ROOM = "!admins:example.org"
_PIECE, _STRIDE = 8, 4
"""Twelve characters of a password in a row, wherever in it, hold one of the pieces that are looked for."""


_DEFAULT_RULES = ApprovalRules()


@dataclass(frozen=True)
class Settings:
    """What the operator chose."""

    delivery_in_room: bool = False
    allow_admin: bool = False
    only_signed: bool = True
    room_sets: tuple[str, ...] = ()
    room_version: str = "11"
    approval: ApprovalRules = _DEFAULT_RULES
    kept_for: float | None = None


@dataclass(frozen=True)
class Person:
    """Somebody who types, at one of their devices."""

    user_id: str
    device: str = "PHONE"


@dataclass
class Card:
    """A request's card, as it stands now."""

    room: "Room"
    posted: Said

    @property
    def id(self) -> str:
        """The request's."""
        return str(self.posted.about["id"])

    @property
    def edits(self) -> list[Said]:
        """What took its place, in order."""
        return [said for said in self.room.said if said.replaces == self.posted.event_id]

    @property
    def shown(self) -> Said:
        """What a client shows."""
        return self.edits[-1] if self.edits else self.posted

    @property
    def state(self) -> str:
        """As it shows it."""
        return str(self.shown.about["state"])

    @property
    def body(self) -> str:
        """Its words."""
        return str(self.shown.content.get("m.new_content", self.shown.content)["body"])

    async def tap(self, who: "Person", key: str = "✅") -> str:
        """Somebody puts a sign under it; the reaction's id."""
        return await self.room.react(who, self.posted.event_id, key)


@dataclass
class Life:
    """One process, from its start to its end."""

    fate: Fate
    store: MortalStore
    dispatch: Dispatch
    runner: Runner
    intake: Intake


@dataclass
class Room:
    """The admin room, the bot in it and the homeserver behind it."""

    state: StateDir
    secret_file: Path
    endpoint: SynapseEndpoint
    http: aiohttp.ClientSession
    settings: Settings = Settings()
    chat: FakeChat = field(default_factory=FakeChat)
    clock: FakeClock = field(default_factory=FakeClock)
    passwords: list[str] = field(default_factory=list)
    readable_passwords: set[str] = field(default_factory=set)
    creator: Person = field(default_factory=lambda: Person("@creator:example.org"))
    device_id: str = "DEVICE"
    restoration: Restoration | None = None
    group_rooms: dict[str, str] = field(default_factory=dict)
    """The rooms that groups name and the bot is in, by what the configuration calls them."""
    life: Life = field(init=False)

    def __post_init__(self) -> None:
        self.answers = asyncio.Event()
        """Cleared, it keeps the homeserver's answers to registrations back."""
        self.answers.set()
        self._syncs = 0
        self._state_events = 0
        self.room: FakeRoom = self.chat.make_room(
            ADMIN_ROOM, creator=self.creator.user_id, version=self.settings.room_version
        )

    async def open(self) -> None:
        """The bot's first start, up to its arrival in the room."""
        self.life = self._new_life()
        async with Store.transaction(self.life.store) as tx:
            await tx.rooms.plan(PlannedRoom("marker", Purpose.ADMIN, "", ADMIN_ROOM, made_by_bot=True))
        await self._arrive([member_event("$own-join", BOT, "join")])

    async def close(self) -> None:
        """The end of the test: whatever happened in it, this holds."""
        if self.life.fate.died.is_set():
            await self.restart()
        try:
            await self._assert_what_always_holds()
        finally:
            await self.life.store.close()

    async def _assert_what_always_holds(self) -> None:
        async with self.life.store.reading() as tx:
            assert await tx.audit.verify() is None
        readable = self.readable_passwords | self.find_passwords_on_disk()
        assert not readable, f"a password could be read in {readable}"
        for room in self.chat.rooms.values():
            for said in room.said_by(BOT):
                if said.removed_because is None:
                    assert said.content["msgtype"] == ("m.text" if is_reminder(said) else "m.notice")
                    assert "m.mentions" in said.content
                if not self.settings.delivery_in_room and room is self.room:
                    assert not any(password in json.dumps(said.content) for password in self.passwords)

    # People

    def person(self, user_id: str, level: int = 0) -> Person:
        """Somebody in the room."""
        self.room.members[user_id] = "join"
        if level:
            self.room.power_levels["users"][user_id] = level
        return Person(user_id)

    def people(self, **levels: int) -> tuple[Person, ...]:
        """Several of them, by the names and levels that they have."""
        return tuple(self.person(f"@{name}:{SERVER}", level) for name, level in levels.items())

    def leaves(self, who: Person) -> None:
        """Somebody goes, and the server has not told of it yet."""
        self.room.members[who.user_id] = "leave"

    def loses_level(self, who: Person) -> None:
        """Somebody is taken out of the list of levels, and the server has not told of it yet."""
        del self.room.power_levels["users"][who.user_id]

    async def moves(self, who: Person, membership: str, *, room_id: str = ADMIN_ROOM) -> None:
        """Somebody comes, goes, or is put out, and the server tells of it."""
        self.chat.rooms[room_id].members[who.user_id] = membership
        self._state_events += 1
        event = member_event(f"$state{self._state_events}", who.user_id, membership)
        await self._arrive([event], room_id=room_id)
        await self.settle()

    async def has_level(self, who: Person, level: int) -> None:
        """Somebody gets another level, and the server tells of it."""
        self.room.power_levels["users"][who.user_id] = level
        self._state_events += 1
        event = {"event_id": f"$state{self._state_events}", "sender": self.creator.user_id, "state_key": ""}
        await self._arrive([event | {"type": "m.room.power_levels", "content": self.room.power_levels}])
        await self.settle()

    async def uses(self, room_id: str) -> None:
        """The bot has this room to talk to somebody."""
        async with Store.transaction(self.life.store) as tx:
            await tx.rooms.plan(
                PlannedRoom(room_id, Purpose.DIRECT, "@somebody:example.org", room_id, made_by_bot=True)
            )
        self._state_events += 1
        await self._arrive([member_event(f"$state{self._state_events}", BOT, "join")], room_id=room_id)

    # What is said

    async def say(self, who: Person, body: str, **more: Any) -> str:
        """Somebody types, and everybody waits until the bot has nothing more to do now; the event's id."""
        event_id = await self.types(who, body, **more)
        await self.settle()
        return event_id

    async def types(self, who: Person, body: str, **more: Any) -> str:
        """Somebody types; the event has arrived, and nobody has looked at it yet."""
        return await self.sends(who, "m.room.message", {"msgtype": "m.text", "body": body, **more})

    async def sends(
        self,
        who: Person,
        event_type: str,
        content: dict[str, Any],
        *,
        room_id: str = ADMIN_ROOM,
        in_clear: bool = False,
    ) -> str:
        """An event stands in a room and arrives."""
        in_clear = in_clear or self.chat.unencrypted or event_type in ("m.reaction", "m.room.redaction")
        event = self.chat.put(room_id, who.user_id, event_type, content, device=None if in_clear else who.device)
        await self.arrives(event.event_id)
        return event.event_id

    async def arrives(self, event_id: str) -> None:
        """The server tells of an event (perhaps not for the first time)."""
        event = self.chat.event(event_id)
        await self._arrive([self._raw(event)], room_id=event.room_id)

    @staticmethod
    def _raw(event: Said) -> dict[str, Any]:
        raw = {"event_id": event.event_id, "sender": event.sender, "type": event.type, "content": event.content}
        if event.device is not None:
            raw |= {"type": "m.room.encrypted", "content": {"ciphertext": event.event_id}}
        return raw

    @property
    def said(self) -> list[Said]:
        """The bot's messages in the room."""
        return self.room.said_by(BOT)

    @property
    def posted(self) -> list[Said]:
        """The bot's messages in the room that are no edits."""
        return [said for said in self.said if said.replaces is None]

    @property
    def last(self) -> Said:
        """The bot's last message in the room."""
        return self.said[-1]

    @property
    def signs(self) -> list[str]:
        """The bot's reactions in the room."""
        return [event.content["m.relates_to"]["key"] for event in self.room.said_by(BOT, "m.reaction")]

    def direct(self, who: Person) -> list[Said]:
        """The bot's messages in its direct room with somebody."""
        room = self.chat.direct_room(who.user_id)
        return [] if room is None else room.said_by(BOT)

    def answers_to(self, event_id: str) -> list[Said]:
        """What the bot replied to an event."""
        return [said for said in self.said if said.answers == event_id]

    async def answer(self, who: Person, line: str, **more: Any) -> Said:
        """Somebody types; the one answer to it."""
        (answer,) = self.answers_to(await self.say(who, line, **more))
        return answer

    # Cards and votes

    def card_of(self, command: str) -> "Card":
        """The card that answers a `!register`."""
        (card,) = [said for said in self.answers_to(command) if said.about["kind"] == "request"]
        return Card(self, card)

    async def asks(self, who: Person, line: str = "!register bob", **more: Any) -> "Card":
        """Somebody asks for an account, and gets a card."""
        return self.card_of(await self.say(who, line, **more))

    async def react(self, who: Person, event_id: str, key: str) -> str:
        """Somebody puts a sign under a message; the reaction's id."""
        reaction = await self.puts_sign(who, event_id, key)
        await self.settle()
        return reaction

    async def puts_signs(self, signs: Sequence[tuple[Person, str]], event_id: str) -> None:
        """Several people put one each under a message; one sync tells of them all."""
        content = {"rel_type": "m.annotation", "event_id": event_id}
        events = [
            self.chat.put(ADMIN_ROOM, who.user_id, "m.reaction", {"m.relates_to": content | {"key": key}})
            for who, key in signs
        ]
        await self._arrive([self._raw(event) for event in events])

    async def puts_sign(self, who: Person, event_id: str, key: str = "✅") -> str:
        """The same; the event has arrived, and nobody has looked at it yet."""
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        room_id = self.chat.event(event_id).room_id
        return await self.sends(who, "m.reaction", {"m.relates_to": relation}, room_id=room_id)

    async def remove(self, who: Person, event_id: str) -> None:
        """Somebody removes a reaction or a message."""
        self.chat.event(event_id).removed_because = ""
        await self.sends(who, "m.room.redaction", {"redacts": event_id})
        await self.settle()

    # What the bot does

    async def settle(self) -> None:
        """The bot does what it can do now, or dies of it."""
        working = asyncio.create_task(self._work())
        dying = asyncio.create_task(self.life.fate.died.wait())
        await asyncio.wait((working, dying), return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if working.done():
            working.result()
            return
        tasks = [working, *self.life.runner._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait(self, seconds: float) -> None:
        """Time passes, and everything is done when it is due."""
        until = self.clock.now() + seconds
        await self.settle()
        while True:
            async with self.life.store.reading() as tx:
                due = await tx.jobs.next_due(now=self.clock.now())
            if due is None or due > until:
                break
            self.clock.advance(due - self.clock.now())
            await self.settle()
        self.clock.advance(until - self.clock.now())
        await self.settle()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The bot's own loops run, as in the real program."""
        loops = [asyncio.create_task(self.life.dispatch.run()), asyncio.create_task(self.life.runner.run())]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            for loop in loops:
                with suppress(asyncio.CancelledError):
                    await loop

    async def until(self, what: Callable[[], Any]) -> None:
        """Waits, in real time, for something that the running bot does."""
        async with asyncio.timeout(5):
            while not what():  # noqa: ASYNC110 - what is waited for happens in the fakes, which ring no bell
                await asyncio.sleep(0.005)

    def passes(self, seconds: float) -> None:
        """Time passes while the bot runs."""
        self.clock.advance(seconds)
        self.life.store.jobs_added.set()

    async def restart(self) -> None:
        """The process ends, however it did, and starts again on the same state."""
        await self.life.store.close()
        self.life = self._new_life()

    # What is left behind

    @property
    def accounts(self) -> dict[str, FakeAccount]:
        """The homeserver's accounts."""
        return self.endpoint.accounts

    def may_sign_in(self, user_id: str, password: str) -> bool:
        """Whether these credentials are good."""
        account = self.endpoint.accounts.get(user_id)
        return account is not None and not account.deactivated and account.password == password

    async def open_jobs(self) -> list[str]:
        """The kinds of what is still to do."""
        return [row[0] for row in await self.rows("SELECT kind FROM jobs WHERE state = 'open' ORDER BY id")]

    async def states(self) -> list[str]:
        """Where the requests stand, oldest first."""
        return [row[0] for row in await self.rows("SELECT state FROM requests ORDER BY created_at")]

    async def rows(self, query: str) -> list[Any]:
        """A look into the database."""
        async with self.life.store._database.reading() as connection:
            return list(await connection.execute(text(query)))

    async def eventually(self, query: str) -> list[Any]:
        """A look into the database while the bot runs, when there is something to be seen."""
        async with asyncio.timeout(5):
            while not (found := await self.rows(query)):  # noqa: ASYNC110 - a database rings no bell either
                await asyncio.sleep(0.005)
        return found

    async def tamper(self, statement: str) -> None:
        """Somebody writes into the database behind the bot's back."""
        async with self.life.store._database.writing() as connection:
            await connection.execute(text(statement))

    def find_passwords_on_disk(self) -> set[str]:
        """The files of the state directory in which a password, or a piece of one, can be read."""
        pieces = [
            password[start : start + _PIECE].encode()
            for password in self.passwords
            for start in range(0, len(password) - _PIECE + 1, _STRIDE)
        ]
        if not pieces:
            return set()
        contents = {file.name: file.read_bytes() for file in self.state.path.rglob("*") if file.is_file()}
        return {name for name, content in contents.items() if any(piece in content for piece in pieces)}

    async def _work(self) -> None:
        await self.life.dispatch.run_open()
        await self.life.runner.run_due()

    async def _arrive(self, events: list[dict[str, Any]], *, room_id: str = ADMIN_ROOM) -> None:
        self._syncs += 1
        timeline = {"events": events, "limited": False, "prev_batch": "p"}
        body = json.dumps({"next_batch": f"s{self._syncs}", "rooms": {"join": {room_id: {"timeline": timeline}}}})
        async with Store.transaction(self.life.store) as tx:
            seq = await tx.journal.add(since="s0", body=body, next_batch=f"s{self._syncs}")
        # Steps are counted from the arrival on: before it, the server tells of the event again.
        counting, self.life.fate.dies_at = self.life.fate.dies_at, None
        await self.life.intake.apply(JournalledSync(seq, "s0", body))
        self.life.fate.steps.clear()
        self.life.fate.dies_at = counting

    def _new_life(self) -> Life:
        fate = Fate()

        async def step(name: str) -> None:
            self.readable_passwords |= self.find_passwords_on_disk()  # told at the end: here the bot would catch it
            await fate.step(name)

        self.chat.step = step
        store = MortalStore(Database(sqlite_url(self.state.database)), self.clock)
        store.step = step
        sealer = WatchedSealer(self.state.key("secrets.key"), self.passwords)
        backend = MortalBackend(
            SharedSecretBackend(self.http, self.endpoint.url, SecretFile(self.secret_file)), step, self.answers
        )
        api = cast("ClientApi", None)
        machine = cast("Machine", GlassMachine(self.chat))
        intake = Intake(api, machine, Rooms(api), store, watches=lambda room: room in self.group_rooms.values())
        self.jumps = ClockJumps(self.clock)
        work = self._put_together(store, sealer, backend)
        return Life(fate, store, self._dispatch(work), self._runner(store, work), intake)

    def _put_together(self, store: Store, sealer: Sealer, backend: MortalBackend) -> Work:
        settings = self.settings
        registration = RegistrationRules(SERVER, Accounts().reserved, settings.allow_admin, settings.room_sets)
        rules = Rules(
            registration,
            settings.approval,
            BOT,
            "Onboarding",
            only_signed=settings.only_signed,
            credentials_in_room=settings.delivery_in_room,
            kept_for=settings.kept_for,
        )
        ports = Ports(self.chat, self.chat, self.chat, self.chat, self.group_rooms.get, backend)
        return Work(store, rules, ports, self.clock, self.jumps, sealer=sealer, choose=secrets.choice)

    def _dispatch(self, work: Work) -> Dispatch:
        async def status(tx: Transaction) -> StatusReport:
            return StatusReport(
                at=tx.now,
                version="0",
                homeserver_url="http://localhost",
                server_name=SERVER,
                running_since=tx.now,
                last_sync=tx.now,
                open_jobs=await tx.jobs.count_open(now=tx.now),
            )

        return work.dispatch(status)

    def _runner(self, store: Store, work: Work) -> Runner:
        naming = Naming("epoch", self.device_id, self.clock, self.restoration)
        effects = work.effects(naming) | {
            JobKind.ANSWER_INVITATION: AnswerInvitation(self.chat, self.chat, named_by_nobody, lambda: None),
            JobKind.INVITE_ADMIN: InviteAdmin(self.chat, self.chat),
        }
        return Runner(store, effects, self.clock, device_id=self.device_id, resting=work.resting)


def is_reminder(said: Said) -> bool:
    """Whether it asks those who have not voted, alone or in a list: what has to ring is no notice."""
    items = said.about.get("items", [said.about])
    return bool(items) and all((item.get("kind"), item.get("state")) == ("status", "pending") for item in items)


def member_event(event_id: str, user_id: str, membership: str) -> dict[str, Any]:
    """A membership event of somebody about themselves."""
    return {
        "event_id": event_id,
        "sender": user_id,
        "type": "m.room.member",
        "state_key": user_id,
        "content": {"membership": membership},
    }


async def named_by_nobody(_room_id: str) -> bool:
    """The configuration of these tests names no room."""
    return False
