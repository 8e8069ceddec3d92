"""A wave of requests against a Synapse that limits the bot: all answered, all decided, every account once.

The long form is issue and promise: a hundred requests within a minute, then five hundred that wait, Synapse's default
limits. The people have none: they stand for many more. Nor have sign-ins, which are no part of it.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from onboard_bot.demo.synapse import NO_RATE_LIMITS, SynapseSettings, running_synapse
from tests.e2e.bot_process import Launch
from tests.e2e.desk import Desk, open_desk, password_in
from tests.e2e.person import Person, Seen, unique
from tests.e2e.server_view import ServerView

ON_A_PAGE = 25
WAITING = 500
ANSWERED_WITHIN = 240.0
DELIVERED_WITHIN = 1800.0
ANSWER_WITHIN = 30.0


class Wave:
    """Several people who ask, all at once, and what they got."""

    def __init__(self, desk: Desk, people: list[Person]) -> None:
        self.desk = desk
        self.people = people
        self.asked: dict[str, str] = {}
        """The account that each command asks for."""
        self.asker: dict[str, Person] = {}
        """Who asked for it."""

    async def ask(self, number: int, *, every: float) -> None:
        """So many requests by all of them together, one after so many seconds."""
        names = [unique(f"wave{count}") for count in range(number)]
        each = [names[who :: len(self.people)] for who in range(len(self.people))]
        pause = every * len(self.people)
        await asyncio.gather(*(self._types(*one, pause=pause) for one in zip(self.people, each, strict=True)))

    async def _types(self, person: Person, names: list[str], *, pause: float) -> None:
        for name in names:
            began = time.monotonic()
            command = await person.say(self.desk.room_id, f"!register {name}")
            user_id = self.asked[command] = self.desk.view.user_id(name)
            self.asker[user_id] = person
            await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))

    def answers(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """The answers of this kind to what they asked, alone or in a list; edits are none."""
        return [(at, about) for at, about in self.desk.answers() if at in self.asked and about["kind"] == kind]

    @property
    def ids(self) -> list[str]:
        """Of their requests, as the room was told."""
        return [about["id"] for _, about in self.answers("request")]

    def credentials(self) -> list[tuple[Person, Seen]]:
        """All that were brought to any of them."""
        brought = [(who, seen) for who in self.people for seen in who.seen if seen.sender == self.desk.bot_id]
        return [(who, seen) for who, seen in brought if seen.about.get("kind") == "credentials"]

    def merged(self) -> list[Seen]:
        """Lists of answers; the answer to one command about several is a reply."""
        said = self.desk.admin.said_by(self.desk.bot_id, self.desk.room_id)
        return [seen for seen in said if seen.about.get("kind") == "list" and seen.in_reply_to is None]

    def messages(self) -> int:
        """How much the bot said in the room, signs and edits included."""
        return len(self.desk.admin.said_by(self.desk.bot_id, self.desk.room_id))


def in_state(desk: Desk, state: str) -> int:
    """How many requests are in a state, by the bot's own record."""
    with closing(sqlite3.connect(desk.bot.state / "onboard.db")) as connection:
        query = "SELECT count(*) FROM requests WHERE state = ?"
        return int(connection.execute(query, (state,)).fetchone()[0])


async def until(what: Callable[[], Any], *, within: float) -> float:
    """Waits until something is so; the seconds that it took."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        while not what():  # noqa: ASYNC110 - people's clients ring no common bell
            await asyncio.sleep(0.2)
    return time.monotonic() - began


async def decided(desk: Desk, ids: list[str]) -> list[str]:
    """Approves them, as many at a time as a page of `!requests` shows; the commands."""
    lines = ["!approve " + " ".join(ids[start:][:ON_A_PAGE]) for start in range(0, len(ids), ON_A_PAGE)]
    return [await desk.admin.say(desk.room_id, line) for line in lines]


async def test_a_wave_of_requests_is_answered_and_decided_although_the_server_limits_the_bot(
    tmp_path: Path, quickly: Launch, *, long: bool
) -> None:
    number, crowd = (100, 10) if long else (20, 3)
    extra = {"rc_login": NO_RATE_LIMITS["rc_login"]}
    if not long:
        extra |= {"rc_message": {"per_second": 2, "burst_count": 4}}
    async with AsyncExitStack() as stack:
        settings = SynapseSettings(bcrypt_rounds=4, extra=extra)
        synapse = await stack.enter_async_context(running_synapse(tmp_path / "synapse", settings))
        view = await ServerView.of(synapse)
        desk = await stack.enter_async_context(open_desk(tmp_path / "desk", synapse, view, launch=quickly))
        await view.lift_limits(desk.admin.user_id)
        people = [await stack.enter_async_context(desk.member(f"person{who}")) for who in range(crowd)]
        for person in people:
            await view.lift_limits(person.user_id)
            entering = asyncio.create_task(person.accepts_from(desk.bot_id))
            stack.callback(entering.cancel)
        wave = Wave(desk, people)
        await everything_once(wave, number, long=long)
        if long:
            await with_hundreds_waiting(wave)


async def everything_once(wave: Wave, number: int, *, long: bool) -> None:
    desk = wave.desk
    said_before, began = wave.messages(), time.monotonic()
    await wave.ask(number, every=60 / number if long else 0.1)
    typed_in = time.monotonic() - began
    answered_after = await until(lambda: len(wave.answers("request")) >= number, within=ANSWERED_WITHIN)
    requests = wave.answers("request")
    assert sorted(command for command, _ in requests) == sorted(wave.asked)
    assert len(set(wave.ids)) == number
    for command, about in requests:
        assert (about["state"], about["user_id"]) == ("pending", wave.asked[command])
    lists = wave.merged()
    assert lists, "nothing was merged: the limits did not bite"
    for said in lists:
        assert said.content["m.mentions"] == {"user_ids": [desk.admin.user_id]}
        assert all("event_id" in item for item in said.about["items"])
    said_for_answers = wave.messages() - said_before

    began = time.monotonic()
    commands = await decided(desk, wave.ids)
    made_after = await until(lambda: in_state(desk, "created") >= number, within=120)
    await until(lambda: set(commands) <= {command for command, _ in desk.answers()}, within=DELIVERED_WITHIN)
    confirmed_after = time.monotonic() - began
    await until(lambda: len(wave.answers("account")) >= number, within=DELIVERED_WITHIN)
    told_after = time.monotonic() - began
    asked_at = time.monotonic()
    await desk.ask("!status", within=ANSWER_WITHIN)
    waited, brought_by_then = time.monotonic() - asked_at, len(wave.credentials())
    await until(lambda: len(wave.credentials()) >= number, within=DELIVERED_WITHIN)
    delivered_after = time.monotonic() - began

    outcomes = wave.answers("account")
    assert sorted(command for command, _ in outcomes) == sorted(wave.asked)
    assert {about["state"] for _, about in outcomes} == {"created"}
    brought = wave.credentials()
    assert sorted(seen.about["user_id"] for _, seen in brought) == sorted(wave.asked.values())
    assert all(wave.asker[seen.about["user_id"]] is person for person, seen in brought)
    assert all(person.unreadable == [] for person in wave.people)
    (_, last) = brought[-1]
    assert await desk.view.sign_in(last.about["user_id"], password_in(last)) == 200
    print(
        f"{number} requests by {len(wave.people)} people in {typed_in:.0f} s; all answered {answered_after:.0f} s after"
        f" the last, with {said_for_answers} messages and signs, of it lists {len(lists)};"
        f" approved by {len(commands)} commands: all {number} accounts made after {made_after:.0f} s, the commands"
        f" answered after {confirmed_after:.0f} s, everybody told after {told_after:.0f} s, all credentials delivered"
        f" after {delivered_after:.0f} s (an answer meanwhile, when {brought_by_then} were: {waited:.0f} s);"
        f" messages and signs in the room {wave.messages() - said_before}, of it lists {len(wave.merged())}"
    )


async def with_hundreds_waiting(before: Wave) -> None:
    """What is asked now is answered within seconds, however many wait."""
    desk = before.desk
    wave = Wave(desk, before.people)
    began = time.monotonic()
    await wave.ask(WAITING, every=0.0)
    await until(lambda: len(wave.answers("request")) >= WAITING, within=DELIVERED_WITHIN)
    print(f"{WAITING} more requests, all answered {time.monotonic() - began:.0f} s after the first one")
    assert in_state(desk, "pending") == WAITING
    merged = wave.merged()[-1].about["items"][-1]["id"]
    await asyncio.sleep(60)  # what the server lets the bot say is there again
    pages: dict[str, Any] = {}
    waits: list[tuple[str, float]] = []

    async def ask(line: str) -> Seen:
        asked_at = time.monotonic()
        answer = await desk.ask(line, within=ANSWER_WITHIN)
        waits.append((line if len(line) < 24 else line[:15] + " …", time.monotonic() - asked_at))
        return answer

    for line in ("!requests", "!requests --page=20"):
        answer = await ask(line)
        assert len(answer.about["items"]) == ON_A_PAGE
        pages |= {item["id"]: item for item in answer.about["items"]}
    assert len(pages) == 2 * ON_A_PAGE
    card = await ask(f"!show {merged}")
    assert (card.about["kind"], card.about["id"], card.about["state"]) == ("request", merged, "pending")
    answer = await ask(f"!approve {merged}")
    assert (answer.about["kind"], answer.about["id"]) == ("request", merged)
    answer = await ask("!deny " + " ".join(list(pages)[:ON_A_PAGE]) + " --silent")
    assert [item["state"] for item in answer.about["items"]] == ["denied"] * ON_A_PAGE
    print(f"with {WAITING} that wait, seconds to the answer: {', '.join(f'{k} {v:.1f}' for k, v in waits)}")
