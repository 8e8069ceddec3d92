"""Stops at bad moments: what was asked is done once, answered once, and nothing is lost."""

from pathlib import Path

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import Launch
from tests.e2e.desk import open_desk
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView


async def test_what_was_typed_while_the_bot_was_away_is_answered_once(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(tmp_path, homeserver, homeserver_view, launch=quickly) as desk:
        await desk.bot.kill()
        names = [unique("absent") for _ in range(3)]
        commands = [await desk.admin.say(desk.room_id, f"!register {name}") for name in names]
        await desk.bot.start()
        answers = [await desk.admin.reply_to(command) for command in commands]
        assert [a.about["user_id"] for a in answers] == [desk.view.user_id(name) for name in names]
        assert {e.event_id for e in await desk.messages_after(commands[0])} == {a.event_id for a in answers}
        for name in names:
            await desk.credentials(desk.view.user_id(name))

        # Nothing is repeated by a start that finds everything done.
        await desk.bot.stop()
        await desk.bot.start()
        assert len(await desk.messages_after(commands[0])) == 4  # three answers and the one to the question before


async def test_more_than_one_sync_can_hold_is_lost_to_nobody(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    """A limited timeline: the server leaves out what came between, and the bot asks for it."""
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk:
        await desk.bot.kill()
        user_id = view.user_id(unique("buried"))
        command = await desk.admin.say(desk.room_id, f"!register {user_id}")
        for number in range(130):
            await desk.admin.say(desk.room_id, f"chatter {number}")
        await desk.bot.start()
        answer = await desk.admin.reply_to(command)
        assert answer.about["user_id"] == user_id
        assert await desk.messages_after(command) == [answer]


async def test_a_lost_encryption_store_makes_a_new_device_of_the_same_identity(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk:
        old = desk.bot.remembered("session.json")["device_id"]
        before = (await desk.admin.ask("POST", "keys/query", {"device_keys": {desk.bot_id: []}}))["master_keys"]
        await desk.bot.stop()
        for file in (desk.bot.state / "crypto").iterdir():
            file.unlink()
        await desk.bot.start()
        await desk.bot.wait_ready()
        new = desk.bot.remembered("session.json")["device_id"]
        assert new != old
        assert await view.devices(desk.bot_id) == [new]
        keys = await desk.admin.ask("POST", "keys/query", {"device_keys": {desk.bot_id: []}})
        assert keys["master_keys"][desk.bot_id]["keys"] == before[desk.bot_id]["keys"]
        (self_signing,) = keys["self_signing_keys"][desk.bot_id]["keys"]
        assert self_signing in keys["device_keys"][desk.bot_id][new]["signatures"][desk.bot_id]
        user_id = view.user_id(unique("ada"))
        assert (await desk.ask(f"!register {user_id}")).about["user_id"] == user_id
        await desk.credentials(user_id)
