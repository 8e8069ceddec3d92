"""Owns the pydantic types of single values: how each is read, and how it is written back in an operator's words."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator

from onboard_bot.config import values
from onboard_bot.config.durations import Rate, format_duration, parse_duration, parse_rate, parse_retention

_RESERVED = """
abuse admin administrator all announcements billing bot channel contact everyone help here hostmaster info mail
mailer-daemon matrix me moderator no-reply nobody noreply official owner postmaster register registration room root
security server staff support synapse sysadmin system team undefined webmaster www
"""
RESERVED = tuple(_RESERVED.split())
"""What a stranger would take for the voice of the server, and what mail rules (RFC 2142) keep for its people."""


def _whole_number(written: object) -> object:
    if isinstance(written, bool):
        raise ValueError("must be a whole number.")  # noqa: TRY004 - pydantic wants this one
    return written


def _more_than_nothing(seconds: float) -> float:
    if seconds == 0:
        raise ValueError("must be longer than 0s.")
    return seconds


def _path(written: object) -> Path:
    if not isinstance(written, str | Path) or not str(written).strip() or "\0" in str(written):
        raise ValueError("must be the path of a file or folder.")
    return Path(written)


def _one_word(written: str) -> str:
    if not written.strip():
        raise ValueError("is empty.")
    return written


def _listen(written: object) -> values.ListenAddress:
    if isinstance(written, values.ListenAddress):
        return written
    if not isinstance(written, str):
        raise ValueError("must be host:port, such as 127.0.0.1:8090.")  # noqa: TRY004 - pydantic wants this one
    return values.parse_listen(written)


def _network(written: object) -> values.Network:
    return values.parse_network(str(written))


Text = Annotated[str, AfterValidator(_one_word)]
File = Annotated[Path, PlainValidator(_path), PlainSerializer(str)]
Pause = Annotated[float, PlainValidator(parse_duration), PlainSerializer(format_duration)]
Duration = Annotated[
    float, PlainValidator(parse_duration), AfterValidator(_more_than_nothing), PlainSerializer(format_duration)
]
Retention = Annotated[float | None, PlainValidator(parse_retention), PlainSerializer(format_duration)]
PerAddress = Annotated[Rate, PlainValidator(parse_rate), PlainSerializer(str)]
Listen = Annotated[values.ListenAddress, PlainValidator(_listen), PlainSerializer(str)]
Count = Annotated[int, BeforeValidator(_whole_number), Field(ge=0)]
AtLeastOne = Annotated[int, BeforeValidator(_whole_number), Field(ge=1)]
Room = Annotated[str, AfterValidator(values.parse_room)]
UserId = Annotated[str, AfterValidator(values.parse_user_id)]
Asker = Annotated[str, AfterValidator(values.parse_asker)]
NamePattern = Annotated[str, AfterValidator(values.parse_name_pattern)]
RoomSetName = Annotated[str, AfterValidator(values.parse_room_set_name)]
Network = Annotated[values.Network, PlainValidator(_network), PlainSerializer(str)]
Link = Annotated[str, AfterValidator(values.parse_link)]
