"""`!register` as a person in the admin room lives it, in rooms of version 12 and 11."""

import asyncio
import string
import time
from pathlib import Path
from typing import Any

import pytest

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import REGISTER, Between, Passing
from tests.e2e.bot_process import Launch, running_bot
from tests.e2e.desk import Desk, open_desk, password_in
from tests.e2e.person import somebody, unique
from tests.e2e.server_view import ServerView

pytestmark = pytest.mark.asyncio(loop_scope="module")


SLOW_AFTER = 1.5
"""Seconds after which an answer is announced."""


def files_holding(folder: Path, secret: str) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


async def test_one_line_makes_an_account_and_its_password_comes_as_a_direct_message(desk: Desk) -> None:
    async with desk.second_device() as phone:
        await phone.until(lambda: desk.room_id in phone.client.rooms)
        name = unique("ada")
        user_id = desk.view.user_id(name)
        answer = await desk.ask(f"!register {name} Ada Lovelace")

        assert answer.encrypted
        assert answer.content["msgtype"] == "m.notice"
        assert answer.content["m.mentions"] == {}
        assert set(answer.relation) == {"m.in_reply_to"}
        assert answer.about == {
            "v": 1,
            "kind": "account",
            "id": answer.about["id"],
            "state": "created",
            "user_id": user_id,
        }
        assert user_id in answer.body
        account = await desk.view.account(user_id)
        assert account is not None
        assert (account["displayname"], account["admin"], account["user_type"]) == ("Ada Lovelace", False, None)
        assert await desk.view.devices(user_id) == []  # nobody keeps a session of it

        message = await desk.credentials(user_id)
        assert message.encrypted
        assert message.room_id != desk.room_id
        assert set(await desk.view.state(message.room_id)) >= {("m.room.encryption", "")}
        assert sorted(m for m in await members(desk, message.room_id)) == sorted([desk.bot_id, desk.admin.user_id])
        password = password_in(message)
        assert 20 <= len(password) < 72
        assert set(password) <= set(string.ascii_letters + string.digits + string.punctuation) - {"`"}
        assert await desk.view.sign_in(user_id, password) == 200

        # The other device was there before, so it reads both.
        there = await phone.message(kind="account", user_id=user_id)
        assert there.event_id == answer.event_id
        also_there = await phone.message(kind="credentials", user_id=user_id)
        assert also_there.event_id == message.event_id

        # The password is in one message and nowhere else.
        assert [e.event_id for e in desk.admin.seen if password in str(e.content)] == [message.event_id]
        assert files_holding(desk.bot.folder, password) == []


async def members(desk: Desk, room_id: str) -> list[str]:
    state = await desk.view.state(room_id)
    return [
        who for (kind, who), content in state.items() if kind == "m.room.member" and content["membership"] == "join"
    ]


async def test_the_next_password_comes_into_the_same_direct_room(desk: Desk) -> None:
    first, second = unique("first"), unique("second")
    await desk.ask(f"!register {first}")
    one = await desk.credentials(desk.view.user_id(first))
    await desk.ask(f"!register {second}")
    another = await desk.credentials(desk.view.user_id(second))
    assert one.room_id == another.room_id


async def test_a_command_in_a_thread_is_answered_in_the_thread(desk: Desk) -> None:
    root = await desk.admin.say(desk.room_id, "about the new people")
    name = unique("grace")
    relation = {
        "rel_type": "m.thread",
        "event_id": root,
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": root},
    }
    command = await desk.admin.say(desk.room_id, f"!register {name} Grace", **{"m.relates_to": relation})
    answer = await desk.admin.reply_to(command)
    assert answer.about["user_id"] == desk.view.user_id(name)
    assert answer.relation["rel_type"] == "m.thread"
    assert answer.relation["event_id"] == root
    assert await desk.messages_after(root) == [answer]


async def test_a_username_is_understood_however_it_is_written(desk: Desk) -> None:
    server = desk.synapse.server_name
    for written in ("{}", "@{}", "@{}:" + server, "@{}:" + server.upper()):
        name = unique("katherine")
        answer = await desk.ask(f"!register {written.format(name.upper())}")
        assert answer.about["user_id"] == desk.view.user_id(name)


async def test_a_pill_is_the_person_it_shows(desk: Desk) -> None:
    name = unique("mary")
    user_id = desk.view.user_id(name)
    formatted = f'!register <a href="https://matrix.to/#/{user_id}">Mary Jackson</a> Mary Jackson'
    answer = await desk.ask(
        "!register Mary Jackson Mary Jackson", format="org.matrix.custom.html", formatted_body=formatted
    )
    assert answer.about["user_id"] == user_id
    account = await desk.view.account(user_id)
    assert account is not None
    assert account["displayname"] == "Mary Jackson"


async def test_a_mention_of_the_bot_is_as_good_as_the_prefix(desk: Desk) -> None:
    name = unique("dorothy")
    mention: dict[str, Any] = {
        "format": "org.matrix.custom.html",
        "formatted_body": f'<a href="https://matrix.to/#/{desk.bot_id}">Onboarding</a>: register {name}',
        "m.mentions": {"user_ids": [desk.bot_id]},
    }
    answer = await desk.ask(f"Onboarding: register {name}", **mention)
    assert answer.about["user_id"] == desk.view.user_id(name)


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("ada:elsewhere.org", "username_invalid"),
        ("@ada:elsewhere.org", "username_invalid"),
        ("root", "username_reserved"),
        ("Admin", "username_reserved"),
        ("\N{KELVIN SIGN}atherine", "username_invalid"),
        ("\N{CYRILLIC SMALL LETTER A}da", "username_invalid"),
        ("_ada", "username_invalid"),
        ("12345", "username_invalid"),
        ('"ada lovelace"', "username_invalid"),
        ("a" * 300, "username_invalid"),
        ("irc-ada", "username_reserved"),
        ("spammer-ada", "homeserver_refused"),
    ],
)
async def test_a_name_that_cannot_be_is_refused_with_its_code(desk: Desk, typed: str, code: str) -> None:
    answer = await desk.ask(f"!register {typed} A Name")
    assert (answer.about["kind"], answer.about["error"]) == ("error", code)
    assert "Traceback" not in answer.body


async def test_a_taken_name_is_refused_and_the_first_account_stays_as_it_is(desk: Desk) -> None:
    name = unique("ada")
    user_id = desk.view.user_id(name)
    await desk.ask(f"!register {name} The First")
    password = password_in(await desk.credentials(user_id))
    answer = await desk.ask(f"!register {name.upper()} The Second")
    assert (answer.about["kind"], answer.about["error"]) == ("error", "username_taken")
    assert await desk.view.sign_in(user_id, password) == 200
    account = await desk.view.account(user_id)
    assert account is not None
    assert account["displayname"] == "The First"


async def test_a_display_name_may_have_256_characters_and_no_more(desk: Desk) -> None:
    name = unique("long")
    answer = await desk.ask(f"!register {name} {'é' * 256}")
    account = await desk.view.account(answer.about["user_id"])
    assert account is not None
    assert account["displayname"] == "é" * 256
    refused = unique("longer")
    answer = await desk.ask(f"!register {refused} {'é' * 257}")
    assert answer.about["error"] == "bad_argument"
    assert await desk.view.account(desk.view.user_id(refused)) is None


@pytest.mark.parametrize("control", ["\x07", "\x00", "\u202e", "\x1b[2J"])
async def test_control_characters_in_a_display_name_are_refused(desk: Desk, control: str) -> None:
    name = unique("bell")
    answer = await desk.ask(f"!register {name} Ada{control}Lovelace")
    assert answer.about["error"] == "bad_argument"
    assert await desk.view.account(desk.view.user_id(name)) is None


@pytest.mark.parametrize("account_type", ["bot", "support"])
async def test_a_type_is_synapses_user_type(desk: Desk, account_type: str) -> None:
    answer = await desk.ask(f"!register {unique('helper')} --type={account_type} A Helper")
    account = await desk.view.account(answer.about["user_id"])
    assert account is not None
    assert (account["user_type"], account["displayname"]) == (account_type, "A Helper")


async def test_an_account_with_admin_rights_is_refused(desk: Desk) -> None:
    name = unique("power")
    for typed in (f"!register {name} --admin", f"!register {name} \N{EM DASH}admin", f"!register --admin {name} X"):
        answer = await desk.ask(typed)
        assert answer.about["error"] == "not_permitted"
    assert await desk.view.account(desk.view.user_id(name)) is None


async def test_power_decides_as_the_rooms_state_has_it_at_that_moment(desk: Desk) -> None:
    async with desk.member("rosa") as rosa:
        asked = desk.view.user_id(unique("asked"))
        answer = await desk.ask(f"!register {asked}", by=rosa)
        assert (answer.about["kind"], answer.about["state"]) == ("request", "pending")
        assert await desk.view.account(asked) is None

        name = unique("child")
        await desk.admin.set_level(desk.room_id, rosa.user_id, 50)
        answer = await desk.ask(f"!register {name}", by=rosa)
        assert answer.about["user_id"] == desk.view.user_id(name)
        message = await desk.credentials(desk.view.user_id(name), to=rosa)
        assert await desk.view.sign_in(desk.view.user_id(name), password_in(message)) == 200
        # It goes to who asked, not to the other admin.
        assert not any(
            e.about.get("user_id") == message.about["user_id"] for e in desk.admin.seen if e.room_id != desk.room_id
        )

        await desk.admin.set_level(desk.room_id, rosa.user_id, None)  # demoted by being taken out of the list
        answer = await desk.ask(f"!register {unique('late')}", by=rosa)
        assert answer.about["state"] == "pending"


async def test_levels_that_somebody_encrypts_are_not_believed(desk: Desk) -> None:
    async with desk.member("mallory") as mallory:
        forged = {"users": {mallory.user_id: 100}}
        await mallory.send(desk.room_id, forged, "m.room.power_levels")
        answer = await desk.ask(f"!register {unique('evil')}", by=mallory)
        assert answer.about["state"] == "pending"


async def test_ten_at_once_are_ten_accounts_with_one_answer_each(desk: Desk) -> None:
    names = [unique("many") for _ in range(10)]
    commands = [await desk.admin.say(desk.room_id, f"!register {name}") for name in names]
    for command, name in zip(commands, names, strict=True):
        answer = await desk.admin.reply_to(command)
        assert answer.about["user_id"] == desk.view.user_id(name)
    said = await desk.messages_after(commands[0])
    assert sorted(str(e.in_reply_to) for e in said) == sorted(commands)
    for name in names:
        await desk.credentials(desk.view.user_id(name))


async def test_the_same_name_twice_at_once_is_one_account(desk: Desk) -> None:
    name = unique("twin")
    commands = [await desk.admin.say(desk.room_id, f"!register {name}") for _ in range(2)]
    answers = [await desk.admin.reply_to(command) for command in commands]
    assert answers[0].about["state"] == "created"
    assert answers[1].about["error"] in ("duplicate_request", "username_taken")
    if answers[1].about["error"] == "duplicate_request":
        assert answers[1].about["id"] == answers[0].about["id"]
    assert len(await desk.messages_after(commands[0])) == 2


async def test_a_command_of_somebody_who_left_since_is_not_obeyed(desk: Desk) -> None:
    async with desk.member("gone", level=60) as gone, desk.member("kicked", level=60) as kicked:
        await desk.bot.stop()
        names = [unique("ghost"), unique("ghost")]
        before = await desk.admin.say(desk.room_id, "nobody answers")
        await gone.say(desk.room_id, f"!register {names[0]}")
        await kicked.say(desk.room_id, f"!register {names[1]}")
        await gone.leave(desk.room_id)
        await desk.admin.set_level(desk.room_id, kicked.user_id, None)
        await desk.admin.kick(desk.room_id, kicked.user_id)
        await desk.bot.start()
        await desk.ignored(before)
        for name in names:
            assert await desk.view.account(desk.view.user_id(name)) is None


async def test_a_slow_answer_is_announced_by_an_hourglass_and_a_quick_one_is_not(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        Between(synapse.url) as between,
        open_desk(tmp_path, synapse, view, url=between.url, launch=quickly) as desk,
    ):
        began = time.monotonic()
        quick = await desk.admin.say(desk.room_id, f"!register {unique('quick')}")
        answer = await desk.admin.reply_to(quick)
        was_quick = time.monotonic() - began < SLOW_AFTER
        said = await desk.said_after(quick)
        assert answer in said
        assert len(said) == 1 or not was_quick  # on a machine that has other things to do

        go_on = asyncio.Event()

        async def wait(passing: Passing) -> None:
            if passing.is_a("POST", REGISTER):
                await go_on.wait()

        between.before = wait
        slow = await desk.admin.say(desk.room_id, f"!register {unique('slow')}")
        hourglass = await desk.admin.until(
            lambda: next(iter(desk.admin.said_by(desk.bot_id, desk.room_id, after=slow)), None), why="the hourglass"
        )
        assert hourglass.type == "m.reaction"
        assert hourglass.relation == {"rel_type": "m.annotation", "event_id": slow, "key": "⏳"}
        go_on.set()
        answer = await desk.admin.reply_to(slow)
        assert answer.about["state"] == "created"
        assert await desk.said_after(slow) == [hourglass, answer]  # and it stays


async def test_with_delivery_room_the_password_is_a_second_reply(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    accounts = {"delivery": "room"}
    async with open_desk(tmp_path, homeserver, homeserver_view, launch=quickly, accounts=accounts) as desk:
        user_id = desk.view.user_id(unique("here"))
        command = await desk.admin.say(desk.room_id, f"!register {user_id}")
        answer = await desk.admin.reply_to(command, kind="account")
        message = await desk.admin.reply_to(command, kind="credentials")
        assert message.about == {"v": 1, "kind": "credentials", "user_id": user_id}
        assert message.room_id == desk.room_id
        assert message.encrypted
        assert await desk.view.sign_in(user_id, password_in(message)) == 200
        assert await desk.messages_after(command) == [answer, message]
        assert desk.admin.invited_to == {}


async def test_with_delivery_room_an_unencrypted_room_is_refused(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with somebody(synapse, "owner", tmp_path) as owner:
        username = unique("onboard")
        room_id = await owner.make_room(encrypted=False)
        async with running_bot(
            tmp_path / "bot",
            synapse,
            launch=quickly,
            bot={"username": username},
            admin_room={"room": room_id},
            accounts={"delivery": "room"},
        ) as bot:
            await bot.wait_ready()
            await owner.invite(room_id, view.user_id(username))
            assert (await bot.ended()).status == 2
            assert "FAIL accounts.delivery: " in bot.log()
            assert "not encrypted" in bot.log()
            assert await view.rooms_of(view.user_id(username)) == [room_id]
            await bot.start()  # it stays so
            assert (await bot.ended()).status == 2


async def test_the_creator_of_a_version_12_room_needs_no_level(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with somebody(synapse, "creator", tmp_path) as creator:
        username = unique("onboard")
        bot_id = view.user_id(username)
        room_id = await creator.make_room(version="12", invite=[])
        assert creator.user_id not in (await creator.levels(room_id)).get("users", {})
        async with running_bot(
            tmp_path / "bot",
            synapse,
            launch=quickly,
            bot={"username": username},
            admin_room={"room": room_id},
        ) as bot:
            await bot.wait_ready()
            await creator.invite(room_id, bot_id)
            await creator.sees_join(room_id, bot_id)
            desk = Desk(synapse, view, bot, creator, room_id, tmp_path)
            answer = await desk.ask(f"!register {unique('made')}")
            assert answer.about["state"] == "created"
