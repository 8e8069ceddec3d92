"""A bot at work in a room, and Ada in Element before it: where most tests begin."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import BotProcess, Launch, running_bot
from tests.e2e.person import PASSWORD, has_account, unique
from tests.e2e.server_view import ServerView
from tests.element.client import Element, Isolation, signed_in
from tests.element.events import Event
from tests.element.node import Node

BETWEEN_BACKTICKS = re.compile(r"`([^`]*)`")


@dataclass
class Conversation:
    """`ask` is how a person sees the bot; `is_readable` is what is true of everything that it said."""

    synapse: RunningSynapse
    view: ServerView
    node: Node
    bot: BotProcess
    ada: Element
    room_id: str
    asked: list[str] = field(default_factory=list)

    @property
    def bot_id(self) -> str:
        return self.view.user_id(self.bot.username)

    async def ask(self, what: str, *, by: Element | None = None, within: float = 20.0, **extra: Any) -> Event:
        """The answer to a command, which the person can read, and which bears no shield."""
        person = by or self.ada
        return await self.answer_to(await person.say(self.room_id, what, **extra), by=person, within=within)

    async def answer_to(self, command: str, *, by: Element | None = None, within: float = 20.0) -> Event:
        """As `ask`, of something that was said already."""
        person = by or self.ada
        answer = await person.reads((await person.reply_to(command, within=within)).event_id)
        assert (answer.sender, answer.unmarked) == (self.bot_id, True), answer
        assert await person.shield_of(answer) == answer.shield
        self.asked.append(command)
        return answer

    async def registers(self, name: str = "new", *, by: Element | None = None) -> Event:
        """An account is asked for, made, and its password brought; the direct message."""
        user_id = self.view.user_id(unique(name))
        answer = await self.ask(f"!register {user_id}", by=by)
        assert (answer.about.get("kind"), answer.about.get("user_id")) == ("account", user_id), answer
        message = await self.credentials(user_id, to=by)
        (password,) = BETWEEN_BACKTICKS.findall(message.body)
        assert await self.view.sign_in(user_id, password) == 200
        return message

    async def credentials(self, user_id: str, *, to: Element | None = None) -> Event:
        """The direct message with an account's password; the person accepts the invitation if there is one."""
        person = to or self.ada

        def invited() -> list[str]:
            return [r for r, who in person.inviters.items() if who == self.bot_id and person.rooms[r] == "invite"]

        def found() -> Event | None:
            wanted = {"v": 1, "kind": "credentials", "user_id": user_id}
            return next((e for e in person.events.values() if e.about == wanted), None)

        why = f"the credentials of {user_id}"
        await person.until(lambda: bool(found() or invited()), why=why)
        for room_id in invited():
            await person.join(room_id)
        message = await person.until(found, why=why)
        assert message.unmarked, message
        return message

    async def is_readable(self, *, to: Element | None = None) -> None:
        """Nothing that the bot said is unreadable to a person, bears a shield, or stands in clear without a reason."""
        for event in (to or self.ada).said_by(self.bot_id):
            may_be_in_clear = event.type == "m.reaction" or event.about.get("error") == "device_not_signed"
            assert event.unmarked or event.redacted or (may_be_in_clear and not event.encrypted), event

    async def answered_once(self) -> None:
        """Everything that was asked had one answer."""
        await self.all_said()
        replies = [e.in_reply_to for e in self.ada.said_by(self.bot_id, self.room_id) if e.type != "m.reaction"]
        counts = {command: replies.count(command) for command in self.asked}
        assert set(counts.values()) <= {1}, counts

    async def ignored(self, event_id: str) -> None:
        """Nothing was said since this event: the bot takes everything in order, so a later answer proves it."""
        last = await self.all_said()
        await self.ada.sees(event_id)
        said = [e for e in self.ada.said_by(self.bot_id, after=event_id) if e != last]
        assert said == [], said

    async def all_said(self) -> Event:
        """Asks something, so that everything before it has been answered; the answer."""
        return await self.answer_to(await self.ada.say(self.room_id, "!status"))

    async def loses_keys(self, *readers: Element) -> None:
        """The bot's encryption store is lost while it is stopped, and the readers' clients hear of its new device.

        Nobody could read on the new device what was encrypted before for the old one alone.
        """
        await self.bot.stop()
        shutil.rmtree(self.bot.state / "crypto")
        await self.bot.start()
        await self.bot.wait_ready()
        device_id = self.bot.remembered("session.json")["device_id"]
        for person in readers or (self.ada,):
            async with asyncio.timeout(20):
                while set((await person.keys_of(self.bot_id)).devices) != {device_id}:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.1)

    @asynccontextmanager
    async def member(
        self, name: str, *, level: int | None = None, cross_sign: bool = True, isolation: Isolation = "onlysigned"
    ) -> AsyncIterator[Element]:
        """Somebody else in the room, with a client like Ada's."""
        user_id = await has_account(self.synapse, name)
        async with signed_in(
            self.node, self.synapse.url, user_id, PASSWORD, cross_sign=cross_sign, isolation=isolation
        ) as person:
            await self.ada.invite(self.room_id, user_id)
            await person.invitation_from(self.ada.user_id)
            await person.join(self.room_id)
            if level is not None:
                await self.ada.set_level(self.room_id, user_id, level)
            yield person

    @asynccontextmanager
    async def second_device(self) -> AsyncIterator[Element]:
        """Ada at another device, which she has not verified yet."""
        async with signed_in(
            self.node, self.synapse.url, self.ada.user_id, PASSWORD, cross_sign=False, isolation="all"
        ) as device:
            yield device


@asynccontextmanager
async def open_conversation(
    folder: Path,
    synapse: RunningSynapse,
    view: ServerView,
    node: Node,
    *,
    launch: Launch,
    url: str | None = None,
    made_by_ada: str | None = None,
    cross_sign: bool = True,
    isolation: Isolation = "onlysigned",
    checks: Iterable[str] = ("answered_once", "is_readable"),
    **config: Any,
) -> AsyncIterator[Conversation]:
    """A bot of its own, with Ada in its admin room.

    Args:
        folder: For all of them.
        synapse: Where they live.
        view: Of it.
        node: What runs Ada's client.
        launch: How the bot is started.
        url: Where the bot finds Synapse, if not directly.
        made_by_ada: The version of the room that Ada makes and gives to the bot; None where the bot makes its own.
        cross_sign: Whether Ada signs her device at once.
        isolation: What Ada's client thinks of unsigned devices.
        checks: What is true at the end.
        config: Sections of the configuration.
    """
    bot = {"username": unique("onboard")}
    bot_id = view.user_id(bot["username"])
    ada_id = await has_account(synapse, "ada")
    async with signed_in(node, synapse.url, ada_id, PASSWORD, cross_sign=cross_sign, isolation=isolation) as ada:
        given = None if made_by_ada is None else await ada.make_room(version=made_by_ada)
        admin_room: dict[str, Any] = {"admins": [ada_id]} if given is None else {"room": given}
        async with running_bot(
            folder / "bot", synapse, url=url, launch=launch, bot=bot, admin_room=admin_room, **config
        ) as process:
            if given is None:
                room_id = await ada.invitation_from(bot_id)
                await ada.join(room_id)
            else:
                room_id = given
                await process.wait_ready()
                await ada.invite(room_id, bot_id)
                await ada.sees_membership(room_id, bot_id, "join")
            conversation = Conversation(synapse, view, node, process, ada, room_id)
            yield conversation
            for check in checks:
                await getattr(conversation, check)()
