"""Owns the command table: what can be typed, and the frozen value that each command becomes.

A new command is one row in `COMMANDS` and one dataclass with `of`, which names its values in the program's own words.
Parser, help, permissions and `docs/commands.md` follow from the row.
"""

from dataclasses import dataclass
from typing import Self

from onboard_bot.chat.grammar import CommandSpec, Option, OptionKind, Param, Parsed, Values
from onboard_bot.domain.request_ids import ALPHABET, LENGTH, read_request_id
from onboard_bot.domain.requests import AccountType, State
from onboard_bot.domain.roles import Role
from onboard_bot.errors import ErrorCode, OnboardError

MAX_NOTE = 2000
"""Characters of a note or a reason."""


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
            OnboardError: `bad_argument` if `--rooms` names nothing, or the note is too long.
        """
        return cls(
            username=values["username"],
            display_name=values["display name"],
            admin=values["admin"],
            account_type=AccountType(values["type"]) if values["type"] else None,
            room_sets=_names(values["rooms"]),
            note=_note(values["note"], "note"),
            quiet=values["quiet"],
        )


@dataclass(frozen=True, slots=True)
class Requests(Command):
    """`!requests`: those in one state; None leaves the choice to the bot."""

    state: State | None = None
    page: int = 1

    @classmethod
    def of(cls, values: Values) -> Self:
        """The command that was typed.

        Raises:
            OnboardError: `bad_argument` for a page before the first.
        """
        page = 1 if values["page"] is None else values["page"]
        if page < 1:
            raise OnboardError(ErrorCode.BAD_ARGUMENT, "--page counts from 1.")
        return cls(State(values["state"]) if values["state"] else None, page)


@dataclass(frozen=True, slots=True)
class _AboutOne(Command):
    """A command about the request of one id, which is as it was typed, in lower case."""

    request_id: str

    @classmethod
    def of(cls, values: Values) -> Self:
        """The command that was typed."""
        return cls(values["id"].strip(_AROUND).lower())


@dataclass(frozen=True, slots=True)
class Show(_AboutOne):
    """`!show`: all that is known of a request. Whether there is one of this id is not known here."""


@dataclass(frozen=True, slots=True)
class Approve(Command):
    """`!approve`: a vote for requests; without ids, for the one that it was typed under."""

    request_ids: tuple[str, ...] = ()
    note: str | None = None
    username: str | None = None

    @classmethod
    def of(cls, values: Values) -> Self:
        """The command that was typed.

        Raises:
            OnboardError: `bad_argument` for one username for several requests, or a note that is too long.
        """
        request_ids = tuple(dict.fromkeys(values["id"]))
        if values["username"] is not None and len(request_ids) > 1:
            raise OnboardError(
                ErrorCode.BAD_ARGUMENT,
                "--username corrects the name of one request, and several were named. Please approve that one alone.",
            )
        return cls(request_ids, _note(values["note"], "note"), values["username"])


@dataclass(frozen=True, slots=True)
class Deny(Command):
    """`!deny`: a vote against requests; without ids, against the one that it was typed under."""

    request_ids: tuple[str, ...] = ()
    reason: str | None = None
    silent: bool = False

    @classmethod
    def of(cls, values: Values) -> Self:
        """The command that was typed.

        Raises:
            OnboardError: `bad_argument` for a reason that is too long.
        """
        return cls(tuple(dict.fromkeys(values["id"])), _note(values["reason"], "reason"), values["silent"])


@dataclass(frozen=True, slots=True)
class Cancel(_AboutOne):
    """`!cancel`: the request is withdrawn."""


@dataclass(frozen=True, slots=True)
class Reopen(_AboutOne):
    """`!reopen`: a denial is taken back, and votes are cast anew."""


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


def _request_id(word: str) -> str | None:
    """The id that a word is.

    Raises:
        OnboardError: `not_found` for what has the form of an id and can be none: as a note it would be lost, and the
            request that was meant would be forgotten.
    """
    request_id = read_request_id(word.strip(_AROUND))
    if request_id is None and _is_almost_an_id(word.strip(_AROUND)):
        raise OnboardError(
            ErrorCode.NOT_FOUND,
            f"There is no request “{word}”: ids are made of {ALPHABET} only. Nothing was done. If it begins your"
            " remark, please put that in double quotes.",
        )
    return request_id


def _is_almost_an_id(word: str) -> bool:
    """Whether it may be a mistyped one: a symbol too many or too few, or one that no id has, of whatever alphabet."""
    if not word.isalnum() or word.isalpha():
        return False
    one_off = abs(len(word) - LENGTH) == 1 and not word.isdigit()
    return len(word) == LENGTH or (one_off and all(c in ALPHABET or not c.isascii() for c in word.lower()))


_AROUND = "`:;."
"""What people put around an id, or behind it."""

_ID = Param("id", "The request's id, as its card and the list show it.")
_IDS = Param("id", "The ids of one or several requests; none in a reply to a card, or in its thread.", many=_request_id)

COMMANDS: tuple[CommandSpec, ...] = (
    CommandSpec(
        name="register",
        summary="Makes an account, or asks for one.",
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
        name="requests",
        summary="Lists requests, page by page.",
        read=Requests.of,
        params=(Param("state", f"Only those that are: {', '.join(State)}.", required=False, choices=tuple(State)),),
        options=(Option("page", "Which page, from 1.", OptionKind.NUMBER),),
        example="requests pending --page=2",
    ),
    CommandSpec(
        name="show",
        summary="Tells all about a request: every vote, note and step with its time.",
        read=Show.of,
        params=(_ID,),
        example="show 2k4fa",
    ),
    CommandSpec(
        name="approve",
        summary="Votes for requests, like ✅ under their cards.",
        role=Role.APPROVER,
        read=Approve.of,
        params=(
            _IDS,
            Param("note", "A remark for the record; the rest of the line.", required=False, tail=True),
        ),
        options=(Option("username", "Another username for a request whose name could not be had."),),
        example="approve 2k4fa 7mr3x welcome to both",
    ),
    CommandSpec(
        name="deny",
        summary="Votes against requests, like ❌ under their cards.",
        role=Role.APPROVER,
        read=Deny.of,
        params=(
            _IDS,
            Param("reason", "Why; the one who asked reads it. The rest of the line.", required=False, tail=True),
        ),
        options=(Option("silent", "The one who asked is not told.", OptionKind.FLAG),),
        example="deny 2k4fa we have never met them",
    ),
    CommandSpec(
        name="cancel",
        summary="Withdraws a request: your own, or anybody's if you may vote.",
        read=Cancel.of,
        params=(_ID,),
        example="cancel 2k4fa",
    ),
    CommandSpec(
        name="reopen",
        summary="Takes a denial back; votes are cast anew.",
        role=Role.APPROVER,
        read=Reopen.of,
        params=(_ID,),
        example="reopen 2k4fa",
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


def _note(typed: str | None, what: str) -> str | None:
    if typed is not None and len(typed) > MAX_NOTE:
        raise OnboardError(
            ErrorCode.BAD_ARGUMENT,
            f"The {what} is too long: {len(typed):,} characters; at most {MAX_NOTE:,} are allowed.",
        )
    return (typed or "").strip() or None
