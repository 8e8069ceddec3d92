"""The disk is full while the bot runs: it says so, loses nothing, and goes on by itself when there is room again."""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from onboard_bot.demo.ports import free_port
from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import BotProcess, Launch, Page
from tests.e2e.desk import Desk, open_desk, password_in
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView

_SOON = 20.0
"""Seconds: fifteen to go on by itself, the rest for a busy machine."""


@contextmanager
def full_disk(bot: BotProcess) -> Iterator[None]:
    """No file of the process can grow beyond the largest that it has."""
    largest = max(file.stat().st_size for file in bot.state.rglob("*") if file.is_file())
    before = resource.prlimit(bot.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(bot.pid, resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.prlimit(bot.pid, resource.RLIMIT_FSIZE, before)


def says_why(page: Page) -> bool:
    return page.status == 503 and any("nothing can be stored" in reason for reason in page.body["missing"])


def said_in_the_log(desk: Desk, words: str) -> int:
    return sum(words in line for line in desk.bot.log().splitlines())


async def test_what_is_typed_while_the_disk_is_full_is_obeyed_once_as_soon_as_there_is_room(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk, desk.second_device() as device:
        before = await desk.ask("!status")
        names = [view.user_id(unique("full")) for _ in range(3)]
        with full_disk(desk.bot):
            commands = [await desk.admin.say(desk.room_id, f"!register {name}") for name in names[:2]]
            commands.append(await device.say(desk.room_id, f"!register {names[2]}"))  # with a key of its own
            await desk.bot.wait_page(says_why, within=_SOON)
            page = await desk.bot.healthz()
            assert page is not None
            assert page.status == 200
            await asyncio.sleep(3)
            assert said_in_the_log(desk, "nothing can be stored") == 1
            await desk.admin.turn()
            assert not [e for e in desk.admin.seen if e.in_reply_to in commands]
            assert [await view.account(name) for name in names] == [None] * 3
        began = time.monotonic()
        answers = [await desk.admin.reply_to(command, within=_SOON) for command in commands]
        assert time.monotonic() - began < _SOON
        assert [answer.about["user_id"] for answer in answers] == names
        for name in names:
            assert await view.sign_in(name, password_in(await desk.credentials(name))) == 200
        await desk.bot.wait_ready(within=_SOON)
        assert said_in_the_log(desk, "nothing can be stored") == 1
        assert said_in_the_log(desk, "the state can be stored again") == 1
        said = [e for e in await desk.messages_after(before.event_id) if e.in_reply_to is None]
        assert [("cannot store" in e.body, "stored again" in e.body) for e in said] == [(True, False), (False, True)]
        credentials = [e.about["user_id"] for e in desk.admin.seen if e.about.get("kind") == "credentials"]
        assert sorted(credentials) == sorted(names)
        desk.asked += commands


async def test_a_bot_killed_on_a_full_disk_obeys_after_the_next_start(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk:
        name = view.user_id(unique("killed"))
        with full_disk(desk.bot):
            command = await desk.admin.say(desk.room_id, f"!register {name}")
            await desk.bot.wait_page(says_why, within=_SOON)
            assert (await desk.bot.stop()).status == 0
            await desk.bot.start()
        answer = await desk.admin.reply_to(command)
        assert answer.about["user_id"] == name
        assert await view.sign_in(name, password_in(await desk.credentials(name))) == 200
        desk.asked.append(command)


def test_a_start_on_a_full_disk_ends_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "secret").write_text("a secret of this test")
    config = {
        "homeserver": {"url": "http://127.0.0.1:9", "shared_secret_file": str(tmp_path / "secret")},
        "bot": {"state_dir": str(tmp_path / "state")},
        "admin_room": {"admins": ["@ada:localhost"]},
        "ops": {"listen": f"127.0.0.1:{free_port()}"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    ended = subprocess.run(
        [sys.executable, "-m", "onboard_bot", "run", "--config", str(tmp_path / "config.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("ONBOARD_BOT_")},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert ended.returncode == 1, ended
    assert ended.stderr.startswith("FAIL state_unusable: ")
    assert str(tmp_path / "state") in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
