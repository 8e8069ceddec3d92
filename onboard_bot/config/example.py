"""Owns the commented example configuration: every key, its default, and the sentence that explains it."""

import json
import re
import textwrap
from typing import Any

import yaml

from onboard_bot.config.load import with_every_section
from onboard_bot.config.model import Config
from onboard_bot.config.not_yet import words_until_then
from onboard_bot.config.schema import names, subsection
from onboard_bot.config.section import Section

_WIDTH = 112
_PLAIN = re.compile(r"[A-Za-z/][\w ./:\-]*")

_HEAD = """\
# The configuration of onboard-bot. Three lines have to be written, the rest are the defaults and can be left out:
# homeserver.url, homeserver.shared_secret_file, and admin_room.admins (or admin_room.room).
#
# Looked for in: --config FILE, $ONBOARD_BOT_CONFIG, ./config.yaml, /etc/onboard-bot/config.yaml.
# Every key can be set by the environment, too: ONBOARD_BOT_HOMESERVER__URL sets homeserver.url.
# Durations: 5s, 10m, 24h, 7d, 1y, or a number of seconds. Room and user ids need quotes.
# `onboard-bot check` says all that is wrong at once.
"""


def defaults() -> dict[str, Any]:
    """The tree of all keys in the form that they are written in, with an example where there is no default."""
    required = {
        section: {name: key.examples[0] for name, key in names(model).items() if key.examples}
        for section, field in names(Config).items()
        if (model := subsection(field)) is not None
    }
    tree = Config.model_validate(with_every_section(required)).model_dump(mode="json", by_alias=True)
    # Depends on where the bot runs; a written default would switch that off.
    tree["bot"]["state_dir"] = None
    return tree


def example_text() -> str:
    """What `onboard-bot config` prints, and `config.example.yaml` holds."""
    lines = [_HEAD]
    tree = defaults()
    for name, field in names(Config).items():
        section = subsection(field)
        if section is not None:
            lines += [*_section((name,), section, tree[name]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(path: tuple[str, ...], section: type[Section], tree: dict[str, Any]) -> list[str]:
    indent = "  " * len(path)
    lines = [f"{indent[2:]}# {section.__doc__}", f"{indent[2:]}{path[-1]}:"]
    for name, field in names(section).items():
        below = subsection(field)
        if below is not None:
            lines += _section((*path, name), below, tree[name])
            continue
        comment = f"{field.description}{words_until_then('.'.join((*path, name)))}"
        lines += textwrap.wrap(comment, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        lines += textwrap.wrap(
            f"{name}: {scalar(tree[name])}",
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=f"{indent}  ",
            break_on_hyphens=False,
        )
    return lines


def scalar(value: Any) -> str:
    """A value in YAML's flow form, quoted where YAML would take it for something else."""
    if isinstance(value, list):
        return f"[{', '.join(map(scalar, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and ": " not in value and yaml.safe_load(value) == value:
        return value
    if isinstance(value, str) and re.fullmatch(r"\d+[smhdy]|\d+/\d+[smhdy]|[\d.]+:\d+", value):
        return value
    return json.dumps(value, ensure_ascii=False)
