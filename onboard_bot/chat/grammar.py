"""Owns how one line becomes a command's values, for every command alike.

The rules (design, section 3, "Commands"): only double quotes quote, and only at the start of a word or of an option's
value; a backslash escapes a quote or a backslash inside them; apostrophes are letters. Options may stand anywhere; the
tail parameter takes what is left of the line as it was typed. What phones make of quotes and of `--` is undone.

It knows specs, not commands; the table is in `chat.commands`. Every scan is linear: a message may be 60 KB long.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from onboard_bot.chat.words import Given, Word, first_word, scan
from onboard_bot.domain.durations import parse_duration
from onboard_bot.domain.roles import Role
from onboard_bot.errors import ErrorCode, OnboardError

HELP = "help"
"""The option that every command has."""

Values = Mapping[str, Any]
"""What was typed, by the names of parameters and options. Absent: None; False for a flag."""

_NUMBER = re.compile(r"-?[0-9]{1,9}")
_YES = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_SHOWN = 40


class OptionKind(StrEnum):
    """What an option's value is. Durations arrive as seconds."""

    FLAG = "flag"
    TEXT = "text"
    NUMBER = "number"
    DURATION = "duration"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True)
class Param:
    """A positional argument.

    Args:
        name: As the usage shows it.
        doc: One line for its help.
        required: Whether it must be there.
        tail: Takes the rest of the line; always the last one.
        choices: What it can be; anything where there are none.
        many: Takes every leading word for which this gives a value, and commas between them, as a tuple; it may refuse
            the line with an `OnboardError`. An empty tuple is the command's business: what was not typed may follow
            from where it was typed.
    """

    name: str
    doc: str
    required: bool = True
    tail: bool = False
    choices: tuple[str, ...] = ()
    many: Callable[[str], Any | None] | None = None

    @property
    def shown(self) -> str:
        """As the usage shows it."""
        return (f"<{self.name}>" if self.required else f"[{self.name}]") + ("…" if self.many else "")


@dataclass(frozen=True, slots=True)
class Option:
    """A `--name`. `placeholder` stands for its value in the usage."""

    name: str
    doc: str
    kind: OptionKind = OptionKind.TEXT
    choices: tuple[str, ...] = ()
    placeholder: str = "…"

    @property
    def shown(self) -> str:
        """As the usage shows it."""
        if self.kind is OptionKind.FLAG:
            return f"[--{self.name}]"
        return f"[--{self.name}={'|'.join(self.choices) or self.placeholder}]"


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One row of the command table: parser, help, permission and documents all come from it.

    Args:
        name: Lower case.
        summary: One line for the list.
        read: Makes the typed command of the values.
        params: In the order in which they are typed.
        options: In the order in which the usage shows them.
        role: Who may use it, at least.
        example: A line that works, without the prefix.
    """

    name: str
    summary: str
    read: Callable[[Values], Any]
    params: tuple[Param, ...] = ()
    options: tuple[Option, ...] = ()
    role: Role = Role.REQUESTER
    example: str = ""

    def __post_init__(self) -> None:
        names = [*(param.name for param in self.params), *(option.name for option in self.options), HELP]
        words = (self.name, *(option.name for option in self.options))
        if any(word != word.lower() or not word.isalpha() for word in words):
            raise ValueError(f"{self.name}: command and option names are lower-case letters")
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: a name is used twice, or is {HELP!r}")
        if any(param.tail for param in self.params[:-1]):
            raise ValueError(f"{self.name}: only the last parameter can take the rest of the line")
        if [param.required for param in self.params] != sorted((p.required for p in self.params), reverse=True):
            raise ValueError(f"{self.name}: a required parameter follows an optional one")

    def usage(self, prefix: str) -> str:
        """One line: what to type."""
        return " ".join([prefix + self.name, *(p.shown for p in self.params), *(o.shown for o in self.options)])


@dataclass(frozen=True, slots=True)
class Parsed:
    """A line that fits its command. With `help` set the person asked how to use it, and `values` is empty."""

    spec: CommandSpec
    values: Values = field(default_factory=dict)
    help: bool = False


def parse(text: str, specs: Sequence[CommandSpec], *, prefix: str = "!") -> Parsed:
    """What a line means.

    Args:
        text: The line, without prefix or mention.
        specs: The commands there are.
        prefix: For the usage in an error.

    Raises:
        OnboardError: `unknown_command`, naming the nearest; `bad_argument`, naming the argument, then the usage;
            or what a parameter's `many` refuses with.
    """
    name, end = first_word(text)
    spec = find_command(name, specs, prefix=prefix)
    try:
        return _fit(spec, list(scan(text, end, {HELP, *(option.name for option in spec.options)})))
    except _Misfit as misfit:
        raise OnboardError(ErrorCode.BAD_ARGUMENT, f"{misfit}\nUsage: {spec.usage(prefix)}") from misfit


def find_command(name: str, specs: Sequence[CommandSpec], *, prefix: str = "!") -> CommandSpec:
    """The command of this name, whatever its case.

    Raises:
        OnboardError: `unknown_command`, naming the nearest one.
    """
    for spec in specs:
        if spec.name == name.lower():
            return spec
    near = _nearest(name, (spec.name for spec in specs))
    hint = f"The nearest is {prefix}{near}. " if near else ""
    raise OnboardError(
        ErrorCode.UNKNOWN_COMMAND,
        f"There is no command “{_brief(name)}”. {hint}{prefix}{HELP} lists what you can do here.",
    )


class _Misfit(Exception):  # noqa: N818 - never leaves this module
    """The line does not fit the command; the words are for the person who typed it."""


def _fit(spec: CommandSpec, pieces: Sequence[Word | Given]) -> Parsed:
    """The values of a command, or why they are none."""
    if any(isinstance(piece, Given) and piece.name == HELP for piece in pieces):
        return Parsed(spec, help=True)
    options = {option.name: option for option in spec.options}
    values: dict[str, Any] = {name: False if o.kind is OptionKind.FLAG else None for name, o in options.items()}
    seen: set[str] = set()
    words: list[Word] = []
    rest = iter(pieces)
    for piece in rest:
        if isinstance(piece, Word):
            words.append(piece)
            continue
        option = options.get(piece.name)
        if option is None:
            raise _Misfit(_no_such_option(spec, piece.name))
        if option.name in seen:
            raise _Misfit(f"--{option.name} is given twice.")
        seen.add(option.name)
        word = piece.value
        if word is None and option.kind is not OptionKind.FLAG:
            following = next(rest, None)
            word = following if isinstance(following, Word) else Word("", "", "")
        values[option.name] = _option_value(option, word)
    return Parsed(spec, values | _positional(spec, words))


def _positional(spec: CommandSpec, words: Sequence[Word]) -> dict[str, Any]:
    """The values of the parameters, taken from the words that belong to no option."""
    values: dict[str, Any] = {}
    taken = 0
    for param in spec.params:
        if param.many is not None:
            values[param.name], taken = _leading(param.many, words, taken)
            continue
        left = words[taken:] if param.tail else words[taken : taken + 1]
        taken += len(left)
        if not left:
            if param.required:
                raise _Misfit(f"The {param.name} is missing.")
            values[param.name] = None
        elif param.tail:
            values[param.name] = _tail(left)
        else:
            values[param.name] = _chosen(param, _closed(left[0], f"The {param.name}"))
    if taken < len(words):
        raise _Misfit(f"“{_brief(words[taken].value)}” is one word too many.")
    return values


def _leading(fitting: Callable[[str], Any | None], words: Sequence[Word], start: int) -> tuple[tuple[Any, ...], int]:
    """The values of the words from here on, as long as they fit, and the place of the first that does not."""
    values: list[Any] = []
    for at in range(start, len(words)):
        found: list[Any] = []
        for piece in filter(None, words[at].value.split(",")):
            value = None if words[at].quoted else fitting(piece)
            if value is None:
                return tuple(values), at
            found.append(value)
        values += found
    return tuple(values), len(words)


def _chosen(param: Param, typed: str) -> str:
    if not param.choices or typed.lower() in param.choices:
        return typed.lower() if param.choices else typed
    raise _Misfit(f"The {param.name} cannot be “{_brief(typed)}”; it is one of: {', '.join(param.choices)}.")


def _tail(words: Sequence[Word]) -> str:
    """The rest of the line as it was typed, white space and quotes included, but for the options that stood in it."""
    if len(words) == 1:
        return words[0].value
    return "".join(word.raw + word.gap for word in words[:-1]) + words[-1].raw


def _option_value(option: Option, word: Word | None) -> Any:
    """What an option's word means; None is an option that stood alone."""
    if word is None:
        return True
    if not word.raw:
        raise _Misfit(f"--{option.name} needs a value.")
    value = _closed(word, f"The value of --{option.name}")
    meant = _MEANING[option.kind](value, option.choices)
    if meant is None:
        expected = _EXPECTED[option.kind] + ", ".join(option.choices)
        raise _Misfit(f"--{option.name} cannot be “{_brief(value)}”; it is {expected}.")
    return meant


def _number(value: str, _choices: Sequence[str]) -> int | None:
    return int(value) if _NUMBER.fullmatch(value) else None


def _seconds(value: str, _choices: Sequence[str]) -> float | None:
    try:
        return parse_duration(value.lower())
    except ValueError:
        return None


_MEANING: dict[OptionKind, Callable[[str, Sequence[str]], Any]] = {
    OptionKind.FLAG: lambda value, _: _YES.get(value.lower()),
    OptionKind.TEXT: lambda value, _: value,
    OptionKind.NUMBER: _number,
    OptionKind.DURATION: _seconds,
    OptionKind.CHOICE: lambda value, choices: value.lower() if value.lower() in choices else None,
}
"""What a value means to an option of this kind; None if it means nothing."""

_EXPECTED: dict[OptionKind, str] = {
    OptionKind.FLAG: "true or false",
    OptionKind.TEXT: "any text",
    OptionKind.NUMBER: "a whole number",
    OptionKind.DURATION: "a time like 30m, 24h or 7d",
    OptionKind.CHOICE: "one of: ",
}


def _closed(word: Word, what: str) -> str:
    if word.unclosed:
        raise _Misfit(f"{what} opens a quotation mark and never closes it (white space must follow the closing one).")
    return word.value


def _no_such_option(spec: CommandSpec, name: str) -> str:
    near = _nearest(name, (option.name for option in spec.options))
    return f"There is no option --{_brief(name)}" + (f"; the nearest is --{near}." if near else f" of {spec.name}.")


def _nearest(typed: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(typed[:_SHOWN].lower(), list(known), n=1, cutoff=0)), None)


def _brief(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
