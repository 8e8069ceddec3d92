"""Writes the files that are derived from the code, or says which of them are stale.

python docs/generate.py            writes them
python docs/generate.py --check    exits with 1 and names those that differ
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from states_picture import IncompletePictureError, picture

from onboard_bot.chat.commands import COMMANDS
from onboard_bot.chat.grammar import CommandSpec
from onboard_bot.config.example import example_text, scalar
from onboard_bot.config.keys import Key, all_keys, sections
from onboard_bot.config.not_yet import words_until_then
from onboard_bot.config.sources import CREDENTIALS
from onboard_bot.domain.roles import Role
from onboard_bot.errors import MEANINGS

ROOT = Path(__file__).resolve().parent.parent
_GENERATED = "<!-- Written by docs/generate.py; do not edit. -->"

_ABOUT_CONFIGURATION = """\
Three lines are enough: `homeserver.url`, `homeserver.shared_secret_file`, and `admin_room.admins` (or
`admin_room.room`). `onboard-bot config` prints [the commented example](../config.example.yaml), and `onboard-bot check`
says all that is wrong with a configuration at once, each problem under its key.

## Where it comes from

Key by key, the first that says something wins:

1. the **environment**: `ONBOARD_BOT_`, then the key in capitals with `__` for the dot. Lists and mappings are JSON;
   an empty variable counts as not set. A name that begins with `ONBOARD_BOT_` and is no key is an error;
2. **credentials**: files in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`):
{credentials};
3. the **YAML file**: the one that `--config` names, else `$ONBOARD_BOT_CONFIG`, else `./config.yaml`, else
   `/etc/onboard-bot/config.yaml`. It may be missing if the rest says enough, but not if it was named. Unknown keys,
   keys that stand there twice, and values that YAML takes for comments are errors;
4. the **defaults** below.

Relative paths start at the working directory. Durations are `5s`, `10m`, `24h`, `7d`, `1y` (365 days) or a number of
seconds. Room ids, aliases and user ids need quotes in YAML.
"""


def configuration_page() -> str:
    """The reference of all keys."""
    credentials = "\n".join(f"   `{name}` stands for `{'.'.join(key)}`" for name, key in CREDENTIALS.items())
    about = _ABOUT_CONFIGURATION.format(credentials=credentials.replace("`\n", "`,\n"))
    parts = ["# Configuration", _GENERATED, about]
    for path, section in sections().items():
        rows = [_row(key) for key in all_keys() if key.path[:-1] == path]
        if rows:
            head = ["| key | default | meaning | environment |", "|---|---|---|---|"]
            parts += [f"## {'.'.join(path)}", section.__doc__ or "", "\n".join([*head, *rows])]
    return _page(*parts)


def _row(key: Key) -> str:
    if key.field.is_required():
        default = "required"
    elif key.example is None:
        default = "unset"
    else:
        default = f"`{scalar(key.field.default)}`"
    meaning = f"{key.field.description}{words_until_then(key.dotted)}"
    return f"| `{key.dotted}` | {default} | {_cell(meaning)} | `{key.env}` |"


def _page(*parts: str) -> str:
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _cell(text: str) -> str:
    """Text as Markdown shows it letter by letter."""
    return "".join(f"\\{c}" if c in "|*_{}<>`#[]" else c for c in text)


def errors_page() -> str:
    """The closed list of error codes."""
    rows = [f"| `{code}` | {_cell(meaning)} |" for code, meaning in MEANINGS.items()]
    about = (
        "What can go wrong, as other programs see it: the key `error` in the machine-readable content of the bot's "
        "messages (`io.github.onboard_bot`), and what `onboard-bot check` prints after `FAIL`. The list is closed; the "
        "sentence beside a code says more."
    )
    return _page("# Error codes", _GENERATED, about, "\n".join(["| code | meaning |", "|---|---|", *rows]))


_ABOUT_COMMANDS = """\
What can be typed in the admin room, after the prefix (`bot.command_prefix`, `!` by default) or a mention of the bot.
`!help` lists what you may run where you are, `!help <command>` explains one.

- Only double quotes quote. A parameter in `<angle brackets>` has to be there, one in `[square brackets]` can be left
  out, and the last one may take the rest of the line, so that a name of several words needs no quotes.
- Options stand anywhere: `--name=value` or `--name value`; a bare `--flag` is true.
- What phones do to text is undone: curly quotes, a dash for `--`, `@ada:example.org` where a username is meant.
"""

_WHO = {
    Role.STRANGER: "anybody",
    Role.REQUESTER: "everybody in the admin room",
    Role.APPROVER: "those in the admin room who may vote: from `approval.power_level` on",
}


def commands_page() -> str:
    """The reference of all commands."""
    return _page("# Commands", _GENERATED, _ABOUT_COMMANDS, *(_command(spec) for spec in COMMANDS))


def _command(spec: CommandSpec) -> str:
    lines = [f"## !{spec.name}", _cell(spec.summary), f"```\n{spec.usage('!')}\n```", f"Who: {_WHO[spec.role]}."]
    for title, arguments in (("Parameters", spec.params), ("Options", spec.options)):
        if arguments:
            lines += [f"{title}:", "\n".join(f"- `{argument.shown}`: {_cell(argument.doc)}" for argument in arguments)]
    if spec.example:
        lines += ["Example:", f"```\n!{spec.example}\n```"]
    return "\n\n".join(lines)


FILES: dict[str, Callable[[], str]] = {
    "config.example.yaml": example_text,
    "docs/configuration.md": configuration_page,
    "docs/commands.md": commands_page,
    "docs/errors.md": errors_page,
    "docs/request-states.svg": picture,
}


def stale(root: Path = ROOT) -> list[str]:
    """The generated files that are not what the code says now."""
    return [name for name, write in FILES.items() if write() != _present(root / name)]


def _present(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def main(arguments: list[str]) -> int:
    """Writes or checks; returns the exit status."""
    parser = argparse.ArgumentParser(description="Writes the files that are derived from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing, name the stale files")
    check = parser.parse_args(arguments).check
    try:
        names = stale()
    except IncompletePictureError as error:
        print(error)
        return 1
    for name in names:
        if check:
            print(f"{name} is stale; run: python docs/generate.py")
        else:
            (ROOT / name).write_text(FILES[name](), encoding="utf-8")
            print(f"wrote {name}")
    return 1 if check and names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
