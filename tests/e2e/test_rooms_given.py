"""An admin room that the operator names: joined at once, or as soon as somebody lets the bot in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import BotProcess, Launch, Page, running_bot
from tests.e2e.desk import Desk
from tests.e2e.person import Person, somebody, unique
from tests.e2e.server_view import ServerView

HISTORY = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "shared"}}


def waits_for_an_invitation(page: Page) -> bool:
    return page.status == 200 and "invitation" in str(page.body["waiting_for"])


def waits_for_nothing(page: Page) -> bool:
    return page.status == 200 and page.body["waiting_for"] is None


@asynccontextmanager
async def bot_for(
    room: str, username: str, synapse: RunningSynapse, folder: Path, launch: Launch
) -> AsyncIterator[BotProcess]:
    async with running_bot(
        folder / "bot", synapse, launch=launch, bot={"username": username}, admin_room={"room": room}
    ) as bot:
        yield bot


async def works_there(
    room_id: str, owner: Person, bot: BotProcess, synapse: RunningSynapse, view: ServerView, folder: Path
) -> None:
    """The bot is in the room, made none of its own, and does its main job."""
    await bot.wait_page(waits_for_nothing)
    desk = Desk(synapse, view, bot, owner, room_id, folder)
    user_id = view.user_id(unique("ada"))
    answer = await desk.ask(f"!register {user_id} Ada")
    assert answer.encrypted
    assert answer.about["user_id"] == user_id
    message = await desk.credentials(user_id)
    assert await view.rooms_made_by(desk.bot_id) == [message.room_id]
    await desk.answered_once()


async def test_a_room_by_its_id_is_entered_once_the_bot_is_invited(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    """`!id` has no server part in version 12 and has one in version 11."""
    username = unique("onboard")
    bot_id = homeserver_view.user_id(username)
    async with somebody(homeserver, "owner", tmp_path) as owner:
        room_id = await owner.make_room()
        assert (":" in room_id) is (homeserver.settings.default_room_version == "11")
        async with bot_for(room_id, username, homeserver, tmp_path, quickly) as bot:
            page = await bot.wait_page(waits_for_an_invitation)
            assert page.body["ready"] is True
            assert room_id in page.body["waiting_for"]
            assert bot_id in page.body["waiting_for"]
            assert "invitation" in bot.log()
            await owner.invite(room_id, bot_id)
            await works_there(room_id, owner, bot, homeserver, homeserver_view, tmp_path)


async def test_a_room_by_its_alias_is_entered_with_the_invitation_that_waits(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    username, name = unique("onboard"), unique("desk")
    bot_id = homeserver_view.user_id(username)
    alias = f"#{name}:{homeserver.server_name}"
    async with somebody(homeserver, "owner", tmp_path) as owner:
        room_id = await owner.make_room(room_alias_name=name)
        async with bot_for(alias, username, homeserver, tmp_path, quickly) as bot:
            await bot.wait_page(waits_for_an_invitation)
            await bot.stop()
            await owner.invite(room_id, bot_id)  # while it is away
            await bot.start()
            await works_there(room_id, owner, bot, homeserver, homeserver_view, tmp_path)


async def test_a_public_room_is_joined_without_an_invitation(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    username, name = unique("onboard"), unique("desk")
    async with somebody(synapse, "owner", tmp_path) as owner:
        room_id = await owner.make_room(preset="public_chat", room_alias_name=name)
        async with bot_for(f"#{name}:{synapse.server_name}", username, synapse, tmp_path, quickly) as bot:
            await works_there(room_id, owner, bot, synapse, view, tmp_path)


async def test_a_room_that_is_made_after_the_bot_started_is_entered_too(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    username, name = unique("onboard"), unique("desk")
    alias = f"#{name}:{synapse.server_name}"
    async with (
        somebody(synapse, "owner", tmp_path) as owner,
        bot_for(alias, username, synapse, tmp_path, quickly) as bot,
    ):
        page = await bot.wait_page(lambda page: page.status == 200 and alias in str(page.body["waiting_for"]))
        assert page.body["ready"] is True
        room_id = await owner.make_room(room_alias_name=name, invite=[view.user_id(username)])
        await works_there(room_id, owner, bot, synapse, view, tmp_path)


async def test_what_was_said_before_the_bot_came_is_not_obeyed(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    """Also where the bot was invited before, so that it was given the key and can read it."""
    view, username = homeserver_view, unique("onboard")
    bot_id = view.user_id(username)
    async with somebody(homeserver, "owner", tmp_path) as owner:
        room_id = await owner.make_room(encrypted=False, initial_state=[HISTORY])
        async with bot_for(room_id, username, homeserver, tmp_path, quickly) as bot:
            await bot.wait_page(waits_for_an_invitation)
            early = [unique("early"), unique("early")]
            first = await owner.say(room_id, f"!register {early[0]}")
            await bot.stop()
            await owner.invite(room_id, bot_id)
            await owner.say(room_id, f"!register {early[1]}")
            await bot.start()
            await bot.wait_page(waits_for_nothing)
            desk = Desk(homeserver, view, bot, owner, room_id, tmp_path)
            await desk.ignored(first)
            for name in early:
                assert await view.account(view.user_id(name)) is None


async def test_a_bot_that_was_put_out_waits_and_comes_back_when_it_is_invited_again(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    username = unique("onboard")
    bot_id = view.user_id(username)
    async with somebody(synapse, "owner", tmp_path) as owner:
        room_id = await owner.make_room(invite=[])
        async with bot_for(room_id, username, synapse, tmp_path, quickly) as bot:
            await bot.wait_page(waits_for_an_invitation)
            await owner.invite(room_id, bot_id)
            await bot.wait_page(waits_for_nothing)
            await owner.kick(room_id, bot_id)
            await owner.invite(room_id, bot_id)
            await owner.sees_join(room_id, bot_id, times=2)
            await works_there(room_id, owner, bot, synapse, view, tmp_path)
