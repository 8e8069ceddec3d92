"""JSON texts that no encoder writes: marks stand in a value for what it cannot hold, and are replaced in its text."""

import json
from typing import Any

Json = dict[str, Any]

_DEEP = 20_000
_OBJECT = '{"body":'
_MARKS = {
    "@@not a number@@": "NaN",
    "@@minus infinity@@": "-Infinity",
    "@@too large@@": "1e999",
    "@@many digits@@": "7" * 5000,
    "@@deep list@@": "[" * _DEEP + "]" * _DEEP,
    "@@deep object@@": _OBJECT * _DEEP + "1" + "}" * _DEEP,
    "@@rather deep@@": "[" * 300 + "]" * 300,
    "@@half a character@@": '"\\ud83d"',
    "@@nothing@@": '"\\u0000"',
    "@@long@@": '"' + "<b>x</b>" * 10_000 + '"',
}
MARKS = tuple(_MARKS)
"""Strings that become something else in the text."""
_AGAIN = "@@again@@"


def again(key: str) -> str:
    """A key that will be the same as `key` in the text: JSON objects may hold a key twice."""
    return key + _AGAIN


def text_of(value: Any) -> str:
    """The text of a value with marks."""
    text = json.dumps(value)
    if "@@" not in text:
        return text
    for mark, raw in _MARKS.items():
        text = text.replace(f'"{mark}"', raw)
    return text.replace(_AGAIN, "")
