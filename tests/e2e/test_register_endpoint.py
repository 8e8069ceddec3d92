"""The same cases for the fake and a real Synapse: what the endpoint answers, and what our backend makes of it."""

import asyncio
import hashlib
import hmac
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from onboard_bot.demo.synapse import SynapseSettings, running_synapse
from onboard_bot.domain.requests import AccountType
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.homeserver import synapse as module
from onboard_bot.homeserver.port import (
    AccountSession,
    AnswerLost,
    NewAccount,
    SessionWish,
    TryLater,
    WrongPassword,
)
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import (
    IMPOSSIBLE_NAME,
    REGISTER_PATH,
    VERSION_PATH,
    SharedSecretBackend,
)
from onboard_bot.pace import UNSAID_WAIT
from tests.e2e.between import Between, Cut, Passing
from tests.fakes.endpoints import Endpoint
from tests.fakes.synapse_endpoint import Mode, SynapseEndpoint

PASSWORD = SecretStr("correct-horse-battery-staple")
_numbers = itertools.count(1)


def fresh_name(stem: str = "ada") -> str:
    """A name that no other test uses: the real Synapse lives for the whole run."""
    return f"{stem}{next(_numbers)}"


def wanted(localpart: str, **more: Any) -> NewAccount:
    return NewAccount(localpart, PASSWORD, **more)


def put(path: Path, text: str) -> None:
    path.write_text(text)


# What the endpoint itself answers. Each case changes a request that would succeed; the MAC is made after the change,
# but where the case is about it.


def signed(secret: str, body: dict[str, Any]) -> dict[str, Any]:
    covered = [str(body.get("nonce")), str(body.get("username")), str(body.get("password"))]
    covered += ["admin" if body.get("admin") else "notadmin"]
    covered += [body["user_type"]] if body.get("user_type") else []
    mac = hmac.new(secret.encode(), "\0".join(covered).encode(), hashlib.sha1).hexdigest()
    return {"mac": mac} | body


async def post_registration(
    http: aiohttp.ClientSession, endpoint: Endpoint, changes: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    async with http.get(endpoint.url + REGISTER_PATH) as answer:
        nonce = (await answer.json())["nonce"]
    body = {"nonce": nonce, "username": fresh_name("raw"), "password": "a password", "inhibit_login": True} | changes
    left_out = [key for key, value in body.items() if value is ...]
    body = signed(endpoint.shared_secret, body)
    for key in left_out:
        del body[key]
    async with http.post(endpoint.url + REGISTER_PATH, json=body) as answer:
        return answer.status, await answer.json()


CHARACTERS = "User ID can only contain characters a-z, 0-9, or '=_-./+'"
RAW_REFUSALS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "no nonce": ({"nonce": ...}, 400, "M_BAD_JSON", "nonce must be specified"),
    "unknown nonce": ({"nonce": "made up"}, 400, "M_UNKNOWN", "unrecognised nonce"),
    "no username": ({"username": ...}, 400, "M_BAD_JSON", "username must be specified"),
    "username no text": ({"username": 5}, 400, "M_UNKNOWN", "Invalid username"),
    "username with NUL": ({"username": "a\0b"}, 400, "M_UNKNOWN", "Invalid username"),
    "username of 513": ({"username": "a" * 513}, 400, "M_UNKNOWN", "Invalid username"),
    "no password": ({"password": ...}, 400, "M_BAD_JSON", "password must be specified"),
    "password no text": ({"password": 5}, 400, "M_UNKNOWN", "Invalid password"),
    "password of 513": ({"password": "a" * 513}, 400, "M_UNKNOWN", "Invalid password"),
    "unknown type": ({"user_type": "robot"}, 400, "M_UNKNOWN", "Invalid user type"),
    "empty type": ({"user_type": ""}, 400, "M_UNKNOWN", "Invalid user type"),
    "no MAC": ({"mac": ...}, 400, "M_BAD_JSON", "mac must be specified"),
    "wrong MAC": ({"mac": "0" * 40}, 403, "M_UNKNOWN", "HMAC incorrect"),
    "type and wrong MAC": ({"user_type": "robot", "mac": "0" * 40}, 400, "M_UNKNOWN", "Invalid user type"),
    "spammer": ({"username": "spammer1"}, 429, "M_UNKNOWN", "Rate limited"),
    "spammer with a bad name": ({"username": "spammer #"}, 429, "M_UNKNOWN", "Rate limited"),
    "bad name": ({"username": "a b"}, 400, "M_INVALID_USERNAME", CHARACTERS),
    "bad name and wrong MAC": ({"username": "a b", "mac": "0" * 40}, 403, "M_UNKNOWN", "HMAC incorrect"),
    "empty name": ({"username": ""}, 400, "M_INVALID_USERNAME", "User ID cannot be empty"),
    "underscore": ({"username": "_a"}, 400, "M_INVALID_USERNAME", "User ID may not begin with _"),
    "digits": ({"username": "12345"}, 400, "M_INVALID_USERNAME", "Numeric user IDs are reserved for guest users."),
    "too long": ({"username": "a" * 300}, 400, "M_INVALID_USERNAME", "User ID may not be longer than 255 characters"),
    "a bridge's name": (
        {"username": "irc-ada"},
        400,
        "M_EXCLUSIVE",
        "This user ID is reserved by an application service.",
    ),
}


@pytest.mark.parametrize("case", RAW_REFUSALS)
async def test_the_endpoint_refuses_with_these_words(
    http: aiohttp.ClientSession, endpoint: Endpoint, case: str
) -> None:
    changes, status, errcode, error = RAW_REFUSALS[case]
    answered_status, body = await post_registration(http, endpoint, changes)
    assert (answered_status, body) == (status, {"errcode": errcode, "error": error})


@pytest.mark.parametrize("username", ["Ada-Upper", "\u212aelvin", "a/b", "a+b", "a=b", ".dot", "-dash", "7x"])
async def test_the_endpoint_takes_more_than_we_let_through(
    http: aiohttp.ClientSession, endpoint: Endpoint, username: str
) -> None:
    username = fresh_name(username)
    status, body = await post_registration(http, endpoint, {"username": username})
    user_id = f"@{username.lower()}:{endpoint.server_name}"
    assert (status, body) == (200, {"user_id": user_id, "home_server": endpoint.server_name})


async def test_a_nonce_is_spent_by_a_post_that_fails(http: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    async with http.get(endpoint.url + REGISTER_PATH) as answer:
        nonce = (await answer.json())["nonce"]
    _, wrong = await post_registration(http, endpoint, {"nonce": nonce, "mac": "0" * 40})
    _, right = await post_registration(http, endpoint, {"nonce": nonce})
    assert wrong["error"] == "HMAC incorrect"
    assert right["error"] == "unrecognised nonce"


async def test_a_body_that_is_no_json_object_is_refused(http: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    async with http.post(endpoint.url + REGISTER_PATH, data=b"{") as answer:
        assert (answer.status, (await answer.json())["errcode"]) == (400, "M_NOT_JSON")
    async with http.post(endpoint.url + REGISTER_PATH, json=[]) as answer:
        assert (answer.status, (await answer.json())["errcode"]) == (400, "M_BAD_JSON")


async def test_the_fakes_nonces_grow_old_as_synapses_do(http: aiohttp.ClientSession, fake: SynapseEndpoint) -> None:
    for age, accepted in ((60, True), (61, False)):
        async with http.get(fake.url + REGISTER_PATH) as answer:
            nonce = (await answer.json())["nonce"]
        fake.advance(age)
        body = signed(fake.shared_secret, {"nonce": nonce, "username": fresh_name(), "password": "p"})
        async with http.post(fake.url + REGISTER_PATH, json=body) as answer:
            assert answer.ok is accepted


# What our backend makes of it.


async def test_an_account_is_made_and_its_password_works(backend: SharedSecretBackend, endpoint: Endpoint) -> None:
    name = fresh_name()
    created = await backend.create(wanted(name))
    assert created.user_id == f"@{name}:{endpoint.server_name}"
    assert await endpoint.facts(created.user_id) == {"admin": False, "user_type": None, "devices": []}
    session = await backend.sign_in(created.user_id, PASSWORD)
    await backend.sign_out(session)


@pytest.mark.parametrize(("display_name", "shown"), [("Ada Lovelace ✨", "Ada Lovelace ✨"), (None, ...), ("", None)])
async def test_the_display_name_is_the_one_wished_for(
    backend: SharedSecretBackend, endpoint: Endpoint, http: aiohttp.ClientSession, display_name: str | None, shown: Any
) -> None:
    name = fresh_name()
    created = await backend.create(wanted(name, display_name=display_name))
    async with http.get(f"{endpoint.url}/_matrix/client/v3/profile/{created.user_id}") as answer:
        assert (await answer.json()).get("displayname") == (name if shown is ... else shown)


@pytest.mark.parametrize("account_type", list(AccountType))
async def test_an_account_of_a_type_is_of_that_type(
    backend: SharedSecretBackend, endpoint: Endpoint, account_type: AccountType
) -> None:
    created = await backend.create(wanted(fresh_name(), account_type=account_type))
    assert (await endpoint.facts(created.user_id))["user_type"] == account_type


async def test_admin_rights_come_only_when_wished_for(backend: SharedSecretBackend, endpoint: Endpoint) -> None:
    admin = await backend.create(wanted(fresh_name(), admin=True, account_type=AccountType.SUPPORT))
    other = await backend.create(wanted(fresh_name()))
    assert (await endpoint.facts(admin.user_id))["admin"] is True
    assert (await endpoint.facts(other.user_id))["admin"] is False


async def test_a_session_comes_with_the_device_wished_for(backend: SharedSecretBackend, endpoint: Endpoint) -> None:
    created = await backend.create(wanted(fresh_name(), session=SessionWish("ONBOARDING", "onboard-bot")))
    assert created.session is not None
    assert created.session.device_id == "ONBOARDING"
    assert (await endpoint.facts(created.user_id))["devices"] == ["ONBOARDING"]
    await backend.sign_out(created.session)
    assert (await endpoint.facts(created.user_id))["devices"] == []
    await backend.sign_out(created.session)  # what has ended is fine


async def test_signing_in_again_with_the_same_device_makes_no_second_one(
    backend: SharedSecretBackend, endpoint: Endpoint
) -> None:
    name = fresh_name()
    created = await backend.create(wanted(name))
    first = await backend.sign_in(name, PASSWORD, device_id="ONE", device_display_name="one")
    again = await backend.sign_in(name, PASSWORD, device_id="ONE", device_display_name="one")
    assert (await endpoint.facts(created.user_id))["devices"] == ["ONE"]
    assert first.access_token != again.access_token
    await backend.sign_out(again)


async def test_a_wrong_password_no_account_and_a_deactivated_one_are_all_a_wrong_password(
    backend: SharedSecretBackend, endpoint: Endpoint
) -> None:
    name = fresh_name()
    created = await backend.create(wanted(name))
    with pytest.raises(WrongPassword):
        await backend.sign_in(name, SecretStr("another"))
    with pytest.raises(WrongPassword):
        await backend.sign_in("nobody-at-all", PASSWORD)
    await endpoint.deactivate(created.user_id)
    with pytest.raises(WrongPassword):
        await backend.sign_in(name, PASSWORD)


async def test_a_name_is_given_once_also_when_its_account_is_gone(
    backend: SharedSecretBackend, endpoint: Endpoint
) -> None:
    name = fresh_name()
    created = await backend.create(wanted(name))
    for _ in range(2):
        with pytest.raises(OnboardError, match=f"The name {name} is taken") as refused:
            await backend.create(wanted(name))
        assert refused.value.code == ErrorCode.USERNAME_TAKEN
        await endpoint.deactivate(created.user_id)


async def test_of_four_at_once_exactly_one_gets_the_name(backend: SharedSecretBackend) -> None:
    name = fresh_name()
    outcomes = await asyncio.gather(*(backend.create(wanted(name)) for _ in range(4)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [error.code for error in refused if isinstance(error, OnboardError)] == [ErrorCode.USERNAME_TAKEN] * 3
    assert len(outcomes) - len(refused) == 1


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("a b", ErrorCode.USERNAME_INVALID, "a-z, 0-9"),
        ("ädä", ErrorCode.USERNAME_INVALID, "a-z, 0-9"),
        ("@ada:localhost", ErrorCode.USERNAME_INVALID, "a-z, 0-9"),
        ("ada\n", ErrorCode.USERNAME_INVALID, "a-z, 0-9"),
        ("_ada", ErrorCode.USERNAME_INVALID, "may not begin with _"),
        ("12345", ErrorCode.USERNAME_INVALID, "Numeric user IDs"),
        ("", ErrorCode.USERNAME_INVALID, "cannot be empty"),
        ("a" * 250, ErrorCode.USERNAME_INVALID, "longer than 255"),
        ("a" * 600, ErrorCode.USERNAME_INVALID, "Invalid username"),
        ("a\0b", ErrorCode.USERNAME_INVALID, "Invalid username"),
        ("irc-ada", ErrorCode.USERNAME_RESERVED, "application service"),
        ("spammer7", ErrorCode.HOMESERVER_REFUSED, "spam checker"),
    ],
)
async def test_a_name_that_the_server_refuses_is_refused_with_its_reason(
    backend: SharedSecretBackend, name: str, code: ErrorCode, words: str
) -> None:
    with pytest.raises(OnboardError, match=words) as refused:
        await backend.create(wanted(name))
    assert refused.value.code == code


async def test_a_password_that_the_server_refuses_is_not_repeated(backend: SharedSecretBackend) -> None:
    with pytest.raises(OnboardError, match="Invalid password") as refused:
        await backend.create(NewAccount(fresh_name(), SecretStr("x" * 513)))
    assert refused.value.code == ErrorCode.HOMESERVER_REFUSED
    assert "xxxx" not in str(refused.value)


async def test_proving_the_secret_makes_nobody(backend: SharedSecretBackend, endpoint: Endpoint) -> None:
    before = await endpoint.count_accounts()
    await backend.prove_secret()
    assert await endpoint.count_accounts() == before


async def test_a_wrong_secret_is_told_with_the_file_and_the_restart(
    backend: SharedSecretBackend, endpoint: Endpoint, secret_file: Path
) -> None:
    put(secret_file, "of another server")
    before = await endpoint.count_accounts()
    for attempt in (backend.prove_secret(), backend.create(wanted(fresh_name()))):
        with pytest.raises(OnboardError, match="restarted") as refused:
            await attempt
        assert refused.value.code == ErrorCode.SECRET_REJECTED
        assert str(secret_file) in refused.value.sentence
        assert "of another server" not in refused.value.sentence
    assert await endpoint.count_accounts() == before


async def test_a_changed_secret_file_is_picked_up(
    backend: SharedSecretBackend, endpoint: Endpoint, secret_file: Path
) -> None:
    put(secret_file, "of another server")
    with pytest.raises(OnboardError):
        await backend.prove_secret()
    put(secret_file, f'registration_shared_secret: "{endpoint.shared_secret}"\n')
    await backend.prove_secret()


async def test_a_rejected_secret_is_read_again_although_the_file_looks_unchanged(
    backend: SharedSecretBackend, endpoint: Endpoint, secret_file: Path
) -> None:
    put(secret_file, "x" * len(endpoint.shared_secret))
    times = (1_700_000_000, 1_700_000_000)
    os.utime(secret_file, times)
    with pytest.raises(OnboardError):
        await backend.prove_secret()
    put(secret_file, endpoint.shared_secret)
    os.utime(secret_file, times)
    await backend.prove_secret()


def cut_the_next_post(between: Between, place: str = "before the answer") -> None:
    """The server's answer to the next POST does not come through."""

    async def cut(passing: Passing) -> None:
        if passing.method == "POST":
            between.leave_alone()
            raise Cut(b"HTTP/1.1 200 OK\r\nContent-Le" if place == "in its head" else b"")

    if place == "in its body":
        between.halfway = cut
    else:
        between.after = cut


@pytest.mark.parametrize("place", ["before the answer", "in its head", "in its body"])
async def test_a_lost_answer_says_so_and_signing_in_finds_the_account(
    http: aiohttp.ClientSession, endpoint: Endpoint, secret_file: Path, place: str
) -> None:
    name = fresh_name()
    async with Between(endpoint.url) as between:
        backend = SharedSecretBackend(http, between.url, SecretFile(secret_file))
        cut_the_next_post(between, place)
        with pytest.raises(AnswerLost):
            await backend.create(wanted(name))
        assert between.count("POST", REGISTER_PATH) == 1
        session = await backend.sign_in(name, PASSWORD, device_id="FOUND")
        assert (await endpoint.facts(f"@{name}:{endpoint.server_name}"))["devices"] == ["FOUND"]
        await backend.sign_out(session)


async def test_a_lost_answer_to_anything_repeatable_is_only_a_delay(
    http: aiohttp.ClientSession, endpoint: Endpoint, secret_file: Path
) -> None:
    name = fresh_name()
    async with Between(endpoint.url) as between:
        backend = SharedSecretBackend(http, between.url, SecretFile(secret_file))
        await backend.create(wanted(name))
        cut_the_next_post(between)
        with pytest.raises(TryLater):
            await backend.sign_in(name, PASSWORD, device_id="ONE")
        session = await backend.sign_in(name, PASSWORD, device_id="ONE")
        cut_the_next_post(between)
        with pytest.raises(TryLater):
            await backend.sign_out(session)
        await backend.sign_out(session)
        cut_the_next_post(between)
        with pytest.raises(TryLater):
            await backend.prove_secret()
        assert (await endpoint.facts(f"@{name}:{endpoint.server_name}"))["devices"] == []


async def test_a_nonce_lost_by_a_restart_is_fetched_again(
    backend: SharedSecretBackend, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_nonce = backend._fetch_nonce
    restarts = 0

    async def fetch_and_restart(account: NewAccount) -> str:
        nonlocal restarts
        nonce = await fetch_nonce(account)
        if restarts == 0:
            restarts += 1
            await endpoint.restart()
        return nonce

    monkeypatch.setattr(backend, "_fetch_nonce", fetch_and_restart)
    name = fresh_name()
    created = await backend.create(wanted(name))
    assert created.user_id == f"@{name}:{endpoint.server_name}"
    assert restarts == 1


async def test_nonces_that_are_always_gone_are_something_for_later(
    backend: SharedSecretBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetch_nonce(account: NewAccount) -> str:
        return f"never given for {account.localpart}"

    monkeypatch.setattr(backend, "_fetch_nonce", fetch_nonce)
    with pytest.raises(TryLater, match="nonces") as later:
        await backend.create(wanted(fresh_name()))
    assert later.value.code == ErrorCode.HOMESERVER_UNREACHABLE


# Servers that are not as they should be. The real ones first.


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        (SynapseSettings(shared_secret=None, bcrypt_rounds=4), ErrorCode.ENDPOINT_DISABLED),
        (
            SynapseSettings(
                extra={
                    "matrix_authentication_service": {
                        "enabled": True,
                        "endpoint": "http://127.0.0.1:1/",
                        "secret": "of the tests",
                    },
                    "password_config": {"enabled": False},
                }
            ),
            ErrorCode.ENDPOINT_REPLACED_BY_MAS,
        ),
    ],
    ids=["disabled", "mas"],
)
async def test_a_real_synapse_without_the_endpoint_is_told(
    tmp_path: Path, http: aiohttp.ClientSession, settings: SynapseSettings, code: ErrorCode
) -> None:
    (tmp_path / "secret").write_text("whatever")
    async with running_synapse(tmp_path / "synapse", settings) as other:
        backend = SharedSecretBackend(http, other.url, SecretFile(tmp_path / "secret"))
        for attempt in (backend.prove_secret(), backend.create(wanted("ada"))):
            with pytest.raises(OnboardError) as refused:
                await attempt
            assert refused.value.code == code


@pytest.fixture
def backend_of_fake(http: aiohttp.ClientSession, fake: SynapseEndpoint, tmp_path: Path) -> SharedSecretBackend:
    (tmp_path / "secret").write_text(fake.shared_secret)
    return SharedSecretBackend(http, fake.url + "/", SecretFile(tmp_path / "secret"))


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("disabled", ErrorCode.ENDPOINT_DISABLED),
        ("hidden", ErrorCode.ENDPOINT_HIDDEN),
        ("hidden_json", ErrorCode.ENDPOINT_HIDDEN),
        ("mas", ErrorCode.ENDPOINT_REPLACED_BY_MAS),
    ],
)
async def test_a_fake_without_the_endpoint_is_told(
    backend_of_fake: SharedSecretBackend, fake: SynapseEndpoint, mode: Mode, code: ErrorCode
) -> None:
    fake.mode = mode
    for attempt in (backend_of_fake.prove_secret(), backend_of_fake.create(wanted("ada"))):
        with pytest.raises(OnboardError) as refused:
            await attempt
        assert refused.value.code == code
    assert fake.accounts == {}


async def test_a_server_that_cannot_be_reached_is_for_later(
    backend_of_fake: SharedSecretBackend, fake: SynapseEndpoint
) -> None:
    session = AccountSession("DEVICE", SecretStr("token"))

    def attempts() -> list[Any]:
        backend = backend_of_fake
        return [
            backend.create(wanted("ada")),
            backend.prove_secret(),
            backend.sign_in("ada", PASSWORD),
            backend.sign_out(session),
        ]

    fake.mode = "unreachable_502"
    for attempt in attempts():
        with pytest.raises(TryLater) as later:
            await attempt
        assert later.value.code == ErrorCode.HOMESERVER_UNREACHABLE
    await fake.stop()
    for attempt in attempts():
        with pytest.raises(TryLater, match="no connection") as later:
            await attempt
        assert later.value.code == ErrorCode.HOMESERVER_UNREACHABLE


async def test_a_connection_cut_by_the_fake_is_a_lost_answer(
    backend_of_fake: SharedSecretBackend, fake: SynapseEndpoint
) -> None:
    fake.lose_answer_once()
    with pytest.raises(AnswerLost):
        await backend_of_fake.create(wanted("ada"))
    await backend_of_fake.sign_in("ada", PASSWORD)


async def test_an_answer_that_takes_too_long_is_lost(
    backend_of_fake: SharedSecretBackend, fake: SynapseEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POST_SECONDS", 0.1)
    fake.answer_delay = 1.0
    with pytest.raises(AnswerLost, match="Timeout"):
        await backend_of_fake.create(wanted("ada"))
    await backend_of_fake.sign_in("ada", PASSWORD)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_after_the_post_leaves_the_outcome_open(
    backend_of_fake: SharedSecretBackend, fake: SynapseEndpoint, status: int
) -> None:
    fake.fail_before_once(status)
    with pytest.raises(AnswerLost, match=str(status)):
        await backend_of_fake.create(wanted("ada"))
    fake.fail_before_once(status)
    with pytest.raises(TryLater):  # the proof makes nobody, so that nothing can be open
        await backend_of_fake.prove_secret()


async def test_a_rate_limit_says_how_long(backend_of_fake: SharedSecretBackend, fake: SynapseEndpoint) -> None:
    limited = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", "retry_after_ms": 61378}
    fake.fail_before_once(429, limited)
    with pytest.raises(TryLater) as later:
        await backend_of_fake.create(wanted("ada"))
    assert (later.value.code, later.value.after) == (ErrorCode.RATE_LIMITED, 61.378)
    fake.fail_before_once(429)
    with pytest.raises(TryLater) as later:
        await backend_of_fake.create(wanted("ada"))
    assert (later.value.code, later.value.after) == (ErrorCode.RATE_LIMITED, UNSAID_WAIT)


async def test_each_limit_is_told_with_its_route_and_its_wait(
    http: aiohttp.ClientSession, fake: SynapseEndpoint, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(fake.shared_secret)
    told: list[tuple[str, float]] = []
    backend = SharedSecretBackend(
        http, fake.url, SecretFile(tmp_path / "secret"), lambda route, wait: told.append((route, wait))
    )
    fake.fail_before_once(429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 61378})
    fake.fail_before_once(429)
    for attempt in (backend.create(wanted("ada")), backend.prove_secret()):
        with pytest.raises(TryLater):
            await attempt
    with pytest.raises(OnboardError):
        await backend.create(wanted("spammer1"))  # a refusal that only looks like a limit
    assert told == [("POST /_synapse/admin/v1/register", 61.378), ("POST /_synapse/admin/v1/register", UNSAID_WAIT)]
    told.clear()
    limited = web.json_response({"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 7000}, status=429)
    async with odd_server(limited) as url:
        backend = SharedSecretBackend(
            http, url, SecretFile(tmp_path / "secret"), lambda route, wait: told.append((route, wait))
        )
        with pytest.raises(TryLater):
            await backend.sign_in("ada", PASSWORD)
    assert told == [("POST login", 7.0)]


async def test_a_version_is_asked_for_only_where_the_endpoint_is_unknown(
    backend_of_fake: SharedSecretBackend, fake: SynapseEndpoint
) -> None:
    await backend_of_fake.create(wanted("ada"))
    fake.mode = "hidden"
    with pytest.raises(OnboardError):
        await backend_of_fake.prove_secret()
    assert VERSION_PATH not in {call.path for call in fake.calls}
    fake.mode = "mas"
    with pytest.raises(OnboardError):
        await backend_of_fake.prove_secret()
    assert [call.path for call in fake.calls].count(VERSION_PATH) == 1


async def test_the_version_is_told_without_a_token(http: aiohttp.ClientSession, endpoint: Endpoint) -> None:
    async with http.get(endpoint.url + VERSION_PATH) as answer:
        assert (answer.status, list(await answer.json())) == (200, ["server_version"])


async def test_a_session_that_comes_unasked_is_ended(
    backend_of_fake: SharedSecretBackend, fake: SynapseEndpoint
) -> None:
    fake.inhibit_login_is_known = False
    created = await backend_of_fake.create(wanted("ada"))
    assert created.session is None
    assert fake.accounts[created.user_id].sessions == {}


async def test_the_proof_asks_for_a_name_that_nobody_can_have(
    backend_of_fake: SharedSecretBackend, fake: SynapseEndpoint
) -> None:
    await backend_of_fake.prove_secret()
    await backend_of_fake.prove_secret()
    posts = [call.body for call in fake.calls if call.method == "POST"]
    assert {body["username"] for body in posts} == {IMPOSSIBLE_NAME}
    assert len({body["password"] for body in posts}) == 2


async def test_an_answer_without_an_end_is_no_verdict_on_the_endpoint(
    http: aiohttp.ClientSession, tmp_path: Path, fake: SynapseEndpoint
) -> None:
    """A page of a few kilobytes in its place would be: something hides it."""
    (tmp_path / "secret").write_text(fake.shared_secret)
    app = web.Application()
    app.router.add_get(REGISTER_PATH, endless)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        with pytest.raises(TryLater):
            await SharedSecretBackend(http, url, SecretFile(tmp_path / "secret")).create(wanted("ada"))
    finally:
        await runner.cleanup()


async def endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    with suppress(ConnectionError):
        while True:
            await answer.write(b"[" * 65536)
    return answer


@asynccontextmanager
async def odd_server(answer: web.Response) -> AsyncIterator[str]:
    """Gives nonces like Synapse, and one and the same answer to every POST."""

    async def give_nonce(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's signature
        return web.json_response({"nonce": "a nonce"})

    async def give_answer(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's signature
        return answer

    app = web.Application()
    app.router.add_get(REGISTER_PATH, give_nonce)
    app.router.add_route("POST", "/{anywhere:.*}", give_answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>welcome</html>",
        b"[]",
        b"{}",
        b'{"user_id": 5}',
        b'{"user_id": "ada"}',
        b'{"user_id": "@bob:localhost"}',
        b"[" * 50_000,
        b'{"user_id": "@ada:localhost", "more": "' + b"x" * 100_000 + b'"}',
    ],
    ids=["empty", "page", "list", "nothing", "number", "no user id", "another", "deep", "huge"],
)
async def test_a_success_that_makes_no_sense_is_a_lost_answer(
    http: aiohttp.ClientSession, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "secret").write_text("a secret")
    async with odd_server(web.Response(body=content)) as url:
        with pytest.raises(AnswerLost):
            await SharedSecretBackend(http, url, SecretFile(tmp_path / "secret")).create(wanted("ada"))


async def test_a_password_is_never_sent_where_a_redirect_points(
    http: aiohttp.ClientSession, tmp_path: Path, fake: SynapseEndpoint
) -> None:
    (tmp_path / "secret").write_text("a secret")
    elsewhere = web.Response(status=307, headers={"Location": fake.url + REGISTER_PATH})
    async with odd_server(elsewhere) as url:
        with pytest.raises(OnboardError) as refused:
            await SharedSecretBackend(http, url, SecretFile(tmp_path / "secret")).create(wanted("ada"))
    assert refused.value.code == ErrorCode.ENDPOINT_HIDDEN
    assert fake.calls == []
