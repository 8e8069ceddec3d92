"""Owns reading JSON that strangers had a hand in: what one of them put into it keeps nobody else's words from us.

Python gives up on a whole text over one value that is nested too deeply or counted too long for it. A server may pass
such an event on, and then the same answer would be unreadable at every try.
"""

import json
import re
from typing import Any

# Far above what an honest event needs with all that stands around it, far below where Python's own recursion ends.
_DEEPEST = 200
# Specification, "Size limits": of every id, in bytes.
_LONGEST_ID = 255
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)


def read_json(text: str) -> Any:
    """The value of a text. What is nested deeper than 200 levels may be missing in it, and huge numbers are infinite.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return json.loads(_without_depths(text), parse_int=_number)


def is_text(value: object) -> bool:
    """Whether this is a string that can be stored and sent: JSON can spell halves of characters, nothing else can."""
    if not isinstance(value, str):
        return False
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def is_id(value: object) -> bool:
    """Whether this may stand where an id belongs; it need not be one, but it can be stored and sent back."""
    return is_text(value) and 0 < len(str(value).encode()) <= _LONGEST_ID and "\0" not in str(value)


def _number(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _without_depths(text: str) -> str:
    """The text with null in place of everything that is nested too deeply."""
    kept: list[str] = []
    depth = start = 0
    for token in _TOKEN.finditer(text):
        match token.group():
            case "[" | "{":
                depth += 1
                if depth == _DEEPEST + 1:
                    kept += [text[start : token.start()], "null"]
            case "]" | "}":
                if depth == _DEEPEST + 1:
                    start = token.end()
                depth -= 1
            case _:
                pass
    return "".join([*kept, text[start:]]) if depth <= _DEEPEST else ""
