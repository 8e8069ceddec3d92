"""Owns where the configuration comes from: the environment, credentials, the YAML file, systemd.

Each source is one of pydantic-settings', which merges what they say; `load` puts them in order. What is said is raw:
the models judge it. What cannot even be read is a problem here, and every source is read to its end, so that one start
shows all of it.
"""

import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from onboard_bot.config.keys import ENV_CONFIG, ENV_PREFIX, Key, all_keys, sections
from onboard_bot.config.model import Config, Written
from onboard_bot.config.problems import Problem, nearest

DEFAULT_FILES = (Path("config.yaml"), Path("/etc/onboard-bot/config.yaml"))
CREDENTIALS = {"shared_secret": ("homeserver", "shared_secret_file"), "bot_password": ("bot", "password_file")}
"""Names of credentials (systemd's LoadCredential=) and the keys that they stand for."""

_STATE_DIR = ("bot", "state_dir")
_QUOTES = "put quotes around a value that begins with @, !, #, %, & or *"
# PyYAML leaks these for scalars whose tag or form promises a number or a date that they are not.
_LEAKED = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


class Source(PydanticBaseSettingsSource):
    """One place that values come from; calling it gives their tree.

    After that `origins` says by key where a value comes from, if not from the file, and `problems` what is unreadable.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Config)
        self.origins: dict[str, str] = {}
        self.problems: list[Problem] = []
        self._environ = environ
        self._tree: dict[str, Any] = {}

    @abstractmethod
    def read(self) -> None:
        """Puts into the tree what this place says."""

    def __call__(self) -> dict[str, Any]:
        """The tree, which is how pydantic-settings asks."""
        self.origins, self.problems, self._tree = {}, [], {}
        self.read()
        return self._tree

    def get_field_value(self, _field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """One section of the tree; pydantic-settings demands the method and never asks."""
        return self._tree.get(field_name), field_name, False

    def _put(self, path: tuple[str, ...], value: object, origin: str) -> None:
        at = self._tree
        for step in path[:-1]:
            at = at.setdefault(step, {})
        at[path[-1]] = value
        self.origins[".".join(path)] = origin


class Environment(Source):
    """`ONBOARD_BOT_…`, where a name without a key is an error."""

    def read(self) -> None:  # noqa: D102 - see Source
        keys = {key.env: key for key in all_keys()}
        for name in sorted(self._environ):
            if not name.upper().startswith(ENV_PREFIX) or name == ENV_CONFIG:
                continue
            written = self._environ[name].strip()
            key = keys.get(name)
            if key is None:
                meant = nearest(name.upper(), [*keys, ENV_CONFIG])
                self.problems.append(Problem(name, f"there is no such setting; the nearest one is {meant}."))
            elif written and key.is_structured:
                self._put_json(key, written)
            elif written:
                self._put(key.path, written, name)

    def _put_json(self, key: Key, written: str) -> None:
        try:
            value = json.loads(written)
        except (ValueError, RecursionError):
            value = None
        form: list[Any] | dict[str, Any] = ["first", "second"]
        if isinstance(key.field.default, dict):
            form = {"staff": ["#staff:example.org"]}
        if not isinstance(value, type(form)):
            self.problems.append(Problem(key.dotted, f"{key.env} must be JSON: {json.dumps(form)}."))
            return
        # pydantic-settings merges dicts, but a key has one value: this one takes the place of the file's.
        self._put(key.path, MappingProxyType(value) if isinstance(value, dict) else value, key.env)


class Credentials(Source):
    """The files in `$CREDENTIALS_DIRECTORY`."""

    def read(self) -> None:  # noqa: D102 - see Source
        folder = self._environ.get("CREDENTIALS_DIRECTORY")
        for name, key in CREDENTIALS.items() if folder else ():
            credential = Path(folder or "") / name
            if _is_there(credential):
                self._put(key, str(credential), f"the credential {name}")


class YamlFile(Source):
    """The file that is named, or the first that is there.

    After that `found` is the file that was read; `is_broken`: there is one, or should be, and its values are unknown.
    """

    def __init__(self, path: Path | None, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.found: Path | None = None
        self.is_broken = False
        self._path = path

    def read(self) -> None:  # noqa: D102 - see Source
        named = self._path or self._environ.get(ENV_CONFIG)
        file = Path(named) if named else next(filter(_is_there, DEFAULT_FILES), None)
        if file is None:
            return
        try:
            raw = file.read_bytes()
        except FileNotFoundError:
            why = f"there is no file {file}."
        except (OSError, ValueError) as error:
            why = f"{file} cannot be read: {error.strerror if isinstance(error, OSError) else 'its name is broken'}."
        else:
            self._read(file, raw)
            return
        self.is_broken = True
        self.problems.append(Problem("config", why))

    def _read(self, file: Path, raw: bytes) -> None:
        tree, mistakes = _read_yaml(raw)
        self.found, self.is_broken, self._tree = file, tree is None, tree or {}
        self.problems += [Problem("config", f"{file}, {mistake}") for mistake in mistakes]
        for path in (*sections(), _STATE_DIR):
            at: Any = self._tree
            for step in path[:-1]:
                at = at.get(step) if isinstance(at, dict) else None
            value = at.get(path[-1], {}) if isinstance(at, dict) else {}
            if value is None:
                del at[path[-1]]  # Unset, and so it must not stand before what weaker sources say.
            elif not isinstance(value, dict) and path != _STATE_DIR:
                # Said here, because what a stronger source says of this section would hide it from the models.
                self.problems.append(Problem(".".join(path), "must be a mapping, with keys of its own."))


class StateDirectory(Source):
    """What systemd's StateDirectory= made: a default, weaker than everything that was written."""

    def read(self) -> None:  # noqa: D102 - see Source
        folders = [folder for folder in self._environ.get("STATE_DIRECTORY", "").split(":") if folder]
        bot = self.current_state.get("bot", {})
        if folders and isinstance(bot, dict) and "state_dir" not in bot:
            self._put(_STATE_DIR, folders[0], "STATE_DIRECTORY")


class Gathered(NamedTuple):
    """The sources of one configuration, in the contract's order (design, section 3): the strongest first."""

    environment: Environment
    credentials: Credentials
    file: YamlFile
    state_directory: StateDirectory

    @property
    def values(self) -> dict[str, Any]:
        """What they say together, judged by nobody."""
        return Written(*self).model_extra or {}


def gather(path: Path | None, environ: Mapping[str, str]) -> Gathered:
    """The sources that `load_config` asks; they are read when they are called."""
    return Gathered(Environment(environ), Credentials(environ), YamlFile(path, environ), StateDirectory(environ))


def _is_there(path: Path) -> bool:
    """Also a file that we may not look at: whoever reads it will say what is wrong with it."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        pass
    return True


def _read_yaml(raw: bytes) -> tuple[dict[str, Any] | None, list[str]]:
    """The top-level mapping of a file, None where it cannot be had, and what is wrong, each as `line 3: …`."""
    try:
        loader = _Loader(raw.decode())
        tree = loader.get_single_data()
    except UnicodeDecodeError as error:
        line, why = raw.count(b"\n", 0, error.start), "it is not UTF-8; save the file as UTF-8."
    except yaml.reader.ReaderError as error:
        line, why = raw.decode().count("\n", 0, error.position), "a control character; take it out."
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, why = mark.line if mark else 0, _broken(error)
    except _LEAKED:
        line, why = 0, f"it is not YAML that this program understands; {_QUOTES}."
    else:
        if tree is None or isinstance(tree, dict):
            return tree or {}, loader.mistakes
        line, why = 0, "it must be a mapping of sections (homeserver:, admin_room:, …)."
    return None, [f"line {line + 1}: {why}"]


def _broken(error: yaml.MarkedYAMLError) -> str:
    """The likely mend. What PyYAML says of the reason may repeat a value, so only its kind is used."""
    problem = error.problem or ""
    is_construction = isinstance(error, yaml.constructor.ConstructorError)
    if not is_construction and "cannot start any token" not in problem and "alias" not in problem:
        return "not readable as YAML; look at the indentation, the colons and the quotes there and just above."
    return "a tab; YAML wants spaces." if "\\t" in problem else f"not readable as YAML; {_QUOTES}."


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also notes what it would swallow.

    YAML takes the last of two equal keys, and takes an unquoted `#room:example.org` for a comment. Both would make a
    configuration that says something else than its author thinks.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.mistakes: list[str] = []
        self._lines = text.splitlines()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: dict[str, int] = {}
        for name, value in node.value:
            line = name.start_mark.line + 1
            if isinstance(name, yaml.ScalarNode) and name.tag != "tag:yaml.org,2002:merge":
                if name.value in seen:
                    first = seen[name.value]
                    self.mistakes.append(f"line {line}: {name.value} stands there already in line {first}; keep one.")
                seen[name.value] = line
            self._note_comment(value)
        return {str(name): value for name, value in super().construct_mapping(node, deep=deep).items()}

    def construct_sequence(self, node: yaml.SequenceNode, deep: bool = False) -> list[Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        for item in node.value:
            self._note_comment(item)
        return super().construct_sequence(node, deep=deep)

    def _note_comment(self, node: yaml.Node) -> None:
        """An empty value with `#word` behind it was meant as a room alias or a colour."""
        if not isinstance(node, yaml.ScalarNode) or node.value or node.style is not None:
            return
        line, column = node.start_mark.line, node.start_mark.column
        rest = "".join(self._lines[line : line + 1])[column:].strip()
        if rest.startswith("#") and rest[1:2].strip() and rest[1] != "#":
            self.mistakes.append(
                f"line {line + 1}: what begins with # is a comment in YAML; put quotes around a value."
            )
