"""The MAC, and what each answer of the endpoint means."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from onboard_bot.domain.requests import AccountType
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.homeserver.answers import (
    LOGIN_RULES,
    LOGOUT_RULES,
    MAX_WORDS,
    NONCE_RULES,
    REGISTER_RULES,
    Answer,
    Meaning,
    Rule,
    meaning_of,
    read_answer,
    refusal,
    server_words,
)
from onboard_bot.homeserver.port import AccountSession, NewAccount
from onboard_bot.homeserver.registration import registration_mac

TABLES = {"nonce": NONCE_RULES, "register": REGISTER_RULES, "login": LOGIN_RULES, "logout": LOGOUT_RULES}


def answer(status: int, errcode: str | None = None, error: str | None = None, **more: Any) -> Answer:
    body = {"errcode": errcode, "error": error, **more}
    return Answer(status, {key: value for key, value in body.items() if value is not None} or None)


def in_words(value: Answer | Meaning) -> str:
    """A case's name in pytest's list."""
    return value.name if isinstance(value, Meaning) else f"{value.status} {value.errcode} {value.error}"


def told(meaning: Meaning, reply: Answer, *hidden: str) -> OnboardError:
    return refusal(meaning, reply, url="http://hs:8008", secret_file="/run/secret", localpart="ada", hidden=hidden)


@pytest.mark.parametrize(
    ("admin", "account_type", "mac"),
    [
        (False, None, "44e0ec50d52aaa4029731dfcfe7e22123fa4c53e"),
        (True, None, "7774d6962a728b48ca7cd41e99a5149a93ff1ec5"),
        (True, AccountType.BOT, "10f12d86c7210410ee777edadf655033b8f36008"),
    ],
)
def test_the_mac_is_the_one_that_other_servers_test_for(
    *, admin: bool, account_type: AccountType | None, mac: str
) -> None:
    made = registration_mac(
        SecretStr("shared-secret-12345"),
        nonce="thenonce0123456789abcdef",
        username="alice",
        password=SecretStr("p4ssw0rd!"),
        admin=admin,
        account_type=account_type,
    )
    assert made == mac


REGISTER_ANSWERS: list[tuple[Answer, Meaning]] = [
    # Synapse, as measured
    (answer(200, user_id="@ada:hs"), Meaning.DONE),
    (answer(400, "M_UNKNOWN", "Shared secret registration is not enabled"), Meaning.DISABLED),
    (answer(400, "M_BAD_JSON", "nonce must be specified"), Meaning.REFUSED),
    (answer(400, "M_UNKNOWN", "unrecognised nonce"), Meaning.NONCE_GONE),
    (answer(400, "M_UNKNOWN", "Invalid username"), Meaning.NAME_INVALID),
    (answer(400, "M_UNKNOWN", "Invalid password"), Meaning.REFUSED),
    (answer(400, "M_UNKNOWN", "Invalid user type"), Meaning.REFUSED),
    (answer(403, "M_UNKNOWN", "HMAC incorrect"), Meaning.SECRET_WRONG),
    (answer(400, "M_UNKNOWN", "refresh_token must be a boolean"), Meaning.REFUSED),
    (answer(429, "M_UNKNOWN", "Rate limited"), Meaning.DENIED),
    (answer(400, "M_INVALID_USERNAME", "User ID may not begin with _"), Meaning.NAME_INVALID),
    (answer(400, "M_EXCLUSIVE", "This user ID is reserved by an application service."), Meaning.NAME_RESERVED),
    (answer(400, "M_USER_IN_USE", "User ID already taken."), Meaning.NAME_TAKEN),
    (answer(404, "M_UNRECOGNIZED", "Unrecognized request"), Meaning.PATH_UNKNOWN),
    (answer(429, "M_LIMIT_EXCEEDED", "Too Many Requests"), Meaning.LIMITED),
    (answer(500, "M_UNKNOWN", "Internal server error"), Meaning.BROKEN),
    # Dendrite
    (answer(403, "M_FORBIDDEN", "bad mac"), Meaning.SECRET_WRONG),
    (answer(500, "M_UNKNOWN", "incorrect or expired nonce: abc"), Meaning.NONCE_GONE),
    (answer(400, "M_WEAK_PASSWORD", "password too weak: min 8 chars"), Meaning.REFUSED),
    (answer(400, "M_BAD_JSON", "malformed json: encoding/hex: invalid byte"), Meaning.REFUSED),
    # tuwunel
    (answer(403, "M_FORBIDDEN", "HMAC check failed"), Meaning.SECRET_WRONG),
    (answer(400, "M_INVALID_PARAM", "Invalid nonce"), Meaning.NONCE_GONE),
    (answer(403, "M_FORBIDDEN", "Shared-secret registration is not enabled."), Meaning.DISABLED),
    # modules and proxies
    (answer(403, "M_FORBIDDEN", "Not from there"), Meaning.REFUSED),
    (answer(400, "M_FORBIDDEN"), Meaning.REFUSED),
    (answer(429), Meaning.LIMITED),
    (answer(403), Meaning.HIDDEN),
    (answer(404), Meaning.HIDDEN),
    (answer(405), Meaning.HIDDEN),
    (answer(302), Meaning.HIDDEN),
    (answer(502), Meaning.BROKEN),
    (answer(504), Meaning.BROKEN),
]


@pytest.mark.parametrize(("reply", "meaning"), REGISTER_ANSWERS, ids=in_words)
def test_an_answer_to_a_registration_means(reply: Answer, meaning: Meaning) -> None:
    assert meaning_of(REGISTER_RULES, reply) is meaning


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (answer(200, nonce="x"), Meaning.DONE),
        (answer(404, "M_UNRECOGNIZED", "Unrecognized request"), Meaning.PATH_UNKNOWN),
        (answer(404, "M_NOT_FOUND", "Not here"), Meaning.HIDDEN),
        (answer(403, "M_FORBIDDEN", "Not from there"), Meaning.HIDDEN),
        (answer(400, "M_FORBIDDEN", "shared secret registration is not enabled"), Meaning.DISABLED),
        (answer(401), Meaning.HIDDEN),
        (answer(403), Meaning.HIDDEN),
        (answer(404), Meaning.HIDDEN),
        (answer(405), Meaning.HIDDEN),
        (answer(301), Meaning.HIDDEN),
        (answer(429), Meaning.LIMITED),
        (answer(500), Meaning.BROKEN),
        (answer(502), Meaning.BROKEN),
        (answer(503), Meaning.BROKEN),
    ],
    ids=in_words,
)
def test_an_answer_to_the_question_for_a_nonce_means(reply: Answer, meaning: Meaning) -> None:
    assert meaning_of(NONCE_RULES, reply) is meaning


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (answer(403, "M_FORBIDDEN", "Invalid username or password"), Meaning.PASSWORD_WRONG),
        (answer(403, "M_USER_DEACTIVATED", "This account has been deactivated"), Meaning.PASSWORD_WRONG),
        (answer(400, "M_UNKNOWN", "Unknown login type m.login.password"), Meaning.REFUSED),
        (answer(429, "M_LIMIT_EXCEEDED", "Too Many Requests"), Meaning.LIMITED),
        (answer(404), Meaning.BROKEN),
        (answer(503), Meaning.BROKEN),
    ],
    ids=in_words,
)
def test_an_answer_to_a_sign_in_means(reply: Answer, meaning: Meaning) -> None:
    assert meaning_of(LOGIN_RULES, reply) is meaning


ANSWERS = st.builds(
    answer,
    st.integers(100, 599),
    st.none() | st.text(max_size=30) | st.sampled_from(["M_UNKNOWN", "M_FORBIDDEN", "M_UNRECOGNIZED"]),
    st.none() | st.text(max_size=60),
)


@pytest.mark.parametrize("table", TABLES)
@given(reply=ANSWERS)
def test_every_answer_has_a_meaning(table: str, reply: Answer) -> None:
    assert meaning_of(TABLES[table], reply) in Meaning


@given(reply=ANSWERS)
def test_a_server_error_is_never_taken_for_a_definite_refusal_of_the_name(reply: Answer) -> None:
    if reply.status >= 500:
        open_ones = {Meaning.BROKEN, Meaning.NONCE_GONE, Meaning.DISABLED, Meaning.LIMITED}
        assert meaning_of(REGISTER_RULES, reply) in open_ones


def test_a_name_that_sounds_like_an_error_is_no_error() -> None:
    echo = answer(400, "M_FORBIDDEN", "no account for bad mac")
    assert meaning_of(REGISTER_RULES, echo) is Meaning.REFUSED
    assert not Rule(Meaning.DONE, words="hmac incorrect").fits(answer(403, None, "HMAC incorrect, said Ada"))


@pytest.mark.parametrize(
    ("meaning", "code", "mend"),
    [
        (Meaning.SECRET_WRONG, ErrorCode.SECRET_REJECTED, "/run/secret"),
        (Meaning.SECRET_WRONG, ErrorCode.SECRET_REJECTED, "may not have been restarted"),
        (Meaning.DISABLED, ErrorCode.ENDPOINT_DISABLED, "Set registration_shared_secret_path"),
        (Meaning.REPLACED, ErrorCode.ENDPOINT_REPLACED_BY_MAS, "Matrix Authentication Service"),
        (Meaning.HIDDEN, ErrorCode.ENDPOINT_HIDDEN, "main process"),
        (Meaning.HIDDEN, ErrorCode.ENDPOINT_HIDDEN, "internal listener"),
        (Meaning.NAME_INVALID, ErrorCode.USERNAME_INVALID, "“because {so}”"),
        (Meaning.NAME_RESERVED, ErrorCode.USERNAME_RESERVED, "application service"),
        (Meaning.NAME_TAKEN, ErrorCode.USERNAME_TAKEN, "The name ada is taken"),
        (Meaning.DENIED, ErrorCode.HOMESERVER_REFUSED, "spam checker"),
        (Meaning.REFUSED, ErrorCode.HOMESERVER_REFUSED, "(status 418): “because {so}”"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_mends_it(meaning: Meaning, code: ErrorCode, mend: str) -> None:
    error = told(meaning, answer(418, "M_TEAPOT", "because {so}"))
    assert error.code == code
    assert mend in error.sentence
    assert error.sentence.endswith(".")


def test_the_servers_words_are_one_short_line_without_secrets() -> None:
    reply = answer(400, "M_X", "no \n\x1b[31m hunter2 is\u202e weak " + "x" * 5000)
    error = told(Meaning.REFUSED, reply, "hunter2", "")
    assert "hunter2" not in error.sentence
    assert error.sentence.isprintable()
    assert "“no [31m … is weak xxx" in error.sentence
    assert len(server_words(reply)) == MAX_WORDS + 2
    assert server_words(answer(400)) == "it gave no reason"


@given(content=st.binary(max_size=200), header=st.none() | st.text(max_size=12))
def test_any_bytes_are_an_answer(content: bytes, header: str | None) -> None:
    read = read_answer(200, header, content)
    assert read.body is None or isinstance(read.body, dict)


@pytest.mark.parametrize(
    ("body", "header", "seconds"),
    [
        ({"retry_after_ms": 61378}, "62", 61.378),
        ({"retry_after_ms": 0}, None, 0.0),
        ({"retry_after_ms": -5}, "7", 7.0),
        ({"retry_after_ms": "soon"}, " 7 ", 7.0),
        ({"retry_after_ms": True}, None, None),
        ({"retry_after_ms": 10**400}, None, 1e9),
        ({}, "Wed, 21 Oct 2026 07:28:00 GMT", None),
        ({}, "-3", None),
        ({}, None, None),
    ],
)
def test_how_long_to_wait_is_read_from_body_or_header(
    body: dict[str, Any], header: str | None, seconds: float | None
) -> None:
    assert read_answer(429, header, json.dumps(body).encode()).retry_after == seconds


def test_nothing_secret_is_in_a_repr() -> None:
    account = NewAccount("ada", SecretStr("hunter2"))
    session = AccountSession("DEVICE", SecretStr("hunter2"))
    read = read_answer(200, None, b'{"access_token": "hunter2"}')
    assert "hunter2" not in f"{account!r} {session!r} {read!r}"
