"""Owns the file that holds the shared secret: both its forms, and what can be wrong with it.

The plain form is what Synapse's `registration_shared_secret_path` names: the secret and nothing else. The YAML form has
a key `registration_shared_secret`, as the NixOS manual keeps it. Messages name the path and never show any content.
"""

import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from onboard_bot.errors import ErrorCode, OnboardError

KEY = "registration_shared_secret"
MAX_BYTES = 1 << 20
# A line of the top level that sets the key. Anything else is taken word for word: a plain secret may look like YAML.
_YAML_FORM = re.compile(rf"^\ufeff?(['\"]?){KEY}\1[ \t]*:", re.MULTILINE)

_Signature = tuple[int, int, int, int]


class SecretFile:
    """The secret, as the file has it now: a changed file is noticed at the next use.

    Args:
        path: Where it lies.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[_Signature, SecretStr] | None = None

    def read(self) -> SecretStr:
        """The secret; the file is read again only where it looks changed.

        Raises:
            OnboardError: `secret_unreadable`, saying what exactly is wrong.
        """
        try:
            signature = _signature(self.path.stat())
        except OSError as error:
            raise self._unusable(_why(error)) from None
        if self._known is not None and self._known[0] == signature:
            return self._known[1]
        return self.reread()

    def reread(self) -> SecretStr:
        """The secret, read again in any case.

        Raises:
            OnboardError: `secret_unreadable`, saying what exactly is wrong.
        """
        signature, content = self._load()
        self._known = (signature, SecretStr(self._secret_in(content)))
        return self._known[1]

    def is_readable_by_others(self) -> bool:
        """Whether everybody on the machine may read it. A group may: credentials of systemd have one.

        Raises:
            OnboardError: `secret_unreadable` where the file cannot even be looked at.
        """
        try:
            return bool(self.path.stat().st_mode & stat.S_IROTH)
        except OSError as error:
            raise self._unusable(_why(error)) from None

    def _load(self) -> tuple[_Signature, bytes]:
        try:
            # Not blocking, since opening a pipe that nobody writes to would wait for ever.
            with os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise self._unusable("is not a regular file")
                return _signature(status), file.read(MAX_BYTES + 1)
        except OSError as error:
            raise self._unusable(_why(error)) from None

    def _secret_in(self, content: bytes) -> str:
        if len(content) > MAX_BYTES:
            raise self._unusable("is far too large for a secret")
        text = _decoded(content)
        if text is None:
            raise self._unusable("is not UTF-8 text")
        if not text.strip():
            raise self._unusable("is empty")
        if _YAML_FORM.search(text) is None:
            return text.strip()
        return self._secret_in_yaml(text)

    def _secret_in_yaml(self, text: str) -> str:
        document, problem = _parsed(text)
        if problem is not None:
            raise self._unusable(f"is not valid YAML{problem}")
        if not isinstance(document, dict) or KEY not in document:
            raise self._unusable(f"names {KEY}, but not as “{KEY}: …” with a space behind the colon")
        value = document[KEY]
        if value is None or value == "":
            raise self._unusable(f"has the key {KEY}, but nothing behind it")
        if not isinstance(value, str):
            kind = _KINDS.get(type(value), "no text")
            raise self._unusable(f"has {kind} behind {KEY}; put the secret into quotes, so that YAML takes it as text")
        if not value.strip():
            raise self._unusable(f"has the key {KEY}, but only white space behind it")
        return value.strip()

    def _unusable(self, why: str) -> OnboardError:
        return OnboardError(ErrorCode.SECRET_UNREADABLE, f"The shared secret's file {self.path} {why}.")


_KINDS: dict[type, str] = {
    bool: "a truth value",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a mapping",
}


def _signature(status: os.stat_result) -> _Signature:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _why(error: OSError) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return "does not exist"
        case IsADirectoryError():
            return "is a directory"
        case PermissionError():
            return "may not be read by this user; give it (or its group) the right to"
        case _:
            return f"cannot be read: {error.strerror or type(error).__name__}"


def _decoded(content: bytes) -> str | None:
    """The text, or None: the exception would carry the content along."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _parsed(text: str) -> tuple[Any, str | None]:
    """The document, or where it breaks: PyYAML's own message quotes the line, and with it the secret."""
    try:
        return yaml.safe_load(text), None
    except yaml.MarkedYAMLError as error:
        return None, f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
    except (yaml.YAMLError, ValueError, RecursionError):
        return None, ""
