"""Owns what happens in the demo, from the first process to the last word."""

import asyncio
import re
import secrets
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack, aclosing
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import aiohttp
from pydantic import SecretStr

from onboard_bot.demo.bot_process import BotProcess
from onboard_bot.demo.person import Invited, NothingCameError, Person, Said, signed_in
from onboard_bot.demo.prompt import Prompt
from onboard_bot.demo.screen import Screen
from onboard_bot.demo.synapse import RunningSynapse, SynapseSettings
from onboard_bot.homeserver.port import NewAccount
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.transport import Transport
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, UnreachableError

T = TypeVar("T")

ADMIN = "admin"
NEWCOMER = "ada"
_TYPED = ("!help", "!register ada Ada Lovelace", "!register ada", "!register admin")
_PASSWORD = re.compile(r"`([^`\s]+)`")
_READING_PAUSE = 0.7
_PASSWORD_BYTES = 6  # somebody may have to type it


class Story:
    """One demo.

    Args:
        screen: Where it is shown.
        folder: For everything that it leaves behind; the caller removes it.
        stays: Whether somebody is there to type on afterwards.
    """

    def __init__(self, screen: Screen, folder: Path, *, stays: bool) -> None:
        self.stayed = False
        self._screen = screen
        self._folder = folder
        self._stays = stays
        self._password = SecretStr(secrets.token_hex(_PASSWORD_BYTES))
        # Visitors type faster, and sign in from more clients, than Synapse's limits for strangers allow.
        self._synapse = RunningSynapse(folder / "synapse", SynapseSettings(rate_limits=False), sys.executable)
        self._bot = BotProcess(folder, self._synapse.url, self._synapse.secret_file, f"@{ADMIN}:localhost")
        self._person: Person | None = None

    async def tell(self) -> None:
        """From nothing to a proved account; then, if it stays, until the visitor has seen enough."""
        self._screen.opening()
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
            stack.push_async_callback(self._synapse.kill)  # nothing of it is kept, so it need not put its things away
            stack.push_async_callback(self._bot.stop)
            person = await self._set_up(stack, http)
            played = self._play(http, person)
            await _unless(played, person.live(), self._bot.watch(), self._synapse.watch())

    async def _set_up(self, stack: AsyncExitStack, http: aiohttp.ClientSession) -> Person:
        screen, synapse = self._screen, self._synapse
        with screen.step("Synapse is starting", f"Synapse {version('matrix-synapse')} runs at {synapse.url}"):
            await synapse.start()
        with screen.step("An admin gets an account", f"The admin's account is @{ADMIN}:{synapse.server_name}"):
            backend = SharedSecretBackend(http, synapse.url, SecretFile(synapse.secret_file))
            await backend.create(NewAccount(ADMIN, self._password))
        await self._bot.start()
        screen.done("The bot is started, as an operator would: onboard-bot run, and three settings")
        screen.yaml(self._bot.shown_configuration)
        with screen.step("The admin signs in with an encrypted client", "The admin's client is signed in and verified"):
            signing_in = signed_in(
                http, synapse.url, ADMIN, self._password, folder=self._folder / "admin", on_said=self._said
            )
            self._person = await stack.enter_async_context(signing_in)
        return self._person

    async def _play(self, http: aiohttp.ClientSession, person: Person) -> None:
        screen = self._screen
        with screen.step("The bot is setting itself up", "The bot has an account, a verified device and a room"):
            invited = await person.invitation()
        room = await self._enter(person, invited)
        for typed in _TYPED:
            await self._pause()
            await person.reply_to(await person.say(room, typed))
        invited = await person.invitation(but={room})
        await self._pause()
        direct = await self._enter(person, invited)
        credentials = await person.message(kind="credentials", room_id=direct)
        await self._pause()
        await self._prove(http, credentials)
        if self._stays:
            self.stayed = True
            await self._stay(person, room)

    async def _enter(self, person: Person, invited: Invited) -> str:
        """Accepts an invitation; the room. Shown first: what waits in there is shown as soon as it can be read."""
        title = f"the room “{invited.room_name}”" if invited.room_name else "a direct message"
        sealed = "encrypted" if invited.encrypted else "not encrypted"
        self._screen.enter(invited.room_id, f"{title[0].upper()}{title[1:]} · {sealed}")
        self._screen.happened(f"{invited.by} invites {ADMIN} to {title}; {ADMIN} accepts.")
        await person.accept(invited)
        return invited.room_id

    async def _prove(self, http: aiohttp.ClientSession, credentials: Said) -> None:
        """Signs in as the newcomer, with nothing but what was delivered."""
        self._screen.heading(f"The proof: signing in as @{NEWCOMER} with that password")
        delivered = _PASSWORD.search(credentials.body)
        if delivered is None:
            raise NothingCameError("The direct message holds no password.")
        api = ClientApi(Transport(http, self._synapse.url))
        session = await api.login(
            NEWCOMER, SecretStr(delivered[1]), device_id=secrets.token_hex(5).upper(), device_name="the proof"
        )
        self._screen.done(f"POST /login: signed in on the device {session['device_id']}")
        api.transport.token = SecretStr(session["access_token"])
        self._screen.done(f"GET /account/whoami: {(await api.whoami())['user_id']}")
        await api.delete_own_session()
        self._screen.done("POST /logout: signed out again")

    async def _stay(self, person: Person, room_id: str) -> None:
        screen = self._screen
        screen.heading("Your turn")
        screen.say("You are the admin now. Type commands below (!help, !status, !register …); exit or Ctrl-D ends it.")
        screen.say("Or sign in with a Matrix client on this machine:")
        screen.facts(
            {"Homeserver": self._synapse.url, "Username": ADMIN, "Password": self._password.get_secret_value()}
        )
        screen.gap()
        screen.prompt = Prompt(f"{ADMIN}> ", screen.fit, redraws=screen.can_redraw)
        try:
            await _unless(self._type(person, room_id, screen.prompt), self._accept_all(person))
        finally:
            screen.prompt = None

    async def _type(self, person: Person, room_id: str, prompt: Prompt) -> None:
        async with aclosing(prompt.lines()) as lines:
            async for line in lines:
                if line.strip() in ("exit", "quit"):
                    return
                if not line.strip():
                    continue
                try:
                    await person.say(room_id, line)
                except (RefusedError, UnreachableError, RateLimitedError) as error:
                    self._screen.happened(f"That could not be sent: {error}")

    async def _accept_all(self, person: Person) -> NoReturn:
        while True:
            await self._enter(person, await person.invitation(within=None))

    def _said(self, said: Said) -> None:
        assert self._person is not None
        quoted = self._person.said.get(said.in_reply_to) if said.in_reply_to else None
        self._screen.said(said, quoted)

    async def _pause(self) -> None:
        if self._stays:  # somebody is reading along
            await asyncio.sleep(_READING_PAUSE)


async def _unless(played: Coroutine[Any, Any, T], *watches: Coroutine[Any, Any, NoReturn]) -> T:
    """What comes of `played`, unless one of the others fails first."""
    task = asyncio.create_task(played)
    tasks: list[asyncio.Task[Any]] = [task, *(asyncio.create_task(watch) for watch in watches)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()
        return task.result()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
