"""Invitations to the bot: people of the admin room may talk to it, everybody else is declined within 15 s."""

import sqlite3
from contextlib import closing

import aiohttp
import pytest

from tests.e2e.desk import Desk
from tests.e2e.person import Person, somebody

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECLINED_WITHIN = 15.0


async def answered(desk: Desk, person: Person, room_id: str, membership: str) -> None:
    """Waits for the bot's answer to an invitation, as the person's client shows it."""

    def answers() -> list[str]:
        return [
            e.content["membership"]
            for e in person.seen
            if e.room_id == room_id and e.type == "m.room.member" and e.sender == desk.bot_id
        ]

    await person.until(answers, within=DECLINED_WITHIN, why="an answer to the invitation")
    assert answers() == [membership]
    assert await desk.view.membership(room_id, desk.bot_id) == membership


async def test_a_direct_message_from_somebody_of_the_admin_room_is_accepted(desk: Desk) -> None:
    room_id = await desk.admin.make_room(is_direct=True, invite=[desk.bot_id])
    await answered(desk, desk.admin, room_id, "join")


async def test_what_is_typed_there_is_not_obeyed(desk: Desk) -> None:
    """The one command of direct messages, !request, comes later; the others belong into the admin room."""
    before = await desk.admin.say(desk.room_id, "nobody answers")
    room_id = await desk.admin.make_room(is_direct=True, invite=[desk.bot_id])
    await answered(desk, desk.admin, room_id, "join")
    await desk.admin.say(room_id, "!status")
    await desk.admin.say(room_id, "!register from-afar")
    await desk.ignored(before)
    assert desk.admin.said_by(desk.bot_id, room_id) == []
    assert await desk.view.account(desk.view.user_id("from-afar")) is None


async def test_a_room_that_is_no_direct_message_is_declined_even_from_an_admin(desk: Desk) -> None:
    room_id = await desk.admin.make_room(invite=[desk.bot_id])
    await answered(desk, desk.admin, room_id, "leave")


@pytest.mark.parametrize("is_direct", [True, False], ids=["direct message", "room"])
async def test_a_stranger_is_declined(desk: Desk, *, is_direct: bool) -> None:
    async with somebody(desk.synapse, "stranger", desk.folder) as stranger:
        room_id = await stranger.make_room(is_direct=is_direct, invite=[desk.bot_id])
        await answered(desk, stranger, room_id, "leave")


async def test_somebody_who_is_only_invited_into_the_admin_room_is_still_a_stranger(desk: Desk) -> None:
    async with somebody(desk.synapse, "expected", desk.folder) as expected:
        await desk.admin.invite(desk.room_id, expected.user_id)
        await expected.invitation_from(desk.admin.user_id)
        room_id = await expected.make_room(is_direct=True, invite=[desk.bot_id])
        await answered(desk, expected, room_id, "leave")


async def test_invitations_that_came_while_the_bot_was_away_are_answered(desk: Desk) -> None:
    async with somebody(desk.synapse, "stranger", desk.folder) as stranger:
        await desk.bot.kill()
        theirs = await stranger.make_room(is_direct=True, invite=[desk.bot_id])
        ours = await desk.admin.make_room(is_direct=True, invite=[desk.bot_id])
        await desk.bot.start()
        await answered(desk, stranger, theirs, "leave")
        await answered(desk, desk.admin, ours, "join")


async def test_an_invitation_of_which_no_sync_tells_any_more_is_found_at_the_next_start(desk: Desk) -> None:
    async with somebody(desk.synapse, "stranger", desk.folder) as stranger:
        await desk.bot.kill()
        room_id = await stranger.make_room(is_direct=True, invite=[desk.bot_id])
        token = desk.bot.remembered("session.json")["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(desk.synapse.url, headers=headers) as http,
            http.get("/_matrix/client/v3/sync", params={"timeout": "0"}) as answer,
        ):
            after_it = (await answer.json())["next_batch"]
        with closing(sqlite3.connect(desk.bot.state / "onboard.db")) as connection, connection:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'sync_token'", [after_it])
        await desk.bot.start()
        await answered(desk, stranger, room_id, "leave")


async def test_a_stranger_who_invites_again_and_again_is_declined_every_time(desk: Desk) -> None:
    async with somebody(desk.synapse, "stubborn", desk.folder) as stubborn:
        room_id = await stubborn.make_room(is_direct=True, invite=[desk.bot_id])
        await answered(desk, stubborn, room_id, "leave")
        await stubborn.invite(room_id, desk.bot_id)
        await stubborn.until(
            lambda: [e.content["membership"] for e in stubborn.seen if e.sender == desk.bot_id] == ["leave", "leave"],
            within=DECLINED_WITHIN,
        )
