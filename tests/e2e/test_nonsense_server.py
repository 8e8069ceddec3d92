"""A homeserver, or what stands before it, answers wrongly to the real bot: it waits, loses nothing, betrays nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
import pytest
import yaml
from aiohttp import web

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import Between, Passing
from tests.e2e.bot_process import BotProcess, Launch, Page, running_bot
from tests.e2e.desk import Desk, open_desk, password_in
from tests.e2e.person import PASSWORD, Person, has_account, signed_in, somebody, unique
from tests.e2e.server_view import ServerView

ADMINS = {"admins": ["@nobody:localhost"]}


def json_answer(value: Any, status: int = 200) -> Callable[[], web.Response]:
    return lambda: web.json_response(value, status=status)


def refusal(status: int, errcode: str, **more: Any) -> Callable[[], web.Response]:
    return json_answer({"errcode": errcode, "error": "no", **more}, status)


NONSENSE: dict[str, Callable[[], web.Response]] = {
    "null": json_answer(None),
    "a list": json_answer([]),
    "an empty object": json_answer({}),
}
EXPIRED = refusal(401, "M_UNKNOWN_TOKEN", soft_logout=True)
SIGNED_OUT = refusal(401, "M_UNKNOWN_TOKEN")


class Wrong:
    """Steps in with one answer for some calls, and counts how often."""

    def __init__(self, between: Between, where: Callable[[Passing], bool], answer: Callable[[], web.Response]) -> None:
        self.times = 0
        self._where = where
        self._answer = answer
        between.before = self.before

    async def before(self, passing: Passing) -> web.Response | None:
        if not self._where(passing):
            return None
        self.times += 1
        await asyncio.sleep(0.02)  # a real server takes a moment, too
        return self._answer()

    async def seen(self, times: int = 1, *, within: float = 15.0) -> None:
        """Waits until the bot has met it so often."""
        async with asyncio.timeout(within):
            while self.times < times:  # noqa: ASYNC110 - the proxy rings no bell
                await asyncio.sleep(0.02)


def get_ending(ending: str) -> Callable[[Passing], bool]:
    return lambda passing: passing.method == "GET" and unquote(passing.path).endswith(ending)


@asynccontextmanager
async def desk_behind_a_proxy(
    folder: Path, synapse: RunningSynapse, view: ServerView, launch: Launch, **more: Any
) -> AsyncIterator[tuple[Desk, Between]]:
    async with (
        Between(synapse.url) as between,
        open_desk(folder, synapse, view, url=between.url, launch=launch, **more) as desk,
    ):
        yield desk, between
        between.leave_alone()


def configure(bot: BotProcess, **sections: dict[str, Any]) -> None:
    """The operator edits the configuration; None takes a key out."""
    config = yaml.safe_load(bot.config_file.read_text())
    for section, values in sections.items():
        merged = config.get(section, {}) | values
        config[section] = {key: value for key, value in merged.items() if value is not None}
    bot.config_file.write_text(yaml.safe_dump(config))


def waits_for_nothing(page: Page) -> bool:
    return page.status == 200 and page.body["waiting_for"] is None


# Nothing secret in clear text


async def test_delivery_that_is_switched_to_an_unencrypted_room_ends_the_bot_before_a_password_goes_there(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    username = unique("onboard")
    bot_id = view.user_id(username)
    async with (
        Between(synapse.url) as between,
        somebody(synapse, "owner", tmp_path) as owner,
    ):
        room_id = await owner.make_room(encrypted=False, invite=[])
        async with running_bot(
            tmp_path / "bot",
            synapse,
            url=between.url,
            launch=quickly,
            bot={"username": username},
            admin_room={"room": room_id},
        ) as bot:
            await bot.wait_ready()
            await owner.invite(room_id, bot_id)
            await bot.wait_page(waits_for_nothing)
            held = Wrong(between, lambda p: p.is_a("POST", "/createRoom"), json_answer({}, 502))
            user_id = view.user_id(unique("ada"))
            answer = await owner.reply_to(await owner.say(room_id, f"!register {user_id}"))
            assert answer.about["state"] == "created"
            await held.seen()  # the password is under way, and waits
            await bot.stop()
            between.leave_alone()
            configure(bot, accounts={"delivery": "room"})

            async def slowly(passing: Passing) -> web.Response | None:
                if get_ending("/state/m.room.encryption")(passing):
                    await asyncio.sleep(1.5)
                return None

            between.before = slowly
            for _ in range(2):
                await bot.start()
                assert (await bot.ended()).status == 2
            assert bot.log().count("FAIL accounts.delivery: ") == 2
            said = [e for e in await view.timeline(room_id) if e["sender"] == bot_id]
            assert not any("credentials" in json.dumps(e["content"]) for e in said)
            assert not any("`" in json.dumps(e["content"]) for e in said)
            between.leave_alone()
            configure(bot, accounts={"delivery": "dm"})
            await bot.start()
            desk = Desk(synapse, view, bot, owner, room_id, tmp_path)
            assert await view.sign_in(user_id, password_in(await desk.credentials(user_id))) == 200


@pytest.mark.parametrize("wrong", ["an empty object", "another path's 404"])
async def test_wrong_answers_about_encryption_make_nobody_speak_in_clear_text(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, wrong: str
) -> None:
    answers = NONSENSE | {"another path's 404": refusal(404, "M_UNRECOGNIZED")}
    async with desk_behind_a_proxy(tmp_path, synapse, view, quickly) as (desk, between):
        await desk.bot.stop()
        Wrong(between, get_ending("/state/m.room.encryption"), answers[wrong])
        await desk.bot.start()
        user_id = view.user_id(unique("ada"))
        command = await desk.admin.say(desk.room_id, f"!register {user_id}")
        answer = await desk.admin.reply_to(command, within=40, kind="account")
        assert (answer.encrypted, answer.about["state"]) == (True, "created")
        assert (await desk.credentials(user_id)).encrypted
        for room_id in await view.rooms_of(desk.bot_id):
            spoken = {e["type"] for e in await view.timeline(room_id) if e["sender"] == desk.bot_id}
            assert "m.room.message" not in spoken


# No command is lost


@pytest.mark.parametrize(
    ("ending", "wrong"),
    [
        ("/state/m.room.member/{admin}", "an empty object"),
        ("/state/m.room.member/{admin}", "403"),
        ("/state/m.room.power_levels", "403"),
        ("/state/m.room.power_levels", "404"),
    ],
)
async def test_a_wrong_answer_about_the_sender_delays_the_command_and_no_more(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, ending: str, wrong: str
) -> None:
    answers = NONSENSE | {"403": refusal(403, "M_UNKNOWN"), "404": refusal(404, "M_UNRECOGNIZED")}
    async with desk_behind_a_proxy(tmp_path, synapse, view, quickly) as (desk, between):
        meeting = Wrong(between, get_ending(ending.format(admin=desk.admin.user_id)), answers[wrong])
        command = await desk.admin.say(desk.room_id, f"!register {unique('ada')}")
        await meeting.seen(2)
        between.leave_alone()
        answer = await desk.admin.reply_to(command)
        assert answer.about["state"] == "created"
        assert await desk.messages_after(command) == [answer]


@pytest.mark.parametrize("wrong", ["null", "a list", "an empty object"])
async def test_nonsense_for_every_question_ends_nothing(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, wrong: str
) -> None:
    """At the very first start, at a later one, and while the bot is at work."""
    async with Between(synapse.url) as between:

        def every_question(passing: Passing) -> bool:
            return passing.method == "GET"

        admin_id = await has_account(synapse, "admin")
        username = unique("onboard")
        bot_id = view.user_id(username)
        Wrong(between, every_question, NONSENSE[wrong])
        async with (
            signed_in(synapse.url, admin_id, PASSWORD, tmp_path / "admin") as admin,
            running_bot(
                tmp_path / "bot",
                synapse,
                url=between.url,
                launch=quickly,
                bot={"username": username},
                admin_room={"admins": [admin_id]},
            ) as bot,
        ):
            await asyncio.sleep(2)
            assert bot.is_running
            between.leave_alone()
            room_id = await admin.invitation_from(bot_id, within=60)
            await admin.join(room_id)
            desk = Desk(synapse, view, bot, admin, room_id, tmp_path)
            await desk.ask("!status", within=40)

            Wrong(between, every_question, NONSENSE[wrong])
            command = await admin.say(room_id, f"!register {unique('working')}")
            await asyncio.sleep(2)
            assert bot.is_running
            between.leave_alone()
            assert (await admin.reply_to(command, within=60)).about["state"] == "created"

            await bot.stop()
            Wrong(between, every_question, NONSENSE[wrong])
            await bot.start()
            await asyncio.sleep(2)
            assert bot.is_running
            between.leave_alone()
            assert (await desk.ask(f"!register {unique('again')}", within=60)).about["state"] == "created"
            rooms = await view.rooms_made_by(bot_id)
            assert len([one for one in rooms if one == room_id]) == 1
            assert len(rooms) == 2  # the other one is for the passwords
            assert len(await view.devices(bot_id)) == 1


async def test_a_gap_that_the_server_does_not_let_the_bot_look_into_stops_nothing(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with desk_behind_a_proxy(tmp_path, synapse, view, quickly) as (desk, between):
        await desk.bot.kill()
        for number in range(130):
            await desk.admin.say(desk.room_id, f"chatter {number}")
        command = await desk.admin.say(desk.room_id, f"!register {unique('ada')}")
        meeting = Wrong(between, get_ending("/messages"), refusal(403, "M_FORBIDDEN"))
        await desk.bot.start()
        answer = await desk.admin.reply_to(command)
        assert answer.about["state"] == "created"
        assert meeting.times == 1
        assert (await desk.ask("!status")).about["kind"] == "status"


# A session that ends


@pytest.mark.parametrize("where", ["/state/m.room.member/", "/send/", "/sync", "only /sync", "/joined_rooms"])
async def test_a_session_that_expired_is_renewed_on_the_same_device(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, where: str
) -> None:
    """From some call on, for every call; or for one kind of call, behind which stands another worker."""
    async with desk_behind_a_proxy(tmp_path, synapse, view, quickly) as (desk, between):
        old = desk.bot.remembered("session.json")
        signed_in_again, expired = asyncio.Event(), asyncio.Event()
        refused = 0

        async def expire(passing: Passing) -> web.Response | None:
            nonlocal refused
            if where.removeprefix("only ") in passing.path:
                expired.set()
            if passing.is_a("POST", "/login"):
                await asyncio.sleep(0.5)  # what is asked meanwhile, without a token, is another refusal
                signed_in_again.set()
            here = passing.path.endswith("/sync") if where == "only /sync" else "/_matrix/" in passing.path
            if signed_in_again.is_set() or not expired.is_set() or not here or not passing.with_token:
                return None
            refused += 1
            return EXPIRED()

        between.before = expire
        user_id = view.user_id(unique("ada"))
        command = await desk.admin.say(desk.room_id, f"!register {user_id}")
        async with asyncio.timeout(20):
            await expired.wait()
            await desk.admin.say(desk.room_id, "so that the present sync comes to its end")
            await signed_in_again.wait()
        assert refused < 30
        answer = await desk.admin.reply_to(command, within=70)
        assert answer.about["state"] == "created"
        await desk.credentials(user_id)
        assert await desk.messages_after(command) == [answer]
        assert await view.devices(desk.bot_id) == [old["device_id"]]
        new = desk.bot.remembered("session.json")
        assert new["device_id"] == old["device_id"]
        assert new["access_token"] != old["access_token"]


STARTING = ["/account/whoami", "/keys/query", "/sync", "/joined_rooms"]


@pytest.mark.parametrize("call", STARTING)
async def test_a_session_that_expires_while_the_bot_starts_is_renewed_on_the_same_device(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, call: str
) -> None:
    async with desk_behind_a_proxy(tmp_path, synapse, view, quickly) as (desk, between):
        device = desk.bot.remembered("session.json")["device_id"]
        await desk.bot.stop()
        gone = signed_in_again = False

        async def expires(passing: Passing) -> web.Response | None:
            nonlocal gone, signed_in_again
            gone = gone or passing.path.endswith(call)
            if passing.is_a("POST", "/login"):
                signed_in_again = True
            expired = gone and not signed_in_again and "/_matrix/" in passing.path
            return EXPIRED() if expired else None

        between.before = expires
        await desk.bot.start()
        await desk.bot.wait_ready(within=60)
        assert signed_in_again
        assert (await desk.ask(f"!register {unique('ada')}", within=60)).about["state"] == "created"
        assert await view.devices(desk.bot_id) == [device]


@pytest.mark.parametrize("call", [*STARTING, "/keys/upload", "/createRoom"])
async def test_a_session_that_is_ended_at_any_moment_of_the_first_start_ends_the_bot(
    synapse: RunningSynapse, tmp_path: Path, quickly: Launch, call: str
) -> None:
    async with Between(synapse.url) as between:
        gone = False

        async def ends(passing: Passing) -> web.Response | None:
            nonlocal gone
            gone = gone or passing.path.endswith(call)
            return SIGNED_OUT() if gone and "/_matrix/" in passing.path else None

        between.before = ends
        async with running_bot(
            tmp_path / "bot",
            synapse,
            url=between.url,
            launch=quickly,
            bot={"username": unique("onboard")},
            admin_room=ADMINS,
        ) as bot:
            if call in ("/account/whoami", "/joined_rooms"):  # what only a later start asks
                gone_later, between.before = between.before, _nobody
                await bot.wait_ready()
                await bot.stop()
                between.before = gone_later
                await bot.start()
            assert (await bot.ended()).status == 1
            assert gone
            assert "FAIL session_revoked: " in bot.log()


async def _nobody(_: Passing) -> web.Response | None:
    return None


@pytest.mark.parametrize("call", ["/sync", "/state/m.room.member/"])
async def test_a_session_that_is_ended_while_the_bot_works_ends_it(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, call: str
) -> None:
    async with Between(synapse.url) as between:
        admin_id = await has_account(synapse, "admin")
        username = unique("onboard")
        async with (
            signed_in(synapse.url, admin_id, PASSWORD, tmp_path / "admin") as admin,
            running_bot(
                tmp_path / "bot",
                synapse,
                url=between.url,
                launch=quickly,
                bot={"username": username},
                admin_room={"admins": [admin_id]},
            ) as bot,
        ):
            room_id = await admin.invitation_from(view.user_id(username))
            await admin.join(room_id)
            gone = False

            async def ends(passing: Passing) -> web.Response | None:
                nonlocal gone
                gone = gone or call in unquote(passing.path)
                return SIGNED_OUT() if gone and "/_matrix/" in passing.path else None

            between.before = ends
            await admin.say(room_id, f"!register {unique('ada')}")
            assert (await bot.ended(within=45)).status == 1
            assert "FAIL session_revoked: " in bot.log()


async def test_a_server_that_says_nothing_at_once_is_not_asked_in_a_circle(
    synapse: RunningSynapse, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        Between(synapse.url) as between,
        running_bot(
            tmp_path / "bot",
            synapse,
            url=between.url,
            launch=quickly,
            bot={"username": unique("onboard")},
            admin_room=ADMINS,
        ) as bot,
    ):
        await bot.wait_ready()
        empty = Wrong(between, get_ending("/sync"), json_answer({"next_batch": "s1"}))
        await bot.stop()
        await bot.start()
        await bot.wait_ready()
        before = empty.times
        await asyncio.sleep(4)
        assert 1 <= empty.times - before <= 2 * 4 + 1
        assert bot.is_running


# People


async def test_somebody_without_a_device_makes_the_password_wait_and_the_room_is_told_once(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    allow = {"unsigned_devices": "allow"}
    async with open_desk(tmp_path, synapse, view, launch=quickly, encryption=allow) as desk:
        plain_id = await has_account(synapse, "plain")
        await desk.admin.invite(desk.room_id, plain_id)
        async with aiohttp.ClientSession(f"{synapse.url}/_matrix/client/v3/") as http:
            await says_in_clear_text(http, plain_id, desk, f"!register {unique('ada')}")
        told = await desk.admin.message(kind="error", error="not_delivered")
        assert plain_id in told.content["m.mentions"]["user_ids"]
        user_id = str(told.about["user_id"])
        await asyncio.sleep(12)  # it tries again meanwhile
        assert [e for e in desk.admin.seen if e.about.get("error") == "not_delivered"] == [told]
        for room_id in await view.rooms_of(desk.bot_id):
            if room_id != desk.room_id:
                types = [e["type"] for e in await view.timeline(room_id) if e["sender"] == desk.bot_id]
                assert not {"m.room.message", "m.room.encrypted"} & set(types)
        async with signed_in(synapse.url, plain_id, PASSWORD, tmp_path / "plain") as plain:
            message = await desk.credentials(user_id, to=plain)
            assert message.encrypted
            assert await view.sign_in(user_id, password_in(message)) == 200


async def says_in_clear_text(http: aiohttp.ClientSession, user_id: str, desk: Desk, body: str) -> None:
    """A bridge, say: it has an account and no device with keys; it comes into the room, may do all, and speaks."""
    login = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user_id}, "password": PASSWORD}
    async with http.post("login", json=login) as answer:
        headers = {"Authorization": f"Bearer {(await answer.json())['access_token']}"}
    room = quote(desk.room_id)
    async with http.post(f"rooms/{room}/join", json={}, headers=headers) as answer:
        assert answer.ok
    await desk.admin.set_level(desk.room_id, user_id, 50)
    content = {"msgtype": "m.text", "body": body}
    async with http.put(f"rooms/{room}/send/m.room.message/1", json=content, headers=headers) as answer:
        assert answer.ok


async def test_a_direct_room_that_the_person_left_is_left_by_the_bot_too(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk:
        first, second = view.user_id(unique("ada")), view.user_id(unique("bob"))
        await desk.ask(f"!register {first}")
        old = (await desk.credentials(first)).room_id
        await desk.admin.leave(old)
        await desk.ask(f"!register {second}")
        new = (await desk.credentials(second)).room_id
        assert new != old
        assert sorted(await view.rooms_of(desk.bot_id)) == sorted([desk.room_id, new])


async def test_the_bots_own_room_rests_while_another_one_is_named_and_is_used_again(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    view = homeserver_view
    async with open_desk(tmp_path, homeserver, view, launch=quickly) as desk:
        admin, own = desk.admin, desk.room_id
        other = await admin.make_room(invite=[desk.bot_id])
        await desk.bot.stop()
        configure(desk.bot, admin_room={"room": other})
        await desk.bot.start()
        await admin.sees_join(other, desk.bot_id)
        there = Desk(homeserver, view, desk.bot, admin, other, tmp_path)
        ignored = await admin.say(own, "!status")
        await admin.say(own, f"!register {unique('nobody')}")
        await there.ask("!help")
        await there.ask("!status")
        assert admin.said_by(desk.bot_id, own, after=ignored) == []

        await desk.bot.stop()
        configure(desk.bot, admin_room={"room": None})
        await desk.bot.start()
        await desk.bot.wait_page(waits_for_nothing)
        assert (await desk.ask(f"!register {unique('ada')}")).about["state"] == "created"
        said = await admin.say(other, "!status")
        await desk.ask("!help")
        assert admin.said_by(desk.bot_id, other, after=said) == []
        encrypted_by_bot = [room for room in await view.rooms_made_by(desk.bot_id) if room == own]
        assert encrypted_by_bot == [own]
        assert admin.invited_to.get(own) is None


async def test_an_admin_who_declined_is_invited_again_at_the_next_start_and_one_who_was_banned_is_not(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with (
        somebody(synapse, "ada", tmp_path) as ada,
        somebody(synapse, "bob", tmp_path) as bob,
        somebody(synapse, "carol", tmp_path) as carol,
    ):
        username = unique("onboard")
        bot_id = view.user_id(username)
        admins = [ada.user_id, bob.user_id, carol.user_id]
        async with running_bot(
            tmp_path / "bot", synapse, launch=quickly, bot={"username": username}, admin_room={"admins": admins}
        ) as bot:
            room_id = await ada.invitation_from(bot_id)
            await ada.join(room_id)
            for person in (bob, carol):
                assert await person.invitation_from(bot_id) == room_id
            await bob.leave(room_id)
            await carol.join(room_id)
            await carol.set_level(room_id, carol.user_id, 0)  # nobody bans an equal
            await ada.ask("POST", f"rooms/{quote(room_id)}/ban", {"user_id": carol.user_id})
            before = await invitations(view, room_id, bot_id)
            assert sorted(before) == sorted(admins)
            for _ in range(2):  # invited at the first of them, and left in peace at the second
                await bot.stop()
                await bot.start()
                await bot.wait_ready()
                assert (await Desk(synapse, view, bot, ada, room_id, tmp_path).ask("!status")).about
            assert await invitations(view, room_id, bot_id) == [*before, bob.user_id]
            assert await view.membership(room_id, carol.user_id) == "ban"


async def invitations(view: ServerView, room_id: str, sender: str) -> list[str]:
    """Whom somebody invited, in order."""
    return [
        e["state_key"]
        for e in await view.timeline(room_id)
        if e["type"] == "m.room.member" and e["sender"] == sender and e["content"].get("membership") == "invite"
    ]


async def test_help_shows_approve_only_to_people_who_may_vote(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk:
        assert "!approve" in (await desk.ask("!help")).body
        async with desk.member("bob") as bob:
            assert "!approve" not in (await desk.ask("!help", by=bob)).body
            assert (await desk.ask("!approve 23456", by=bob)).about["error"] == "not_permitted"
            await level_counts_at_once(desk, bob)


async def level_counts_at_once(desk: Desk, person: Person) -> None:
    await desk.admin.set_level(desk.room_id, person.user_id, 50)
    assert "!approve" in (await desk.ask("!help", by=person)).body
