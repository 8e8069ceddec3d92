"""Owns where the configuration comes from: environment over credentials over the YAML file, key by key.

What is found is raw; `load` has the models judge it. What cannot even be read is a problem here, and every source is
read to its end, so that one start shows all of it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onboard_bot.config.problems import Problem, nearest
from onboard_bot.config.schema import ENV_CONFIG, ENV_PREFIX, Key, all_keys
from onboard_bot.config.yaml_file import read_yaml

DEFAULT_FILES = (Path("config.yaml"), Path("/etc/onboard-bot/config.yaml"))
CREDENTIALS = {"shared_secret": ("homeserver", "shared_secret_file"), "bot_password": ("bot", "password_file")}
"""Names of credentials (systemd's LoadCredential=) and the keys that they stand for."""

_FILE = "config"


@dataclass
class Gathered:
    """What the sources say together.

    Args:
        values: The tree of raw values.
        origins: For a key that does not come from the file: where it comes from, for the messages.
        problems: What could not be read.
        file: The file that was read.
        file_is_broken: There is a file, or there should be one, and nothing is known of what it says.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    file: Path | None = None
    file_is_broken: bool = False

    def put(self, path: tuple[str, ...], value: object, origin: str) -> None:
        """Sets a key over what weaker sources said."""
        at: Any = self.values
        for step in path[:-1]:
            if at.get(step) is None:
                at[step] = {}
            at = at[step]
            if not isinstance(at, dict):
                return  # The file has nonsense where a section belongs; the models will say so.
        at[path[-1]] = value
        self.origins[".".join(path)] = origin


def gather(path: Path | None, environ: Mapping[str, str]) -> Gathered:
    """Reads every source.

    Args:
        path: What `--config` names.
        environ: The environment.
    """
    found = Gathered()
    _add_file(found, path, environ)
    _add_credentials(found, environ)
    _add_environment(found, environ)
    _add_state_dir(found, environ)
    return found


def _add_file(found: Gathered, path: Path | None, environ: Mapping[str, str]) -> None:
    if path is None and environ.get(ENV_CONFIG):
        path = Path(environ[ENV_CONFIG])
    named = path is not None
    for candidate in (path,) if path is not None else DEFAULT_FILES:
        try:
            raw = candidate.read_bytes()
        except FileNotFoundError:
            if named:
                found.file_is_broken = True
                found.problems.append(Problem(_FILE, f"there is no file {candidate}."))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "its name is broken"
            found.file_is_broken = True
            found.problems.append(Problem(_FILE, f"{candidate} cannot be read: {why}."))
            return
        else:
            found.file = candidate
            tree, mistakes = read_yaml(raw)
            found.values, found.file_is_broken = tree or {}, tree is None
            found.problems.extend(Problem(_FILE, f"{candidate}, {mistake}") for mistake in mistakes)
            return


def _add_credentials(found: Gathered, environ: Mapping[str, str]) -> None:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    for name, key in CREDENTIALS.items() if folder else ():
        credential = Path(folder or "") / name
        if _is_there(credential):
            found.put(key, str(credential), f"the credential {name}")


def _add_environment(found: Gathered, environ: Mapping[str, str]) -> None:
    keys = {key.env: key for key in all_keys()}
    for name, written in _ours(environ):
        key = keys.get(name)
        if key is None:
            meant = nearest(name.upper(), [*keys, ENV_CONFIG])
            found.problems.append(Problem(name, f"there is no such setting; the nearest one is {meant}."))
        elif key.is_structured:
            _add_json(found, key, written)
        elif written:
            found.put(key.path, written, name)


def _ours(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in sorted(environ):
        if name.upper().startswith(ENV_PREFIX) and name != ENV_CONFIG:
            yield name, environ[name].strip()


def _add_json(found: Gathered, key: Key, written: str) -> None:
    if not written:
        return
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict if isinstance(key.field.default, dict) else list):
        found.put(key.path, value, key.env)
    else:
        found.problems.append(Problem(key.dotted, f"{key.env} must be JSON: {key.json_form}."))


def _add_state_dir(found: Gathered, environ: Mapping[str, str]) -> None:
    """What systemd's StateDirectory= made is a default, weaker than everything that was written."""
    bot = found.values.get("bot") or {}
    if not isinstance(bot, dict) or bot.get("state_dir") is not None:
        return
    folders = [folder for folder in environ.get("STATE_DIRECTORY", "").split(":") if folder]
    if folders:
        found.put(("bot", "state_dir"), folders[0], "STATE_DIRECTORY")
    else:
        bot.pop("state_dir", None)


def _is_there(path: Path) -> bool:
    """Also a file that we may not look at: whoever reads it will say what is wrong with it."""
    try:
        return path.is_file()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
