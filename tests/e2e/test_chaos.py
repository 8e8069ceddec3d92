"""The bot is killed at random while three people type: nothing is lost, nothing is double, every answer is readable."""

import asyncio
import random  # noqa: TID251 - a test that can be repeated with its seed
import secrets
import sqlite3
import time
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import Between
from tests.e2e.bot_process import Launch
from tests.e2e.desk import Desk, open_desk, password_in
from tests.e2e.person import Person, Seen, unique
from tests.e2e.server_view import ServerView

_SETTLED_WITHIN = 90.0


@dataclass
class Storm:
    """One run: who typed what, how often the bot was killed."""

    desk: Desk
    people: list[Person]
    dice: random.Random
    typed: dict[str, str] = field(default_factory=dict)
    """What each command was, by its event."""
    names: dict[str, Person] = field(default_factory=dict)
    """Each username that was asked for, and who asked first."""
    kills: int = 0
    calm: bool = False

    async def types(self, person: Person, lines: int) -> None:
        for _ in range(lines):
            await asyncio.sleep(self.dice.uniform(0, 0.4))
            for _ in range(self.dice.choice([0, 0, 1, 4])):
                await person.say(self.desk.room_id, "just talking")
            what = self.line(person)
            self.typed[await person.say(self.desk.room_id, what)] = what

    def line(self, person: Person) -> str:
        match self.dice.choice(["register"] * 6 + ["status", "reserved", "again"]):
            case "register":
                name = unique("storm")
                self.names[name] = person
                return f"!register {name}"
            case "again" if self.names:
                return f"!register {self.dice.choice(list(self.names))}"
            case "reserved":
                return "!register admin"
            case _:
                return "!status"

    async def kill_now_and_then(self) -> None:
        while not self.calm:
            await asyncio.sleep(self.dice.choice([0.0, 0.05, 0.1, 0.3, 1.0]) + self.dice.uniform(0, 0.2))
            await self.desk.bot.kill()
            self.kills += 1
            await self.desk.bot.start()

    def answered(self) -> list[tuple[str, dict[str, Any]]]:
        return [(command, about) for command, about in self.desk.answers() if command in self.typed]

    def brought(self) -> list[tuple[Person, Seen]]:
        return [(p, e) for p in self.people for e in p.seen if e.about.get("kind") == "credentials"]

    def is_over(self) -> bool:
        return len(self.answered()) >= len(self.typed) and len(self.brought()) >= len(self.names)

    async def all_is_well_once(self) -> None:
        desk = self.desk
        answered = self.answered()
        assert sorted(command for command, _ in answered) == sorted(self.typed)
        created = [about["user_id"] for _, about in answered if about.get("state") == "created"]
        assert sorted(created) == sorted(desk.view.user_id(name) for name in self.names)
        assert sorted(e.about["user_id"] for _, e in self.brought()) == sorted(created)
        for person, message in self.brought():
            assert await desk.view.sign_in(message.about["user_id"], password_in(message)) == 200
            assert len([e for e in person.seen if e.event_id == message.event_id]) == 1
        assert [person.unreadable for person in self.people] == [[]] * len(self.people)
        assert len(await desk.view.devices(desk.bot_id)) == 1
        with closing(sqlite3.connect(desk.bot.state / "onboard.db")) as connection:
            due = "SELECT kind, key, last_error FROM jobs WHERE state != 'done' AND run_after <= ?"
            assert connection.execute(due, [time.time()]).fetchall() == []  # noqa: TID251 - the bot's own clock
            assert connection.execute("SELECT count(*) FROM inbox WHERE done = 0").fetchone() == (0,)
            assert connection.execute("SELECT count(*) FROM sync_journal").fetchone() == (0,)


@pytest.mark.parametrize("limit", [100, 2], ids=["whole syncs", "gappy syncs"])
async def test_a_bot_that_is_killed_again_and_again_loses_nothing_and_does_nothing_twice(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, limit: int, *, long: bool
) -> None:
    lines, least_kills = (40, 60) if long else (5, 6)
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}, timeline limit {limit}", flush=True)
    async with AsyncExitStack() as stack:
        between = await stack.enter_async_context(Between(synapse.url))
        between.rewrite = lambda path: path.replace("limit%22%3A+100", f"limit%22%3A+{limit}")
        desk = await stack.enter_async_context(open_desk(tmp_path, synapse, view, url=between.url, launch=quickly))
        people = [desk.admin]
        people += [await stack.enter_async_context(desk.member(name, level=50)) for name in ("grace", "alan")]
        storm = Storm(desk, people, random.Random(seed))  # noqa: S311 - dice, no secret
        for person in people:
            stack.callback(asyncio.create_task(person.accepts_from(desk.bot_id)).cancel)
        began = time.monotonic()
        killing = asyncio.create_task(storm.kill_now_and_then())
        await asyncio.gather(*(storm.types(person, lines) for person in people))
        while storm.kills < least_kills:  # noqa: ASYNC110 - the storm goes on over what is left to do
            await asyncio.sleep(0.1)
        storm.calm = True
        await killing
        typed_for = time.monotonic() - began
        deadline = time.monotonic() + _SETTLED_WITHIN
        while not storm.is_over() and time.monotonic() < deadline:  # noqa: ASYNC110 - three clients ring no common bell
            await asyncio.sleep(0.1)
        await desk.messages_after(next(iter(storm.typed)))  # whatever was said twice is there now
        await storm.all_is_well_once()
        print(
            f"commands {len(storm.typed)}, accounts {len(storm.names)}, kills {storm.kills} in {typed_for:.0f} s;"
            f" settled {time.monotonic() - began - typed_for:.0f} s after the last kill; lost 0, double 0, unreadable 0"
        )
