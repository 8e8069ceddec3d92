"""The process as an operator meets it: health pages, patience with the homeserver, its end, bad settings."""

import asyncio
import sys
from pathlib import Path

import pytest
from aiohttp import web

from onboard_bot.demo.synapse import RunningSynapse, SynapseSettings
from tests.e2e.between import REGISTER, Between, Cut, Passing
from tests.e2e.bot_process import STOP_WITHIN, Launch, Page, as_operator, running_bot
from tests.e2e.desk import open_desk
from tests.e2e.person import has_account, unique
from tests.e2e.server_view import ServerView

ADMINS = {"admins": ["@nobody:localhost"]}


def says_why_not(page: Page) -> bool:
    return page.status == 503 and bool(page.body["missing"])


def waits_for_the_server(page: Page) -> bool:
    """Not ready, and past the first moments: it has tried and says what came of it."""
    return says_why_not(page) and bool(page.body["waiting_for"])


async def test_a_bot_that_starts_before_its_server_answers_at_once_and_waits(tmp_path: Path) -> None:
    own = RunningSynapse(tmp_path / "synapse", SynapseSettings(rate_limits=False, bcrypt_rounds=4), sys.executable)
    try:
        async with running_bot(tmp_path / "bot", own, admin_room=ADMINS) as bot:
            page = await bot.wait_page(waits_for_the_server)
            assert page.body["ready"] is False
            alive = await bot.healthz()
            assert alive is not None
            assert alive.status == 200
            await own.start()
            page = await bot.wait_ready()
            assert (page.body["ready"], page.body["missing"]) == (True, [])
            await own.stop()  # and one that is gone is no reason to end
            await bot.wait_page(lambda _: "sync failed" in bot.log())
            alive = await bot.healthz()
            assert alive is not None
            assert alive.status == 200
            assert (await bot.stop()).status == 0
    finally:
        await own.stop()


@pytest.mark.parametrize("nonsense", ["502", "a page", "cut off", "no JSON"])
async def test_nonsense_at_the_first_start_is_waited_out(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, nonsense: str
) -> None:
    username = unique("onboard")
    async with Between(synapse.url) as between:

        async def wrong(_: Passing) -> web.Response | None:
            match nonsense:
                case "502":
                    return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
                case "a page":
                    return web.Response(text="<html>Welcome</html>", content_type="text/html")
                case "no JSON":
                    return web.Response(text="[[[[", content_type="application/json")
                case _:
                    raise Cut

        between.before = wrong
        async with running_bot(
            tmp_path / "bot", synapse, url=between.url, launch=quickly, bot={"username": username}, admin_room=ADMINS
        ) as bot:
            await bot.wait_page(waits_for_the_server)
            assert bot.is_running
            between.leave_alone()
            await bot.wait_ready()
            assert len(await view.devices(view.user_id(username))) == 1


async def test_answers_that_get_lost_at_the_first_start_double_nothing(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    username = unique("onboard")
    lost: list[str] = []
    async with Between(synapse.url) as between:

        async def lose_the_first(passing: Passing) -> None:
            for ending in (REGISTER, "/login", "/keys/upload", "/createRoom"):
                if passing.is_a("POST", ending) and ending not in lost:
                    lost.append(ending)
                    raise Cut

        between.after = lose_the_first
        async with running_bot(
            tmp_path / "bot", synapse, url=between.url, launch=quickly, bot={"username": username}, admin_room=ADMINS
        ) as bot:
            await bot.wait_ready()
            bot_id = view.user_id(username)
            assert lost == [REGISTER, "/login", "/keys/upload", "/createRoom"]
            assert await view.devices(bot_id) == [bot.remembered("session.json")["device_id"]]
            assert len(await view.rooms_made_by(bot_id)) == 1


async def test_sigterm_ends_it_with_0_within_ten_seconds(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path
) -> None:
    """At work, while it waits for its server, and in the middle of a registration that does not end."""
    async with Between(synapse.url) as between:
        async with running_bot(
            tmp_path / "idle", synapse, bot={"username": unique("onboard")}, admin_room=ADMINS
        ) as idle:
            await idle.wait_ready()
            ended = await idle.stop()
            assert ended.status == 0
            assert ended.seconds < STOP_WITHIN
            assert idle.log().rstrip().splitlines()[-1].split("]", 1)[1].split()[0] == "stopped"

        async def never(passing: Passing) -> None:
            if passing.is_a("POST", REGISTER):
                await asyncio.sleep(60)

        async with open_desk(tmp_path, synapse, view, url=between.url, launch=as_operator) as desk:
            between.after = never
            user_id = view.user_id(unique("slow"))
            command = await desk.admin.say(desk.room_id, f"!register {user_id}")
            await desk.admin.until(lambda: desk.admin.said_by(desk.bot_id, desk.room_id, after=command))  # ⏳
            ended = await desk.bot.stop()
            assert ended.status == 0
            assert ended.seconds < STOP_WITHIN
            between.leave_alone()
            await desk.bot.start()
            answer = await desk.admin.reply_to(command)
            assert answer.about["state"] == "created"
            assert await desk.messages_after(command) == [answer]
            await desk.credentials(user_id)


async def test_sigterm_ends_a_bot_that_waits_for_its_server(
    synapse: RunningSynapse, tmp_path: Path, quickly: Launch
) -> None:
    async with running_bot(
        tmp_path / "bot", synapse, url="http://127.0.0.1:9", launch=quickly, admin_room=ADMINS
    ) as bot:
        await bot.wait_page(waits_for_the_server)
        ended = await bot.stop()
        assert ended.status == 0
        assert ended.seconds < STOP_WITHIN


async def test_all_that_is_wrong_with_the_configuration_is_said_at_once(
    synapse: RunningSynapse, tmp_path: Path, quickly: Launch
) -> None:
    async with running_bot(
        tmp_path / "bot",
        synapse,
        url="http://127.0.0.1:8008/path",
        launch=quickly,
        bot={"username": "no good", "displayname": "x"},
        admin_room={"admins": ["nobody"]},
        accounts={"delivery": "pigeon"},
        frobnicate={"x": 1},
    ) as bot:
        assert (await bot.ended()).status == 2
        keys = [line.split(":")[0].removeprefix("FAIL ") for line in bot.log().splitlines()]
        assert sorted(keys) == sorted(
            [
                "accounts.delivery",
                "admin_room.admins",
                "bot.displayname",
                "bot.username",
                "frobnicate",
                "homeserver.url",
            ]
        )
        assert "bot.display_name" in bot.log()
        assert not bot.state.exists()


async def test_a_port_that_is_taken_is_said_so(synapse: RunningSynapse, tmp_path: Path, quickly: Launch) -> None:
    async with (
        Between(synapse.url) as taken,
        running_bot(
            tmp_path / "bot",
            synapse,
            launch=quickly,
            admin_room=ADMINS,
            ops={"listen": taken.url.removeprefix("http://")},
        ) as bot,
    ):
        assert (await bot.ended()).status == 2
        assert "FAIL ops.listen: " in bot.log()


async def test_the_servers_own_limits_only_slow_it_down(tmp_path: Path, quickly: Launch) -> None:
    """Synapse's default rate limits: the first hour of a new community."""
    own = RunningSynapse(tmp_path / "synapse", SynapseSettings(), sys.executable)
    try:
        await own.start()
        view = await ServerView.of(own)
        assert await has_account(own, "other")
        async with open_desk(tmp_path, own, view, launch=quickly) as desk:
            names = [unique("early") for _ in range(3)]
            for name in names:
                command = await desk.admin.say(desk.room_id, f"!register {name}")
                answer = await desk.admin.reply_to(command, within=30)
                assert answer.about["state"] == "created"
            for name in names:
                await desk.credentials(view.user_id(name))
    finally:
        await own.stop()
