"""Those who forge: a member who encrypts whatever she likes, and a homeserver that speaks in anybody's name."""

import json
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from nio.crypto import OutboundGroupSession

from onboard_bot.demo.person import Person
from onboard_bot.matrix.device_keys import DeviceKeys
from onboard_bot.matrix.room_keys import MEGOLM
from tests.e2e.between import Alter, Passing
from tests.e2e.server_view import ServerView
from tests.element.conversation import Conversation
from tests.element.events import Json
from tests.element.test_kinds import like_the_bot

OLM = "m.olm.v1.curve25519-aes-sha2"


@dataclass
class Homeserver:
    """Synapse, as whoever holds it can use it."""

    view: ServerView
    _tokens: dict[str, str] = field(default_factory=dict, repr=False)

    async def says(self, sender: str, room_id: str, content: Json, event_type: str = "m.room.encrypted") -> str:
        """Puts an event into a room in somebody's name, and none of their devices is there; the event's id."""
        once = secrets.token_hex(8)
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/send/{event_type}/{once}"
        return str((await self._ask("PUT", path, await self._token_of(sender), content))["event_id"])

    async def content_of(self, room_id: str, event_id: str) -> Json:
        """What everybody's server has of an event: for an encrypted one, the ciphertext."""
        for event in await self.view.timeline(room_id):
            if event["event_id"] == event_id:
                return dict(event["content"])
        raise AssertionError(f"{event_id} is not in {room_id}")

    async def _token_of(self, user_id: str) -> str:
        """A token without a device: it shows in no list."""
        if user_id not in self._tokens:
            path, token = f"/_synapse/admin/v1/users/{quote(user_id)}/login", self.view._token.get_secret_value()
            self._tokens[user_id] = (await self._ask("POST", path, token, {}))["access_token"]
        return self._tokens[user_id]

    async def _ask(self, method: str, path: str, token: str, body: Json) -> Json:
        headers = {"Authorization": f"Bearer {token}"}
        url = self.view.synapse.url + path
        async with aiohttp.ClientSession() as http, http.request(method, url, json=body, headers=headers) as answer:
            assert answer.ok, await answer.text()
            return dict(await answer.json())


@dataclass
class Forger:
    """A member of the room on a device that she signed, who gets every key like everybody else."""

    person: Person
    room_id: str
    bot_id: str
    room_keys: dict[str, str] = field(default_factory=dict, repr=False)
    """Of all sessions that she was given, by their ids: as they came, with their owners' signatures."""

    def __post_init__(self) -> None:
        olm = self.person._machine._olm
        create = olm.create_group_session

        def overheard(sender_key: str, fingerprint: str, room_id: str, session_id: str, session_key: str) -> None:
            self.room_keys[session_id] = session_key
            create(sender_key, fingerprint, room_id, session_id, session_key)

        olm.create_group_session = overheard

    @property
    def user_id(self) -> str:
        return self.person.user_id

    @property
    def keys(self) -> DeviceKeys:
        own = self.person._machine._olm.account.identity_keys
        return DeviceKeys(own["ed25519"], own["curve25519"])

    def keys_of(self, user_id: str, device_id: str) -> DeviceKeys:
        """Somebody else's, as her client knows them."""
        device = self.person._machine._olm.device_store[user_id][device_id]
        return DeviceKeys(device.ed25519, device.curve25519)

    # Into rooms

    async def says(self, payload: Json) -> str:
        """Sends an event with exactly this inside, in her own session; its id."""
        content = await self.encrypted(payload)
        once = secrets.token_hex(8)
        return await self.person._api.send(self.room_id, "m.room.encrypted", content, transaction_id=once)

    async def encrypted(self, payload: Json, session: OutboundGroupSession | None = None) -> Json:
        """What stands in such an event; `session` is one that she gave to nobody but as a forged key."""
        if session is None:
            session = await self._session()
        return {
            "algorithm": MEGOLM,
            "sender_key": self.keys.sender_key,
            "device_id": self.person._machine.device_id,
            "session_id": session.id,
            "ciphertext": session._session.encrypt(json.dumps(payload).encode()).to_base64(),
        }

    async def _session(self) -> Any:
        """Her session for the room, which everybody has; as an ordinary message would have made it so."""
        readers = await self.person._rooms.readers(self.room_id)
        await self.person._encryption.encrypt(self.room_id, readers, "m.room.message", {"body": "hello"})
        return self.person._machine._olm.outbound_group_sessions[self.room_id]

    # To the bot's device

    async def passes_on(self, session_id: str, session_key: str, *, of: DeviceKeys | None = None) -> None:
        """Gives the bot a room key, in her own and authentic Olm message.

        Args:
            session_id: Of the session.
            session_key: With the signature of whoever made the session.
            of: Whose device she says that it is, wherever that can be said; hers, if nothing is said.
        """
        of = of or self.keys
        content = {"session_id": session_id, "session_key": session_key, "sender_key": of.sender_key}
        await self._to_bot("m.room_key", content, fingerprint=of.fingerprint)

    async def forwards(self, session_id: str, exported_key: str, *, of: DeviceKeys) -> None:
        """Answers a request for a room key, which the bot never made."""
        content = {
            "session_id": session_id,
            "session_key": exported_key,
            "sender_key": of.sender_key,
            "sender_claimed_ed25519_key": of.fingerprint,
            "forwarding_curve25519_key_chain": [],
        }
        await self._to_bot("m.forwarded_room_key", content, fingerprint=self.keys.fingerprint)

    async def _to_bot(self, event_type: str, content: Json, *, fingerprint: str) -> None:
        await self._session()  # it takes an Olm session with every device of the bot
        olm = self.person._machine._olm
        messages: Json = {}
        for device in olm.device_store.active_user_devices(self.bot_id):
            payload = {
                "sender": self.user_id,
                "sender_device": self.person._machine.device_id,
                "keys": {"ed25519": fingerprint},
                "recipient": self.bot_id,
                "recipient_keys": {"ed25519": device.ed25519},
                "type": event_type,
                "content": {"algorithm": MEGOLM, "room_id": self.room_id, **content},
            }
            message = olm.session_store.get(device.curve25519).encrypt(json.dumps(payload))
            kind, ciphertext = message.to_parts()
            body = b64encode(ciphertext).decode().rstrip("=")
            messages[device.id] = {
                "algorithm": OLM,
                "sender_key": self.keys.sender_key,
                "ciphertext": {device.curve25519: {"type": kind, "body": body}},
            }
        assert messages
        once = secrets.token_hex(8)
        await self.person._api.send_to_device("m.room.encrypted", {self.bot_id: messages}, transaction_id=once)


@asynccontextmanager
async def forger_in(talk: Conversation, folder: Path) -> AsyncIterator[Forger]:
    """A forger who was let into the conversation's room, without power there."""
    async with aiohttp.ClientSession() as http, like_the_bot(talk, http, folder) as person:
        yield Forger(person, talk.room_id, talk.bot_id)


def in_every_sync(change: Callable[[Json], Any]) -> Alter:
    """A server that tells the bot of each event something else than happened.

    Args:
        change: Gets each event of a timeline, to change it where it is.
    """

    def alter(passing: Passing, body: bytes) -> bytes:
        if not passing.is_a("GET", "/sync"):
            return body
        sync = json.loads(body)
        for room in sync.get("rooms", {}).get("join", {}).values():
            for event in room.get("timeline", {}).get("events", []):
                change(event)
        return json.dumps(sync).encode()

    return alter
