"""What an Element shows: events as its client has them now, and people's keys."""

from dataclasses import dataclass
from typing import Any

CONTENT_KEY = "io.github.onboard_bot"
NO_SHIELD = {"colour": "NONE", "reason": None}

Json = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """An event as the client shows it now.

    `shown` is what stands there after the edit `edited_by`, `emojis` who put which under it, and `first_failure` why it
    could not be read when it came.
    """

    room_id: str
    event_id: str
    sender: str
    at: float
    type: str
    wire_type: str
    content: Json
    shown: Json
    edited_by: str | None
    emojis: dict[str, list[str]]
    relation: Json
    session_id: str | None
    state_key: str | None
    failure: str | None
    redacted: bool
    shield: Json | None
    first_failure: str | None = None

    @property
    def body(self) -> str:
        return str(self.content.get("body", ""))

    @property
    def about(self) -> Json:
        """The content key of the bot's messages."""
        value = self.content.get(CONTENT_KEY)
        return value if isinstance(value, dict) else {}

    @property
    def about_now(self) -> Json:
        """The same, after the latest edit."""
        value = self.shown.get(CONTENT_KEY)
        return value if isinstance(value, dict) else {}

    @property
    def mentions(self) -> list[str]:
        return list(self.content.get("m.mentions", {}).get("user_ids", []))

    @property
    def encrypted(self) -> bool:
        return self.wire_type == "m.room.encrypted"

    @property
    def thread(self) -> str | None:
        return self.relation.get("event_id") if self.relation.get("rel_type") == "m.thread" else None

    @property
    def in_reply_to(self) -> str | None:
        return (self.relation.get("m.in_reply_to") or {}).get("event_id")

    @property
    def unmarked(self) -> bool:
        """Whether it was encrypted, could be read, and bears no shield."""
        return self.encrypted and self.failure is None and self.shield == NO_SHIELD


@dataclass(frozen=True)
class Keys:
    """Somebody's keys, as a client has them: device id to fingerprint, which devices are signed, the master key."""

    devices: dict[str, str]
    signed: set[str]
    master: str | None
