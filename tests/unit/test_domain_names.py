"""Usernames, user ids, display names, passwords and request ids: what comes out keeps the rules, whatever goes in."""

import re
import secrets
import string
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onboard_bot.domain import passwords
from onboard_bot.domain.display_names import parse_display_name
from onboard_bot.domain.identifiers import is_server_name, is_user_id, parse_username, server_of
from onboard_bot.errors import ErrorCode, OnboardError

SERVER = "example.org"
# Specification, appendices, "User Identifiers".
GRAMMAR = re.compile(r"@[a-z0-9._=/+\-]+:example\.org", re.ASCII)

typed_names = st.one_of(
    st.text(max_size=300),
    st.text(alphabet=string.ascii_letters + string.digits + "._=-/+@: ", max_size=300),
    st.from_regex(r"@?[A-Za-z0-9._=/+-]{1,250}(:[Ee]xample\.org)?", fullmatch=True),
)


def username(typed: str, *reserved: str) -> str:
    return str(parse_username(typed, server_name=SERVER, reserved=reserved))


def accepted(parse: Callable[[], str], otherwise: ErrorCode) -> str | None:
    """What was parsed; None where it was refused, and then with this code."""
    try:
        return parse()
    except OnboardError as error:
        if error.code is not otherwise:
            raise
        return None


def refusal(typed: str, *reserved: str) -> OnboardError:
    with pytest.raises(OnboardError) as caught:
        username(typed, *reserved)
    return caught.value


@given(typed_names)
@example("ada\n")
@example("ada\0")
@example("\N{KELVIN SIGN}arl")
@example("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}da")
@example("\u0661\u0662")
def test_a_username_that_is_accepted_makes_a_user_id_of_the_grammar(typed: str) -> None:
    name = accepted(lambda: username(typed), ErrorCode.USERNAME_INVALID)
    if name is None:
        return
    user_id = parse_username(typed, server_name=SERVER).at(SERVER)
    assert GRAMMAR.fullmatch(user_id)
    assert is_user_id(user_id)
    assert len(user_id.encode()) <= 255
    assert not name.startswith("_")
    assert not name.isdigit()
    assert username(name) == username(user_id) == username(name.upper()) == name


@given(typed_names)
def test_a_refusal_repeats_at_most_a_line_of_what_was_typed(typed: str) -> None:
    if accepted(lambda: username(typed), ErrorCode.USERNAME_INVALID) is None:
        assert len(refusal(typed).sentence) < 40 + 140


@pytest.mark.parametrize(
    ("pattern", "name"), [("root", "root"), ("Root", "ROOT"), ("irc-*", "irc-bob"), ("*", "anybody"), ("a?c", "abc")]
)
def test_reserved_names_and_patterns_are_refused(pattern: str, name: str) -> None:
    assert refusal(name, pattern).code is ErrorCode.USERNAME_RESERVED


def test_a_reserved_word_inside_a_name_is_no_reserved_name() -> None:
    assert username("rooter", "root", "irc-*") == "rooter"


def test_the_longest_name_is_the_one_whose_user_id_has_255_bytes() -> None:
    longest = 255 - len(f"@:{SERVER}")
    assert username("a" * longest) == "a" * longest
    assert f"at most {longest} " in refusal("a" * (longest + 1)).sentence


@pytest.mark.parametrize("typed", ["@ada:elsewhere.org", "@ada:example.org.evil.net", "@ada:", "@ada:example.org:8448"])
def test_another_servers_user_is_refused_by_naming_our_server(typed: str) -> None:
    error = refusal(typed)
    assert error.code is ErrorCode.USERNAME_INVALID
    assert SERVER in error.sentence


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("@ada:example.org", True),
        ("@Ada!:example.org:8448", True),
        ("@ada:[::1]:8448", True),
        ("@ada:127.0.0.1", True),
        ("ada:example.org", False),
        ("@ada", False),
        ("@:example.org", False),
        ("@a da:example.org", False),
        ("@ada:exa mple.org", False),
        ("@ada:example.org/x", False),
        ("@" + "a" * 250 + ":example.org", False),
    ],
)
def test_user_ids_are_told_from_other_text(text: str, *, is_one: bool) -> None:
    assert is_user_id(text) is is_one


def test_the_server_of_a_user_id_keeps_its_port() -> None:
    assert server_of("@ada:[::1]:8448") == "[::1]:8448"
    assert is_server_name("[::1]:8448")


@given(st.text(max_size=300))
def test_a_display_name_that_is_accepted_disturbs_nothing_around_it(typed: str) -> None:
    name = accepted(lambda: parse_display_name(typed), ErrorCode.BAD_ARGUMENT)
    if name is None:
        return
    assert 1 <= len(name) <= 256
    assert name == name.strip()
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)
    assert parse_display_name(name) == name


@pytest.mark.parametrize("typed", ["", "  ", "a" * 257, "a\nb", "a\0b", "a\u202eb", "a\u2028b", "\x1b[31mred"])
def test_display_names_that_would_confuse_are_refused(typed: str) -> None:
    with pytest.raises(OnboardError) as caught:
        parse_display_name(typed)
    assert caught.value.code is ErrorCode.BAD_ARGUMENT


@pytest.mark.parametrize("typed", ["Ada Lovelace", "ö" * 256, "李小龍", "👩‍💻 Grace", "O'Brien"])
def test_ordinary_names_of_all_alphabets_are_kept(typed: str) -> None:
    assert parse_display_name(f"  {typed} ") == typed


@given(st.data())
def test_passwords_are_long_enough_and_go_through_every_frame(data: st.DataObject) -> None:
    password = passwords.generate_password(lambda symbols: data.draw(st.sampled_from(symbols)))
    assert 20 <= len(password.encode()) < 72
    assert password.isascii()
    assert password.isalnum()
    assert not set(password) & set("0O1lI")


def test_passwords_use_every_symbol_and_are_never_the_same() -> None:
    made = {passwords.generate_password(secrets.choice) for _ in range(200)}
    assert len(made) == 200
    assert set("".join(made)) == set(passwords.ALPHABET)
