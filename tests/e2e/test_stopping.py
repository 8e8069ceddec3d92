"""A stop comes when it likes: it takes less than ten seconds, hangs on nothing, and loses nothing."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import STOP_WITHIN, Launch, running_bot
from tests.e2e.desk import open_desk, password_in
from tests.e2e.person import has_account, unique
from tests.e2e.server_view import ServerView

_TOO_LATE = "the stop takes too long"
_QUICKLY = 3.0


async def test_a_stop_around_becoming_ready_hangs_on_nothing(
    synapse: RunningSynapse, tmp_path: Path, quickly: Launch, *, long: bool
) -> None:
    """The first start has the most to do: jobs, syncs and the room's making write at the same time."""
    admins = {"admins": [await has_account(synapse, "admin") for _ in range(3)]}
    stops, longest, late = 300 if long else 12, 0.0, 0
    for number in range(stops):
        async with running_bot(
            tmp_path / f"bot{number}", synapse, launch=quickly, bot={"username": unique("brief")}, admin_room=admins
        ) as bot:
            await bot.wait_ready()
            await asyncio.sleep(number * 0.3 / stops)
            ended = await bot.stop()
            assert ended.status == 0
            assert ended.seconds < STOP_WITHIN
            assert _TOO_LATE not in bot.log()
            longest, late = max(longest, ended.seconds), late + (ended.seconds > _QUICKLY)
    if long:
        print(f"\n{stops} stops within 0.3 s of the first start's becoming ready: the longest took {longest:.1f} s,")
        print(f"{late} took more than {_QUICKLY:.0f} s, none had to be ended by force")


async def test_a_stop_while_somebody_else_holds_the_database_is_a_stop(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk:
        name = view.user_id(unique("held"))
        with closing(sqlite3.connect(desk.bot.state / "onboard.db", isolation_level=None)) as somebody:
            somebody.execute("BEGIN IMMEDIATE")
            command = await desk.admin.say(desk.room_id, f"!register {name}")
            await asyncio.sleep(0.5)  # the bot waits for the lock now
            ended = await desk.bot.stop()
            assert ended.status == 0
            assert ended.seconds < STOP_WITHIN
        await desk.bot.start()
        answer = await desk.admin.reply_to(command)
        assert answer.about["user_id"] == name
        assert await view.sign_in(name, password_in(await desk.credentials(name))) == 200
        desk.asked.append(command)
