"""Owns what is believed of a decrypted payload.

The server cannot see inside an encrypted event, so nothing that a server has to authorise may be in there: no state, no
membership, no redaction. Specification, "m.room.encrypted" and "Encrypting relations".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


class UndecryptableError(Exception):
    """The event cannot be read: no key yet (`missing_key`), or it is forged or malformed."""

    def __init__(self, reason: str, *, missing_key: bool = False) -> None:
        super().__init__(reason)
        self.missing_key = missing_key


@dataclass(frozen=True, slots=True)
class Decrypted:
    """What was inside an encrypted event."""

    type: str
    content: Json


def believed(payload: object, room_id: str, outer: Mapping[str, Any]) -> Decrypted:
    """What a payload says, where it may say so.

    Args:
        payload: The parsed plaintext.
        room_id: The room that the encrypted event stood in.
        outer: The encrypted event's content; relations stand there in clear text.

    Raises:
        UndecryptableError: It is no event, or claims what an encrypted event cannot be.
    """
    if not isinstance(payload, Mapping):
        raise UndecryptableError("the payload is no event")
    event_type, content = payload.get("type"), payload.get("content")
    if not isinstance(event_type, str) or not isinstance(content, dict):
        raise UndecryptableError("the payload is no event")
    if payload.get("room_id") != room_id:
        raise UndecryptableError("the payload belongs to another room")
    if "state_key" in payload or event_type in ("m.room.redaction", "m.room.encrypted", "m.room.member"):
        raise UndecryptableError("state and redactions cannot be encrypted")
    if "m.relates_to" not in content and "m.relates_to" in outer:
        content = {**content, "m.relates_to": outer["m.relates_to"]}
    return Decrypted(event_type, content)
