"""The command table, and what its lines become."""

import pytest

from onboard_bot.chat.commands import COMMANDS, Command, Help, Register, Status, to_command
from onboard_bot.chat.grammar import CommandSpec, parse
from onboard_bot.domain.requests import AccountType
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


def test_the_usage_of_register_is_the_contract() -> None:
    """Word for word from the design, but for `--here`, which comes with the rooms."""
    assert COMMANDS[0].usage("!") == (
        "!register <username> [display name] [--admin] [--type=bot|support] [--rooms=set] [--note=…] [--quiet]"
    )


def test_names_are_used_once() -> None:
    assert len({spec.name for spec in COMMANDS}) == len(COMMANDS)


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_row_has_an_example_that_works_and_words_for_everything(row: CommandSpec) -> None:
    assert parse(row.example, COMMANDS).spec is row
    assert isinstance(command(row.example), Command)
    assert row.summary.endswith(".")
    assert all(param.doc for param in row.params)
    assert all(option.doc for option in row.options)
