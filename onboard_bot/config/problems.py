"""Owns what is wrong with a configuration, and the words for it.

pydantic finds most of it; its English is for programmers, so its errors are translated here. No message repeats a value
that could hold a secret: what is shown is only what was written where a number, a switch or a choice belongs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from onboard_bot.config.model import Config
from onboard_bot.config.schema import all_keys, names, sections, subsection
from onboard_bot.config.section import Section
from onboard_bot.config.values import shown


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend.

    Args:
        key: `section.key`, an environment variable's name, or `config` for the file as a whole.
        text: What is wrong, and the mend.
    """

    key: str
    text: str

    def __str__(self) -> str:
        return "".join(c if c.isprintable() else "?" for c in f"FAIL {self.key}: {self.text}")


class ConfigError(Exception):
    """The configuration cannot be used. `str(error)` is one line for each problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def nearest(name: str, valid: Sequence[str]) -> str:
    """The valid name that somebody most likely meant."""
    return get_close_matches(name, valid, n=1, cutoff=0.0)[0]


def explain(errors: ValidationError) -> list[Problem]:
    """What pydantic found, in the operator's words."""
    return [_explain(error) for error in errors.errors(include_url=False)]


def _explain(error: ErrorDetails) -> Problem:
    path, inside = _locate(error["loc"])
    context: dict[str, Any] = error.get("ctx", {})
    if "under" in context:
        path = (*path, context["under"])
    if error["type"] == "extra_forbidden":
        return _unknown_key(path, inside)
    if error["type"] == "missing" and not inside:
        return Problem(".".join(path), _missing(path))
    where = "".join(f"{_step(step)}: " for step in inside)
    words = _WORDS.get(error["type"])
    return Problem(".".join(path), where + (words(context, error["input"]) if words else error["msg"]))


def _locate(loc: tuple[int | str, ...]) -> tuple[tuple[str, ...], tuple[int | str, ...]]:
    """Splits pydantic's path into the key and what lies inside its value."""
    model: type[Config | Section] | None = Config
    for depth, step in enumerate(loc):
        field = names(model).get(str(step)) if model else None
        model = subsection(field) if field else None
        if model is None:
            return tuple(map(str, loc[: depth + 1])), loc[depth + 1 :]
    return tuple(map(str, loc)), ()


def _step(step: int | str) -> str:
    if isinstance(step, int):
        return f"item {step + 1}"
    return "its name" if step == "[key]" else shown(step)


def _unknown_key(path: tuple[str, ...], inside: tuple[int | str, ...]) -> Problem:
    if inside:
        *where, name = inside
        return Problem(
            ".".join(path), "".join(f"{_step(s)}: " for s in where) + f"there is no key {shown(name)} in it."
        )
    dotted = ".".join(path)
    valid = [key.dotted for key in all_keys()]
    # Somebody who took the right name into the wrong section is sent to the right one.
    homes = [key for key in valid if key.rpartition(".")[2] == path[-1]]
    if not homes:
        homes = [".".join(section) for section in sections() if len(section) == 1] if len(path) == 1 else valid
    return Problem(dotted, f"there is no such key; the nearest one is {nearest(dotted, homes)}.")


def _missing(path: tuple[str, ...]) -> str:
    field = next((key.field for key in all_keys() if key.path == path), None)
    if field is None or not field.examples:
        return "is missing."
    return f"is missing; write it, for example {field.examples[0]}."


def _choice(context: dict[str, Any], value: object) -> str:
    return f"{shown(value)} is none of {context['expected'].replace(chr(39), '')}."


def _say(text: str) -> Callable[[dict[str, Any], object], str]:
    return lambda _context, value: "has no value; write one, or take the line out." if value is None else text


_NUMBER = _say("must be a whole number.")
_SWITCH = _say("must be true or false.")
_TEXT = _say("must be text; put quotes around it.")

_WORDS: dict[str, Callable[[dict[str, Any], object], str]] = {
    "value_error": lambda context, _value: str(context["error"]),
    "missing": _say("is missing."),
    "string_type": _TEXT,
    "string_unicode": _say("holds broken characters; type it again."),
    "int_type": _NUMBER,
    "int_parsing": _NUMBER,
    "int_parsing_size": _NUMBER,
    "int_from_float": _NUMBER,
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "greater_than_equal": lambda context, _value: f"must be {context['ge']} or more.",
    "literal_error": _choice,
    "tuple_type": _say('must be a list: ["first", "second"].'),
    "dict_type": _say('must be a mapping: {name: ["first", "second"]}.'),
    "model_type": _say("must be a mapping, with keys of its own."),
}
