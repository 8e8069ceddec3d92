"""Owns how one line becomes a command's values, for every command alike.

The rules (design, section 3, "Commands"): only double quotes quote, and only at the start of a word or of an option's
value; a backslash escapes a quote or a backslash inside them; apostrophes are letters. Options may stand anywhere; the
tail parameter takes what is left of the line as it was typed. What phones make of quotes and of `--` is undone.

It knows specs, not commands; the table is in `chat.commands`. Every scan is linear: a message may be 60 KB long.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from onboard_bot.domain.durations import parse_duration
from onboard_bot.domain.roles import Role
from onboard_bot.errors import ErrorCode, OnboardError

HELP = "help"
"""The option that every command has."""

Values = Mapping[str, Any]
"""What was typed, by the names of parameters and options. Absent: None; False for a flag."""

_QUOTES = '"“”„‟'
# Possessive, so that a quote without an end costs one look and no going back.
_QUOTED = re.compile(rf"[{_QUOTES}]((?:[^{_QUOTES}\\]++|\\.)*+)[{_QUOTES}](?=\s|\Z)", re.DOTALL)
_ESCAPE = re.compile(rf"\\([{_QUOTES}\\])")
_TO_ESCAPE = re.compile(rf"[{_QUOTES}\\]")
_OPTION = re.compile(r"(--|[\u2013\u2014])([^\W\d_][^\s=]*)(=?)")  # en and em dash
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"\S*")
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
    """A positional argument. The tail, always the last one, takes the rest of the line."""

    name: str
    doc: str
    required: bool = True
    tail: bool = False

    @property
    def shown(self) -> str:
        """As the usage shows it."""
        return f"<{self.name}>" if self.required else f"[{self.name}]"


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
        OnboardError: `unknown_command`, naming the nearest; `bad_argument`, naming the argument, then the usage.
    """
    start = _end(_SPACE, text, 0)
    end = _end(_WORD, text, start)
    spec = find_command(text[start:end], specs, prefix=prefix)
    try:
        return _fit(spec, list(_scan(text, end, {HELP, *(option.name for option in spec.options)})))
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


def quote(value: str) -> str:
    """The value so that `parse` reads exactly it, in any place."""
    return '"' + _TO_ESCAPE.sub(lambda found: "\\" + found.group(), value) + '"'


class _Misfit(Exception):  # noqa: N818 - never leaves this module
    """The line does not fit the command; the words are for the person who typed it."""


@dataclass(frozen=True, slots=True)
class _Word:
    """A word or a quoted string. `raw` is what was typed, with the white space that follows in `gap`."""

    value: str
    raw: str
    gap: str
    quoted: bool = False

    @property
    def unclosed(self) -> bool:
        """Whether it opens a quotation and does not close it."""
        return not self.quoted and self.raw[:1] in tuple(_QUOTES)


@dataclass(frozen=True, slots=True)
class _Given:
    """An option as it was typed; `value` is what stood behind its `=`."""

    name: str
    value: _Word | None


def _scan(text: str, start: int, known: set[str]) -> Iterator[_Word | _Given]:
    """The words and options of a line, in order."""
    at = _end(_SPACE, text, start)
    while at < len(text):
        option = _OPTION.match(text, at)
        # An em dash is punctuation as well, so it makes an option only of a word that is one.
        if option and (option[1] == "--" or option[2].lower() in known):
            if option[3]:
                word, at = _read_word(text, option.end())
                yield _Given(option[2].lower(), word)
            else:
                at = _end(_SPACE, text, option.end())
                yield _Given(option[2].lower(), None)
        else:
            word, at = _read_word(text, at)
            yield word


def _read_word(text: str, start: int) -> tuple[_Word, int]:
    """The word or quoted string that begins here, and where the next thing begins."""
    quoted = _QUOTED.match(text, start)
    end = quoted.end() if quoted else _end(_WORD, text, start)
    after = _end(_SPACE, text, end)
    raw, gap = text[start:end], text[end:after]
    return _Word(_ESCAPE.sub(r"\1", quoted[1]) if quoted else raw, raw, gap, quoted is not None), after


def _fit(spec: CommandSpec, pieces: Sequence[_Word | _Given]) -> Parsed:
    """The values of a command, or why they are none."""
    if any(isinstance(piece, _Given) and piece.name == HELP for piece in pieces):
        return Parsed(spec, help=True)
    options = {option.name: option for option in spec.options}
    values: dict[str, Any] = {name: False if o.kind is OptionKind.FLAG else None for name, o in options.items()}
    seen: set[str] = set()
    words: list[_Word] = []
    rest = iter(pieces)
    for piece in rest:
        if isinstance(piece, _Word):
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
            word = following if isinstance(following, _Word) else _Word("", "", "")
        values[option.name] = _option_value(option, word)
    return Parsed(spec, values | _positional(spec, words))


def _positional(spec: CommandSpec, words: Sequence[_Word]) -> dict[str, Any]:
    """The values of the parameters, taken from the words that belong to no option."""
    values: dict[str, Any] = {}
    taken = 0
    for param in spec.params:
        left = words[taken:] if param.tail else words[taken : taken + 1]
        taken += len(left)
        if not left:
            if param.required:
                raise _Misfit(f"The {param.name} is missing.")
            values[param.name] = None
        elif param.tail:
            values[param.name] = _tail(left)
        else:
            values[param.name] = _closed(left[0], f"The {param.name}")
    if taken < len(words):
        raise _Misfit(f"“{_brief(words[taken].value)}” is one word too many.")
    return values


def _tail(words: Sequence[_Word]) -> str:
    """The rest of the line as it was typed, white space and quotes included, but for the options that stood in it."""
    if len(words) == 1:
        return words[0].value
    return "".join(word.raw + word.gap for word in words[:-1]) + words[-1].raw


def _option_value(option: Option, word: _Word | None) -> Any:
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


def _closed(word: _Word, what: str) -> str:
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


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where a pattern that may be empty ends."""
    found = pattern.match(text, start)
    return found.end() if found else start
