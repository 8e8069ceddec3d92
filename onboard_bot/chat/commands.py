"""Owns the command table: what can be typed, and the frozen value that each command becomes.

A new command is one row in `COMMANDS` and one dataclass with `of`, which names its values in the program's own words.
Parser, help, permissions and `docs/commands.md` follow from the row.
"""

from dataclasses import dataclass
from typing import Self

from onboard_bot.chat.grammar import CommandSpec, Option, OptionKind, Param, Parsed, Values
from onboard_bot.domain.requests import AccountType
from onboard_bot.domain.roles import Role
from onboard_bot.errors import ErrorCode, OnboardError


class Command:
    """What somebody wants done. Whether they may is decided where it is done."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Register(Command):
    """`!register`: an account, please. The username is as it was typed, and not checked yet."""

    username: str
    display_name: str | None = None
    admin: bool = False
    account_type: AccountType | None = None
    room_sets: tuple[str, ...] = ()
    note: str | None = None
    quiet: bool = False

    @classmethod
    def of(cls, values: Values) -> Self:
        """The command that was typed.

        Raises:
            OnboardError: `bad_argument` if `--rooms` names nothing.
        """
        return cls(
            username=values["username"],
            display_name=values["display name"],
            admin=values["admin"],
            account_type=AccountType(values["type"]) if values["type"] else None,
            room_sets=_names(values["rooms"]),
            note=values["note"],
            quiet=values["quiet"],
        )


@dataclass(frozen=True, slots=True)
class Trust(Command):
    """`!trust`: somebody's changed identity is really theirs. The user is as typed, and not checked yet."""

    user: str

    @classmethod
    def of(cls, values: Values) -> Self:
        """The command that was typed."""
        return cls(values["user"])


@dataclass(frozen=True, slots=True)
class Status(Command):
    """`!status`: how are you?"""

    @classmethod
    def of(cls, _values: Values) -> Self:
        """The command that was typed."""
        return cls()


@dataclass(frozen=True, slots=True)
class Help(Command):
    """`!help`: of everything, or of one command; also what `--help` means."""

    command: str | None = None

    @classmethod
    def of(cls, values: Values) -> Self:
        """The command that was typed."""
        return cls(values["command"])


COMMANDS: tuple[CommandSpec, ...] = (
    CommandSpec(
        name="register",
        summary="Makes an account.",
        role=Role.APPROVER,  # until votes let everybody ask
        read=Register.of,
        params=(
            Param("username", "The name to sign in with: the letters a to z, digits and . _ = - / +"),
            Param("display name", "The name that others see; the rest of the line.", required=False, tail=True),
        ),
        options=(
            Option("admin", "Gives the account server-admin rights.", OptionKind.FLAG),
            Option("type", "An account that is not a person's.", OptionKind.CHOICE, tuple(AccountType)),
            Option("rooms", "A named set of rooms to bring the account into; several with commas.", placeholder="set"),
            Option("note", "A remark for the record; the new person does not see it."),
            Option("quiet", "Nothing is announced.", OptionKind.FLAG),
        ),
        example='register ada Ada Lovelace --note="joins the engine group"',
    ),
    CommandSpec(
        name="trust",
        summary="Accepts somebody's changed cross-signing identity; not one's own.",
        role=Role.APPROVER,
        read=Trust.of,
        params=(Param("user", "The user id, like @ada:example.org."),),
        example="trust @ada:example.org",
    ),
    CommandSpec(
        name="status",
        summary="Tells how the bot is doing.",
        read=Status.of,
        example="status",
    ),
    CommandSpec(
        name="help",
        summary="Lists what you can do here, or explains one command.",
        read=Help.of,
        params=(Param("command", "The command to explain.", required=False),),
        example="help register",
    ),
)


def to_command(parsed: Parsed) -> Command:
    """The typed value of a parsed line.

    Raises:
        OnboardError: `bad_argument` where the values do not make sense together.
    """
    if parsed.help:
        return Help(parsed.spec.name)
    command: Command = parsed.spec.read(parsed.values)
    return command


def _names(listed: str | None) -> tuple[str, ...]:
    if listed is None:
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
    if not names:
        raise OnboardError(ErrorCode.BAD_ARGUMENT, "--rooms names no room set.")
    return names
