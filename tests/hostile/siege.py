"""A bot with a wall around it: everything of it is real but the network, the time, and the server that makes accounts.

Outside stand an admin, whom it has to obey exactly once whatever else happens, and those whom it must not obey.
"""

import asyncio
import io
import itertools
import json
import logging
import secrets
import shutil
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import SecretStr

from onboard_bot import log
from onboard_bot.app import Bot
from onboard_bot.chat.dispatch import Dispatch
from onboard_bot.config.load import load_config
from onboard_bot.homeserver.port import AccountSession, CreatedAccount, NewAccount, WrongPassword
from onboard_bot.jobs.runner import Runner
from onboard_bot.matrix import known_devices
from onboard_bot.matrix.adapter import MatrixAdapter
from onboard_bot.matrix.admin_room import AdminRoomWish
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import SEED_BYTES, USAGES, Identity, sign_own_device
from onboard_bot.matrix.encryption import Encryption
from onboard_bot.matrix.json_text import read_json
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.room_making import ENCRYPTION
from onboard_bot.matrix.session import Session
from onboard_bot.onboarding.identities import AcceptedIdentities
from onboard_bot.opening import open_naming
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.transaction import Store
from onboard_bot.upkeep.admin_room import AdminRoomWatch
from onboard_bot.upkeep.identity import watch_identity
from onboard_bot.upkeep.status import Status
from tests.fakes.clock import FakeClock
from tests.fakes.key_server import KeyServer
from tests.fakes.room_server import RoomServer
from tests.hostile.raw import Json, text_of
from tests.hostile.server import Body, HostileServer

SERVER = "example.org"
BOT, ADA, EVE, MALLORY = f"@onboard:{SERVER}", f"@ada:{SERVER}", f"@eve:{SERVER}", "@mallory:evil.example"
"""The bot; the admin; a member of the admin room without power; somebody who is not in it."""
MARKUP = "<b>evil</b>"
MEGOLM, OLM = "m.megolm.v1.aes-sha2", "m.olm.v1.curve25519-aes-sha2"
TOKEN = "syt_nobody_sees_this_token"
DEVICE = "BOTDEVICE"

_PATIENCE = 60.0
_ROUNDS = 200
_SOON = 3600.0
_LINES_FOR_A_BODY, _LINES_FOR_AN_EVENT, _LONGEST_LINE = 25, 3, 2500


@dataclass
class Log:
    """What the bot would have written on its standard output."""

    stream: io.StringIO

    def take(self) -> str:
        """What was written since the last look."""
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text


@contextmanager
def captured_log() -> Iterator[Log]:
    """The log as `run` writes it, kept in memory."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in (*log._QUIET, "")}
    stream = io.StringIO()
    with redirect_stdout(stream):
        log.configure()
    try:
        yield Log(stream)
    finally:
        root.handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class Backend:
    """Makes accounts, and remembers every one that it was asked for."""

    def __init__(self) -> None:
        self.asked_for: list[str] = []
        self.passwords: list[str] = []

    async def create(self, account: NewAccount) -> CreatedAccount:
        """See the port."""
        self.asked_for.append(account.localpart)
        self.passwords.append(account.password.get_secret_value())
        return CreatedAccount(f"@{account.localpart}:{SERVER}")

    async def prove_secret(self) -> None:
        """See the port."""

    async def sign_in(
        self,
        user: str,
        password: SecretStr,  # noqa: ARG002 - the port's
        *,
        device_id: str | None = None,  # noqa: ARG002 - the same
        device_display_name: str | None = None,  # noqa: ARG002 - the same
    ) -> AccountSession:
        """See the port."""
        raise WrongPassword(user)

    async def sign_out(self, session: AccountSession) -> None:
        """See the port."""


class Device:
    """Somebody's device, with a Megolm session that the bot was given and an Olm session with the bot."""

    def __init__(self, user_id: str, folder: Path) -> None:
        self.user_id = user_id
        folder.mkdir()
        self.machine = Machine(user_id, "PHONE", folder, b"k" * 32)

    async def share_key(self, keys: KeyServer, room_id: str) -> None:
        """Gives the bot the key of what it will say in the room."""
        talk = Encryption(keys.api(self.user_id, "PHONE"), self.machine)  # type: ignore[arg-type]
        await talk.keep_keys_stocked()
        seeds = {usage: secrets.token_bytes(SEED_BYTES) for usage in USAGES}
        await sign_own_device(keys.api(self.user_id, "PHONE"), self.machine, Identity(self.user_id, seeds))  # type: ignore[arg-type]
        await talk.encrypt(room_id, [BOT], "m.room.message", {"body": "hello"})

    @property
    def identity(self) -> dict[str, str]:
        """The device's keys."""
        return dict(self.machine._olm.account.identity_keys)

    def session_id(self, room_id: str) -> str:
        """Of the Megolm session."""
        return str(self.machine._olm.outbound_group_sessions[room_id].id)

    def session_key(self, room_id: str) -> str:
        """Of the Megolm session, from where it is now."""
        return str(self.machine._olm.outbound_group_sessions[room_id].session_key)

    def megolm(self, room_id: str, plaintext: bytes) -> Json:
        """The content of an encrypted room event."""
        session = self.machine._olm.outbound_group_sessions[room_id]._session
        return {
            "algorithm": MEGOLM,
            "sender_key": self.identity["curve25519"],
            "device_id": "PHONE",
            "session_id": self.session_id(room_id),
            "ciphertext": session.encrypt(plaintext).to_base64(),
        }

    def says(self, room_id: str, content: Json) -> Json:
        """The content of an encrypted message that is what it should be."""
        payload = {"type": "m.room.message", "room_id": room_id, "content": content}
        return self.megolm(room_id, json.dumps(payload).encode())

    def olm(self, bot_key: str, plaintext: bytes, *, nth: int = 0) -> Json:
        """The content of an encrypted to-device event; the session forgets it, so that each siege begins alike."""
        held = self.machine._olm.session_store.get(bot_key)
        session = type(held).from_pickle(held.pickle("x"), held.creation_time, "x")
        for _ in range(nth):
            session._session.encrypt(b"")
        kind, ciphertext = session._session.encrypt(plaintext).to_parts()
        body = b64encode(ciphertext).decode().rstrip("=")
        return {
            "algorithm": OLM,
            "sender_key": self.identity["curve25519"],
            "ciphertext": {bot_key: {"type": kind, "body": body}},
        }


@dataclass
class Fortress:
    """What every siege begins with; built once, copied for each."""

    folder: Path
    keys: KeyServer
    ada: Device
    eve: Device
    room_id: str
    bot_identity: dict[str, str]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @staticmethod
    async def build(folder: Path) -> "Fortress":
        """The bot has made its admin room, has got the keys of two members, and has said a word."""
        state = StateDir(folder / "state")
        state.prepare()
        (folder / "secret").write_text("shared secret")
        (folder / "config.yaml").write_text(
            f"homeserver: {{url: 'http://localhost', shared_secret_file: {folder / 'secret'}}}\n"
            f"bot: {{state_dir: {state.path}}}\n"
            f"admin_room: {{admins: ['{ADA}']}}\n"
        )
        keys, room_id = KeyServer(), next(iter(admin_room().rooms))
        machine = Machine(BOT, DEVICE, state.crypto, state.key("crypto.key"))
        talk = Encryption(keys.api(BOT, DEVICE), machine)  # type: ignore[arg-type]
        await talk.keep_keys_stocked()
        ada, eve = Device(ADA, folder / "ada"), Device(EVE, folder / "eve")
        for device in (ada, eve):
            await device.share_key(keys, room_id)
        machine.receive(keys.sync(BOT, DEVICE))
        await talk.encrypt(room_id, [ADA, EVE], "m.room.message", {"body": "welcome"})
        identity = dict(machine._olm.account.identity_keys)
        machine.close()
        bring_up_to_date(state.database)
        store = Store(Database(sqlite_url(state.database)), FakeClock())
        async with store.transaction() as tx:
            await tx.rooms.plan(PlannedRoom("marker", Purpose.ADMIN, "", room_id, made_by_bot=True))
            await tx.rooms.joined(room_id, "$own-join")
            await tx.journal.skip_to("s0")
        await store.close()
        return Fortress(folder, keys, ada, eve, room_id, identity)

    def close(self) -> None:
        """The devices outside are not needed any more."""
        for device in (self.ada, self.eve):
            device.machine.close()

    def to_device(self, device: Device, plaintext: bytes, *, nth: int = 0) -> Json:
        """A to-device event that the bot can open, as the device's nth since the siege began."""
        content = device.olm(self.bot_identity["curve25519"], plaintext, nth=nth)
        return {"type": "m.room.encrypted", "sender": device.user_id, "content": content}

    def olm_payload(self, device: Device, event_type: Any, content: Any) -> Json:
        """What is in a to-device event that is what it should be."""
        return {
            "sender": device.user_id,
            "sender_device": "PHONE",
            "keys": {"ed25519": device.identity["ed25519"]},
            "recipient": BOT,
            "recipient_keys": {"ed25519": self.bot_identity["ed25519"]},
            "type": event_type,
            "content": content,
        }


def admin_room() -> RoomServer:
    """The server's rooms at the beginning: the admin room, with an admin and somebody without power in it."""
    server = RoomServer(BOT)
    levels = {"users": {BOT: 100, ADA: 100}, "users_default": 0}
    room = server.make(BOT, {"power_level_content_override": levels, "initial_state": [ENCRYPTION]})
    for user in (ADA, EVE):
        room.set_membership(user, "join")
    return server


class Siege:
    """One bot under attack, from a fresh copy of the fortress."""

    def __init__(self, fortress: Fortress, log: Log, folder: Path) -> None:
        self.fortress, self.log = fortress, log
        self.room_id = fortress.room_id
        self.clock = FakeClock()
        self.backend = Backend()
        self.server = HostileServer(admin_room(), deepcopy(fortress.keys), BOT, DEVICE)
        self.honest: list[str] = []
        self.honest_events: list[Json] = []
        self.spoken: dict[str, Json] = {}
        """What the bot said, by ciphertext."""
        self._state = StateDir(folder)
        self._tokens = itertools.count(1)
        self._uncertain: set[str] = set()
        self.bodies = self.events = 0
        self.log_written = 0
        self._last_sound = "s0"
        self.store = Store(Database(sqlite_url(self._state.database)), self.clock)
        self.machine = Machine(BOT, DEVICE, self._state.crypto, self._state.key("crypto.key"))
        self._listen_to(self.machine)

    async def begin(self) -> None:
        """The bot's parts, put together as `run` does."""
        bot = Bot(load_config(self.fortress.folder / "config.yaml", {}), self.clock)
        session = Session(BOT, DEVICE, SecretStr(TOKEN))
        self.server.token = session.token
        wish = AdminRoomWish(None, (ADA,), name="Onboarding")
        matrix = MatrixAdapter(
            ClientApi(self.server),
            self.machine,
            self.store,
            clock=self.clock,
            wish=wish,
            identities=AcceptedIdentities(self.store),
            on_synced=lambda: None,
        )

        async def settled(_room_id: str) -> None:
            pass

        watch = AdminRoomWatch(matrix.admin_room.enter, settled, bot.health, bot._patience)
        naming = await open_naming(self.store, session, self.clock)
        group_rooms = bot._watch_group_rooms(matrix, self.store)
        work = bot._work_of(self.store, matrix, self.backend, self._state, session)
        effects = bot._effects(work, matrix, naming, watch, group_rooms)
        self.matrix = matrix
        api = ClientApi(self.server)
        identity = watch_identity(api, self.machine, self._state, self.store, bot.health, self.clock)
        jumps, missing = bot._jumps, matrix.group_rooms.missing
        status = Status(bot._config, bot.health, self.machine, identity, jumps, missing)
        self.dispatch: Dispatch = work.dispatch(status.report)
        self.runner = Runner(self.store, effects, self.clock, device_id=DEVICE)
        self._loops = [asyncio.create_task(matrix.sync.run()), asyncio.create_task(matrix.keys.run())]

    async def end(self) -> None:
        """Everything is let go."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.matrix.sending.finish()
        await self.store.close()
        self.machine.close()
        shutil.rmtree(self._state.path)

    def _listen_to(self, machine: Machine) -> None:
        encrypt = machine.room_keys.encrypt

        def overheard(room_id: str, event_type: str, content: Any) -> Json:
            encrypted = encrypt(room_id, event_type, content)
            self.spoken[encrypted["ciphertext"]] = {"type": event_type, "content": dict(content)}
            return encrypted

        machine.room_keys.encrypt = overheard  # type: ignore[method-assign]

    # Outside

    def new_token(self) -> str:
        """A token that the bot has not seen."""
        return f"s{next(self._tokens)}"

    def body(self, *events: Any, room_id: str | None = None, timeline: Json | None = None, **more: Any) -> Body:
        """A sound body with events in the admin room."""
        next_batch = self.new_token()
        joined = {room_id or self.room_id: {"timeline": {"events": list(events), **(timeline or {})}}}
        return Body(text_of({"next_batch": next_batch, "rooms": {"join": joined}, **more}), next_batch)

    async def throw(self, *bodies: Body) -> None:
        """The server tells these, and the bot does what it will about them."""
        self.bodies += len(bodies)
        self.events += sum(_count_events(body.text) for body in bodies)
        self._last_sound = next((b.next_batch for b in reversed(bodies) if b.next_batch), self._last_sound)
        self.server.tell(bodies)
        await self.settle()

    def honest_command(self, *, certain: bool = True) -> Json:
        """An event of the admin that is to be obeyed; if not `certain`, it may also be answered with an error."""
        name = f"honest{len(self.honest)}"
        self.honest.append(name)
        self._uncertain |= set() if certain else {name}
        content = {"msgtype": "m.text", "body": f"!register {name}"}
        event = {
            "type": "m.room.encrypted",
            "event_id": f"${name}",
            "sender": ADA,
            "origin_server_ts": 1,
            "content": self.fortress.ada.says(self.room_id, content),
        }
        self.honest_events.append(event)
        return event

    async def obeys_the_admin(self) -> None:
        """The admin's next command is obeyed, and all that has to hold at any moment holds."""
        await self.throw(self.body(self.honest_command()))
        await self.check()

    async def settle(self) -> None:
        """The bot does all that it can do within the next hour, of its own time."""
        idle = asyncio.create_task(self.server.nothing_more.wait())
        try:
            await asyncio.wait({idle, *self._loops}, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            for loop in self._loops:
                if loop.done():
                    loop.result()
                    raise AssertionError("a loop came to its end")
            assert idle.done(), "the sync loop hangs"
        finally:
            idle.cancel()
        until, trouble = self.clock.now() + _SOON, None
        for _ in range(_ROUNDS):
            trouble = await self._obey_once()
            await self.runner.run_due()
            async with self.store.reading() as tx:
                due = await tx.jobs.next_due(now=self.clock.now())
            if trouble is None and (due is None or due > until):
                return
            self.clock.advance(10.0 if due is None else max(0.5, min(due - self.clock.now(), 10.0)))
        raise AssertionError(f"the bot does not come to rest: {trouble!r}") from trouble

    async def _obey_once(self) -> Exception | None:
        """What `Dispatch.run` does between two waits."""
        try:
            await self.dispatch.run_open()
        except Exception as error:  # noqa: BLE001 - so does the loop; whether it is over in the end is what counts
            return error
        return None

    # What must hold

    async def check(self) -> None:
        """Everybody but the admin was in vain, and nothing is left behind."""
        assert len(self.backend.asked_for) == len(self.obeyed), "somebody was obeyed twice"
        assert set(self.honest) - self._uncertain <= self.obeyed <= set(self.honest)
        assert self.server.stuck == []
        async with self.store.reading() as tx:
            assert await tx.journal.pending() == []
            assert await tx.journal.token() == self._last_sound
            assert await tx.inbox.next_open() is None
            assert await tx.audit.verify() is None
        self._check_deeds()
        self._check_log()

    @property
    def obeyed(self) -> set[str]:
        """The accounts that were made."""
        return set(self.backend.asked_for)

    @property
    def refused(self) -> set[str]:
        """The commands of the admin that a lying server may have had refused, and that were."""
        return self._uncertain - self.obeyed

    def _check_deeds(self) -> None:
        answered: Counter[str] = Counter()
        for deed in self.server.deeds:
            if deed.call == "send":
                said = deed.content
                if said.get("m.relates_to", {}).get("rel_type") == "m.annotation":
                    continue
                if "ciphertext" in said:
                    said = self.spoken[said["ciphertext"]]["content"]
                else:
                    assert said["io.github.onboard_bot"]["error"] == "device_not_signed", "said in clear"
                assert "<b>" not in said["formatted_body"]
                assert said["msgtype"] == "m.notice"
                answered.update(_answers(said) if f"rooms/{self.room_id}/" in deed.path else [])
            elif deed.call == "POST createRoom":
                assert deed.content["invite"] == [ADA], "nobody but the admin gets a direct message"
            else:
                assert deed.call in ("POST leave", "POST join"), deed
        assert {f"${name}" for name in self.honest} <= answered.keys()
        assert all(times == 1 for times in answered.values())

    def _check_log(self) -> None:
        text = self.log.take()
        assert "cannot be digested" not in text, "a whole body was given up"
        self.log_written += len(text)
        lines = text.splitlines()
        assert len(lines) <= _LINES_FOR_A_BODY * self.bodies + _LINES_FOR_AN_EVENT * self.events, text[:20_000]
        assert max(map(len, lines), default=0) <= _LONGEST_LINE
        own_keys = [str(session.session_key) for session in self.machine._olm.outbound_group_sessions.values()]
        for secret in [*self.backend.passwords, *own_keys, TOKEN, self.fortress.ada.session_key(self.room_id)[:40]]:
            assert secret not in text


def _count_events(text: str) -> int:
    """How many events stand in a body, whatever their shape."""
    try:
        value = read_json(text)
    except ValueError:
        return 0
    count, open_values = 0, [value]
    while open_values:
        value = open_values.pop()
        if isinstance(value, dict):
            count += sum(len(v) for key, v in value.items() if key == "events" and isinstance(v, list))
            open_values += value.values()
        elif isinstance(value, list):
            open_values += value
    return count


def _answers(said: Json) -> Sequence[str]:
    """The events that a message of the bot answers."""
    about = said["io.github.onboard_bot"]
    if said.get("m.relates_to", {}).get("rel_type") == "m.replace":
        return []
    if about["kind"] == "list":
        return [item["event_id"] for item in about["items"]]
    if about.get("error") in ("not_delivered", "not_readable", "identity_changed"):
        return []
    return [said["m.relates_to"]["m.in_reply_to"]["event_id"]]


@asynccontextmanager
async def besieged(fortress: Fortress, log: Log) -> AsyncIterator[Siege]:
    """A siege from its first to its last moment."""
    folder = fortress.folder / f"siege{next(fortress.numbers)}"
    shutil.copytree(fortress.folder / "state", folder)
    log.take()
    siege = Siege(fortress, log, folder)
    await siege.begin()
    try:
        # Whose server is silent is asked for again after five minutes, of a time that cannot be moved here.
        with patch.object(known_devices, "_ASK_AGAIN_AFTER", 0.0):
            yield siege
    finally:
        await siege.end()
