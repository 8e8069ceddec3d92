"""Owns what happens in the demo, from the first process to the last word."""

import asyncio
import re
import secrets
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import aiohttp
from pydantic import SecretStr

from onboard_bot.demo.beside import unless
from onboard_bot.demo.bot_process import BotProcess
from onboard_bot.demo.cast import ADMIN, GUEST, Cast
from onboard_bot.demo.heard import Said
from onboard_bot.demo.person import NothingCameError, Person, signed_in
from onboard_bot.demo.screen import Screen
from onboard_bot.demo.synapse import RunningSynapse, SynapseSettings
from onboard_bot.demo.transcript import Transcript
from onboard_bot.demo.turn import Turn
from onboard_bot.demo.vote import ask_and_decide
from onboard_bot.homeserver.port import NewAccount
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.transport import Transport

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
        self._transcript = Transcript(screen, ADMIN)

    async def tell(self) -> None:
        """From nothing to a proved account; then, if it stays, until the visitor has seen enough."""
        self._screen.opening()
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
            stack.push_async_callback(self._synapse.kill)  # nothing of it is kept, so it need not put its things away
            stack.push_async_callback(self._bot.stop)
            admin = await self._set_up(stack, http)
            guest: asyncio.Future[Person] = asyncio.get_running_loop().create_future()
            played = self._play(http, admin, guest)
            await unless(
                *(played, admin.live(), self._live_as_guest(stack, http, guest)),
                *(self._bot.watch(), self._synapse.watch()),
            )

    async def _set_up(self, stack: AsyncExitStack, http: aiohttp.ClientSession) -> Person:
        screen, synapse = self._screen, self._synapse
        with screen.step("Synapse is starting", f"Synapse {version('matrix-synapse')} runs at {synapse.url}"):
            await synapse.start()
        with screen.step("An admin gets an account", f"The admin's account is @{ADMIN}:{synapse.server_name}"):
            await self._make_account(http, ADMIN)
        await self._bot.start()
        screen.done("The bot is started, as an operator would: onboard-bot run, and three settings")
        screen.yaml(self._bot.shown_configuration)
        with screen.step("The admin signs in with an encrypted client", "The admin's client is signed in and verified"):
            return await self._sign_in(stack, http, ADMIN)

    async def _live_as_guest(
        self, stack: AsyncExitStack, http: aiohttp.ClientSession, guest: asyncio.Future[Person]
    ) -> NoReturn:
        """Beside the first part, which needs nobody else: so the second need not wait."""
        await self._make_account(http, GUEST)
        person = await self._sign_in(stack, http, GUEST)
        guest.set_result(person)
        await person.live()

    async def _make_account(self, http: aiohttp.ClientSession, name: str) -> None:
        backend = SharedSecretBackend(http, self._synapse.url, SecretFile(self._synapse.secret_file))
        await backend.create(NewAccount(name, self._password))

    async def _sign_in(self, stack: AsyncExitStack, http: aiohttp.ClientSession, name: str) -> Person:
        on_said = self._transcript.hears(name)
        signing_in = signed_in(
            http, self._synapse.url, name, self._password, folder=self._folder / name, on_said=on_said
        )
        return await stack.enter_async_context(signing_in)

    async def _play(self, http: aiohttp.ClientSession, admin: Person, guest: asyncio.Future[Person]) -> None:
        screen, enter = self._screen, self._transcript.enter
        with screen.step("The bot is setting itself up", "The bot has an account, a verified device and a room"):
            invited = await admin.invitation()
        room = await enter(admin, invited)
        for typed in _TYPED:
            await self._pause()
            await admin.reply_to(await admin.say(room, typed))
        invited = await admin.invitation(but={room})
        await self._pause()
        direct = await enter(admin, invited)
        credentials = await admin.message(kind="credentials", room_id=direct)
        await self._pause()
        await self._prove(http, credentials)
        await self._pause()
        cast = Cast(admin, await self._bring(admin, guest, room), room)
        await ask_and_decide(cast, self._transcript, self._pause)
        if self._stays:
            self.stayed = True
            self._offer_turn()
            await Turn(screen, self._transcript, cast).take()

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

    async def _bring(self, admin: Person, guest: asyncio.Future[Person], room: str) -> Person:
        """Brings the guest into the room."""
        screen = self._screen
        screen.heading(f"Approval: {GUEST} asks, the room decides")
        person = await guest
        screen.done(f"{GUEST} has an account and an encrypted client, too")
        await admin.invite(room, person.user_id)
        invited = await person.invitation()
        screen.turn_to(room)
        screen.happened(f"{invited.by} invites {GUEST} to the room “{invited.room_name}”; {GUEST} accepts.")
        screen.happened("Her power level is 0; below 50 one cannot make accounts, only ask for them.")
        await person.accept(invited)
        return person

    def _offer_turn(self) -> None:
        screen = self._screen
        screen.heading("Your turn")
        screen.say("You are the admin now. Type commands below (!help, !status, !register …); exit or Ctrl-D ends it.")
        screen.say(
            f"{GUEST} types what begins with her name (try {GUEST}: !register eve). A line that is just ✅ or ❌ goes"
            " under the last card; !approve and !deny say it in words."
        )
        screen.say("Or sign in with a Matrix client on this machine:")
        screen.facts(
            {"Homeserver": self._synapse.url, "Username": ADMIN, "Password": self._password.get_secret_value()}
        )
        screen.say(f"({GUEST} has the same password.)", "dim")
        screen.gap()

    async def _pause(self) -> None:
        if self._stays:  # somebody is reading along
            await asyncio.sleep(_READING_PAUSE)
