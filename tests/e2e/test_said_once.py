"""What was sent just before the encryption store was lost is found again by the new device, not said twice."""

from pathlib import Path

import pytest

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import Between, Passing
from tests.e2e.bot_process import Launch
from tests.e2e.desk import Desk, open_desk
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView


async def lose_the_device(desk: Desk) -> None:
    """The folder that may be deleted as a whole is deleted."""
    for file in (desk.bot.state / "crypto").iterdir():
        file.unlink()


@pytest.mark.parametrize("room", ["the admin room", "the direct room"])
async def test_what_went_out_before_the_device_was_lost_is_not_said_again_by_the_next(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, room: str
) -> None:
    async with (
        Between(synapse.url) as between,
        open_desk(tmp_path, synapse, view, url=between.url, launch=quickly) as desk,
    ):
        await desk.ask("!status")  # so that the killed message is not the first of its key

        async def kill(passing: Passing) -> None:
            in_admin_room = desk.room_id.split(":")[0].lstrip("!") in passing.path
            if "/send/m.room.encrypted/" in passing.path and in_admin_room is (room == "the admin room"):
                between.leave_alone()
                await desk.bot.kill()

        between.after = kill
        user_id = view.user_id(unique("ada"))
        command = await desk.admin.say(desk.room_id, f"!register {user_id}")
        answer = await desk.admin.reply_to(command)
        await desk.bot.ended()
        old = desk.bot.remembered("session.json")["device_id"]
        await lose_the_device(desk)
        await desk.bot.start()
        await desk.bot.wait_ready()
        await desk.credentials(user_id)
        assert await desk.messages_after(command) == [answer]
        brought = [e for e in desk.admin.seen if e.about == {"v": 1, "kind": "credentials", "user_id": user_id}]
        assert len(brought) == 1
        assert desk.bot.remembered("session.json")["device_id"] != old
