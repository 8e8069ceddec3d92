"""Stops at bad moments: what was asked is done once, answered once, and nothing is lost."""

import asyncio
from pathlib import Path

import pytest

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import Between, Passing
from tests.e2e.bot_process import Launch
from tests.e2e.desk import Desk, open_desk, password_in
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


@pytest.mark.parametrize("answered", [True, False], ids=["answer lost", "request lost"])
async def test_a_registration_that_is_killed_at_any_request_is_done_once(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, *, answered: bool
) -> None:
    async with (
        Between(synapse.url) as between,
        open_desk(tmp_path, synapse, view, url=between.url, launch=quickly) as desk,
    ):
        paths: list[str] = []
        for number in range(1, 100):
            killed_at = await register_and_kill(desk, between, number, answered=answered)
            if killed_at is None:
                break
            paths.append(f"{killed_at.method} {killed_at.path}")
        for call in ("POST /_synapse", "/createRoom", "/sendToDevice/", "/send/m.room.encrypted/"):
            assert any(call in path for path in paths), f"never killed at {call}: {paths}"
        assert len(await view.devices(desk.bot_id)) == 1


async def register_and_kill(desk: Desk, between: Between, number: int, *, answered: bool) -> Passing | None:
    """One registration with a kill at its n-th request; where that was, None if it was done before."""
    seen: list[Passing] = []
    killed: list[Passing] = []
    gone = asyncio.Event()

    async def kill_if(passing: Passing) -> None:
        if len(seen) >= number and seen[number - 1] is passing and not killed:
            killed.append(passing)
            await desk.bot.kill()
            gone.set()

    async def before(passing: Passing) -> None:
        # For the server it is the same whether a look was lost or its answer.
        if passing.path.endswith("/sync") or (passing.method == "GET" and not answered):
            return
        seen.append(passing)
        if not answered:
            await kill_if(passing)

    async def after(passing: Passing) -> None:
        if answered and passing in seen:
            await kill_if(passing)

    between.before, between.after = before, after
    user_id = desk.view.user_id(unique("ada"))
    command = await desk.admin.say(desk.room_id, f"!register {user_id} Ada")
    both = asyncio.create_task(both_arrive(desk, command, user_id))
    killing = asyncio.create_task(gone.wait())
    await asyncio.wait((both, killing), return_when=asyncio.FIRST_COMPLETED)
    between.leave_alone()
    if killed:
        await gone.wait()
        await desk.bot.start()
    killing.cancel()
    await both
    messages = await desk.messages_after(command)
    assert len(messages) == 1, f"killed at {killed}: {messages}"
    brought = [e for e in desk.admin.seen if e.about == {"v": 1, "kind": "credentials", "user_id": user_id}]
    assert len(brought) == 1, f"killed at {killed}: {brought}"
    assert await desk.view.sign_in(user_id, password_in(brought[0])) == 200
    account = await desk.view.account(user_id)
    assert account is not None
    assert account["displayname"] == "Ada"
    await desk.admin.leave(brought[0].room_id)  # so that the next one needs a new room
    return killed[0] if killed else None


async def both_arrive(desk: Desk, command: str, user_id: str) -> None:
    answer = await desk.admin.reply_to(command)
    assert answer.about["state"] == "created"
    await desk.credentials(user_id)


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
