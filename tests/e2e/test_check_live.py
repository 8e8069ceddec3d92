"""`check` as an operator runs it: before the first start, beside a running bot, against every kind of wrong server."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml
from pydantic import SecretStr

from onboard_bot.demo.synapse import RunningSynapse, SynapseSettings, running_synapse
from onboard_bot.homeserver.port import NewAccount, SessionWish
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import SEED_BYTES, USAGES, Identity, sign_own_device
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.transport import Transport
from onboard_bot.state_dir import StateDir
from tests.e2e.person import ENCRYPTION
from tests.fakes import wrong_servers
from tests.fakes.wrong_servers import Wrong, nobody_listens, speaks, wrong_server

BOT = "checked-bot"
ADMIN = "checking-admin"


@dataclass(frozen=True)
class Checked:
    """What `check` printed, and how it ended."""

    status: int
    lines: list[str]

    def beginning(self, start: str) -> list[str]:
        return [line for line in self.lines if line.startswith(start)]

    def line(self, start: str) -> str:
        found = self.beginning(start)
        assert len(found) == 1, (start, self.lines)
        return found[0]

    @property
    def fails(self) -> list[str]:
        return self.beginning("FAIL")


@dataclass(frozen=True)
class Place:
    """A bot at work on a real Synapse; an admin is in its room."""

    synapse: RunningSynapse
    state: Path
    room_id: str
    admin: str
    bot: str
    admin_token: SecretStr = field(repr=False)
    bot_token: SecretStr = field(repr=False)
    health: str = ""


async def checked(config: Path, *options: str, hidden: tuple[str, ...] = ()) -> Checked:
    """Runs `python -m onboard_bot check`; whatever it says, no secret and no trace is in it."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ONBOARD_BOT_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "onboard_bot", "check", "--config", str(config), *options),
        cwd=config.parent,
        env=environ | {"PYTHONIOENCODING": "utf-8"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = (text.decode() for text in await process.communicate())
    assert err == ""
    for secret in hidden:
        assert secret not in out
    assert process.returncode is not None
    result = Checked(process.returncode, out.splitlines())
    assert all(line.startswith(("OK ", "WARN ", "FAIL ")) for line in result.lines), out
    return result


def written(folder: Path, synapse: RunningSynapse, **sections: dict[str, Any]) -> Path:
    """A configuration file for this Synapse, with other sections laid over it."""
    config: dict[str, dict[str, Any]] = {
        "homeserver": {"url": synapse.url, "shared_secret_file": str(synapse.secret_file)},
        "bot": {"username": BOT, "state_dir": str(folder / "state")},
        "admin_room": {"admins": [f"@{ADMIN}:{synapse.server_name}"]},
    }
    for name, values in sections.items():
        config[name] = config.get(name, {}) | values
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def client(http: aiohttp.ClientSession, synapse: RunningSynapse, token: SecretStr) -> ClientApi:
    api = ClientApi(Transport(http, synapse.url))
    api.transport.token = token
    return api


async def new_session(http: aiohttp.ClientSession, synapse: RunningSynapse, name: str) -> tuple[str, SecretStr]:
    backend = SharedSecretBackend(http, synapse.url, SecretFile(synapse.secret_file))
    wish = SessionWish("CHECKED", "tests")
    created = await backend.create(NewAccount(name, SecretStr(f"{name}'s password"), session=wish))
    assert created.session is not None
    return created.user_id, created.session.access_token


async def until_ready(health: str, bot: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and bot.poll() is None:
        if await asyncio.to_thread(is_ready, health):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"the bot did not get ready:\n{log.read_text()}")  # noqa: ASYNC240 - the test is over


def is_ready(health: str) -> bool:
    try:
        with urllib.request.urlopen(f"{health}/readyz") as page:  # noqa: S310 - http on loopback
            return bool(page.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(synapse: RunningSynapse, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """A real bot after its first start; it keeps running."""
    folder = tmp_path_factory.mktemp("running")
    health = nobody_listens()
    config = written(folder, synapse, ops={"listen": health.removeprefix("http://")})
    log = folder / "log"
    async with aiohttp.ClientSession() as http:
        admin, admin_token = await new_session(http, synapse, ADMIN)
        with log.open("wb") as out:
            bot = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [sys.executable, "-m", "onboard_bot", "run", "--config", str(config)],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            await until_ready(health, bot, log)
            session = StateDir(folder / "state").read_json("session.json")
            assert session is not None
            bot_token = SecretStr(session["access_token"])
            (room_id,) = await client(http, synapse, bot_token).joined_rooms()
            joined = await wait_to_join(client(http, synapse, admin_token), room_id)
            await verify_device(client(http, synapse, admin_token), admin, folder / "admin")
            yield Place(
                synapse, folder / "state", joined, admin, session["user_id"], admin_token, bot_token, health=health
            )
        finally:
            bot.terminate()
            await asyncio.to_thread(bot.wait, 20)


async def wait_to_join(api: ClientApi, room_id: str) -> str:
    """The bot is ready before its invitations are out."""
    for _ in range(100):
        try:
            return await api.join(room_id)
        except Exception as error:  # noqa: BLE001 - whatever the server calls "not invited yet"
            last = error
            await asyncio.sleep(0.1)
    raise last


async def verify_device(api: ClientApi, user_id: str, folder: Path) -> None:
    """What a client does that its owner has verified."""
    folder.mkdir()  # noqa: ASYNC240 - a test's own folder
    machine = Machine(user_id, "CHECKED", folder, b"k" * 32)
    try:
        await api.keys_upload(machine.keys_to_upload() or {})
        await sign_own_device(api, machine, Identity(user_id, {usage: os.urandom(SEED_BYTES) for usage in USAGES}))
    finally:
        machine.close()


def beside(place: Place, folder: Path, **sections: dict[str, Any]) -> Path:
    """A configuration that shares the running bot's state."""
    bot = {"state_dir": str(place.state)} | sections.pop("bot", {})
    return written(folder, place.synapse, bot=bot, **sections)


async def test_before_the_first_start_everything_is_said_to_be_made_and_nothing_is(
    synapse: RunningSynapse, synapse_admin_token: SecretStr, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async def count() -> int:
        headers = {"Authorization": f"Bearer {synapse_admin_token.get_secret_value()}"}
        async with http.get(f"{synapse.url}/_synapse/admin/v2/users?limit=1", headers=headers) as answer:
            return int((await answer.json())["total"])

    before = await count()
    result = await checked(written(tmp_path, synapse), hidden=(str(synapse.settings.shared_secret),))
    assert result.status == 0
    assert result.lines == result.beginning("OK")
    assert "will be made at the first start" in result.line("OK bot.username")
    assert "will be made at the first start" in result.line("OK admin_room")
    assert "will be made at the first start" in result.line("OK identity")
    assert any("was proved, and nobody was created" in line for line in result.lines)
    assert await count() == before
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        (wrong_servers.BAD_GATEWAY, "homeserver_unreachable", "a proxy answers with status 502"),
        (wrong_servers.UNAVAILABLE, "homeserver_unreachable", "a proxy answers with status 503"),
        (wrong_servers.WEB_SITE, "homeserver_unreachable", "a web page answers (status 200)"),
        (wrong_servers.CUTS_EVERYTHING, "homeserver_unreachable", "the connection broke off"),
        (wrong_servers.HIDES_WITH_404, "endpoint_hidden", "hides /_synapse/admin/v1/register (status 404"),
        (wrong_servers.HIDES_WITH_403, "endpoint_hidden", "hides /_synapse/admin/v1/register (status 403"),
        (wrong_servers.HIDES_WITH_PAGE, "endpoint_hidden", "hides /_synapse/admin/v1/register (status 200"),
        (wrong_servers.ENDPOINT_UNAVAILABLE, "homeserver_unreachable", "(status 503)"),
        (wrong_servers.ENDPOINT_LIMITED, "rate_limited", "asks us to wait"),
        (wrong_servers.HIDES_WITH_JSON, "endpoint_hidden", "hides /_synapse/admin/v1/register (status 404"),
        (wrong_servers.MAS, "endpoint_replaced_by_mas", "Matrix Authentication Service"),
    ],
)
async def test_each_wrong_server_is_told_apart(
    synapse: RunningSynapse, tmp_path: Path, wrong: Wrong, code: str, words: str
) -> None:
    async with wrong_server(synapse.url, wrong) as server:
        result = await checked(written(tmp_path, synapse, homeserver={"url": server.url}))
    assert result.status == 1
    assert result.fails == [result.line(f"FAIL {code}: ")]
    assert words in result.fails[0]
    assert result.line("OK rate_limits")


async def test_where_nothing_listens_what_needs_no_server_is_checked_all_the_same(
    synapse: RunningSynapse, tmp_path: Path
) -> None:
    url = nobody_listens()
    result = await checked(written(tmp_path, synapse, homeserver={"url": url}))
    assert result.status == 1
    assert result.fails == [result.line(f"FAIL homeserver_unreachable: No homeserver can be used at {url}: nothing")]
    assert result.line("OK homeserver.shared_secret_file")
    assert "the shared secret, the bot's account, the admin room" in result.line("WARN check: not looked at")
    assert result.line("OK rate_limits")


async def test_what_is_no_http_server_is_unreachable_too(synapse: RunningSynapse, tmp_path: Path) -> None:
    async with speaks(b"\x15\x03\x01\x00\x02\x02\x46") as url:  # TLS, offended by clear text
        result = await checked(written(tmp_path, synapse, homeserver={"url": url}))
    assert "If it speaks TLS" in result.line("FAIL homeserver_unreachable: ")


async def test_a_synapse_without_a_shared_secret_has_the_endpoint_switched_off(
    synapse: RunningSynapse, tmp_path: Path
) -> None:
    settings = SynapseSettings(shared_secret=None, bcrypt_rounds=4)
    async with running_synapse(tmp_path / "without", settings) as without:
        result = await checked(written(tmp_path, synapse, homeserver={"url": without.url}))
    assert result.status == 1
    assert result.fails == [result.line("FAIL endpoint_disabled: ")]


async def test_a_wrong_secret_is_rejected_and_not_shown(synapse: RunningSynapse, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("hunter2 hunter2")
    result = await checked(
        written(tmp_path, synapse, homeserver={"shared_secret_file": str(secret)}), hidden=("hunter2",)
    )
    assert result.status == 1
    assert "not have been restarted since" in result.line("FAIL secret_rejected: ")


async def test_a_secret_for_everybody_fails_and_is_proved_all_the_same(synapse: RunningSynapse, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(str(synapse.settings.shared_secret))
    secret.chmod(0o644)
    result = await checked(
        written(tmp_path, synapse, homeserver={"shared_secret_file": str(secret)}),
        hidden=(str(synapse.settings.shared_secret),),
    )
    assert result.status == 1
    assert result.fails == [result.line(f"FAIL homeserver.shared_secret_file: {secret} can be read by everybody")]
    assert "was proved" in result.line("OK homeserver.shared_secret_file")


async def test_without_a_secret_the_rest_is_still_looked_at(synapse: RunningSynapse, tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    result = await checked(written(tmp_path, synapse, homeserver={"shared_secret_file": missing}))
    assert result.status == 2
    assert result.fails == [result.line("FAIL homeserver.shared_secret_file: ")]
    assert result.line("OK homeserver.url")
    assert "accepts the shared secret" in result.line("WARN check: not looked at")


async def test_beside_a_running_bot_all_is_well(place: Place, tmp_path: Path) -> None:
    secrets = (str(place.synapse.settings.shared_secret), place.bot_token.get_secret_value())
    result = await checked(beside(place, tmp_path), hidden=secrets)
    assert result.status == 0
    assert result.lines == result.beginning("OK")
    assert place.bot in result.line("OK bot.username")
    assert place.room_id in result.line("OK admin_room")
    assert place.room_id in result.line("OK encryption: ")
    assert "signed by its own identity" in result.line("OK identity: ")
    assert await asyncio.to_thread(is_ready, place.health)


async def test_whoever_may_approve_and_has_verified_no_device_is_a_warning_and_only_under_refuse(
    place: Place, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    name = f"unverified-{os.urandom(4).hex()}"
    user_id, token = await new_session(http, place.synapse, name)
    owner, person = client(http, place.synapse, place.admin_token), client(http, place.synapse, token)
    room_id = await owner.create_room({"preset": "public_chat", "initial_state": [ENCRYPTION]})
    for member in (client(http, place.synapse, place.bot_token), person):
        await member.join(room_id)
    levels = await owner.state_event(room_id, "m.room.power_levels")
    assert levels is not None
    config = beside(place, tmp_path, admin_room={"room": room_id})
    quiet = await checked(config)  # who may not approve is nobody's business
    assert not quiet.beginning("WARN encryption.unsigned_devices")

    levels["users"][user_id] = 50
    await owner.set_state(room_id, "m.room.power_levels", levels)
    result = await checked(config)
    assert result.status == 0
    line = result.line("WARN encryption.unsigned_devices: ")
    assert f"{user_id} has no cross-signing identity" in line
    assert "until they have verified a device" in line

    allowed = await checked(
        beside(place, tmp_path, admin_room={"room": room_id}, encryption={"unsigned_devices": "allow"})
    )
    assert user_id not in "".join(allowed.lines)
    assert allowed.line("WARN encryption.unsigned_devices: allow: everybody's devices are served")

    await verify_device(person, user_id, tmp_path / "device")
    config = beside(place, tmp_path, admin_room={"room": room_id})
    assert not (await checked(config)).beginning("WARN encryption.unsigned_devices")


async def test_seeds_that_are_gone_or_not_those_of_the_server_fail_and_nothing_is_changed(
    place: Place, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    shutil.copytree(place.state, state)
    (state / "cross_signing.json").unlink()
    result = await checked(written(tmp_path, place.synapse))
    assert result.status == 1
    assert "its seeds are not in the state directory" in result.line("FAIL identity_mismatch: ")
    before = {path: path.read_bytes() for path in state.rglob("*.json")}
    seeds = json.loads((place.state / "cross_signing.json").read_text())
    (state / "cross_signing.json").write_text(json.dumps(seeds | {"master": seeds["user_signing"]}))
    result = await checked(written(tmp_path, place.synapse))
    assert "has another cross-signing identity of" in result.line("FAIL identity_mismatch: ")
    (state / "cross_signing.json").unlink()
    assert {path: path.read_bytes() for path in state.rglob("*.json")} == before


async def test_an_admin_who_has_not_come_yet_is_a_warning(place: Place, tmp_path: Path) -> None:
    admins = [place.admin, "@nobody:localhost"]
    result = await checked(beside(place, tmp_path, admin_room={"admins": admins}, approval={"power_level": 101}))
    assert result.status == 0
    assert "@nobody:localhost is not in" in result.line("WARN admin_room.admins")
    assert "has power level 101 or more" in result.line("WARN approval.power_level")


async def test_another_name_than_the_state_knows_fails_as_run_would(place: Place, tmp_path: Path) -> None:
    result = await checked(beside(place, tmp_path, bot={"username": "other-bot"}))
    assert result.status == 1
    assert result.fails == [result.line("FAIL state_unusable: ")]
    assert f"belongs to the account {BOT}, but bot.username is other-bot" in result.fails[0]
    assert place.bot not in "".join(result.lines)


async def test_a_revoked_session_is_told_with_the_way_out(
    synapse: RunningSynapse, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    user_id, token = await new_session(http, synapse, "signed-out")
    state = StateDir(tmp_path / "state")
    state.prepare()
    state.write_json("session.json", {"user_id": user_id, "device_id": "D", "access_token": token.get_secret_value()})
    await client(http, synapse, token).delete_own_session()
    result = await checked(written(tmp_path, synapse), hidden=(token.get_secret_value(),))
    assert result.status == 1
    assert f"delete session.json and the folder crypto/ in {state.path}" in result.line("FAIL session_revoked: ")
    assert "the admin room" in result.line("WARN check: not looked at")


async def test_a_given_room_without_encryption_warns_and_takes_no_passwords(
    place: Place, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    admin = client(http, place.synapse, place.admin_token)
    room_id = await admin.create_room({"preset": "public_chat"})
    await client(http, place.synapse, place.bot_token).join(room_id)
    result = await checked(beside(place, tmp_path, admin_room={"room": room_id}))
    assert result.status == 0
    assert "is not encrypted" in result.line("WARN encryption")
    result = await checked(beside(place, tmp_path, admin_room={"room": room_id}, accounts={"delivery": "room"}))
    assert result.status == 2
    assert result.fails == [result.line("FAIL accounts.delivery: room would put passwords in clear text")]


async def test_a_room_in_which_the_bot_may_not_speak_is_unusable(
    place: Place, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    admin = client(http, place.synapse, place.admin_token)
    levels = {"events_default": 40, "invite": 40}
    room_id = await admin.create_room(
        {"preset": "public_chat", "room_alias_name": "mute", "power_level_content_override": levels}
    )
    await client(http, place.synapse, place.bot_token).join(room_id)
    result = await checked(beside(place, tmp_path, admin_room={"room": f"#mute:{place.synapse.server_name}"}))
    assert result.status == 1
    assert f"In the admin room {room_id}" in result.line("FAIL room_unusable: ")
    assert "may not send messages" in result.fails[0]


async def test_a_given_room_that_has_not_let_the_bot_in_is_waited_for(
    place: Place, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    room_id = await client(http, place.synapse, place.admin_token).create_room({"preset": "private_chat"})
    result = await checked(beside(place, tmp_path, admin_room={"room": room_id}))
    assert result.status == 0
    assert f"waiting for an invitation to {room_id}; invite {place.bot}" in result.line("WARN admin_room.room")


async def test_each_room_that_a_group_is_named_by_has_a_line(
    place: Place, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    owner, bot = client(http, place.synapse, place.admin_token), client(http, place.synapse, place.bot_token)
    inside = await owner.create_room({"preset": "public_chat", "room_alias_name": "teachers"})
    await bot.join(inside)
    closed = await owner.create_room({"preset": "private_chat"})
    deserted = await owner.create_room({"preset": "public_chat"})
    await bot.join(deserted)
    await owner.leave(deserted)
    server = place.synapse.server_name
    rooms = {
        "teachers": f"#teachers:{server}",
        "parents": closed,
        "board": f"#board:{server}",
        "nobody": deserted,
    }
    groups = [{"name": name, "room": room} for name, room in rooms.items()]
    result = await checked(beside(place, tmp_path, approval={"groups": groups}))
    assert result.status == 1
    assert f"the bot is in #teachers:{server}" in result.line("OK approval.groups: ")
    assert "1 approval of the group nobody, and nobody of it has the level" in result.line("WARN approval.groups: ")
    not_in, nowhere = result.beginning("FAIL room_unusable: ")
    assert f"The bot is not in {closed}" in not_in
    assert f"Invite {place.bot} there" in not_in
    assert f"There is no room #board:{server}" in nowhere


async def test_before_the_first_start_the_rooms_of_groups_are_said_to_be_entered(
    synapse: RunningSynapse, tmp_path: Path
) -> None:
    groups = [{"name": "teachers", "room": "#teachers:localhost"}, {"name": "head", "members": ["@ada:localhost"]}]
    result = await checked(written(tmp_path, synapse, approval={"groups": groups}))
    assert result.status == 0
    assert "#teachers:localhost" in result.line("OK approval.groups: ")


async def test_an_alias_that_leads_nowhere_is_unusable(place: Place, tmp_path: Path) -> None:
    alias = f"#nowhere:{place.synapse.server_name}"
    result = await checked(beside(place, tmp_path, admin_room={"room": alias}))
    assert result.status == 1
    assert f"There is no room {alias}" in result.line("FAIL room_unusable: ")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (Wrong("/_matrix/client/v3/account", 502), "homeserver_unreachable"),
        (Wrong("/_matrix/client/v3/joined_rooms", cut=True), "homeserver_unreachable"),
        (Wrong("/_matrix/client/v3/rooms", body="[]", skip=1), "homeserver_unreachable"),
        (Wrong("/_matrix/client/v3/joined_rooms", body='{"joined_rooms": 5}'), "homeserver_unreachable"),
        (Wrong("/_matrix/client/v3/joined_rooms", 429, '{"retry_after_ms": 9000}'), "rate_limited"),
        (Wrong("/_matrix/client/v3/joined_rooms", 403, '{"errcode": "M_FORBIDDEN"}'), "homeserver_refused"),
        (Wrong("/_synapse/admin/v1/register", cut=True, skip=1), "homeserver_unreachable"),
    ],
)
async def test_trouble_in_the_middle_is_a_line_and_never_a_trace(
    place: Place, tmp_path: Path, wrong: Wrong, code: str
) -> None:
    async with wrong_server(place.synapse.url, wrong) as server:
        result = await checked(beside(place, tmp_path, homeserver={"url": server.url}))
    assert result.status == 1
    assert result.fails == [result.line(f"FAIL {code}: ")]
    assert result.line("OK rate_limits")
