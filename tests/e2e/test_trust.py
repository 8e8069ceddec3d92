"""Whose devices the bot obeys and gives keys to, on a real Synapse; and what a server that lies gets out of it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import BotProcess, Launch
from tests.e2e.desk import Desk, open_desk
from tests.e2e.person import PASSWORD, Person, Seen, signed_in, unique
from tests.e2e.server_view import ServerView

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_SIGNED = {"v": 1, "kind": "error", "error": "device_not_signed"}


@asynccontextmanager
async def unsigned_device(desk: Desk) -> AsyncIterator[Person]:
    """The admin at a device that they did not verify."""
    folder = desk.folder / unique("device")
    identity = desk.admin.identity
    async with signed_in(
        desk.synapse.url, desk.admin.user_id, PASSWORD, folder, cross_sign=False, identity=identity
    ) as device:
        await device.until(lambda: desk.room_id in device.client.rooms, why="the room")
        yield device


async def turned_away(desk: Desk, command: str, reader: Person | None = None) -> Seen:
    """The notice that somebody reads whose command was not obeyed, on whichever device."""
    notice = await (reader or desk.admin).reply_to(command)
    assert NOT_SIGNED.items() <= notice.about.items()
    assert not notice.encrypted
    return notice


def sessions(person: Person, room_id: str) -> set[str]:
    """The ids of a room's keys that somebody was given."""
    assert person.client.olm is not None
    by_sender = person.client.olm.inbound_group_store[room_id]
    return {session_id for sessions in by_sender.values() for session_id in sessions}


async def verb(bot: BotProcess, *arguments: str) -> tuple[int, str]:
    """Another verb beside the running bot: its exit status, and what it said."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "onboard_bot", *arguments, "--config", str(bot.config_file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


async def test_an_unverified_device_is_not_obeyed_and_reads_nothing_until_it_is_verified(desk: Desk) -> None:
    await desk.ask("!status")
    async with unsigned_device(desk) as laptop:
        name = unique("mallory")
        command = await laptop.say(desk.room_id, f"!register {name}")
        notice = await turned_away(desk, command)
        assert await turned_away(desk, command, laptop) == notice
        assert name not in notice.body
        assert await desk.view.account(desk.view.user_id(name)) is None

        again = await laptop.say(desk.room_id, "!help")
        secret = await desk.ask("!status")
        await laptop.until(lambda: secret.event_id in laptop.unreadable, why="something that it cannot read")
        assert [e for e in desk.admin.seen if e.in_reply_to == again] == []

        await laptop.sign()
        answer = await laptop.reply_to(await laptop.say(desk.room_id, f"!register {name}"))
        assert answer.encrypted
        assert answer.about["state"] == "created"


async def test_a_changed_identity_counts_when_another_approver_says_so(desk: Desk) -> None:
    async with desk.member("bob", level=50) as bob:
        assert (await desk.ask("!status", by=bob)).about["kind"] == "status"
        await bob.reset_identity()
        command = await bob.say(desk.room_id, f"!register {unique('carol')}")
        told = await desk.admin.message(kind="error", error="identity_changed", user_id=bob.user_id)
        assert told.encrypted
        assert bob.identity.public("master") in told.body
        notice = await turned_away(desk, command, bob)
        assert f"!trust {bob.user_id}" in notice.body
        assert told.event_id in bob.unreadable or told.event_id not in [e.event_id for e in bob.seen]

        accepted = await desk.ask(f"!trust {bob.user_id}")
        assert bob.identity.public("master") in accepted.body
        answer = await bob.reply_to(await bob.say(desk.room_id, "!status"))
        assert answer.about["kind"] == "status"
        assert answer.encrypted


async def test_the_operator_accepts_a_changed_identity_beside_the_running_bot(desk: Desk) -> None:
    async with desk.member("bob", level=50) as bob:
        await desk.ask("!status", by=bob)
        assert (await verb(desk.bot, "trust", bob.user_id))[0] == 1
        await bob.reset_identity()
        await turned_away(desk, await bob.say(desk.room_id, "!status"), bob)
        status, said = await verb(desk.bot, "trust", bob.user_id)
        assert status == 0
        assert bob.identity.public("master") in said.replace(" ", "")
        assert (await bob.reply_to(await bob.say(desk.room_id, "!status"))).about["kind"] == "status"


async def test_what_comes_in_clear_text_into_the_encrypted_room_is_not_obeyed(desk: Desk) -> None:
    """As the homeserver could write it, in anybody's name."""
    name = unique("mallory")
    content = {"msgtype": "m.text", "body": f"!register {name}"}
    path = f"rooms/{desk.room_id}/send/m.room.message/{unique('clear')}"
    command = str((await desk.admin.ask("PUT", path, content))["event_id"])
    await turned_away(desk, command)
    await desk.ask("!status")
    assert await desk.view.account(desk.view.user_id(name)) is None


async def test_who_leaves_reads_nothing_of_what_comes_after(desk: Desk) -> None:
    async with desk.member("bob") as bob:
        await bob.reply_to(await bob.say(desk.room_id, "!status"))
        await desk.admin.kick(desk.room_id, bob.user_id)
        answer = await desk.ask("!status")
        raw = await desk.admin.ask("GET", f"rooms/{desk.room_id}/event/{answer.event_id}")
        assert raw["content"]["session_id"] in sessions(desk.admin, desk.room_id)
        assert raw["content"]["session_id"] not in sessions(bob, desk.room_id)
        assert answer.event_id not in [event.event_id for event in bob.seen]


async def test_allow_serves_everybody(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(
        tmp_path, homeserver, homeserver_view, launch=quickly, encryption={"unsigned_devices": "allow"}
    ) as desk:
        assert "everybody" in (await desk.ask("!status")).body
        async with unsigned_device(desk) as laptop:
            answer = await laptop.reply_to(await laptop.say(desk.room_id, f"!register {unique('ada')}"))
            assert answer.encrypted
            assert answer.about["state"] == "created"
