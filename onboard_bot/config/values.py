"""Owns the forms of single values in the configuration: addresses, URLs, rooms, names. Each parser takes a string.

What a parser raises is a ValueError whose sentence continues "FAIL section.key: …": what is wrong, and what mends it.
A URL is never repeated whole, because it may hold a password.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from onboard_bot.domain.display_names import parse_display_name
from onboard_bot.domain.identifiers import is_server_name, is_user_id, parse_username
from onboard_bot.errors import OnboardError

Network = IPv4Network | IPv6Network

MAX_PORT = 65_535
MAX_PREFIX = 5
_SHOWN = 40
# With the underscore, which no server name has but many a container's name.
_HOST = re.compile(r"[\w.\-]+|\[[0-9A-Fa-f:.]+\]")
_PORT = re.compile(r"\d{1,5}", re.ASCII)
_ROOM_ID = re.compile(r"![\x21-\x39\x3b-\x7e]+")
_ALIAS_NAME = re.compile(r"#[^\s:\x00]+")
_NAME_PATTERN = re.compile(r"[A-Za-z0-9=_\-./+*?]+")
_COLOUR = re.compile(r"#(?:[0-9A-Fa-f]{3}){1,2}")
_MAX_ID_BYTES = 255


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a listener waits. The host is without brackets; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def shown(value: object) -> str:
    """A value as one line of a message can hold it."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return f"“{text}”" if len(text) <= _SHOWN else f"“{text[: _SHOWN - 1]}…”"


def parse_listen(written: str) -> ListenAddress:
    """`127.0.0.1:8090`, `[::1]:8090` or `localhost:8090`."""
    host, colon, port = written.rpartition(":")
    if not colon or _PORT.fullmatch(port) is None or int(port) > MAX_PORT:
        raise ValueError(f"{shown(written)} is not host:port; write 127.0.0.1:8090, or [::1]:8090 for IPv6.")
    if not host:
        raise ValueError("has no host; write 127.0.0.1 before the colon, or 0.0.0.0 to listen on every address.")
    if _HOST.fullmatch(host) is None or (host.startswith("[") and not _is_address(host[1:-1])):
        raise ValueError(f"{shown(host)} is no host; write 127.0.0.1:8090, or [::1]:8090 for IPv6.")
    return ListenAddress(host.strip("[]"), int(port))


def parse_homeserver_url(written: str) -> str:
    """The address of the homeserver, without a trailing slash."""
    parts = _split(written)
    if parts.path.strip("/"):
        raise ValueError(
            f"has a path; cut off {shown(parts.path)}: only http(s)://host:port belongs here, the bot adds the rest."
        )
    return f"{parts.scheme}://{parts.netloc}"


def parse_public_url(written: str) -> str:
    """Where newcomers reach the bot's pages, without a trailing slash. May have a path."""
    parts = _split(written)
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError("must begin with https://, because passwords pass through it; http:// is for loopback only.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def parse_link(written: str) -> str:
    """A URL that a page links to."""
    _split(written, whole=True)
    return written


def parse_room(written: str) -> str:
    """`!id`, `!id:server` or `#alias:server`."""
    name, colon, server = written.partition(":")
    if len(written.encode(errors="replace")) <= _MAX_ID_BYTES and (not colon or is_server_name(server)):
        if _ROOM_ID.fullmatch(name):
            return written
        if _ALIAS_NAME.fullmatch(name):
            if colon:
                return written
            raise ValueError(f"{shown(written)} lacks its server; write {written}:example.org.")
    raise ValueError(
        f"{shown(written)} is no room; write its id (!…, in quotes) or an alias such as #room:example.org."
    )


def parse_user_id(written: str) -> str:
    """A full user id."""
    if not is_user_id(written):
        raise ValueError(f"{shown(written)} is no full user id; write it like @ada:example.org.")
    return written


def parse_asker(written: str) -> str:
    """Who may ask: a server name, perhaps with a leading `*.`, a user id, a room id or an alias."""
    if written.startswith("@"):
        return parse_user_id(written)
    if written.startswith(("!", "#")):
        return parse_room(written)
    if not is_server_name(written.removeprefix("*.")):
        raise ValueError(
            f"{shown(written)} is none of: a server name (example.org, *.example.org), a user id, a room id, an alias."
        )
    return written


def parse_bot_username(written: str) -> str:
    """The localpart of the bot's own account."""
    if written.startswith("@") or ":" in written:
        raise ValueError(f"{shown(written)} is a user id; write only the part between @ and the colon.")
    try:
        # The server's name is not known yet; the homeserver itself refuses a name that is too long together with it.
        localpart = parse_username(written, server_name="a.invalid").localpart
    except OnboardError as error:
        raise ValueError(error.sentence) from None
    if localpart != written:
        raise ValueError(f"{shown(written)} has capital letters, which the homeserver lowers; write {localpart}.")
    return written


def parse_bot_display_name(written: str) -> str:
    """What people see as the bot's name."""
    try:
        return parse_display_name(written)
    except OnboardError as error:
        raise ValueError(error.sentence) from None


def parse_command_prefix(written: str) -> str:
    """What a command begins with.

    It begins with a symbol, or every sentence with the right first word would be a command; and not with a slash, which
    clients keep for commands of their own.
    """
    if not 1 <= len(written) <= MAX_PREFIX or not written.isprintable() or any(c.isspace() for c in written):
        raise ValueError(f"must have 1 to {MAX_PREFIX} characters and no white space; the default is “!”.")
    if written[0].isalnum() or written[0] == "/":
        raise ValueError(f"{shown(written)} must begin with a symbol, and not with “/”; the default is “!”.")
    return written


def parse_name_pattern(written: str) -> str:
    """A username that nobody gets, perhaps with `*`."""
    if _NAME_PATTERN.fullmatch(written) is None:
        raise ValueError(f"{shown(written)} is no username; write the part between @ and the colon, * stands for any.")
    return written.lower()


def parse_room_set_name(written: str) -> str:
    """The name of a room set, as it is typed after `--rooms=`."""
    if re.fullmatch(r"[\w\-]+", written) is None:
        raise ValueError(f"{shown(written)} cannot be typed after --rooms=; use letters, digits, - and _ only.")
    return written


def parse_network(written: str) -> Network:
    """An address, or a network in CIDR form."""
    try:
        return ip_network(written)
    except ValueError:
        raise ValueError(f"{shown(written)} is no address or network; write 10.0.0.1 or 10.0.0.0/8.") from None


def parse_colour(written: str) -> str:
    """A colour, as pages use it."""
    if _COLOUR.fullmatch(written) is None:
        raise ValueError(f"{shown(written)} is no colour; write it like #0a7bff, in quotes.")
    return written


def _split(written: str, *, whole: bool = False) -> SplitResult:
    """The parts of an http(s) URL that has a host, no credentials and, unless `whole`, no query and no fragment."""
    if any(c.isspace() or not c.isprintable() for c in written):
        raise ValueError("has white space in it; take it out.")
    try:
        parts = urlsplit(written)
        port = parts.port
    except ValueError:
        raise ValueError(
            "is no URL: the host or the port is broken; write https://host or https://host:port."
        ) from None
    if parts.scheme not in ("http", "https") or not written.lower().startswith(f"{parts.scheme}://"):
        raise ValueError("must begin with http:// or https://.")
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password; cut off everything between // and @, the @ too.")
    host = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
    if _HOST.fullmatch(host) is None:
        raise ValueError("has no proper host; write https://host or https://host:port.")
    for mark, name in (("?", "a query"), ("#", "a fragment")):
        if mark in written and not whole:
            raise ValueError(f"has {name}; cut off everything from the {mark} on.")
    return parts


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost") or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
