"""What people type wrongly gets one clear answer; what is not meant for the bot gets none."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import REGISTER, Between, Cut, Passing
from tests.e2e.bot_process import Launch
from tests.e2e.desk import Desk, open_desk, password_in
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        ("!register", "bad_argument", "Usage: !register <username>"),
        ("!register ada --typ=bot", "bad_argument", "--typ"),
        ("!register ada --type=king", "bad_argument", "king"),
        ("!register ada --type", "bad_argument", "type"),
        ("!register ada --rooms=staff", "bad_argument", "staff"),
        ('!register "ada', "bad_argument", ""),
        ("!regster ada", "unknown_command", "!register"),
        ("!frobnicate", "unknown_command", "!"),
        ("!help frobnicate", "unknown_command", "frobnicate"),
    ],
)
async def test_a_mistake_is_named(desk: Desk, typed: str, code: str, words: str) -> None:
    answer = await desk.ask(typed)
    assert answer.content["msgtype"] == "m.notice"
    assert answer.about == {"v": 1, "kind": "error", "error": code}
    assert words in answer.body
    assert "Traceback" not in answer.body


async def test_help_and_status_are_answered_in_kind(desk: Desk) -> None:
    assert (await desk.ask("!help")).about == {"v": 1, "kind": "help"}
    assert "--type" in (await desk.ask("!help register")).body
    assert (await desk.ask("!status")).about == {"v": 1, "kind": "status"}


def replaced(event_id: str, body: str) -> dict[str, Any]:
    return {
        "msgtype": "m.text",
        "body": f"* {body}",
        "m.new_content": {"msgtype": "m.text", "body": body},
        "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
    }


async def test_what_is_not_meant_for_the_bot_is_ignored_without_a_word(desk: Desk) -> None:
    admin, room_id = desk.admin, desk.room_id
    name = unique("quiet")
    said = await admin.say(room_id, "register somebody, would you")
    command = f"!register {name}"
    body = {"msgtype": "m.text", "body": command}
    contents: list[dict[str, Any]] = [
        body | {"msgtype": "m.notice"},
        body | {"msgtype": "m.emote"},
        body | {"msgtype": "org.example.custom"},
        replaced(said, command),
        {"msgtype": "m.text", "body": f"I said {command}"},
        {"msgtype": "m.text", "body": f"> {command}"},
        {"msgtype": "m.text", "body": f"> <{admin.user_id}> {command}\n\nwhat is this?"},
        body
        | {
            "body": f"> <{admin.user_id}> {command}\n\nand this?",
            "m.relates_to": {"m.in_reply_to": {"event_id": said}},
        },
        {
            "msgtype": "m.text",
            "body": "see above",
            "format": "org.matrix.custom.html",
            "formatted_body": f"<blockquote>{command}</blockquote>see above",
        },
        {"msgtype": "m.text", "body": "!"},
        {"msgtype": "m.text", "body": "!!"},
        {"msgtype": "m.text", "body": "!?"},
        {"msgtype": "m.text", "body": ""},
        {"msgtype": "m.text", "body": 5},
        {"msgtype": "m.text", "body": None},
        {"msgtype": ["m.text"], "body": [command]},
        {"msgtype": "m.text"},
        {},
        body | {"m.new_content": "nonsense"},
        {"msgtype": "m.text", "body": "hello", "m.relates_to": "nonsense"},
        {"msgtype": "m.text", "body": "Onboarding is slow today"},
        {"msgtype": "m.text", "body": f"{command[1:]}"},
        {"msgtype": "m.text", "body": "x" * 40_000},
    ]
    for content in contents:
        await admin.send(room_id, content)
    await admin.send(room_id, {"body": command, "msgtype": "m.text"}, "m.sticker")
    await admin.send(room_id, {"body": command}, "org.example.command")
    await admin.send(
        room_id, {"m.relates_to": {"rel_type": "m.annotation", "event_id": said, "key": "✅"}}, "m.reaction"
    )
    await desk.ignored(said)
    assert await desk.view.account(desk.view.user_id(name)) is None


async def test_an_edit_makes_no_command_and_repeats_none(desk: Desk) -> None:
    first, second = unique("typed"), unique("edited")
    command = await desk.admin.say(desk.room_id, f"!register {first}")
    answer = await desk.admin.reply_to(command)
    await desk.admin.send(desk.room_id, replaced(command, f"!register {second}"))
    assert await desk.messages_after(command) == [answer]
    assert await desk.view.account(desk.view.user_id(second)) is None


async def test_forged_ciphertext_stops_nothing(desk: Desk) -> None:
    said = await desk.admin.say(desk.room_id, "here it comes")
    real = {"algorithm": "m.megolm.v1.aes-sha2", "sender_key": "x", "session_id": "y", "device_id": "z"}
    forged: list[dict[str, Any]] = [
        {},
        real,
        real | {"ciphertext": "AwgAEnAC"},
        real | {"ciphertext": 5, "session_id": []},
        {"algorithm": "m.olm.v1.curve25519-aes-sha2", "ciphertext": {}},
        {"algorithm": {"nonsense": True}},
    ]
    for content in forged:
        path = f"rooms/{desk.room_id}/send/m.room.encrypted/{secrets.token_hex(8)}"
        await desk.admin.ask("PUT", path, content)
    for content in forged:
        path = f"sendToDevice/m.room.encrypted/{secrets.token_hex(8)}"
        await desk.admin.ask("PUT", path, {"messages": {desk.bot_id: {"*": content}}})
    await desk.ignored(said)
    name = unique("still")
    assert (await desk.ask(f"!register {name}")).about["state"] == "created"


def page(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"<html>{text}</html>", content_type="text/html")


def matrix_error(status: int, errcode: str, error: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": error}, status=status)


async def test_an_endpoint_that_does_not_work_is_told_in_the_room_and_then_works_again(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        Between(synapse.url) as between,
        open_desk(tmp_path, synapse, view, url=between.url, launch=quickly) as desk,
    ):
        for code, method, status, errcode, error in (
            ("endpoint_hidden", "GET", 404, None, "Not Found"),
            ("endpoint_replaced_by_mas", "GET", 404, "M_UNRECOGNIZED", "Unrecognized request"),
            ("endpoint_disabled", "POST", 400, "M_UNKNOWN", "Shared secret registration is not enabled"),
            ("homeserver_refused", "POST", 429, "M_UNKNOWN", "Rate limited"),
        ):

            async def wrong(
                passing: Passing,
                method: str = method,
                status: int = status,
                errcode: str | None = errcode,
                error: str = error,
            ) -> web.Response | None:
                if not passing.is_a(method, REGISTER):
                    return None
                return matrix_error(status, errcode, error) if errcode else page(status, error)

            between.before = wrong
            name = unique("nobody")
            answer = await desk.ask(f"!register {name}")
            assert (answer.about["kind"], answer.about["error"]) == ("error", code)
            assert answer.about["state"] == "failed"
            between.leave_alone()
            assert await view.account(view.user_id(name)) is None
            assert (await desk.ask(f"!register {name}")).about["state"] == "created"


async def test_an_answer_that_got_lost_is_found_out_and_makes_one_account(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        Between(synapse.url) as between,
        open_desk(tmp_path, synapse, view, url=between.url, launch=quickly) as desk,
    ):
        left = 1

        async def lose(passing: Passing) -> None:
            nonlocal left
            if passing.is_a("POST", REGISTER) and left:
                left -= 1
                raise Cut

        between.after = lose
        user_id = view.user_id(unique("lost"))
        answer = await desk.ask(f"!register {user_id} Lost And Found")
        assert left == 0
        assert answer.about["state"] == "created"
        password = password_in(await desk.credentials(user_id))
        assert await view.devices(user_id) == []  # looking left no session behind
        assert await view.sign_in(user_id, password) == 200


async def test_a_server_that_is_away_for_a_moment_delays_the_answer_and_nothing_else(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        Between(synapse.url) as between,
        open_desk(tmp_path, synapse, view, url=between.url, launch=quickly) as desk,
    ):
        failures = 3

        async def away(passing: Passing) -> web.Response | None:
            nonlocal failures
            if not passing.path.endswith("/sync") and failures:
                failures -= 1
                return page(502, "Bad Gateway")
            return None

        between.before = away
        user_id = view.user_id(unique("patient"))
        command = await desk.admin.say(desk.room_id, f"!register {user_id}")
        answer = await desk.admin.reply_to(command)
        assert answer.about["state"] == "created"
        assert await desk.messages_after(command) == [answer]
        assert await view.sign_in(user_id, password_in(await desk.credentials(user_id))) == 200
