"""Owns what is believed of a decrypted payload.

The server cannot see inside an encrypted event, so nothing that a server has to authorise may be in there: no state, no
membership, no redaction. Specification, "m.room.encrypted" and "Encrypting relations".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onboard_bot.store.inbox import Envelope

Json = dict[str, Any]


# Deeper than any event of the specification, and far from where Python's own recursion ends: nested further, an event
# would stop whoever copies or stores it, and with it everything that came in the same sync.
_DEEPEST = 60


def is_shallow(value: object) -> bool:
    """Whether a JSON value is nested no deeper than an honest event."""
    level: list[object] = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return True
    return False


class UndecryptableError(Exception):
    """The event cannot be read: no key yet (`missing_key`), or it is forged or malformed."""

    def __init__(self, reason: str, *, missing_key: bool = False) -> None:
        super().__init__(reason)
        self.missing_key = missing_key


@dataclass(frozen=True, slots=True)
class Decrypted:
    """What was inside an encrypted event.

    Args:
        type: Of the event.
        content: Of the event.
        envelope: Which message of whose device it was.
    """

    type: str
    content: Json
    envelope: Envelope


def believed(payload: object, room_id: str, outer: Mapping[str, Any], envelope: Envelope) -> Decrypted:
    """What a payload says, where it may say so.

    Args:
        payload: The parsed plaintext.
        room_id: The room that the encrypted event stood in.
        outer: The encrypted event's content; relations stand there in clear text.
        envelope: What it was encrypted with.

    Raises:
        UndecryptableError: It is no event, or claims what an encrypted event cannot be.
    """
    if not isinstance(payload, Mapping) or not is_shallow(payload):
        raise UndecryptableError("the payload is no event")
    event_type, content = payload.get("type"), payload.get("content")
    if not isinstance(event_type, str) or not isinstance(content, dict):
        raise UndecryptableError("the payload is no event")
    if payload.get("room_id") != room_id:
        raise UndecryptableError("the payload belongs to another room")
    if "state_key" in payload or event_type in ("m.room.redaction", "m.room.encrypted", "m.room.member"):
        raise UndecryptableError("state and redactions cannot be encrypted")
    # Relations stand outside, where the server checked them; what is said of them inside nobody vouches for.
    content = {key: value for key, value in content.items() if key != "m.relates_to"}
    if "m.relates_to" in outer:
        content["m.relates_to"] = outer["m.relates_to"]
    return Decrypted(event_type, content, envelope)
