"""The bot's own account and session: however often and wherever its start is stopped, one account and one device."""

import json
import os
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from pydantic import SecretStr

from onboard_bot.errors import ErrorCode, FatalError, OnboardError, UnusableError
from onboard_bot.homeserver.port import CreatedAccount, NewAccount, TryLater
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.session import BotWish, OwnAccount, Session
from onboard_bot.matrix.transport import Transport
from onboard_bot.onboarding.ports import TokenRejectedError, UnreachableError
from onboard_bot.state_dir import StateDir
from tests.fakes.synapse_endpoint import FakeAccount, SynapseEndpoint

BOT = "@onboard:example.org"


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Steps:
    """Counts moments, and ends the process at one of them."""

    dies_at: int | None = None
    seen: list[str] = field(default_factory=list)

    def step(self, name: str) -> None:
        self.seen.append(name)
        if len(self.seen) == self.dies_at:
            raise Killed


class MortalStateDir(StateDir):
    steps: Steps

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        self.steps.step(f"before writing {name}")
        super().write_json(name, values)
        self.steps.step(f"after writing {name}")


class MortalBackend(SharedSecretBackend):
    steps: Steps

    async def create(self, account: NewAccount) -> CreatedAccount:
        self.steps.step("before create")
        made = await super().create(account)
        self.steps.step("after create")
        return made


class Api(ClientApi):
    """The real calls for signing in and out; who a token belongs to is looked up in the fake."""

    steps: Steps
    endpoint: SynapseEndpoint
    soft_logout = False

    async def login(self, username: str, password: SecretStr, *, device_id: str, device_name: str) -> dict[str, Any]:
        self.steps.step("before login")
        answer = await super().login(username, password, device_id=device_id, device_name=device_name)
        self.steps.step("after login")
        return answer

    async def delete_own_session(self) -> None:
        self.steps.step("before logout")
        await super().delete_own_session()
        self.steps.step("after logout")

    async def whoami(self) -> dict[str, Any]:
        self.steps.step("whoami")
        assert self.transport.token is not None
        token = self.transport.token.get_secret_value()
        for account in self.endpoint.accounts.values():
            if token in account.sessions:
                return {"user_id": account.user_id, "device_id": account.sessions[token]}
        raise TokenRejectedError(401, {"errcode": "M_UNKNOWN_TOKEN", "soft_logout": self.soft_logout})


@dataclass
class Machine:
    """The computer that the bot runs on, and the homeserver that it talks to."""

    folder: Path
    endpoint: SynapseEndpoint
    http: aiohttp.ClientSession
    username: str = "onboard"
    password_file: Path | None = None
    soft_logout: bool = False

    @property
    def state(self) -> StateDir:
        state = StateDir(self.folder / "state")
        state.prepare()
        return state

    @property
    def account(self) -> FakeAccount:
        return self.endpoint.accounts[BOT]

    @property
    def store(self) -> Path:
        return self.state.crypto / "store.db"

    async def start(self, steps: Steps | None = None) -> Session:
        """One start up to the session, with the encryption store that follows it."""
        own_account = self.program(steps or Steps())
        while True:
            session = await own_account.open()
            fingerprint = self.open_store(session)
            if not own_account.has_lost_keys(fingerprint):
                break
            await own_account.leave_device()
        own_account.keys_are_stored(fingerprint)
        return session

    def open_store(self, session: Session) -> str:
        """The fingerprint of the device's keys; as the real store does, it makes them where it has none."""
        keys: dict[str, str] = json.loads((self.store.read_text() if self.store.exists() else "") or "{}")
        keys.setdefault(session.device_id, secrets.token_hex())
        self.store.write_text(json.dumps(keys))
        return keys[session.device_id]

    def program(self, steps: Steps) -> OwnAccount:
        state = MortalStateDir(self.folder / "state")
        state.prepare()
        api = Api(Transport(self.http, self.endpoint.url))
        backend = MortalBackend(self.http, self.endpoint.url, SecretFile(self.folder / "secret"))
        state.steps = api.steps = backend.steps = steps
        api.endpoint = self.endpoint
        api.soft_logout = self.soft_logout
        wish = BotWish(self.username, "Onboarding", self.password_file)
        return OwnAccount(state, wish, backend, api, secrets.choice)

    async def fails(self) -> FatalError:
        with pytest.raises(FatalError) as caught:
            await self.start()
        return caught.value

    def write_password(self, password: str) -> None:
        self.password_file = self.folder / "password"
        self.password_file.write_text(password + "\n")

    def lose_state(self) -> None:
        (self.folder / "state").rename(self.folder / f"lost{secrets.token_hex(4)}")


@pytest_asyncio.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with SynapseEndpoint(server_name="example.org") as endpoint, aiohttp.ClientSession() as http:
        (tmp_path / "secret").write_text(endpoint.shared_secret)
        yield Machine(tmp_path, endpoint, http)


async def test_the_first_start_registers_a_bot_account_and_signs_in_once(machine: Machine) -> None:
    session = await machine.start()
    assert list(machine.endpoint.accounts) == [BOT]
    assert (machine.account.user_type, machine.account.admin) == ("bot", False)
    assert machine.account.display_name == "Onboarding"
    assert machine.account.sessions == {session.token.get_secret_value(): session.device_id}
    assert session.user_id == BOT
    assert len(machine.account.password) >= 20
    assert machine.account.password not in repr(session)
    assert session.token.get_secret_value() not in repr(session)


async def test_a_later_start_restores_the_session_and_asks_nothing_of_the_endpoint(machine: Machine) -> None:
    first = await machine.start()
    calls = len(machine.endpoint.calls)
    assert await machine.start() == first
    assert len(machine.endpoint.calls) == calls


async def test_account_and_session_are_for_us_alone(machine: Machine) -> None:
    await machine.start()
    files = {file.name: file.stat().st_mode & 0o777 for file in machine.state.path.iterdir() if file.is_file()}
    assert files == {"account.json": 0o600, "session.json": 0o600}


async def test_stopped_at_any_step_of_the_first_start_there_is_one_account_and_one_device(machine: Machine) -> None:
    counting = Steps()
    await machine.start(counting)
    assert {"before create", "after create", "before login", "after login"} <= set(counting.seen)
    for last in range(1, len(counting.seen) + 1):
        machine.lose_state()
        machine.endpoint.accounts.clear()
        with pytest.raises(Killed):
            await machine.start(Steps(dies_at=last))
        session = await machine.start()
        assert list(machine.endpoint.accounts) == [BOT]
        assert list(machine.account.sessions.values()) == [session.device_id]
        assert await machine.start() == session


async def test_stopped_again_and_again_it_ends_with_one_account_and_one_device(machine: Machine) -> None:
    lives = 0
    while True:
        lives += 1
        try:
            session = await machine.start(Steps(dies_at=lives))
        except Killed:
            continue
        break
    assert lives > 3
    assert list(machine.endpoint.accounts) == [BOT]
    assert list(machine.account.sessions.values()) == [session.device_id]


async def test_a_lost_answer_to_the_registration_is_found_out_by_signing_in(machine: Machine) -> None:
    machine.endpoint.lose_answer_once()
    with pytest.raises(UnreachableError):
        await machine.start()
    session = await machine.start()
    assert list(machine.account.sessions.values()) == [session.device_id]


async def test_a_server_that_is_away_is_no_end(machine: Machine) -> None:
    machine.endpoint.mode = "unreachable_502"
    with pytest.raises(TryLater):
        await machine.start()
    machine.endpoint.mode = "ok"
    await machine.start()
    assert list(machine.endpoint.accounts) == [BOT]


@pytest.mark.parametrize(("mode", "code"), [("disabled", "endpoint_disabled"), ("hidden", "endpoint_hidden")])
async def test_an_endpoint_that_may_be_mended_is_no_end(machine: Machine, mode: Any, code: str) -> None:
    machine.endpoint.mode = mode
    with pytest.raises(OnboardError) as caught:
        await machine.start()
    assert not isinstance(caught.value, FatalError)
    assert caught.value.code == code
    machine.endpoint.mode = "ok"
    await machine.start()


async def test_a_wrong_secret_is_the_end(machine: Machine) -> None:
    machine.endpoint.shared_secret = "another one"
    assert (await machine.fails()).code is ErrorCode.SECRET_REJECTED
    (machine.folder / "secret").write_text("another one")
    await machine.start()


def _name_is_taken(machine: Machine) -> None:
    machine.endpoint.add_account("onboard", "its own password")


async def _state_was_lost(machine: Machine) -> None:
    await machine.start()
    machine.lose_state()


async def test_a_name_that_is_taken_is_an_error_that_names_both_ways_out(machine: Machine) -> None:
    _name_is_taken(machine)
    error = await machine.fails()
    assert error.code is ErrorCode.STATE_LOST
    assert "another bot.username" in error.sentence
    assert "bot.password_file" in error.sentence
    assert (await machine.fails()).sentence == error.sentence


async def test_a_lost_state_is_an_error_that_names_both_ways_out(machine: Machine) -> None:
    await _state_was_lost(machine)
    error = await machine.fails()
    assert error.code is ErrorCode.STATE_LOST
    assert "bot.password_file" in error.sentence


async def test_another_name_is_a_way_out(machine: Machine) -> None:
    _name_is_taken(machine)
    await machine.fails()
    machine.username = "welcome"
    assert (await machine.start()).user_id == "@welcome:example.org"


async def test_the_accounts_password_in_a_file_is_a_way_out(machine: Machine) -> None:
    _name_is_taken(machine)
    await machine.fails()
    machine.write_password("its own password")
    session = await machine.start()
    assert session.user_id == BOT
    assert list(machine.account.sessions.values()) == [session.device_id]


FIRST_FAILED: dict[str, Callable[[SynapseEndpoint], None]] = {
    "the server was away": lambda endpoint: setattr(endpoint, "mode", "unreachable_502"),
    "a proxy failed": lambda endpoint: endpoint.fail_before_once(502),
}


@pytest.mark.parametrize("first", FIRST_FAILED)
@pytest.mark.parametrize("way_out", ["another name", "password file"])
async def test_both_ways_out_are_open_also_where_the_very_first_try_came_to_nothing(
    machine: Machine, first: str, way_out: str
) -> None:
    _name_is_taken(machine)
    FIRST_FAILED[first](machine.endpoint)
    with pytest.raises((TryLater, UnreachableError)):
        await machine.start()
    machine.endpoint.mode = "ok"
    assert (await machine.fails()).code is ErrorCode.STATE_LOST
    if way_out == "another name":
        machine.username = "welcome"
        assert (await machine.start()).user_id == "@welcome:example.org"
    else:
        machine.write_password("its own password")
        assert (await machine.start()).user_id == BOT


async def test_a_wrong_password_file_can_be_corrected(machine: Machine) -> None:
    _name_is_taken(machine)
    machine.write_password("a typing mistake")
    assert (await machine.fails()).code is ErrorCode.STATE_LOST
    machine.write_password("its own password")
    assert (await machine.start()).user_id == BOT


@pytest.mark.parametrize("content", [None, "", " \n", b"\xff\xfe"])
async def test_a_password_file_that_cannot_be_used_is_named(machine: Machine, content: str | bytes | None) -> None:
    machine.password_file = machine.folder / "password"
    if content is not None:
        machine.password_file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UnusableError) as error:
        await machine.start()
    assert error.value.key == "bot.password_file"
    assert os.fspath(machine.password_file) in error.value.sentence


async def test_the_password_file_is_not_needed_once_there_is_a_session(machine: Machine) -> None:
    _name_is_taken(machine)
    machine.write_password("its own password")
    session = await machine.start()
    (machine.folder / "password").unlink()
    assert await machine.start() == session


async def test_another_name_with_the_state_of_the_first_is_refused(machine: Machine) -> None:
    await machine.start()
    (machine.state.path / "session.json").unlink()
    machine.username = "welcome"
    error = await machine.fails()
    assert error.code is ErrorCode.STATE_UNUSABLE
    assert "onboard" in error.sentence
    assert "welcome" in error.sentence


async def test_a_revoked_session_is_the_end_and_says_how_to_begin_anew(machine: Machine) -> None:
    first = await machine.start()
    machine.account.sessions.clear()
    error = await machine.fails()
    assert error.code is ErrorCode.SESSION_REVOKED
    assert "session.json" in error.sentence
    assert machine.account.sessions == {}
    (machine.state.path / "session.json").unlink()
    machine.store.unlink()
    again = await machine.start()
    assert again.device_id != first.device_id


async def test_an_expired_session_is_renewed_on_the_same_device(machine: Machine) -> None:
    first = await machine.start()
    machine.account.sessions.clear()
    machine.soft_logout = True
    again = await machine.start()
    assert (again.device_id, again.token != first.token) == (first.device_id, True)
    assert list(machine.account.sessions.values()) == [first.device_id]


def _empty_the_folder(machine: Machine) -> None:
    machine.store.unlink()


def _mount_an_empty_disk(machine: Machine) -> None:
    machine.store.unlink()
    (machine.state.crypto / "lost+found").mkdir(exist_ok=True)


def _empty_the_file(machine: Machine) -> None:
    machine.store.write_bytes(b"")


each_loss = pytest.mark.parametrize("lose", [_empty_the_folder, _mount_an_empty_disk, _empty_the_file])


@each_loss
async def test_a_lost_encryption_store_makes_a_new_device_and_signs_the_old_one_out(
    machine: Machine, lose: Callable[[Machine], None]
) -> None:
    first = await machine.start()
    lose(machine)
    again = await machine.start()
    assert again.device_id != first.device_id
    assert list(machine.account.sessions.values()) == [again.device_id]
    assert await machine.start() == again


async def test_the_store_of_another_device_makes_a_new_one(machine: Machine) -> None:
    first = await machine.start()
    kept = machine.store.read_bytes()
    _empty_the_folder(machine)
    second = await machine.start()
    machine.store.write_bytes(kept)
    third = await machine.start()
    assert len({first.device_id, second.device_id, third.device_id}) == 3
    assert list(machine.account.sessions.values()) == [third.device_id]


async def test_what_an_earlier_version_remembers_of_the_session_goes_on_and_is_told_apart_from_then_on(
    machine: Machine,
) -> None:
    first = await machine.start()
    remembered = machine.state.read_json("session.json") or {}
    del remembered["fingerprint"]
    machine.state.write_json("session.json", remembered)
    assert await machine.start() == first
    _empty_the_file(machine)
    assert (await machine.start()).device_id != first.device_id


@each_loss
async def test_stopped_at_any_step_after_a_lost_encryption_store_there_is_one_new_device(
    machine: Machine, lose: Callable[[Machine], None]
) -> None:
    last, steps = 0, 1
    while last < steps:
        first = await machine.start()
        lose(machine)
        counting = Steps(dies_at=last or None)
        if last:
            with pytest.raises(Killed):
                await machine.start(counting)
        session = await machine.start(counting if not last else None)
        steps = steps if last else len(counting.seen)
        assert session.device_id != first.device_id
        assert list(machine.account.sessions.values()) == [session.device_id]
        last += 1
    assert steps > 4


async def test_an_encryption_store_that_was_never_filled_is_no_reason_for_a_new_device(machine: Machine) -> None:
    session = await machine.program(Steps()).open()
    assert await machine.start() == session


async def test_a_session_that_the_store_belongs_to_stays_while_the_server_is_away(machine: Machine) -> None:
    session = await machine.start()
    await machine.endpoint.stop()
    machine.store.unlink()
    with pytest.raises(UnreachableError):
        await machine.start()
    await machine.endpoint.start()
    assert (await machine.start()).device_id != session.device_id
