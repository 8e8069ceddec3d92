"""The first start: one account, one session, one room, whatever happens in between; and the starts after it."""

import asyncio
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path

import vodozemac
from nio.store import SqliteStore

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import REGISTER, Between
from tests.e2e.bot_process import POLL_EVERY, READY_WITHIN, BotProcess, Launch, running_bot
from tests.e2e.desk import Desk
from tests.e2e.interruption import Fault, Interruption, Moment, Place, Way
from tests.e2e.person import PASSWORD, has_account, signed_in, unique
from tests.e2e.server_view import ServerView

AT_ONCE = 4


def modes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): stat.filemode(path.stat().st_mode) for path in folder.rglob("*")}


async def test_three_lines_make_an_account_a_session_and_an_admin_room(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path: Path
) -> None:
    view = homeserver_view
    admins = [await has_account(homeserver, "admin") for _ in range(2)]
    username = unique("onboard")
    bot_id = view.user_id(username)
    async with (
        Between(homeserver.url) as between,
        running_bot(
            tmp_path / "bot",
            homeserver,
            url=between.url,
            bot={"username": username, "display_name": "The Porter"},
            admin_room={"admins": admins},
        ) as bot,
    ):
        await bot.wait_ready()

        account = await view.account(bot_id)
        assert account is not None
        assert (account["user_type"], account["admin"], account["displayname"]) == ("bot", False, "The Porter")
        device = bot.remembered("session.json")["device_id"]
        assert await view.devices(bot_id) == [device]
        assert between.count("POST", REGISTER) == 1
        assert between.count("POST", "/login") == 1

        assert stat.filemode(bot.state.stat().st_mode) == "drwx------"
        assert set(modes(bot.state).values()) == {"drwx------", "-rw-------"}
        password = bot.remembered("account.json")["password"]
        token = bot.remembered("session.json")["access_token"]
        assert password not in bot.log()
        assert token not in bot.log()
        assert len(password) >= 20

        (room_id,) = await view.rooms_of(bot_id)
        state = await view.state(room_id)
        assert state["m.room.create", ""]["room_version"] == homeserver_version(homeserver)
        assert state["m.room.encryption", ""]["algorithm"] == "m.megolm.v1.aes-sha2"
        assert state["m.room.join_rules", ""]["join_rule"] == "invite"
        assert state["m.room.guest_access", ""]["guest_access"] == "forbidden"
        assert not (await view.room(room_id))["public"]
        levels = state["m.room.power_levels", ""]
        assert {user: levels["users"][user] for user in admins} == dict.fromkeys(admins, 100)
        if homeserver_version(homeserver) == "11":
            assert levels["users"][bot_id] == 100
        else:  # creators stand above all levels and must not be listed
            assert bot_id not in levels["users"]

        await invited_once(bot, view, room_id, admins)
        async with signed_in(homeserver.url, admins[0], PASSWORD, tmp_path / "admin") as admin:
            await admin.join(room_id)
            desk = Desk(homeserver, view, bot, admin, room_id, tmp_path)
            answer = await desk.ask("!help")
            assert answer.encrypted

            # From then on it is the same session.
            assert (await bot.stop()).status == 0
            await bot.start()
            await bot.wait_ready()
            assert (await desk.ask("!status")).encrypted
        assert between.count("POST", REGISTER) == 1
        assert between.count("POST", "/login") == 1
        assert bot.remembered("session.json")["device_id"] == device
        assert await view.devices(bot_id) == [device]
        assert await view.rooms_made_by(bot_id) == [room_id]
        await invited_once(bot, view, room_id, admins)
        assert set(modes(bot.state).values()) == {"drwx------", "-rw-------"}


def homeserver_version(homeserver: RunningSynapse) -> str:
    return homeserver.settings.default_room_version or "12"


async def invited_once(bot: BotProcess, view: ServerView, room_id: str, admins: list[str]) -> None:
    """Waits until the bot has nothing left to do; then every admin has had one invitation."""
    await until_idle(bot)
    for admin in admins:
        invitations = [
            event
            for event in await view.timeline(room_id)
            if (event["type"], event.get("state_key")) == ("m.room.member", admin)
            and event["content"]["membership"] == "invite"
        ]
        assert len(invitations) == 1


async def until_idle(bot: BotProcess) -> None:
    """Waits until all jobs are done that were intended at the start."""
    async with asyncio.timeout(READY_WITHIN):
        while open_jobs(bot) > 0:
            assert bot.is_running, bot.log()
            await asyncio.sleep(POLL_EVERY)


def open_jobs(bot: BotProcess) -> int:
    with sqlite3.connect(f"file:{bot.state / 'onboard.db'}?mode=ro", uri=True) as database:
        return int(database.execute("SELECT count(*) FROM jobs WHERE finished_at IS NULL").fetchone()[0])


async def test_the_encryption_store_opens_with_its_own_key_alone(synapse: RunningSynapse, tmp_path: Path) -> None:
    username = unique("onboard")
    async with running_bot(
        tmp_path / "bot", synapse, bot={"username": username}, admin_room={"admins": ["@nobody:localhost"]}
    ) as bot:
        await bot.wait_ready()
        await bot.stop()
    session = bot.remembered("session.json")
    key = (bot.state / "crypto.key").read_bytes()
    assert not any(key.hex().encode() in file.read_bytes() for file in (bot.state / "crypto").iterdir())
    for pickle_key, opens in (("DEFAULT_KEY", False), ("", False), (key.hex(), True)):
        store = SqliteStore(
            session["user_id"],
            session["device_id"],
            str(bot.state / "crypto"),
            pickle_key=pickle_key,
            database_name="olm.db",
        )
        try:
            assert (store.load_account() is not None) is opens
        except (vodozemac.PickleException, vodozemac.LibolmPickleException):
            assert not opens
        finally:
            store.database.close()


async def done_or_killed(bot: BotProcess) -> None:
    """Waits for the end of a first start: that it is done, or that it was killed."""
    try:
        async with asyncio.timeout(READY_WITHIN):
            while bot.is_running:
                page = await bot.readyz()
                if page is not None and page.status == 200 and open_jobs(bot) == 0:
                    return
                await asyncio.sleep(POLL_EVERY)
    except TimeoutError:
        raise AssertionError(f"neither ready nor killed; the bot's log:\n{bot.log()}") from None


@dataclass(frozen=True)
class FirstStarts:
    """First starts on one server."""

    synapse: RunningSynapse
    view: ServerView
    folder: Path
    launch: Launch
    admins: list[str]

    async def killed(self, *at: Fault) -> list[Moment]:
        """Kills one, lets it start again, and looks at what there is; what it asked until it was killed or done."""
        async with (
            Between(self.synapse.url) as between,
            running_bot(
                self.folder / unique("start"),
                self.synapse,
                url=between.url,
                start=False,
                launch=self.launch,
                bot={"username": unique("onboard")},
                admin_room={"admins": self.admins},
            ) as bot,
        ):
            interruption = Interruption(between, bot.kill, *at)
            await bot.start()
            await done_or_killed(bot)
            interruption.stop_counting()
            between.leave_alone()
            if not bot.is_running:
                assert at, bot.log()
                assert interruption.all_happened, bot.log()
                await bot.start()
                await bot.wait_ready()
            await self.one_of_everything(bot, ", ".join(map(str, at)))
        return interruption.heard[0]

    async def one_of_everything(self, bot: BotProcess, when: str) -> None:
        bot_id = self.view.user_id(bot.username)
        await until_idle(bot)
        assert await self.view.devices(bot_id) == [bot.remembered("session.json")["device_id"]], when
        rooms = await self.view.rooms_made_by(bot_id)
        assert len(rooms) == 1, when
        assert await self.view.rooms_of(bot_id) == rooms, when
        state = await self.view.state(rooms[0])
        assert state["m.room.encryption", ""]["algorithm"], when
        levels = state["m.room.power_levels", ""]["users"]
        assert [levels[admin] for admin in self.admins] == [100, 100], when
        await invited_once(bot, self.view, rooms[0], self.admins)


async def test_a_first_start_that_is_killed_at_any_request_is_taken_up_where_it_was(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    admins = [await has_account(homeserver, "admin") for _ in range(2)]
    starts = FirstStarts(homeserver, homeserver_view, tmp_path, quickly, admins)
    moments = await starts.killed()
    assert {
        "POST /_synapse/admin/v1/register",
        "POST login",
        "POST keys/upload",
        "GET sync",
        "POST createRoom",
        "POST rooms/…/invite",
    } <= {moment.route for moment in moments}
    if homeserver_version(homeserver) == "11":  # what comes before the room is the same everywhere: tried on one
        moments = moments[[moment.route for moment in moments].index("GET capabilities") :]
    # For a server it is the same whether a look was lost or its answer.
    left = iter(
        Fault(moment, place, Way.KILL)
        for place in (Place.AFTER, Place.BEFORE)
        for moment in moments
        if place is Place.AFTER or not moment.route.startswith("GET ")
    )

    async def kill_one_after_the_other() -> None:
        for fault in left:
            await starts.killed(fault)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(kill_one_after_the_other())


async def test_an_account_whose_state_is_gone_needs_its_password(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    username = unique("onboard")
    bot = {"username": username}
    admins = {"admins": [await has_account(synapse, "admin")]}
    async with running_bot(tmp_path / "first", synapse, bot=bot, admin_room=admins, launch=quickly) as first:
        await first.wait_ready()
        password = first.remembered("account.json")["password"]
    async with running_bot(tmp_path / "second", synapse, bot=bot, admin_room=admins, launch=quickly) as second:
        for _ in range(2):  # and a second try changes nothing
            assert (await second.ended()).status == 1
            (line,) = [line for line in second.log().splitlines() if "FAIL" in line][-1:]
            assert line.startswith("FAIL state_lost: ")
            assert "bot.username" in line
            assert "bot.password_file" in line
            await second.start()
        await second.ended()

    file = tmp_path / "password"
    file.write_text("not the password\n")
    with_file = bot | {"password_file": str(file)}
    async with running_bot(tmp_path / "second", synapse, bot=with_file, admin_room=admins, launch=quickly) as third:
        assert (await third.ended()).status == 1
        assert "bot.password_file" in third.log()
        assert "not the password" not in third.log()
        file.write_text(password + "\n")
        await third.start()
        await third.wait_ready()
        assert password not in third.log()
        assert third.remembered("session.json")["device_id"] in await view.devices(view.user_id(username))
        await third.stop()
        file.unlink()  # needed once: from here on the state knows
        await third.start()
        await third.wait_ready()


async def test_a_second_bot_on_the_same_state_ends_and_names_the_first(synapse: RunningSynapse, tmp_path: Path) -> None:
    bot = {"username": unique("onboard"), "state_dir": str(tmp_path / "state")}
    admins = {"admins": ["@nobody:localhost"]}
    async with running_bot(tmp_path / "first", synapse, bot=bot, admin_room=admins) as first:
        await first.wait_ready()
        async with running_bot(tmp_path / "second", synapse, bot=bot, admin_room=admins) as second:
            assert (await second.ended()).status == 1
            assert "FAIL state_in_use: " in second.log()
            assert str(first.pid) in second.log()
        page = await first.readyz()
        assert page is not None
        assert page.status == 200


async def test_a_session_that_somebody_ended_ends_the_bot(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    username = unique("onboard")
    async with running_bot(
        tmp_path / "bot",
        synapse,
        launch=quickly,
        bot={"username": username},
        admin_room={"admins": ["@nobody:localhost"]},
    ) as bot:
        await bot.wait_ready()
        await view.end_device(view.user_id(username), bot.remembered("session.json")["device_id"])
        assert (await bot.ended()).status == 1
        await bot.start()
        assert (await bot.ended()).status == 1
        assert bot.log().count("FAIL session_revoked: ") == 2
