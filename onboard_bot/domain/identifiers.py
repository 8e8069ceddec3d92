"""Owns what a name is: user ids, server names, and the usernames that a new account may have.

Rules: Matrix specification, appendices, "User Identifiers", and what Synapse's registration endpoint adds (no leading
underscore, not only digits). Synapse lower-cases with Unicode rules and so takes the Kelvin sign for a k; we refuse
everything that is not ASCII instead of guessing what a look-alike meant.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from onboard_bot.errors import ErrorCode, OnboardError

MAX_USER_ID_BYTES = 255
_LOCALPART = re.compile(r"[a-z0-9=_\-./+]+")
_SERVER_NAME = re.compile(r"(?:[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
# Historical user ids may hold any printable ASCII but the colon: "User Identifiers", "Historical User IDs".
_ANY_LOCALPART = re.compile(r"[\x21-\x39\x3b-\x7e]+")


@dataclass(frozen=True, slots=True)
class Username:
    """A localpart that the homeserver will accept, lower-cased. Only `parse_username` makes one."""

    localpart: str

    def __str__(self) -> str:
        return self.localpart

    def at(self, server_name: str) -> str:
        """The full user id on a server."""
        return f"@{self.localpart}:{server_name}"


def is_server_name(text: str) -> bool:
    """Whether this has the form of a server name: a host, an IPv4 or bracketed IPv6 address, perhaps a port."""
    return _SERVER_NAME.fullmatch(text) is not None


def is_user_id(text: str) -> bool:
    """Whether this has the form of a full user id, historical ones included."""
    if not text.startswith("@") or ":" not in text or len(text.encode(errors="replace")) > MAX_USER_ID_BYTES:
        return False
    localpart, server_name = text[1:].split(":", 1)
    return _ANY_LOCALPART.fullmatch(localpart) is not None and is_server_name(server_name)


def server_of(user_id: str) -> str:
    """The server name of a user id."""
    return user_id.split(":", 1)[1]


def same_user(one: str, other: str) -> bool:
    """Whether two user ids mean the same person, however they are spelled.

    Server names do not know upper case, and no server of today makes two people of one localpart in two cases.
    """
    return one.casefold() == other.casefold()


def parse_user_id(typed: str, *, server_name: str) -> str:
    """The person that somebody meant by `@ada:example.org`, or by `ada` or `@ada` for one of our server.

    Args:
        typed: As it was typed; a pill has become a user id already.
        server_name: Ours.

    Raises:
        OnboardError: `bad_argument`.
    """
    user_id = typed if ":" in typed else f"@{typed.removeprefix('@').lower()}:{server_name}"
    if not is_user_id(user_id):
        raise OnboardError(ErrorCode.BAD_ARGUMENT, "This is no user id; one looks like @ada:example.org.")
    return user_id


def parse_username(typed: str, *, server_name: str, reserved: Iterable[str] = ()) -> Username:
    """The username that somebody meant by `ada`, `@ada`, `Ada` or `@ada:our.server`.

    Args:
        typed: As it was typed; a pill has become a user id already.
        server_name: Ours; a user id of another server is refused.
        reserved: Names and `*` patterns that nobody gets.

    Raises:
        OnboardError: `username_invalid` or `username_reserved`, saying which rule.
    """
    name = typed
    if name.startswith("@"):
        name, colon, server = name[1:].partition(":")
        if colon and server.lower() != server_name.lower():
            raise _invalid(typed, f"it names another server; accounts are made on {server_name} only")
    if not name:
        raise _invalid(typed, "it is empty")
    if not name.isascii():
        raise _invalid(typed, "only the letters a to z without accents, digits and . _ = - / + are allowed")
    name = name.lower()
    if _LOCALPART.fullmatch(name) is None:
        raise _invalid(typed, "only the letters a to z, digits and . _ = - / + are allowed")
    if name.startswith("_"):
        raise _invalid(typed, "it must not begin with an underscore")
    if name.isdigit():
        raise _invalid(typed, "it must not be only digits")
    if len(f"@{name}:{server_name}".encode()) > MAX_USER_ID_BYTES:
        longest = MAX_USER_ID_BYTES - len(server_name.encode()) - 2
        raise _invalid(typed, f"it is too long; at most {longest} characters fit on this server")
    if any(fnmatchcase(name, pattern.lower()) for pattern in reserved):
        raise OnboardError(ErrorCode.USERNAME_RESERVED, f"The name {name} is reserved. Please choose another one.")
    return Username(name)


def _invalid(typed: str, why: str) -> OnboardError:
    shown = typed if len(typed) <= 40 else typed[:39] + "…"  # noqa: PLR2004 - as much as one line shows
    return OnboardError(ErrorCode.USERNAME_INVALID, f"“{shown}” cannot be a username: {why}.")
