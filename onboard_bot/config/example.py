"""Owns the commented example configuration: every key, its default, and the sentence that explains it."""

import json
import re
import textwrap
from typing import Any

import yaml

from onboard_bot.config.keys import all_keys, sections
from onboard_bot.config.not_yet import words_until_then

_WIDTH = 112
_PLAIN = re.compile(r"[A-Za-z/][\w ./:\-]*")
# Durations, rates and addresses: YAML would take them for text, too.
_NUMBERED = re.compile(r"\d+[smhdy]|\d+/\d+[smhdy]|[\d.]+:\d+")

_HEAD = """\
# The configuration of onboard-bot. Three lines have to be written, the rest are the defaults and can be left out:
# homeserver.url, homeserver.shared_secret_file, and admin_room.admins (or admin_room.room).
#
# Looked for in: --config FILE, $ONBOARD_BOT_CONFIG, ./config.yaml, /etc/onboard-bot/config.yaml.
# Every key can be set by the environment, too: ONBOARD_BOT_HOMESERVER__URL sets homeserver.url.
# Durations: 5s, 10m, 24h, 7d, 1y, or a number of seconds. Room and user ids need quotes.
# `onboard-bot check` says all that is wrong at once.
"""


def example_text() -> str:
    """What `onboard-bot config` prints, and `config.example.yaml` holds."""
    lines = [_HEAD.rstrip()]
    for path, section in sections().items():
        outer, indent = "  " * (len(path) - 1), "  " * len(path)
        lines += [*([] if outer else [""]), f"{outer}# {section.__doc__}", f"{outer}{path[-1]}:"]
        for key in all_keys():
            if key.path[:-1] == path:
                meaning = f"{key.field.description}{words_until_then(key.dotted)}"
                lines += _wrapped(meaning, f"{indent}# ", f"{indent}# ")
                lines += _wrapped(f"{key.path[-1]}: {scalar(key.example)}", indent, f"{indent}  ")
    return "\n".join(lines) + "\n"


def _wrapped(text: str, first: str, then: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=then, break_on_hyphens=False)


def scalar(value: Any) -> str:
    """A value in YAML's flow form, quoted where YAML would take it for something else."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(scalar, value))}]"
    if isinstance(value, str) and (_NUMBERED.fullmatch(value) or _is_itself(value)):
        return value
    return json.dumps(value, ensure_ascii=False)


def _is_itself(text: str) -> bool:
    return bool(_PLAIN.fullmatch(text)) and ": " not in text and yaml.safe_load(text) == text
