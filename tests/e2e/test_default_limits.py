"""Many commands at once against a Synapse that limits the bot: all carried out, all answered, in order, nothing twice.

The long form is issue and promise: forty commands within a minute, three people, Synapse's default limits.
"""

import asyncio
import sqlite3
import time
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

from onboard_bot.demo.synapse import NO_RATE_LIMITS, SynapseSettings, running_synapse
from tests.e2e.between import Between
from tests.e2e.bot_process import Launch
from tests.e2e.desk import Desk, open_desk, password_in
from tests.e2e.person import Person, Seen, unique
from tests.e2e.server_view import ServerView

ACCOUNTS_WITHIN = 35.0
DELIVERED_WITHIN = 360.0


def credentials(desk: Desk, reader: Person) -> list[Seen]:
    return [e for e in reader.seen if e.sender == desk.bot_id and e.about.get("kind") == "credentials"]


async def types(desk: Desk, person: Person, names: list[str], *, every: float) -> list[str]:
    commands = []
    for name in names:
        began = time.monotonic()
        commands.append(await person.say(desk.room_id, f"!register {name}"))
        await asyncio.sleep(max(0.0, every - (time.monotonic() - began)))
    return commands


def made_at(desk: Desk) -> list[float]:
    """When the accounts were made, by the bot's own record."""
    with closing(sqlite3.connect(desk.bot.state / "onboard.db")) as connection:
        return [row[0] for row in connection.execute("SELECT at FROM audit WHERE verb = 'account:created' ORDER BY at")]


async def test_what_a_crowd_types_is_carried_out_and_answered_in_order_although_the_server_limits_the_bot(
    tmp_path: Path, quickly: Launch, *, long: bool
) -> None:
    each = [14, 13, 13] if long else [5, 5, 4]
    few = {"rc_message": {"per_second": 1, "burst_count": 4}, "rc_login": NO_RATE_LIMITS["rc_login"]}
    settings = SynapseSettings() if long else SynapseSettings(bcrypt_rounds=4, extra=few)
    async with AsyncExitStack() as stack:
        synapse = await stack.enter_async_context(running_synapse(tmp_path / "synapse", settings))
        view = await ServerView.of(synapse)
        between = await stack.enter_async_context(Between(synapse.url))
        desk = await stack.enter_async_context(
            open_desk(tmp_path / "desk", synapse, view, url=between.url, launch=quickly)
        )
        people = [desk.admin]
        people += [await stack.enter_async_context(desk.member(name, level=50)) for name in ("grace", "alan")]
        for person in people:
            entering = asyncio.create_task(person.accepts_from(desk.bot_id))
            stack.callback(entering.cancel)
        names = [[unique(f"crowd{who}-{number}") for number in range(count)] for who, count in enumerate(each)]
        before, began = len(between.passed), time.time()  # noqa: TID251 - compared with the bot's own record
        typed = await asyncio.gather(
            *(types(desk, person, names[who], every=60 / each[who] if long else 0) for who, person in enumerate(people))
        )
        last_typed = time.time()  # noqa: TID251 - the same
        total = sum(each)

        def all_done() -> bool:
            served = sum(len(credentials(desk, person)) for person in people)
            return len(desk.answers()) >= total and served >= total

        await asyncio.wait_for(until(all_done), DELIVERED_WITHIN)
        done = time.time()  # noqa: TID251 - the same
        answered = desk.answers()
        assert len(answered) == len({command for command, _ in answered}) == total
        assert all(about["kind"] == "account" and about["state"] == "created" for _, about in answered)
        for who, person in enumerate(people):
            assert [command for command, _ in answered if command in typed[who]] == typed[who]
            brought = credentials(desk, person)
            assert [e.about["user_id"] for e in brought] == [view.user_id(name) for name in names[who]]
            assert person.unreadable == []
            if not long:  # by default Synapse limits sign-ins, too
                assert await view.sign_in(brought[-1].about["user_id"], password_in(brought[-1])) == 200
        slowest = max(made_at(desk)) - last_typed
        assert slowest < ACCOUNTS_WITHIN
        lists = sum(e.about.get("kind") == "list" for e in desk.admin.seen)
        assert lists > 0, "nothing was merged: the limits did not bite"
        said = len(desk.admin.said_by(desk.bot_id, desk.room_id))
        print(
            f"commands {total} in {last_typed - began:.0f} s; accounts all made {slowest:.1f} s after the last command;"
            f" everything answered and delivered {done - last_typed:.0f} s after it; said in the room {said}, of it"
            f" lists {lists}; requests of the bot {len(between.passed) - before}"
        )


async def until(what: Any) -> None:
    while not what():  # noqa: ASYNC110 - people's clients ring no common bell
        await asyncio.sleep(0.2)
