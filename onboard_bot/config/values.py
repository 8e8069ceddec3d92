"""Owns single values: how each is written in the configuration, what it becomes, and what is said of a wrong one.

What is raised is a ValueError whose sentence continues "FAIL section.key: …": what is wrong, and what mends it. A URL
is never repeated whole, because it may hold a password. Inside the program a duration is a number of seconds, and
`forever`, where a key allows it, is None. The types at the end are what the models are made of.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator

from onboard_bot.domain.display_names import parse_display_name
from onboard_bot.domain.durations import UNITS, parse_duration
from onboard_bot.domain.identifiers import is_server_name, is_user_id, parse_username
from onboard_bot.errors import OnboardError

FOREVER = "forever"
MAX_PORT = 65_535
MAX_PREFIX = 5
_MAX_ID_BYTES = 255
_SHOWN = 40

_RATE = re.compile(r"(\d{1,9})/(\S+)", re.ASCII)
# With the underscore, which no server name has but many a container's name.
_HOST = re.compile(r"[\w.\-]+|\[[0-9A-Fa-f:.]+\]")
_PORT = re.compile(r"\d{1,5}", re.ASCII)
_ROOM_ID = re.compile(r"![\x21-\x39\x3b-\x7e]+")
_ALIAS_NAME = re.compile(r"#[^\s:\x00]+")

_RESERVED = """
abuse admin administrator all announcements billing bot channel contact everyone help here hostmaster info mail
mailer-daemon matrix me moderator no-reply nobody noreply official owner postmaster register registration room root
security server staff support synapse sysadmin system team undefined webmaster www
"""
RESERVED = tuple(_RESERVED.split())
"""What a stranger would take for the voice of the server, and what mail rules (RFC 2142) keep for its people."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in any `seconds`."""

    count: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.count}/{format_duration(self.seconds)}"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a listener waits. The host is without brackets; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def legible(text: str) -> str:
    """Text without what would break a line, a terminal or an encoding."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shown(value: object) -> str:
    """A value as one line of a message can hold it."""
    text = legible(str(value))
    return f"“{text}”" if len(text) <= _SHOWN else f"“{text[: _SHOWN - 1]}…”"


def parse_retention(written: object) -> float | None:
    """Like `parse_duration`, and None for `forever`.

    Raises:
        ValueError: With a sentence that says how durations are written.
    """
    if isinstance(written, str) and written.strip() == FOREVER:
        return None
    try:
        return parse_duration(written)
    except ValueError as error:
        raise ValueError(f"{str(error).removesuffix('.')}, or {FOREVER}.") from None


def parse_rate(written: object) -> Rate:
    """What an operator meant by `3/1d`: three a day.

    Raises:
        ValueError: With a sentence that says how rates are written.
    """
    match = _RATE.fullmatch(written.strip()) if isinstance(written, str) else None
    if match is None:
        raise ValueError("must be a number, a slash and a duration: 3/1d allows three a day.")
    seconds = parse_duration(match[2])
    if int(match[1]) == 0 or seconds == 0:
        raise ValueError("must allow at least one in more than no time: 3/1d allows three a day.")
    return Rate(int(match[1]), seconds)


def format_duration(seconds: float | None) -> str:
    """The shortest way to write it; what `parse_retention` reads back as the same number."""
    if seconds is None:
        return FOREVER
    for unit, length in reversed(UNITS.items()):
        if seconds and seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def _check(ok: Callable[[Any], object], complaint: str) -> Callable[[Any], Any]:
    """Lets a value through as it is, or complains; `{}` in the complaint is what was written."""

    def check(written: Any) -> Any:
        if not ok(written):
            raise ValueError(complaint.format(shown(written)))
        return written

    return check


_whole_number = _check(lambda written: not isinstance(written, bool), "must be a whole number.")
_more_than_nothing = _check(bool, "must be longer than 0s.")
_text = _check(str.strip, "is empty.")
_user_id = _check(is_user_id, "{} is no full user id; write it like @ada:example.org.")
_domain = _check(
    lambda written: is_server_name(written.removeprefix("*.")),
    "{} is none of: a server name (example.org, *.example.org), a user id, a room id, an alias.",
)
_colour = _check(
    re.compile(r"#(?:[0-9A-Fa-f]{3}){1,2}").fullmatch, "{} is no colour; write it like #0a7bff, in quotes."
)
_name_pattern = _check(
    re.compile(r"[A-Za-z0-9=_\-./+*?]+").fullmatch,
    "{} is no username; write the part between @ and the colon, * stands for any.",
)
_room_set_name = _check(
    re.compile(r"[\w\-]+").fullmatch, "{} cannot be typed after --rooms=; use letters, digits, - and _ only."
)


def _path(written: object) -> Path:
    if not isinstance(written, str | Path) or not str(written).strip() or "\0" in str(written):
        raise ValueError("must be the path of a file or folder.")
    return Path(written)


def _listen(written: object) -> ListenAddress:
    if not isinstance(written, str):
        raise ValueError("must be host:port, such as 127.0.0.1:8090.")  # noqa: TRY004 - pydantic wants this one
    host, colon, port = written.rpartition(":")
    if not colon or _PORT.fullmatch(port) is None or int(port) > MAX_PORT:
        raise ValueError(f"{shown(written)} is not host:port; write 127.0.0.1:8090, or [::1]:8090 for IPv6.")
    if not host:
        raise ValueError("has no host; write 127.0.0.1 before the colon, or 0.0.0.0 to listen on every address.")
    if _HOST.fullmatch(host) is None or (host.startswith("[") and not _is_address(host[1:-1])):
        raise ValueError(f"{shown(host)} is no host; write 127.0.0.1:8090, or [::1]:8090 for IPv6.")
    return ListenAddress(host.strip("[]"), int(port))


def _network(written: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(str(written))
    except ValueError:
        raise ValueError(f"{shown(written)} is no address or network; write 10.0.0.1 or 10.0.0.0/8.") from None


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _url(written: str, *, whole: bool = False) -> SplitResult:
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


def _homeserver_url(written: str) -> str:
    parts = _url(written)
    if parts.path.strip("/"):
        raise ValueError(
            f"has a path; cut off {shown(parts.path)}: only http(s)://host:port belongs here, the bot adds the rest."
        )
    return f"{parts.scheme}://{parts.netloc}"


def _public_url(written: str) -> str:
    parts = _url(written)
    host = parts.hostname or ""
    loopback = ip_address(host).is_loopback if _is_address(host) else f".{host}".endswith(".localhost")
    if parts.scheme == "http" and not loopback:
        raise ValueError("must begin with https://, because passwords pass through it; http:// is for loopback only.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _link(written: str) -> str:
    _url(written, whole=True)
    return written


def _room(written: str) -> str:
    name, colon, server = written.partition(":")
    fits = len(written.encode(errors="replace")) <= _MAX_ID_BYTES and (not colon or is_server_name(server))
    if fits and not colon and _ALIAS_NAME.fullmatch(name):
        raise ValueError(f"{shown(written)} lacks its server; write {legible(written)}:example.org.")
    if not fits or not (_ROOM_ID.fullmatch(name) or _ALIAS_NAME.fullmatch(name)):
        raise ValueError(
            f"{shown(written)} is no room; write its id (!…, in quotes) or an alias such as #room:example.org."
        )
    return written


def _asker(written: str) -> str:
    if written.startswith(("!", "#")):
        return _room(written)
    who: str = _user_id(written) if written.startswith("@") else _domain(written)
    return who


def _bot_username(written: str) -> str:
    if written.startswith("@") or ":" in written:
        raise ValueError(f"{shown(written)} is a user id; write only the part between @ and the colon.")
    try:
        # The server's name is not known yet; the homeserver itself refuses a name that is too long together with it.
        localpart = parse_username(written, server_name="a.invalid").localpart
    except OnboardError as error:
        raise ValueError(legible(error.sentence)) from None
    if localpart != written:
        raise ValueError(f"{shown(written)} has capital letters, which the homeserver lowers; write {localpart}.")
    return written


def _bot_display_name(written: str) -> str:
    try:
        return parse_display_name(written)
    except OnboardError as error:
        raise ValueError(legible(error.sentence)) from None


def _command_prefix(written: str) -> str:
    """It begins with a symbol, or every sentence with the right first word would be a command.

    Not with a slash, either, which clients keep for commands of their own.
    """
    if not 1 <= len(written) <= MAX_PREFIX or not written.isprintable() or any(c.isspace() for c in written):
        raise ValueError(f"must have 1 to {MAX_PREFIX} characters and no white space; the default is “!”.")
    if written[0].isalnum() or written[0] == "/":
        raise ValueError(f"{shown(written)} must begin with a symbol, and not with “/”; the default is “!”.")
    return written


Text = Annotated[str, AfterValidator(_text)]
Count = Annotated[int, BeforeValidator(_whole_number), Field(ge=0)]
AtLeastOne = Annotated[int, BeforeValidator(_whole_number), Field(ge=1)]
File = Annotated[Path, PlainValidator(_path)]
Pause = Annotated[float, PlainValidator(parse_duration)]
Duration = Annotated[Pause, AfterValidator(_more_than_nothing)]
Retention = Annotated[float | None, PlainValidator(parse_retention)]
PerAddress = Annotated[Rate, PlainValidator(parse_rate), PlainSerializer(str)]
Listen = Annotated[ListenAddress, PlainValidator(_listen), PlainSerializer(str)]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(_network)]
HomeserverUrl = Annotated[str, AfterValidator(_homeserver_url)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
Link = Annotated[str, AfterValidator(_link)]
Room = Annotated[str, AfterValidator(_room)]
UserId = Annotated[str, AfterValidator(_user_id)]
Asker = Annotated[str, AfterValidator(_asker)]
BotUsername = Annotated[str, AfterValidator(_bot_username)]
BotDisplayName = Annotated[str, AfterValidator(_bot_display_name)]
CommandPrefix = Annotated[str, AfterValidator(_command_prefix)]
NamePattern = Annotated[str, AfterValidator(_name_pattern), AfterValidator(str.lower)]
RoomSetName = Annotated[str, AfterValidator(_room_set_name)]
Colour = Annotated[str, AfterValidator(_colour)]
