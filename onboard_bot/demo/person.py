"""Owns the demo's person: a signed-in, cross-signed device that enters rooms, types and reads there, encrypted.

Built from the same pieces as the bot, and with none of its memory: what this person knows ends with the process.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import aiohttp
from pydantic import SecretStr

from onboard_bot.demo.heard import Edited, Event, Heard, Said, read
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import SEED_BYTES, USAGES, Identity, sign_own_device
from onboard_bot.matrix.encryption import Encryption
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.own_events import OwnEvents
from onboard_bot.matrix.payload import UndecryptableError
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.matrix.sending import Sending
from onboard_bot.matrix.sync_body import Invitation, SyncBody
from onboard_bot.matrix.transport import Transport
from onboard_bot.onboarding.ports import (
    Outgoing,
    RateLimitedError,
    RefusedError,
    TokenRejectedError,
    UnreachableError,
)

T = TypeVar("T")

_PATIENCE = 20.0
_LONG_POLL_MS = 30_000
_AGAIN_AFTER = 1.0
_HEARD = ("m.room.message", "m.reaction")
_NO_PRESENCE = '{"presence":{"types":[]}}'


class NothingCameError(Exception):
    """What the person waited for did not come; the sentence says what."""


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation, with what it tells of the room before one is in it.

    Args:
        room_id: Where to.
        by: Whose, as the room calls them.
        room_name: Empty where it has none.
        encrypted: Whether what is said there is.
    """

    room_id: str
    by: str
    room_name: str
    encrypted: bool


class Person:
    """One signed-in person; `said` is every message that they could read, by event id, as it reads now.

    Args:
        api: With their token.
        machine: Of their device.
        on_said: Told once of each message, edit and sign, in the room's order, their own among them.
    """

    def __init__(self, api: ClientApi, machine: Machine, on_said: Callable[[Heard], None]) -> None:
        self.user_id = machine.user_id
        self.name = _localpart(machine.user_id)
        self.invitations: dict[str, Invited] = {}
        self.said: dict[str, Said] = {}
        self._api = api
        self._machine = machine
        self._on_said = on_said
        self._rooms = Rooms(api)
        self._encryption = Encryption(api, machine)
        self._sending = Sending(api, self._rooms, self._encryption, OwnEvents(api, machine.user_id))
        self._news = asyncio.Condition()
        self._since: str | None = None
        self._names: dict[str, str] = {}
        self._heard: set[str] = set()
        self._locked: list[tuple[str, dict[str, Any]]] = []

    async def live(self) -> NoReturn:
        """Syncs until it is cancelled.

        Raises:
            TokenRejectedError: The session is over.
        """
        while True:
            try:
                await self._turn()
            except TokenRejectedError:
                raise
            except RateLimitedError as error:
                await asyncio.sleep(error.wait)
            except (UnreachableError, RefusedError, ValueError):
                await asyncio.sleep(_AGAIN_AFTER)

    async def say(self, room_id: str, body: str) -> str:
        """Says something; the event's id."""
        return await self._send(room_id, "m.room.message", {"msgtype": "m.text", "body": body, "m.mentions": {}})

    async def tap(self, under: Said, sign: str) -> str:
        """Puts a sign under a message; the event's id."""
        relation = {"rel_type": "m.annotation", "event_id": under.event_id, "key": sign}
        return await self._send(under.room_id, "m.reaction", {"m.relates_to": relation})

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invites somebody."""
        await self._api.invite(room_id, user_id)

    async def accept(self, invited: Invited) -> None:
        """Accepts an invitation."""
        await self._api.join(invited.room_id)
        self.invitations.pop(invited.room_id, None)

    async def invitation(self, *, but: Container[str] = (), within: float | None = _PATIENCE) -> Invited:
        """The first open invitation.

        Args:
            but: Rooms that are not meant.
            within: Seconds; None waits for ever.

        Raises:
            NothingCameError: Nobody invited this person in time.
        """

        def found() -> Invited | None:
            return next((invited for room_id, invited in self.invitations.items() if room_id not in but), None)

        return await self._until(found, "an invitation", within)

    async def reply_to(self, event_id: str, *, kind: str | None = None) -> Said:
        """The answer to what this person said.

        Args:
            event_id: What they said.
            kind: Of the answer, where there are several.

        Raises:
            NothingCameError: There was none in time.
        """

        def found() -> Said | None:
            answers = (said for said in self.said.values() if said.in_reply_to == event_id)
            return next((answer for answer in answers if kind in (None, answer.kind)), None)

        asked = self.said.get(event_id)
        return await self._until(found, f"an answer to “{asked.body}”" if asked else "an answer", _PATIENCE)

    async def message(self, *, kind: str, room_id: str) -> Said:
        """The first message of a kind in a room.

        Raises:
            NothingCameError: There was none in time.
        """

        def found() -> Said | None:
            return next((said for said in self.said.values() if (said.kind, said.room_id) == (kind, room_id)), None)

        return await self._until(found, f"a message with {kind}", _PATIENCE)

    async def once(self, true: Callable[[], bool], what: str) -> None:
        """Waits until something is so.

        Args:
            true: Looked at with each news.
            what: What is waited for, in a person's words.

        Raises:
            NothingCameError: It did not come in time.
        """
        await self._until(lambda: true() or None, what, _PATIENCE)

    async def _send(self, room_id: str, event_type: str, content: dict[str, Any]) -> str:
        once = secrets.token_hex(8)
        return await self._sending.send(room_id, event_type, content, Outgoing(once, label=once))

    async def _until(self, found: Callable[[], T | None], what: str, within: float | None) -> T:
        try:
            async with asyncio.timeout(within), self._news:
                while (value := found()) is None:
                    await self._news.wait()
        except TimeoutError as error:
            unread = f" ({len(self._locked)} messages could not be decrypted)" if self._locked else ""
            raise NothingCameError(f"{self.user_id} waited {within:.0f} s in vain for {what}{unread}.") from error
        return value

    async def _turn(self) -> None:
        body = SyncBody(await self._api.sync(since=self._since, filter_json=_NO_PRESENCE, timeout_ms=_LONG_POLL_MS))
        events: list[tuple[str, dict[str, Any]]] = []
        if self._machine.receive(body.raw):
            events, self._locked = self._locked, []
        for timeline in body.timelines():
            if timeline.state_changed or timeline.limited:
                self._rooms.forget(timeline.room_id)
            events += [(timeline.room_id, event) for event in timeline.events]
        for room_id, event in events:
            self._rooms.note(room_id, event)
            await self._read(room_id, event)
        for invitation in body.invitations(self.user_id):
            self.invitations[invitation.room_id] = _invited(invitation, body.raw)
        self._since = body.next_batch
        await self._encryption.keep_keys_stocked()
        async with self._news:
            self._news.notify_all()

    async def _name_in(self, room_id: str, user_id: str) -> str:
        """How a room calls somebody. Asked once: nobody changes their name in a demo."""
        if user_id not in self._names:
            member = await self._api.state_event(room_id, "m.room.member", user_id)
            self._names[user_id] = str((member or {}).get("displayname") or _localpart(user_id))
        return self._names[user_id]

    async def _read(self, room_id: str, event: dict[str, Any]) -> None:
        event_id, sender = event["event_id"], str(event.get("sender"))
        event_type, content = event.get("type"), event.get("content")
        if encrypted := event_type == "m.room.encrypted":
            try:
                opened = self._machine.decrypt(room_id, event)
            except UndecryptableError as error:
                if error.missing_key:
                    self._locked.append((room_id, event))
                return
            event_type, content = opened.type, opened.content
        if event_type not in _HEARD or not isinstance(content, dict) or event_id in self._heard:
            return
        name, at = await self._name_in(room_id, sender), event.get("origin_server_ts", 0) / 1000
        self._heard.add(event_id)
        heard = read(Event(room_id, event_id, sender, name, at, event_type, content, encrypted), self.said)
        if heard is None:
            return
        if isinstance(heard, Edited):
            self.said[heard.now.event_id] = heard.now
        elif isinstance(heard, Said):
            self.said[event_id] = heard
        self._on_said(heard)


def _invited(invitation: Invitation, sync: dict[str, Any]) -> Invited:
    """Reads the room's stripped state, which came with the invitation."""
    events = sync["rooms"]["invite"][invitation.room_id]["invite_state"]["events"]
    state = {(event.get("type"), event.get("state_key")): event.get("content", {}) for event in events}
    inviter = state.get(("m.room.member", invitation.inviter), {})
    return Invited(
        invitation.room_id,
        str(inviter.get("displayname") or _localpart(invitation.inviter)),
        str(state.get(("m.room.name", ""), {}).get("name", "")),
        encrypted=("m.room.encryption", "") in state,
    )


def _localpart(user_id: str) -> str:
    """What is left of a user id without its server."""
    return user_id[1:].partition(":")[0]


@asynccontextmanager
async def signed_in(
    http: aiohttp.ClientSession,
    homeserver: str,
    username: str,
    password: SecretStr,
    *,
    folder: Path,
    on_said: Callable[[Heard], None],
) -> AsyncIterator[Person]:
    """A person on a new device that they signed; whoever uses it lets it `live`.

    Args:
        http: Whose connections are used.
        homeserver: The URL.
        username: The localpart.
        password: Theirs.
        folder: Where the device's keys go; made here.
        on_said: See `Person`.
    """
    api = ClientApi(Transport(http, homeserver))
    session = await api.login(
        username, password, device_id=secrets.token_hex(5).upper(), device_name="the demo's scripted client"
    )
    api.transport.token = SecretStr(session["access_token"])
    await asyncio.to_thread(folder.mkdir, mode=0o700)
    machine = Machine(session["user_id"], session["device_id"], folder, secrets.token_bytes(32))
    try:
        await Encryption(api, machine).keep_keys_stocked()
        seeds = {usage: secrets.token_bytes(SEED_BYTES) for usage in USAGES}
        await sign_own_device(api, machine, Identity(machine.user_id, seeds))
        yield Person(api, machine, on_said)
    finally:
        machine.close()
