"""The command table, and what its lines become."""

import pytest

from onboard_bot.chat.commands import (
    COMMANDS,
    Approve,
    Cancel,
    Command,
    Deny,
    Help,
    Register,
    Reopen,
    Requests,
    Show,
    Status,
    to_command,
)
from onboard_bot.chat.grammar import CommandSpec, parse
from onboard_bot.domain.requests import AccountType, State
from onboard_bot.domain.roles import Role
from onboard_bot.errors import ErrorCode, OnboardError


def command(line: str) -> Command:
    return to_command(parse(line, COMMANDS))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("register ada", Register("ada")),
        ("register ada Ada Lovelace", Register("ada", "Ada Lovelace")),
        ("register @Ada:example.org", Register("@Ada:example.org")),
        ('register "ada lovelace"', Register("ada lovelace")),
        ("register ada --admin", Register("ada", admin=True)),
        ("register ada —admin", Register("ada", admin=True)),
        ("register ada --type=bot", Register("ada", account_type=AccountType.BOT)),
        ("register ada --type support Desk", Register("ada", "Desk", account_type=AccountType.SUPPORT)),
        ("register ada --rooms=staff", Register("ada", room_sets=("staff",))),
        ('register ada --rooms="staff, labs,,staff"', Register("ada", room_sets=("staff", "labs"))),
        ('register ada --note="by post" --quiet', Register("ada", note="by post", quiet=True)),
        ("requests", Requests(None, 1)),
        ("requests Failed", Requests(State.FAILED, 1)),
        ("requests --page=3", Requests(None, 3)),
        ("requests pending --page 2", Requests(State.PENDING, 2)),
        ("show 2k4fa", Show("2k4fa")),
        ("show 2K4FA", Show("2k4fa")),
        ("approve", Approve((), None, None)),
        ("approve 2k4fa", Approve(("2k4fa",), None, None)),
        ("approve 2K4FA, 7mr3x looks good", Approve(("2k4fa", "7mr3x"), "looks good", None)),
        ("approve 2k4fa,7mr3x,2k4fa", Approve(("2k4fa", "7mr3x"), None, None)),
        ("approve looks good", Approve((), "looks good", None)),
        ("approve 2k4fa looks good --username=bob", Approve(("2k4fa",), "looks good", "bob")),
        ("approve --username=bob", Approve((), None, "bob")),
        ("approve 2k4fa afham is fine", Approve(("2k4fa",), "afham is fine", None)),
        ('approve 2k4fa "7mr3x" is the other', Approve(("2k4fa",), '"7mr3x" is the other', None)),
        ("approve 2k4fa it is like 7mr3o", Approve(("2k4fa",), "it is like 7mr3o", None)),
        ('approve ""', Approve((), None, None)),
        ("deny 2k4fa 7mr3x who is that?", Deny(("2k4fa", "7mr3x"), "who is that?", silent=False)),
        ("deny 2k4fa 7mr3x --silent", Deny(("2k4fa", "7mr3x"), None, silent=True)),
        ("deny —silent who is that?", Deny((), "who is that?", silent=True)),
        ("cancel 2K4FA", Cancel("2k4fa")),
        ("reopen 2K4FA", Reopen("2k4fa")),
        ("status", Status()),
        ("help", Help()),
        ("help register", Help("register")),
        ("register --help", Help("register")),
        ("help --help", Help("help")),
    ],
)
def test_a_line_becomes_a_typed_command(line: str, expected: Command) -> None:
    assert command(line) == expected


def test_rooms_that_name_nothing_are_a_bad_argument() -> None:
    with pytest.raises(OnboardError, match="--rooms names no room set") as caught:
        command("register ada --rooms=,")
    assert caught.value.code == ErrorCode.BAD_ARGUMENT


@pytest.mark.parametrize(
    "usage",
    [
        "!register <username> [display name] [--admin] [--type=bot|support] [--rooms=set] [--note=…] [--quiet]",
        "!requests [state] [--page=…]",
        "!show <id>",
        "!approve <id>… [note] [--username=…]",
        "!deny <id>… [reason] [--silent]",
        "!cancel <id>",
        "!reopen <id>",
        "!trust <user>",
        "!status",
        "!help [command]",
    ],
)
def test_every_usage_is_the_contract(usage: str) -> None:
    """Word for word from the design, but for `--here`, which comes with the rooms, and for the pages of requests."""
    assert usage in [spec.usage("!") for spec in COMMANDS]


def test_who_decides_has_to_be_an_approver() -> None:
    approvers = {spec.name for spec in COMMANDS if spec.role is Role.APPROVER}
    assert approvers == {"approve", "deny", "reopen", "trust"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("requests soon", "The state cannot be “soon”; it is one of: pending, approved, creating, created, denied,"),
        ("requests --page=0", "--page counts from 1."),
        ("requests --page=-1", "--page counts from 1."),
        ("approve 2k4fa 7mr3x --username=bob", "--username corrects the name of one request, and several were named."),
        ("approve 2k4fa " + "x" * 2001, "The note is too long: 2,001 characters; at most 2,000 are allowed."),
        ("approve " + "why " * 15_000, "The note is too long: 59,999 characters; at most 2,000 are allowed."),
        ("deny 2k4fa " + "x" * 2001, "The reason is too long: 2,001 characters; at most 2,000 are allowed."),
        (f'register ada --note="{"x" * 2001}"', "The note is too long: 2,001 characters; at most 2,000 are allowed."),
    ],
)
def test_what_makes_no_sense_is_a_bad_argument(line: str, words: str) -> None:
    with pytest.raises(OnboardError) as caught:
        command(line)
    assert caught.value.code == ErrorCode.BAD_ARGUMENT
    assert caught.value.sentence.startswith(words)


def test_two_thousand_characters_are_not_too_long() -> None:
    assert command(f"deny 2k4fa {'é' * 2000}") == Deny(("2k4fa",), "é" * 2000)


@pytest.mark.parametrize(
    "line", ["approve 7mr3o", "approve 2k4fa, 7mr3O looks good", "deny 00000 --silent", "deny 2k4f1"]
)
def test_what_looks_like_an_id_and_is_none_is_not_taken_for_a_note(line: str) -> None:
    """Ids are copied by hand: a letter that is in no id would make a note of the request that was meant."""
    with pytest.raises(OnboardError, match=r"There is no request “.*Nothing was done") as caught:
        command(line)
    assert caught.value.code == ErrorCode.NOT_FOUND


def test_names_are_used_once() -> None:
    assert len({spec.name for spec in COMMANDS}) == len(COMMANDS)


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_row_has_an_example_that_works_and_words_for_everything(row: CommandSpec) -> None:
    assert parse(row.example, COMMANDS).spec is row
    assert isinstance(command(row.example), Command)
    assert row.summary.endswith(".")
    assert all(param.doc for param in row.params)
    assert all(option.doc for option in row.options)
