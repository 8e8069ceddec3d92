"""What `!help` shows, and to whom."""

import pytest

from onboard_bot.chat.commands import COMMANDS
from onboard_bot.chat.help import help_message
from onboard_bot.chat.messages import render
from onboard_bot.domain.roles import Role
from onboard_bot.errors import ErrorCode, OnboardError


def body(command: str | None = None, role: Role = Role.APPROVER, prefix: str = "!") -> str:
    return str(render(help_message(COMMANDS, role, command, prefix=prefix))["body"])


def test_the_list_holds_what_this_person_may_do() -> None:
    for role in (Role.REQUESTER, Role.APPROVER):
        for spec in COMMANDS:
            listed = f"• `{spec.usage('!')}`: {spec.summary}" in body(role=role)
            assert listed == (role >= spec.role), spec.name
    assert "!status" in body(role=Role.REQUESTER)
    assert "!approve <id>…" in body(role=Role.APPROVER)
    assert "!approve <id>…" not in body(role=Role.REQUESTER)


def test_one_command_is_explained_with_an_example() -> None:
    assert body("register").splitlines() == [
        "`!register <username> [display name] [--admin] [--type=bot|support] [--rooms=set] [--note=…] [--quiet]`",
        "Makes an account, or asks for one.",
        "• `<username>`: The name to sign in with: the letters a to z, digits and . _ = - / +",
        "• `[display name]`: The name that others see; the rest of the line.",
        "• `[--admin]`: Gives the account server-admin rights.",
        "• `[--type=bot|support]`: An account that is not a person's.",
        "• `[--rooms=set]`: A named set of rooms to bring the account into; several with commas.",
        "• `[--note=…]`: A remark for the record; the new person does not see it.",
        "• `[--quiet]`: Nothing is announced.",
        'Example: `!register ada Ada Lovelace --note="joins the engine group"`',
    ]


@pytest.mark.parametrize("typed", ["status", "STATUS", "!status"])
def test_a_command_is_found_however_it_is_written(typed: str) -> None:
    assert body(typed).startswith("`!status`\n")


def test_the_configured_prefix_is_shown() -> None:
    assert "%register" in body(prefix="%")
    assert "!" not in body(prefix="%")


def test_it_is_machine_readable() -> None:
    content = render(help_message(COMMANDS, Role.APPROVER, None, prefix="!"))
    assert content["io.github.onboard_bot"] == {"v": 1, "kind": "help"}
    assert content["m.mentions"] == {}
    assert "&lt;username&gt;" in content["formatted_body"]


@pytest.mark.parametrize(("typed", "near"), [("statsu", "!status"), ("approve", "!")])
def test_an_unknown_command_names_the_nearest_that_this_person_may_use(typed: str, near: str) -> None:
    with pytest.raises(OnboardError) as caught:
        body(typed, role=Role.REQUESTER)
    assert caught.value.code == ErrorCode.UNKNOWN_COMMAND
    assert f"The nearest is {near}" in caught.value.sentence
    assert "!approve" not in caught.value.sentence
