"""Owns the encrypted client that both sides of the comparison use: the admin's, and the floor's responder.

It sends, long-polls and decrypts, and does nothing else that costs time, so that what is measured is the homeserver and
whoever answers. The instant that counts is the one at which a message stands here decrypted.
"""

import asyncio
import json
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from onboard_bot.domain.passwords import generate_password
from onboard_bot.homeserver.port import AccountBackend, NewAccount, SessionWish
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import SEED_BYTES, USAGES, Identity, sign_own_device
from onboard_bot.matrix.encryption import Encryption
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.matrix.sync_body import SyncBody
from onboard_bot.matrix.transport import Transport

_CONTENT_KEY = "io.github.onboard_bot"
_LONG_POLL_MS = 30_000
_PATIENCE = 30.0
_FILTER = json.dumps(
    {
        "room": {
            "timeline": {"limit": 100},
            "state": {"lazy_load_members": True},
            "ephemeral": {"types": []},
            "account_data": {"types": []},
        },
        "presence": {"types": []},
        "account_data": {"types": []},
    }
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heard:
    """A decrypted message, and the instant (`perf_counter`) from which on it could be read."""

    at: float
    room_id: str
    event_id: str
    sender: str
    content: Json


class Client:
    """One signed-in device. It accepts every invitation.

    Args:
        api: With the device's token.
        machine: The device's keys.
    """

    def __init__(self, api: ClientApi, machine: Machine) -> None:
        self.user_id = machine.user_id
        self.on_message: Callable[[Heard], Awaitable[None]] | None = None
        self._api = api
        self._machine = machine
        self._rooms = Rooms(api)
        self._encryption = Encryption(api, machine)
        self._encrypting = asyncio.Lock()
        self._since: str | None = None
        self._first_room: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._heard_about: defaultdict[str, asyncio.Future[Heard]] = defaultdict(
            asyncio.get_running_loop().create_future
        )

    async def publish_keys(self) -> None:
        """Puts the device's keys on the server, signed by an identity of its own."""
        await self._encryption.keep_keys_stocked()
        seeds = {usage: secrets.token_bytes(SEED_BYTES) for usage in USAGES}
        await sign_own_device(self._api, self._machine, Identity(self.user_id, seeds))

    async def first_room(self) -> str:
        """The room that it was invited to first, once it is in there."""
        async with asyncio.timeout(_PATIENCE):
            return await self._first_room

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invites somebody."""
        await self._api.invite(room_id, user_id)

    async def say(self, room_id: str, body: str, *, in_reply_to: str | None = None) -> str:
        """Says something, encrypted; the event's id. From the first time on the room's members are taken as known."""
        content: Json = {"msgtype": "m.text", "body": body, "m.mentions": {}}
        if in_reply_to is not None:
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": in_reply_to}}
        async with self._encrypting:
            # Synapse names us in `device_lists.changed` after each of our own messages; our one device needs no query.
            readers = await self._rooms.readers(room_id) - {self.user_id}
            encrypted = await self._encryption.encrypt(room_id, readers, "m.room.message", content)
        return await self._api.send(room_id, "m.room.encrypted", encrypted, transaction_id=secrets.token_hex(8))

    async def heard_about(self, what: str) -> Heard:
        """The first reply to an event, or the credentials of a user.

        Args:
            what: The event's or the user's id.

        Raises:
            RuntimeError: Nothing came for too long.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.shield(self._heard_about[what])
        except TimeoutError:
            raise RuntimeError(f"{self.user_id} heard nothing about {what} within {_PATIENCE:.0f} s") from None

    async def live(self) -> None:
        """Long-polls until it is cancelled."""
        while True:
            await self._turn()

    async def _turn(self) -> None:
        timeout_ms = 0 if self._since is None else _LONG_POLL_MS
        body = SyncBody(await self._api.sync(since=self._since, filter_json=_FILTER, timeout_ms=timeout_ms))
        self._since = body.next_batch
        self._machine.receive(body.raw)
        for timeline in body.timelines():
            for event in timeline.events:
                await self._take(timeline.room_id, event)
        for invitation in body.invitations(self.user_id):
            await self._api.join(invitation.room_id)
            if not self._first_room.done():
                self._first_room.set_result(invitation.room_id)

    async def _take(self, room_id: str, event: Json) -> None:
        if event.get("type") != "m.room.encrypted" or event.get("sender") == self.user_id:
            return
        content = self._machine.decrypt(room_id, event).content
        heard = Heard(time.perf_counter(), room_id, event["event_id"], event["sender"], content)
        what = _what_about(content)
        if what is not None and not self._heard_about[what].done():
            self._heard_about[what].set_result(heard)
        if self.on_message is not None:
            await self.on_message(heard)


def _what_about(content: Json) -> str | None:
    about = content.get(_CONTENT_KEY, {})
    if about.get("kind") == "credentials":
        return str(about["user_id"])
    replied: str | None = content.get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id")
    return replied


@asynccontextmanager
async def signed_in(backend: AccountBackend, homeserver: str, name: str, folder: Path) -> AsyncIterator[Client]:
    """A client with an account of its own, which lives until the block ends; its fault ends the block."""
    password = SecretStr(generate_password(secrets.choice))
    account = await backend.create(NewAccount(name, password, session=SessionWish("BENCH", "bench")))
    assert account.session is not None, "asked for a session and got none"
    crypto = folder / name
    crypto.mkdir()
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        transport = Transport(http, homeserver)
        transport.token = account.session.access_token
        machine = Machine(account.user_id, account.session.device_id, crypto, secrets.token_bytes(32))
        try:
            client = Client(ClientApi(transport), machine)
            await client.publish_keys()
            living = tasks.create_task(client.live(), name=f"{name} lives")
            yield client
            living.cancel()
        finally:
            machine.close()
