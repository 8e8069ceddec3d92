"""An admin room with a bot at work and an admin who types: where most tests begin."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import BotProcess, Launch, as_operator, running_bot
from tests.e2e.person import PASSWORD as PERSONS_PASSWORD
from tests.e2e.person import Person, Seen, has_account, signed_in, somebody, unique
from tests.e2e.server_view import ServerView

PASSWORD = re.compile(r"`([^`]*)`")
UNASKED = "⚠️ This room is not encrypted."


@dataclass
class Desk:
    """`ask` is how an admin sees the bot; `answered_once` is what is true of all that was asked."""

    synapse: RunningSynapse
    view: ServerView
    bot: BotProcess
    admin: Person
    room_id: str
    folder: Path
    asked: list[str] = field(default_factory=list)

    @property
    def bot_id(self) -> str:
        return self.view.user_id(self.bot.username)

    async def ask(self, what: str, *, by: Person | None = None, within: float = 20.0, **extra: Any) -> Seen:
        """The answer to a command."""
        person = by or self.admin
        command = await person.say(self.room_id, what, **extra)
        answer = await person.reply_to(command, within=within)
        assert answer.sender == self.bot_id
        self.asked.append(command)
        return answer

    async def answered_once(self) -> None:
        """Everything that was asked had one message for an answer, and at most a ⏳ beside it."""
        await self._all_said()
        said = self.admin.said_by(self.bot_id, self.room_id)
        for command in self.asked:
            answers = [e for e in said if e.in_reply_to == command]
            signs = [e for e in said if e.relation.get("rel_type") == "m.annotation" and e.in_reply_to is None]
            signs = [e for e in signs if e.relation["event_id"] == command]
            assert len(answers) == 1, answers
            assert [e.relation["key"] for e in signs] in ([], ["⏳"])

    async def ignored(self, since: str) -> None:
        """Nothing was said since this event: the bot takes everything in order, so a later answer proves it."""
        assert await self.said_after(since) == []

    async def messages_after(self, event_id: str) -> list[Seen]:
        """The bot's messages in the room since an event. A ⏳ is none; a busy machine may make any answer slow."""
        return [e for e in await self.said_after(event_id) if e.type == "m.room.message"]

    async def said_after(self, event_id: str) -> list[Seen]:
        """What the bot said and did in the room since an event, up to the answer to a question asked now.

        Without the warning that the room is in clear, which comes once and at its own time.
        """
        last = await self._all_said()
        await self.admin.until(lambda: any(e.event_id == event_id for e in self.admin.seen), why="the event itself")
        said = [e for e in self.admin.said_by(self.bot_id, self.room_id, after=event_id) if e != last]
        return [e for e in said if not e.body.startswith(UNASKED)]

    def answers(self) -> list[tuple[str, dict[str, Any]]]:
        """Each answered command in the order in which its answer came, alone or in a list, and what it says."""
        found: list[tuple[str, dict[str, Any]]] = []
        for said in self.admin.said_by(self.bot_id, self.room_id):
            if said.about.get("kind") == "list" and all("event_id" in item for item in said.about["items"]):
                found += [(item["event_id"], item) for item in said.about["items"]]
            elif said.type == "m.room.message" and said.in_reply_to is not None:
                found.append((said.in_reply_to, said.about))
        return found

    async def _all_said(self) -> Seen:
        """Asks something, so that everything before it has been answered."""
        return await self.admin.reply_to(await self.admin.say(self.room_id, "!status"))

    async def credentials(self, user_id: str, *, to: Person | None = None) -> Seen:
        """The direct message with an account's password; the person accepts the invitation if there is one."""
        person = to or self.admin
        await person.until(
            lambda: self._found(person, user_id) or self.bot_id in person.invited_to.values(),
            why=f"the credentials of {user_id}",
        )
        for room_id, inviter in list(person.invited_to.items()):
            if inviter == self.bot_id:
                await person.join(room_id)
        found: Seen = await person.until(lambda: self._found(person, user_id), why=f"the credentials of {user_id}")
        return found

    def _found(self, person: Person, user_id: str) -> Seen | None:
        wanted = {"v": 1, "kind": "credentials", "user_id": user_id}
        return next((e for e in person.seen if e.about == wanted), None)

    @asynccontextmanager
    async def member(self, name: str, *, level: int | None = None) -> AsyncIterator[Person]:
        """Somebody else in the room."""
        async with somebody(self.synapse, name, self.folder) as person:
            await self.admin.invite(self.room_id, person.user_id)
            await person.invitation_from(self.admin.user_id)
            await person.join(self.room_id)
            if level is not None:
                await self.admin.set_level(self.room_id, person.user_id, level)
            yield person

    @asynccontextmanager
    async def second_device(self) -> AsyncIterator[Person]:
        """The admin at another device, signed by the same identity."""
        admin = self.admin
        async with signed_in(
            self.synapse.url, admin.user_id, PERSONS_PASSWORD, self.folder / unique("device"), identity=admin.identity
        ) as device:
            yield device


def password_in(message: Seen) -> str:
    """The password of a message with credentials: the only text between backticks."""
    (password,) = PASSWORD.findall(message.body)
    return str(password)


@asynccontextmanager
async def open_desk(
    folder: Path,
    synapse: RunningSynapse,
    view: ServerView,
    *,
    url: str | None = None,
    launch: Launch = as_operator,
    faults: bool = False,
    **config: Any,
) -> AsyncIterator[Desk]:
    """A bot of its own, in the room that it made, with its one admin signed in and in the room.

    Args:
        folder: For all of them.
        synapse: Where they live.
        view: Of it.
        url: Where the bot finds Synapse, if not directly.
        launch: How the bot is started.
        faults: Whether a trace in the log is part of the test.
        config: Sections of the configuration.
    """
    admin_id = await has_account(synapse, "admin")
    bot = {"username": unique("onboard")} | config.pop("bot", {})
    admin_room = {"admins": [admin_id]} | config.pop("admin_room", {})
    async with (
        running_bot(
            folder / "bot", synapse, url=url, launch=launch, faults=faults, bot=bot, admin_room=admin_room, **config
        ) as process,
        signed_in(synapse.url, admin_id, PERSONS_PASSWORD, folder / "admin") as admin,
    ):
        room_id = await admin.invitation_from(view.user_id(bot["username"]))
        await admin.join(room_id)
        desk = Desk(synapse, view, process, admin, room_id, folder)
        yield desk
        await desk.answered_once()
