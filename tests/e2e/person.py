"""A person with an ordinary encrypted client: matrix-nio's own AsyncClient, which shares no code with the bot's."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from nio import AsyncClientConfig, InviteMemberEvent, LoginResponse, MegolmEvent, RoomSendResponse, SyncResponse
from nio.client.async_client import AsyncClient
from pydantic import SecretStr

from onboard_bot.demo.synapse import RunningSynapse
from onboard_bot.homeserver.port import NewAccount
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import SEED_BYTES, USAGES, Identity, sign_own_device, upload_identity
from onboard_bot.matrix.transport import Transport

CONTENT_KEY = "io.github.onboard_bot"
PASSWORD = "the password of a test's person"
EVERYTHING = {"room": {"timeline": {"limit": 1000}}}
"""Synapse's own limit is ten, and a client that was held up for a minute would miss the rest."""
ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


@dataclass(frozen=True)
class Seen:
    """An event as the person's client shows it."""

    room_id: str
    event_id: str
    sender: str
    type: str
    content: dict[str, Any]
    encrypted: bool

    @property
    def body(self) -> str:
        return str(self.content.get("body", ""))

    @property
    def about(self) -> dict[str, Any]:
        value = self.content.get(CONTENT_KEY)
        return value if isinstance(value, dict) else {}

    @property
    def relation(self) -> dict[str, Any]:
        value = self.content.get("m.relates_to")
        return value if isinstance(value, dict) else {}

    @property
    def in_reply_to(self) -> str | None:
        return (self.relation.get("m.in_reply_to") or {}).get("event_id")


@dataclass
class Person:
    """A signed-in person; `seen` is everything their client received, in order."""

    client: AsyncClient
    identity: Identity
    seen: list[Seen] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    invited_to: dict[str, str] = field(default_factory=dict)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def user_id(self) -> str:
        return str(self.client.user_id)

    async def sign(self) -> None:
        """Signs this device with the person's identity, which the server gets where it has none."""
        async with aiohttp.ClientSession() as http:
            await sign_own_device(self._api(http), _Signer(self.client), self.identity)

    async def reset_identity(self) -> None:
        """Takes another identity, and signs this device with that."""
        self.identity = _new_identity(self.user_id)
        device_id, password = str(self.client.device_id), SecretStr(PASSWORD)
        async with aiohttp.ClientSession() as http:
            await upload_identity(self._api(http), self.identity, device_id, password, replacing=True)
        await self.sign()

    def _api(self, http: aiohttp.ClientSession) -> ClientApi:
        transport = Transport(http, self.client.homeserver)
        transport.token = SecretStr(self.client.access_token)
        return ClientApi(transport)

    async def turn(self, *, timeout_ms: int = 0) -> None:
        """One sync with everything that nio's own loop does beside it."""
        response = await self.client.sync(timeout=timeout_ms, sync_filter=EVERYTHING, full_state=False)
        if not isinstance(response, SyncResponse):
            await asyncio.sleep(0.1)  # the server is being restarted, say
            return
        if self.client.should_upload_keys:
            await self.client.keys_upload()
        if self.client.should_query_keys:
            await self.client.keys_query()
        if self.client.should_claim_keys:
            await self.client.keys_claim(self.client.get_users_for_key_claiming())
        await self.client.send_to_device_messages()
        for room_id, room in response.rooms.join.items():
            for event in room.timeline.events:
                self._take(room_id, event)
        for room_id, invite in response.rooms.invite.items():
            for event in invite.invite_state:
                if isinstance(event, InviteMemberEvent) and event.state_key == self.user_id:
                    self.invited_to[room_id] = event.sender
        async with self._news:
            self._news.notify_all()

    def _take(self, room_id: str, event: Any) -> None:
        source = event.source
        if isinstance(event, MegolmEvent):
            self.unreadable.append(event.event_id)
            return
        self.seen.append(
            Seen(
                room_id,
                event.event_id,
                event.sender,
                source.get("type", ""),
                source.get("content", {}),
                encrypted=bool(getattr(event, "decrypted", False)),
            )
        )

    async def live(self) -> None:
        """Syncs until it is cancelled."""
        while True:
            await self.turn(timeout_ms=5000)

    async def until(self, what: Callable[[], Any], *, within: float = 20.0, why: str = "") -> Any:
        """Waits until `what()` is true; its value."""

        async def waiting() -> Any:
            async with self._news:
                while not (value := what()):
                    await self._news.wait()
                return value

        try:
            return await asyncio.wait_for(waiting(), within)
        except TimeoutError:
            shown = "\n".join(f"  {e.room_id} {e.sender} {e.type}: {e.body[:150]} {e.about}" for e in self.seen[-12:])
            raise AssertionError(
                f"{self.user_id} waited {within} s in vain for {why or what}; last seen:\n{shown}\n"
                f"unreadable: {self.unreadable[-5:]}, invited to: {self.invited_to}"
            ) from None

    async def invitation_from(self, inviter: str, *, within: float = 30.0, but: set[str] = frozenset()) -> str:  # type: ignore[assignment]
        """The room that somebody invited this person to."""
        found: str = await self.until(
            lambda: next((r for r, who in self.invited_to.items() if who == inviter and r not in but), None),
            within=within,
            why=f"an invitation from {inviter}",
        )
        return found

    async def make_room(
        self,
        *,
        version: str | None = None,
        encrypted: bool = True,
        invite: Iterable[str] = (),
        **more: Any,
    ) -> str:
        """Makes a private room, or what `more` (of `POST /createRoom`) says; its id."""
        body: dict[str, Any] = {"preset": "private_chat", "invite": list(invite)} | more
        body["initial_state"] = [*([ENCRYPTION] if encrypted else []), *more.get("initial_state", [])]
        if version is not None:
            body["room_version"] = version
        room_id = str((await self.ask("POST", "createRoom", body))["room_id"])
        await self.until(lambda: room_id in self.client.rooms, why=f"being in {room_id}")
        return room_id

    async def invite(self, room_id: str, user_id: str) -> None:
        await self.ask("POST", f"rooms/{quote(room_id)}/invite", {"user_id": user_id})

    async def leave(self, room_id: str) -> None:
        await self.ask("POST", f"rooms/{quote(room_id)}/leave", {})

    async def kick(self, room_id: str, user_id: str) -> None:
        await self.ask("POST", f"rooms/{quote(room_id)}/kick", {"user_id": user_id})

    async def levels(self, room_id: str) -> dict[str, Any]:
        """The content of the room's power levels."""
        return await self.ask("GET", f"rooms/{quote(room_id)}/state/m.room.power_levels")

    async def set_level(self, room_id: str, user_id: str, level: int | None) -> None:
        """Gives somebody a power level, or takes them out of the list."""
        content = await self.levels(room_id)
        users = {user: kept for user, kept in content.get("users", {}).items() if user != user_id}
        content["users"] = users if level is None else users | {user_id: level}
        await self.ask("PUT", f"rooms/{quote(room_id)}/state/m.room.power_levels", content)

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A call of the client-server API as this person, who waits as long as the server asks for."""
        url = f"{self.client.homeserver}/_matrix/client/v3/{path}"
        headers = {"Authorization": f"Bearer {self.client.access_token}"}
        async with aiohttp.ClientSession() as http:
            while True:
                async with http.request(method, url, json=body, headers=headers) as answer:
                    if answer.status != 429:
                        assert answer.ok, f"{method} {path}: {await answer.text()}"
                        return dict(await answer.json())
                    wait = (await answer.json())["retry_after_ms"] / 1000
                await asyncio.sleep(wait)

    async def accepts_from(self, inviter: str) -> None:
        """Enters whatever somebody invites to, until it is cancelled."""
        while True:
            for room_id, who in list(self.invited_to.items()):
                if who == inviter:
                    await self.join(room_id)
            await asyncio.sleep(0.1)

    async def join(self, room_id: str) -> None:
        await self.client.join(room_id)
        self.invited_to.pop(room_id, None)
        await self.until(lambda: room_id in self.client.rooms, why=f"being in {room_id}")

    async def say(self, room_id: str, body: str, **extra: Any) -> str:
        """Says something; the event's id."""
        return await self.send(room_id, {"msgtype": "m.text", "body": body, **extra})

    async def send(self, room_id: str, content: dict[str, Any], event_type: str = "m.room.message") -> str:
        room = self.client.rooms[room_id]
        if room.encrypted and not room.members_synced:
            await self.client.joined_members(room_id)
        while self.client.should_query_keys:
            await self.client.keys_query()
        response = await self.client.room_send(
            room_id, event_type, content, tx_id=secrets.token_hex(8), ignore_unverified_devices=True
        )
        assert isinstance(response, RoomSendResponse), response
        return str(response.event_id)

    async def reply_to(self, event_id: str, *, within: float = 20.0, kind: str | None = None) -> Seen:
        """The answer to what this person said."""
        found: Seen = await self.until(
            lambda: next(
                (
                    e
                    for e in self.seen
                    if e.in_reply_to == event_id
                    and e.type == "m.room.message"
                    and (kind is None or e.about.get("kind") == kind)
                ),
                None,
            ),
            within=within,
            why=f"a reply to {event_id}",
        )
        return found

    async def sees_join(self, room_id: str, user_id: str, *, times: int = 1) -> None:
        """Waits until somebody came into a room; nio itself counts the invited among a room's users."""
        join = ("m.room.member", room_id, user_id, "join")
        await self.until(
            lambda: (
                [(e.type, e.room_id, e.sender, e.content.get("membership")) for e in self.seen].count(join) >= times
            ),
            why=f"{user_id} to come into {room_id}",
        )

    def said_by(self, sender: str, room_id: str, *, after: str | None = None) -> list[Seen]:
        """Messages and reactions of somebody in a room, since an event; nothing before that event has come."""
        events = [event for event in self.seen if event.room_id == room_id]
        if after is not None:
            index = next((n for n, event in enumerate(events) if event.event_id == after), len(events))
            events = events[index + 1 :]
        return [e for e in events if e.sender == sender and e.type in ("m.room.message", "m.reaction", "m.sticker")]

    async def message(self, *, within: float = 20.0, **about: Any) -> Seen:
        """The first message whose content key says all this."""
        found: Seen = await self.until(
            lambda: next((e for e in self.seen if about.items() <= e.about.items()), None),
            within=within,
            why=f"a message about {about}",
        )
        return found


class _Signer:
    """What cross-signing wants to know of nio's client."""

    def __init__(self, client: AsyncClient) -> None:
        self.device_id = str(client.device_id)
        self._client = client

    def sign(self, text: str) -> str:
        assert self._client.olm is not None
        return str(self._client.olm.account.sign(text))

    @property
    def device_keys(self) -> dict[str, Any]:
        assert self._client.olm is not None
        own, device = self._client.olm.account.identity_keys, self.device_id
        return {
            "user_id": str(self._client.user_id),
            "device_id": device,
            "algorithms": list(self._client.olm._algorithms),
            "keys": {f"{kind}:{device}": own[kind] for kind in ("curve25519", "ed25519")},
        }


def _new_identity(user_id: str) -> Identity:
    return Identity(user_id, {usage: secrets.token_bytes(SEED_BYTES) for usage in USAGES})


def unique(name: str) -> str:
    """A localpart that no other test has."""
    return f"{name}-{secrets.token_hex(4)}"


async def has_account(synapse: RunningSynapse, name: str) -> str:
    """Makes an account with the usual password; its user id."""
    async with aiohttp.ClientSession() as http:
        backend = SharedSecretBackend(http, synapse.url, SecretFile(synapse.secret_file))
        return (await backend.create(NewAccount(unique(name), SecretStr(PASSWORD)))).user_id


@asynccontextmanager
async def somebody(synapse: RunningSynapse, name: str, folder: Path) -> AsyncIterator[Person]:
    """A person with a new account."""
    user_id = await has_account(synapse, name)
    async with signed_in(synapse.url, user_id, PASSWORD, folder / user_id.partition(":")[0]) as person:
        yield person


@asynccontextmanager
async def signed_in(
    homeserver: str,
    user_id: str,
    password: str,
    folder: Path,
    *,
    cross_sign: bool = True,
    identity: Identity | None = None,
) -> AsyncIterator[Person]:
    """A person who signed in on a new device, signed that device, and syncs.

    Args:
        homeserver: Its URL.
        user_id: Theirs.
        password: Theirs.
        folder: Where the device keeps its keys.
        cross_sign: Whether the device gets signed.
        identity: Of their other device, if this is not their first.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    config = AsyncClientConfig(store_sync_tokens=False, pickle_key="tests")
    client = AsyncClient(homeserver, user_id, store_path=str(folder), config=config)
    person = Person(client, identity or _new_identity(user_id))
    living: asyncio.Task[None] | None = None
    try:
        response = await client.login(password, device_name="tests")
        assert isinstance(response, LoginResponse), response
        await person.turn()
        if cross_sign:
            await person.sign()
        living = asyncio.create_task(person.live())
        yield person
    finally:
        if living is not None:
            living.cancel()
            with suppress(asyncio.CancelledError):
                await living
        await client.close()
