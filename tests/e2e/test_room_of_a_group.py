"""The rooms that groups of voters are named by: the bot enters them, so that it can look up who is there."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import POLL_EVERY, READY_WITHIN, Launch
from tests.e2e.desk import Desk, open_desk
from tests.e2e.person import Person, somebody, unique
from tests.e2e.server_view import ServerView


@asynccontextmanager
async def desk_with(
    folder: Path, synapse: RunningSynapse, view: ServerView, launch: Launch, room: str
) -> AsyncIterator[Desk]:
    """A bot whose group of teachers is named by a room."""
    groups = {"groups": [{"name": "teachers", "room": room}]}
    async with open_desk(folder, synapse, view, launch=launch, approval=groups) as desk:
        yield desk


async def weighed(desk: Desk, *, beyond: int = 0) -> int:
    """How often the votes were weighed again, once that was more often than before."""
    query = "SELECT count(*) FROM jobs WHERE kind = 'weigh' AND state = 'done'"
    async with asyncio.timeout(READY_WITHIN):
        while True:
            with closing(sqlite3.connect(desk.bot.state / "onboard.db", timeout=5)) as database:
                count = int(database.execute(query).fetchone()[0])
            if count > beyond:
                return count
            await asyncio.sleep(POLL_EVERY)


async def comes_in(desk: Desk, owner: Person, room_id: str) -> None:
    await owner.sees_join(room_id, desk.bot_id)
    assert await desk.view.membership(room_id, desk.bot_id) == "join"


async def test_a_closed_room_is_entered_by_its_address_once_the_bot_is_invited_and_who_comes_there_is_noticed(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    name = unique("teachers")
    alias = f"#{name}:{homeserver.server_name}"
    async with somebody(homeserver, "owner", tmp_path) as owner:
        room_id = await owner.make_room(room_alias_name=name)
        async with desk_with(tmp_path, homeserver, homeserver_view, quickly, alias) as desk:
            await desk.bot.has_logged(f"I am not in {alias}, so nobody counts for the group teachers: invite me there.")
            await owner.invite(room_id, desk.bot_id)
            await comes_in(desk, owner, room_id)
            before = await weighed(desk)
            await owner.say(room_id, "!status")
            async with somebody(homeserver, "teacher", tmp_path) as teacher:
                await owner.invite(room_id, teacher.user_id)
                await teacher.invitation_from(owner.user_id)
                await teacher.join(room_id)
                await weighed(desk, beyond=before)
            assert owner.said_by(desk.bot_id, room_id) == []


async def test_a_public_room_that_is_made_later_is_entered_with_the_first_look_after_an_invitation(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    name = unique("teachers")
    alias = f"#{name}:{synapse.server_name}"
    async with (
        somebody(synapse, "owner", tmp_path) as owner,
        desk_with(tmp_path, synapse, view, quickly, alias) as desk,
    ):
        await desk.bot.has_logged(f"The homeserver finds no room {alias}")
        more: dict[str, Any] = {"preset": "public_chat", "room_alias_name": name, "invite": [desk.bot_id]}
        await comes_in(desk, owner, await owner.make_room(**more))


async def test_an_invitation_to_a_room_that_no_group_is_named_by_is_still_declined(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    alias = f"#{unique('nobody')}:{synapse.server_name}"
    async with (
        somebody(synapse, "owner", tmp_path) as owner,
        desk_with(tmp_path, synapse, view, quickly, alias) as desk,
    ):
        room_id = await owner.make_room(invite=[desk.bot_id])
        await owner.until(
            lambda: [e for e in owner.seen if e.sender == desk.bot_id and e.content.get("membership") == "leave"],
            within=15,
            why="the bot to decline",
        )
        assert await view.membership(room_id, desk.bot_id) == "leave"
