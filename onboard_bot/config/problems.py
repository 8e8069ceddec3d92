"""Owns what is wrong with a configuration, and the words for it.

pydantic finds most of it; its English is for programmers, so its errors are translated here. No message repeats a value
that could hold a secret: what is shown is only what was written where a number, a switch or a choice belongs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from onboard_bot.config.keys import all_keys, sections
from onboard_bot.config.values import legible, shown


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
        return legible(f"FAIL {self.key}: {self.text}")


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
    loc, depth = error["loc"], 0
    while depth < len(loc) and loc[: depth + 1] in sections():
        depth += 1
    path, inside = tuple(map(str, loc[: depth + 1])), loc[depth + 1 :]  # The key, and the way into its value.
    context = error.get("ctx", {})
    if "under" in context:
        path = (*path, context["under"])
    if error["type"] == "extra_forbidden":
        inside, text = inside[:-1], _unknown(path, inside)
    elif error["type"] == "missing" and not inside:
        (key,) = (key for key in all_keys() if key.path == path)
        text = f"is missing; write it, for example {key.example}."
    elif error["input"] is None and error["type"] in _NEED_A_VALUE:
        text = "has no value; write one, or take the line out."
    else:
        told = {**context, "input": shown(error["input"]), "choices": context.get("expected", "").replace("'", "")}
        text = _WORDS[error["type"]].format(**told) if error["type"] in _WORDS else error["msg"]
    return Problem(".".join(path), "".join(f"{_step(step)}: " for step in inside) + text)


def _step(step: int | str) -> str:
    if isinstance(step, int):
        return f"item {step + 1}"
    return "its name" if step == "[key]" else shown(step)


def _unknown(path: tuple[str, ...], inside: tuple[int | str, ...]) -> str:
    if inside:
        return f"there is no key {shown(inside[-1])} in it."
    valid = [key.dotted for key in all_keys()]
    # Somebody who took the right name into the wrong section is sent to the right one.
    homes = [key for key in valid if key.rpartition(".")[2] == path[-1]]
    if not homes:
        homes = [section[0] for section in sections() if len(section) == 1] if len(path) == 1 else valid
    return f"there is no such key; the nearest one is {nearest('.'.join(path), homes)}."


_NEED_A_VALUE = {
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "must be a whole number."),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false."),
    "string_type": "must be text; put quotes around it.",
    "string_unicode": "holds broken characters; type it again.",
    "tuple_type": 'must be a list: ["first", "second"].',
    "dict_type": 'must be a mapping: {{name: ["first", "second"]}}.',
    "model_type": "must be a mapping, with keys of its own.",
}
_WORDS = {
    **_NEED_A_VALUE,
    "missing": "is missing.",
    "value_error": "{error}",
    "greater_than_equal": "must be {ge} or more.",
    "literal_error": "{input} is none of {choices}.",
}
