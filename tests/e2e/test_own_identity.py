"""The bot's own identity on a real Synapse: made once, kept over everything, replaced on the operator's word alone."""

import asyncio
import json
import os
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from onboard_bot.demo.synapse import RunningSynapse
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import SEED_BYTES, USAGES, Identity, upload_identity
from onboard_bot.matrix.signed_json import is_signed_by
from onboard_bot.matrix.transport import Transport
from tests.e2e.between import Between, Cut, Passing
from tests.e2e.bot_process import READY_WITHIN, BotProcess, Launch, running_bot
from tests.e2e.desk import Desk, open_desk
from tests.e2e.interruption import Fault, Interruption, Moment, Place, Way
from tests.e2e.person import Person, has_account, somebody, unique
from tests.e2e.server_view import ServerView

SEEDS, PENDING = "cross_signing.json", "cross_signing.pending.json"
OF_IDENTITY = ("POST keys/query", "POST keys/device_signing/upload", "POST keys/signatures/upload")


@dataclass(frozen=True)
class Shown:
    """What the server shows of the bot to itself."""

    keys: dict[str, Any]
    bot: BotProcess

    @property
    def user_id(self) -> str:
        return str(self.bot.remembered("session.json")["user_id"])

    @property
    def device_id(self) -> str:
        return str(self.bot.remembered("session.json")["device_id"])

    @property
    def master_key(self) -> str:
        (key,) = self.keys["master_keys"][self.user_id]["keys"].values()
        return str(key)

    @property
    def fingerprint(self) -> str:
        return str(self.keys["device_keys"][self.user_id][self.device_id]["keys"][f"ed25519:{self.device_id}"])

    @property
    def is_good(self) -> bool:
        """Whether a strict client trusts the device, and the seeds on the disk made it so."""
        identity = Identity.from_stored(self.bot.remembered(SEEDS))
        self_signing = identity.public("self_signing")
        return (
            self.master_key == identity.public("master")
            and is_signed_by(self.keys["self_signing_keys"][self.user_id], self.user_id, self.master_key)
            and is_signed_by(self.keys["device_keys"][self.user_id][self.device_id], self.user_id, self_signing)
        )


@asynccontextmanager
async def as_bot(bot: BotProcess, synapse: RunningSynapse) -> AsyncIterator[ClientApi]:
    """The calls that whoever holds the bot's session can make."""
    async with aiohttp.ClientSession() as http:
        api = ClientApi(Transport(http, synapse.url))
        api.transport.token = SecretStr(bot.remembered("session.json")["access_token"])
        yield api


async def shown(bot: BotProcess, synapse: RunningSynapse) -> Shown:
    async with as_bot(bot, synapse) as api:
        return Shown(await api.keys_query([bot.remembered("session.json")["user_id"]]), bot)


async def until_good(bot: BotProcess, synapse: RunningSynapse) -> Shown:
    async with asyncio.timeout(READY_WITHIN):
        while not (found := await shown(bot, synapse)).is_good:  # noqa: ASYNC110 - the server rings no bell here
            await asyncio.sleep(0.05)
        return found


async def somebody_resets(bot: BotProcess, synapse: RunningSynapse) -> str:
    """Whoever has the bot's session and password makes another identity elsewhere; its master key."""
    user_id, password = bot.remembered("session.json")["user_id"], bot.remembered("account.json")["password"]
    foreign = Identity(user_id, {usage: os.urandom(SEED_BYTES) for usage in USAGES})
    async with as_bot(bot, synapse) as api:
        await upload_identity(api, foreign, "ELSEWHERE", SecretStr(password), replacing=True)
    return foreign.public("master")


@dataclass(frozen=True)
class Ran:
    """How a verb ended, and what it said."""

    status: int | None
    out: str
    err: str


async def verb(bot: BotProcess, *words: str) -> Ran:
    """Runs a verb as the operator does, in the configuration of this bot."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "onboard_bot", *words, "--config", str(bot.config_file)),
        cwd=bot.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if not key.startswith("ONBOARD_BOT_")},
    )
    out, err = (text.decode() for text in await process.communicate())
    assert "Traceback" not in err, err
    return Ran(process.returncode, out, err)


def resets_recorded(bot: BotProcess) -> int:
    with sqlite3.connect(f"file:{bot.state / 'onboard.db'}?mode=ro", uri=True) as database:
        return int(database.execute("SELECT count(*) FROM audit WHERE verb = 'identity:reset'").fetchone()[0])


def modes(bot: BotProcess) -> set[str]:
    return {stat.filemode(path.stat().st_mode) for path in bot.state.rglob("*") if path.is_file()}


async def test_the_identity_is_on_the_disk_before_the_server_hears_of_it_and_stays(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    async with Between(synapse.url) as between:
        file = tmp_path / "bot" / "state" / SEEDS

        async def before(passing: Passing) -> web.Response | None:
            if passing.is_a("POST", "/keys/device_signing/upload"):
                seen.append((stat.filemode(file.stat().st_mode), json.loads(file.read_text())))
            return None

        between.before = before
        async with open_desk(tmp_path, synapse, view, url=between.url, launch=quickly) as desk:
            bot = desk.bot
            found = await until_good(bot, synapse)
            assert seen == [("-rw-------", bot.remembered(SEEDS))]
            page = await bot.readyz()
            assert page is not None
            assert page.body["identity"] is None

            status = (await desk.ask("!status")).body.replace(" ", "")
            assert f"Mydevice:{found.device_id}" in status
            assert f"Itsfingerprint:{found.fingerprint}" in status
            assert f"masterkey:{found.master_key}" in status

            for _ in range(3):
                await bot.stop()
                between.passed.clear()
                await bot.start()
                await bot.wait_ready()
                assert between.count("POST", "/keys/query") == 1
                await desk.ask("!help")
                known = between.count("POST", "/keys/query")
                for _ in range(3):
                    await desk.ask("!help")
                assert between.count("POST", "/keys/query") == known
                assert not between.count("POST", "/keys/device_signing/upload")
                assert not between.count("POST", "/keys/signatures/upload")
            again = await shown(bot, synapse)
            assert again.is_good
            assert again.master_key == found.master_key
            assert modes(bot) == {"-rw-------"}


@pytest.fixture
async def bot_between(
    synapse: RunningSynapse, tmp_path: Path, quickly: Launch
) -> AsyncIterator[tuple[BotProcess, Between]]:
    """A bot that speaks through a proxy; it has no admin who comes."""
    admin = await has_account(synapse, "admin")
    async with (
        Between(synapse.url) as between,
        running_bot(
            tmp_path / "bot",
            synapse,
            url=between.url,
            launch=quickly,
            start=False,
            bot={"username": unique("onboard")},
            admin_room={"admins": [admin]},
        ) as bot,
    ):
        yield bot, between


async def first_start_killed(synapse: RunningSynapse, folder: Path, launch: Launch, fault: Fault) -> None:
    async with (
        Between(synapse.url) as between,
        running_bot(
            folder,
            synapse,
            url=between.url,
            launch=launch,
            start=False,
            bot={"username": unique("onboard")},
            admin_room={"admins": ["@nobody:localhost"]},
        ) as bot,
    ):
        interruption = Interruption(between, bot.kill, fault)
        await bot.start()
        await bot.ended()
        assert interruption.all_happened
        before = bot.remembered(SEEDS) if (bot.state / SEEDS).exists() else None
        between.leave_alone()
        await bot.start()
        await bot.wait_ready()
        assert (await shown(bot, synapse)).is_good, str(fault)
        assert before in (None, bot.remembered(SEEDS)), str(fault)


async def test_a_first_start_that_is_killed_at_any_request_about_its_identity_leaves_one(
    synapse: RunningSynapse, tmp_path: Path, quickly: Launch
) -> None:
    moments = [Moment(route, number) for route, number in zip(OF_IDENTITY, (3, 1, 1), strict=True)]
    moments += [Moment(OF_IDENTITY[0], 1), Moment(OF_IDENTITY[0], 2)]
    faults = [Fault(moment, place, Way.KILL) for moment in moments for place in (Place.BEFORE, Place.AFTER)]
    async with asyncio.TaskGroup() as group:
        for number, fault in enumerate(faults):
            group.create_task(first_start_killed(synapse, tmp_path / str(number), quickly, fault))


async def complaints(desk: Desk, person: Person) -> list[dict[str, Any]]:
    """What the room was told about the bot's identity, as everybody sees it: in clear."""
    await desk.ask("!help", by=person)
    told = [e for e in person.seen if e.about.get("error") == "identity_mismatch"]
    assert not any(e.encrypted for e in told)
    return [e.about for e in told]


@pytest.mark.parametrize("seeds", ["there", "gone"])
async def test_a_foreign_identity_is_told_once_and_replaced_on_the_operators_word_alone(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch, seeds: str
) -> None:
    async with open_desk(tmp_path, synapse, view, launch=quickly) as desk:
        bot = desk.bot
        await until_good(bot, synapse)
        foreign = await somebody_resets(bot, synapse)
        # Beside the running bot: it hears of it.
        page = await bot.wait_page(lambda page: page.body["identity"] is not None)
        assert page.status == 200
        assert foreign in page.body["identity"]
        await desk.admin.until(
            lambda: any(e.about.get("error") == "identity_mismatch" for e in desk.admin.seen), why="a word of it"
        )
        await bot.stop()
        if seeds == "gone":
            (bot.state / SEEDS).unlink()
        for _ in range(2):
            await bot.start()
            await bot.wait_page(lambda page: page.status == 200 and page.body["identity"] is not None)
            assert await complaints(desk, desk.admin) == [{"v": 1, "kind": "error", "error": "identity_mismatch"}]
            assert "onboard-bot reset-identity" in (await desk.ask("!status")).body
            await bot.stop()
        assert (await shown(bot, synapse)).master_key == foreign
        assert (bot.state / SEEDS).exists() == (seeds == "there")
        checked = await verb(bot, "check")
        assert checked.status == 1
        (line,) = [line for line in checked.out.splitlines() if line.startswith("FAIL")]
        assert line.startswith("FAIL identity_mismatch: ")
        assert foreign in line

        # Without a terminal, and without a word, nothing.
        await bot.start()
        await bot.wait_page(lambda page: page.status == 200)
        refused = await verb(bot, "reset-identity")
        assert refused.status == 1
        assert refused.err.startswith("FAIL bad_argument: ")
        assert (await shown(bot, synapse)).master_key == foreign

        done = await verb(bot, "reset-identity", "--yes")
        assert (done.status, done.err) == (0, "")
        found = await until_good(bot, synapse)
        assert found.master_key in done.out.replace(" ", "")
        assert found.master_key != foreign
        await bot.wait_page(lambda page: page.body["identity"] is None)
        assert "reset-identity" not in (await desk.ask("!status")).body
        assert len(await complaints(desk, desk.admin)) == 1
        assert resets_recorded(bot) == 1
        assert not (bot.state / PENDING).exists()
        assert modes(bot) == {"-rw-------"}
        assert any(line.startswith("OK identity: ") for line in (await verb(bot, "check")).out.splitlines())


async def reset_through(bot: BotProcess, between: Between, fault: Fault | None) -> Ran:
    """A reset; at the fault the process is killed."""
    killed = asyncio.Event()
    numbers: dict[str, int] = {}
    met: list[Passing] = []

    async def before(passing: Passing) -> web.Response | None:
        numbers[passing.route] = numbers.get(passing.route, 0) + 1
        if fault is not None and Moment(passing.route, numbers[passing.route]) == fault.moment:
            met.append(passing)
            await at(Place.BEFORE)
        return None

    async def after(passing: Passing) -> None:
        if passing in met:
            await at(Place.AFTER)

    async def at(place: Place) -> None:
        if fault is not None and fault.place is place and not killed.is_set():
            killed.set()
            process.kill()
            await process.wait()
            raise Cut

    between.before, between.after = before, after
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "onboard_bot", "reset-identity", "--yes", "--config", str(bot.config_file)),
        cwd=bot.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = (text.decode() for text in await process.communicate())
    between.leave_alone()
    assert killed.is_set() == (fault is not None)
    return Ran(process.returncode, out, err)


RESETTING = [Moment("POST keys/query", 1), *(Moment("POST keys/device_signing/upload", number) for number in (1, 2))]


@pytest.mark.parametrize("goes_on", ["the bot", "another reset"])
async def test_a_reset_that_is_killed_at_any_request_is_taken_up_by_whoever_comes_next(
    synapse: RunningSynapse, bot_between: tuple[BotProcess, Between], goes_on: str
) -> None:
    bot, between = bot_between
    await bot.start()
    await bot.wait_ready()
    await bot.stop()
    recorded = 0
    for moment in RESETTING if goes_on == "the bot" else RESETTING[-1:]:
        for place in (Place.BEFORE, Place.AFTER):
            fault = Fault(moment, place, Way.KILL)
            before = (await shown(bot, synapse)).master_key
            await reset_through(bot, between, fault)
            went_through = (await shown(bot, synapse)).master_key != before
            assert went_through == (moment == RESETTING[-1] and place is Place.AFTER), str(fault)
            if goes_on == "another reset":
                ended = await reset_through(bot, between, None)
                assert ended.status == 0, ended.err
                assert ("cut off is at its end" in ended.out) == went_through, str(fault)
                assert (await shown(bot, synapse)).master_key != before, str(fault)
                recorded += 1
            else:
                recorded += went_through
            await bot.start()
            await bot.wait_ready()
            assert (await shown(bot, synapse)).is_good, str(fault)
            assert resets_recorded(bot) == recorded, str(fault)
            await bot.stop()
    assert not (bot.state / PENDING).exists()
    assert modes(bot) == {"-rw-------"}


async def test_a_reset_that_is_killed_beside_the_running_bot_is_ended_by_the_bot(
    synapse: RunningSynapse, bot_between: tuple[BotProcess, Between]
) -> None:
    bot, between = bot_between
    await bot.start()
    await bot.wait_ready()
    before = (await until_good(bot, synapse)).master_key
    await reset_through_beside(bot, between)
    found = await until_good(bot, synapse)
    assert found.master_key != before
    assert not (bot.state / PENDING).exists()
    assert resets_recorded(bot) == 1
    page = await bot.readyz()
    assert page is not None
    assert page.body["identity"] is None


async def reset_through_beside(bot: BotProcess, between: Between) -> None:
    await reset_through(bot, between, Fault(RESETTING[-1], Place.AFTER, Way.KILL))


async def test_without_a_first_start_there_is_nothing_to_reset(bot_between: tuple[BotProcess, Between]) -> None:
    bot, between = bot_between
    ran = await verb(bot, "reset-identity", "--yes")
    assert ran.status == 1
    assert ran.err.startswith("FAIL state_unusable: There is no session of the bot")
    assert len(ran.err.splitlines()) == 1
    assert not bot.state.exists()
    assert between.passed == []


async def test_an_admin_room_in_clear_is_warned_once(
    synapse: RunningSynapse, view: ServerView, tmp_path: Path, quickly: Launch
) -> None:
    username = unique("onboard")
    bot_id = view.user_id(username)
    async with somebody(synapse, "admin", tmp_path) as admin:
        room_id = await admin.make_room(encrypted=False)
        async with running_bot(
            tmp_path / "bot",
            synapse,
            launch=quickly,
            bot={"username": username},
            admin_room={"room": room_id},
            encryption={"unsigned_devices": "allow"},
        ) as bot:
            await bot.wait_page(lambda page: page.status == 200 and room_id in str(page.body["waiting_for"]))
            await admin.invite(room_id, bot_id)
            warning = await admin.message(kind="status", within=30)
            assert warning.room_id == room_id
            assert "not encrypted" in warning.body
            await bot.stop()
            await bot.start()
            await bot.wait_ready()
            answer = await admin.reply_to(await admin.say(room_id, "!status"))
            assert "everybody's devices are served and obeyed" in answer.body
            said = [e for e in admin.said_by(bot_id, room_id) if "not encrypted" in e.body]
            assert [e.event_id for e in said] == [warning.event_id]
