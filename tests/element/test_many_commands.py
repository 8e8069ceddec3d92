"""Command after command, while keys are thrown away on both sides and the bot comes and goes: everybody reads all.

`make encrypted` types a thousand of them and prints the figures for docs/encryption.md, `make test` a hundred.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import Launch
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView
from tests.element.client import Element
from tests.element.conversation import Conversation, open_conversation
from tests.element.events import Event
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 5
WITHIN = 60.0
TYPED = {"status": "!status", "help": "!help", "account": "!register {}"}
"""What is typed in turn, by the kind of its answer."""


@dataclass
class Long:
    """Two people who type by turns, and all that happens meanwhile."""

    talk: Conversation
    people: list[Element]
    commands: dict[str, tuple[Element, str, str]] = field(default_factory=dict)
    """Of each: who typed it, the kind of its answer, and the account that it asked for."""
    happened: Counter[str] = field(default_factory=Counter)

    async def type_one(self, number: int) -> None:
        person, kind = self.people[number % 2], list(TYPED)[number % len(TYPED)]
        user_id = self.talk.view.user_id(unique("many"))
        command = await person.say(self.talk.room_id, TYPED[kind].format(user_id))
        self.commands[command] = person, kind, user_id

    async def type_some(self, numbers: range) -> None:
        """A few at once; every answer is waited for."""
        before = set(self.commands)
        await asyncio.gather(*(self.type_one(number) for number in numbers))
        if not self.talk.bot.is_running:
            await self.talk.bot.start()
        for command, (person, _, _) in self.commands.items():
            if command not in before:
                await person.reply_to(command, within=WITHIN)

    async def something_happens(self, turn: int, turns: int) -> None:
        """Every other time somebody's key is thrown away, every fifth time the bot is away, once it loses its keys."""
        bot = self.talk.bot
        if turn % 2:
            await self.people[turn // 2 % 2].discard(self.talk.room_id)
            self.happened["keys thrown away by a client"] += 1
        if turn == turns // 2:
            await self.talk.loses_keys(*self.people)
            self.happened["losses of the bot's encryption store"] += 1
        elif turn % 5 == 4:
            await (bot.kill() if turn % 2 else bot.stop())
            self.happened["other stops and kills of the bot"] += 1

    async def credentials_came(self) -> None:
        for person, kind, user_id in self.commands.values():
            if kind == "account":
                await self.talk.credentials(user_id, to=person)

    def said(self) -> list[Event]:
        """All that the bot said, as each of the clients shows it."""
        said = [event for person in self.people for event in person.said_by(self.talk.bot_id)]
        return [event for event in said if event.type != "m.reaction"]

    def answers(self) -> list[Event]:
        """The answers, as the first client shows them."""
        said = self.people[0].said_by(self.talk.bot_id, self.talk.room_id)
        return [event for event in said if event.in_reply_to in self.commands]


async def test_everything_is_read_on_both_sides_however_often_keys_change(
    synapse: RunningSynapse, view: ServerView, node: Node, tmp_path: Path, quickly: Launch, *, long: bool
) -> None:
    count = 1000 if long else 100
    async with (
        open_conversation(tmp_path, synapse, view, node, launch=quickly, checks=()) as talk,
        talk.member("grace", level=50) as grace,
    ):
        await talk.registers()
        await talk.registers(by=grace)  # from here on both have their room for passwords
        run, began = Long(talk, [talk.ada, grace]), time.monotonic()
        for turn, start in enumerate(range(0, count, AT_ONCE)):
            await run.something_happens(turn, count // AT_ONCE)
            await run.type_some(range(start, start + AT_ONCE))
        took = time.monotonic() - began
        await run.credentials_came()
        await talk.all_said()

        answers, said = run.answers(), run.said()
        figures = {
            "commands": len(run.commands),
            "without an answer": len(set(run.commands) - {str(e.in_reply_to) for e in answers}),
            "answered more than once": len(answers) - len({e.in_reply_to for e in answers}),
            "answered with something else than was asked for": sum(
                e.about.get("kind") != run.commands[str(e.in_reply_to)][1] for e in answers
            ),
            "messages of the bot, as its two readers show them": len(said),
            "undecryptable": sum(e.failure is not None for e in said),
            "undecryptable when they came, readable later": sum(e.first_failure is not None for e in said),
            "in clear, or with a shield": sum(e.failure is None and not e.unmarked for e in said),
            "keys of the bot for the room": len({e.session_id for e in answers}),
            "keys of the people for the room": len({p.events[c].session_id for c, (p, _, _) in run.commands.items()}),
            **run.happened,
        }
        if long:
            print(f"\n{count} commands of two people with Element, {took:.0f} s")
            print("\n".join(f"  {what}: {how_many}" for what, how_many in figures.items()))
        assert figures["commands"] == count
        none = {
            "without an answer",
            "answered more than once",
            "answered with something else than was asked for",
            "undecryptable",
            "in clear, or with a shield",
        }
        assert [(what, many) for what, many in figures.items() if what in none and many] == []
