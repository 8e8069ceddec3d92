"""A backup of a bot at work, a lost state, and the life after: the same identity, nothing twice, nothing lost."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import REGISTER, Between, Passing
from tests.e2e.bot_process import BotProcess, Launch, running_bot
from tests.e2e.desk import Desk, open_desk, password_in
from tests.e2e.person import somebody, unique
from tests.e2e.server_view import ServerView

Json = dict[str, Any]


async def onboard_bot(bot: BotProcess, verb: str, file: Path) -> subprocess.CompletedProcess[str]:
    """One of the verbs beside the bot."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "onboard_bot", verb, str(file), "--config", str(bot.config_file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={key: value for key, value in os.environ.items() if not key.startswith("ONBOARD_BOT_")},
    )


async def saved(bot: BotProcess, file: Path) -> Path:
    done = await onboard_bot(bot, "backup", file)
    assert (done.returncode, done.stderr) == (0, "")
    return file


async def restored(bot: BotProcess, file: Path) -> None:
    done = await onboard_bot(bot, "restore", file)
    assert (done.returncode, done.stderr) == (0, "")


async def refusal(bot: BotProcess, file: Path) -> str:
    """Why a restore does nothing."""
    before = names_in(bot.state)
    done = await onboard_bot(bot, "restore", file)
    assert done.returncode == 1
    assert done.stderr.startswith("FAIL state_")
    assert len(done.stderr.splitlines()) == 1
    assert names_in(bot.state) == before
    return done.stderr


def names_in(folder: Path) -> list[str]:
    """What lies there, but for what SQLite makes and takes away beside a running bot."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm")))


def requests(bot: BotProcess) -> list[str]:
    """How the requests stand, oldest first."""
    with closing(sqlite3.connect(bot.state / "onboard.db")) as connection:
        return [state for (state,) in connection.execute("SELECT state FROM requests ORDER BY created_at")]


async def public_keys(desk: Desk) -> Json:
    """What everybody can know of the bot's keys."""
    return await desk.admin.ask("POST", "keys/query", {"device_keys": {desk.bot_id: []}})


async def room_keys(desk: Desk) -> dict[str, set[str]]:
    """By device, the Megolm sessions that the bot used in all its rooms."""
    used: dict[str, set[str]] = {}
    for room_id in await desk.view.rooms_of(desk.bot_id):
        for event in await desk.view.timeline(room_id):
            if event["sender"] == desk.bot_id and event["type"] == "m.room.encrypted" and event["content"]:
                used.setdefault(event["content"]["device_id"], set()).add(event["content"]["session_id"])
    return used


async def three_at_work(desk: Desk, between: Between, may_go_on: asyncio.Event) -> tuple[list[str], list[str]]:
    """Two accounts are being made, a third waits for them; their names, and the commands."""

    async def hold(passing: Passing) -> web.Response | None:
        if passing.path == REGISTER:
            await may_go_on.wait()
        return None

    between.before = hold
    names = [desk.view.user_id(unique("open")) for _ in range(3)]
    commands = [await desk.admin.say(desk.room_id, f"!register {name}") for name in names]
    async with asyncio.timeout(20):
        while requests(desk.bot)[-3:] != ["creating", "creating", "approved"]:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    return names, commands


async def assert_same_identity(desk: Desk, before: Json) -> None:
    """One new device, signed by the same identity, with keys of its own."""
    now, bot_id = await public_keys(desk), desk.bot_id
    (old_device,) = before["device_keys"][bot_id]
    (new_device,) = await desk.view.devices(bot_id)
    assert new_device != old_device
    assert now["master_keys"][bot_id]["keys"] == before["master_keys"][bot_id]["keys"]
    (self_signing,) = now["self_signing_keys"][bot_id]["keys"]
    device = now["device_keys"][bot_id][new_device]
    assert self_signing in device["signatures"][bot_id]
    assert not set(before["device_keys"][bot_id][old_device]["keys"].values()) & set(device["keys"].values())
    used = await room_keys(desk)
    assert used[new_device]
    assert not used[new_device] & used[old_device]


@pytest.mark.parametrize("lives_on", [True, False], ids=["lost later", "lost at once"])
async def test_a_restored_bot_is_who_it_was_and_repeats_nothing(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, *, lives_on: bool
) -> None:
    """`lives_on`: the bot does everything itself after the backup, and the restored one must find that out."""
    async with (
        Between(synapse.url) as between,
        open_desk(tmp_path, synapse, view, url=between.url, launch=quickly) as desk,
    ):
        bot, admin = desk.bot, desk.admin
        known = view.user_id(unique("known"))
        await desk.ask(f"!register {known}")
        await desk.credentials(known)
        keys = await public_keys(desk)

        may_go_on = asyncio.Event()
        names, commands = await three_at_work(desk, between, may_go_on)
        file = await saved(bot, tmp_path / "backup.tar")
        assert f"process {bot.pid}" in await refusal(bot, file)
        if not lives_on:
            await bot.kill()
        may_go_on.set()
        if lives_on:
            for name in names:
                await desk.credentials(name)
            await bot.kill()
        between.leave_alone()

        shutil.rmtree(bot.state)
        await restored(bot, file)
        assert "is not empty" in await refusal(bot, file)
        await bot.start()
        await bot.wait_ready()

        fresh = view.user_id(unique("fresh"))
        assert (await desk.ask(f"!register {fresh}")).about["user_id"] == fresh
        assert (await desk.ask(f"!register {known}")).about["error"] == "username_taken"
        desk.asked += commands  # the desk looks at its end whether each was answered once
        for command, name in zip(commands, names, strict=True):
            assert (await admin.reply_to(command)).about["user_id"] == name
            assert await view.sign_in(name, password_in(await desk.credentials(name))) == 200
        await desk.credentials(fresh)
        brought = [e.about["user_id"] for e in admin.seen if e.about.get("kind") == "credentials"]
        assert sorted(brought) == sorted([known, fresh, *names])
        assert requests(bot) == [*["created"] * 5, "failed"]
        assert admin.unreadable == []
        await assert_same_identity(desk, keys)


async def test_what_was_commanded_after_the_backup_is_met_again_and_answered_only_where_it_was_not(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    """In a room without encryption; in one with it, nobody gave the new device the keys for what was said before."""
    username = unique("onboard")
    async with somebody(synapse, "owner", tmp_path) as owner:
        room_id = await owner.make_room(encrypted=False, invite=[view.user_id(username)])
        settings: Json = {"bot": {"username": username}, "admin_room": {"room": room_id}}
        async with running_bot(tmp_path / "bot", synapse, launch=quickly, **settings) as bot:
            desk = Desk(synapse, view, bot, owner, room_id, tmp_path)
            await owner.sees_join(room_id, desk.bot_id)
            await desk.ask("!status")
            file = await saved(bot, tmp_path / "backup.tar")
            after = view.user_id(unique("after"))
            assert (await desk.ask(f"!register {after}")).about["state"] == "created"
            password = password_in(await desk.credentials(after))
            await bot.kill()
            meanwhile = view.user_id(unique("meanwhile"))
            command = await owner.say(room_id, f"!register {meanwhile}")

            shutil.rmtree(bot.state)
            await restored(bot, file)
            await bot.start()
            assert (await owner.reply_to(command)).about["user_id"] == meanwhile
            await desk.credentials(meanwhile)
            await desk.answered_once()
            assert requests(bot) == ["failed", "created"]  # of the first, the bot knows only that the name is taken
            assert await view.sign_in(after, password) == 200


async def test_a_backup_holds_neither_the_shared_secret_nor_the_devices_keys(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk:
        await desk.ask("!status")
        content = (await saved(desk.bot, tmp_path / "backup.tar")).read_bytes()
        assert synapse.secret_file.read_bytes().strip() not in content
        assert (desk.bot.state / "crypto.key").read_bytes() not in content
        assert b"olm.db" not in content
        assert (desk.bot.state / "secrets.key").read_bytes() in content


async def test_a_bot_that_still_runs_on_the_old_state_is_ended_by_the_restored_one(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk:
        file = await saved(desk.bot, tmp_path / "backup.tar")
        same: Json = {"bot": desk.bot.config["bot"], "admin_room": desk.bot.config["admin_room"]}
        async with running_bot(tmp_path / "elsewhere", synapse, launch=quickly, start=False, **same) as other:
            await restored(other, file)
            await other.start()
            assert (await desk.bot.ended()).status == 1
            assert "FAIL session_revoked" in desk.bot.log()
            await other.wait_ready()
            await desk.ask("!status")
            await other.stop()
            shutil.rmtree(desk.bot.state)
            shutil.move(other.state, desk.bot.state)
            await desk.bot.start()
