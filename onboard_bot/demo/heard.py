"""Owns what a person's client makes of an event: a message, an edit of one, or a sign under one.

Pure; where the events come from, and what opened them, is not known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from onboard_bot.chat.messages import CONTENT_KEY, Kind
from onboard_bot.clock import Timestamp


@dataclass(frozen=True, slots=True)
class Said:
    """A message as the person's client shows it.

    Args:
        room_id: Where.
        event_id: Which.
        sender: Whose, the user id.
        name: How the room calls them.
        at: When the server got it.
        body: The words.
        in_reply_to: The event that it answers.
        kind: What the bot's content key says that it is.
        encrypted: Whether it travelled encrypted.
        request_id: The request that the bot's content key names.
        state: Where that request stands.
    """

    room_id: str
    event_id: str
    sender: str
    name: str
    at: Timestamp
    body: str
    in_reply_to: str | None
    kind: str | None
    encrypted: bool
    request_id: str | None = None
    state: str | None = None

    @property
    def is_about_a_request(self) -> bool:
        """Whether it shows a request, as a card does."""
        return self.kind == Kind.REQUEST and self.request_id is not None


@dataclass(frozen=True, slots=True)
class Edited:
    """A message that reads otherwise than before.

    Args:
        before: As it was.
        now: As it is.
        at: Since when.
    """

    before: Said
    now: Said
    at: Timestamp

    @property
    def room_id(self) -> str:
        """Where."""
        return self.now.room_id

    @property
    def news(self) -> str:
        """The first line that was not there before."""
        before, now = self.before.body.splitlines(), self.now.body.splitlines()
        return next((line for line in now if line not in before), now[0] if now else "")


@dataclass(frozen=True, slots=True)
class Tapped:
    """A sign that somebody put under a message.

    Args:
        under: The message.
        sender: Whose sign, the user id.
        name: How the room calls them.
        at: When the server got it.
        sign: Such as ✅.
    """

    under: Said
    sender: str
    name: str
    at: Timestamp
    sign: str

    @property
    def room_id(self) -> str:
        """Where."""
        return self.under.room_id

    @property
    def is_offered(self) -> bool:
        """Whether the author of a card put it there, to be tapped by others."""
        return self.under.is_about_a_request and self.sender == self.under.sender


Heard = Said | Edited | Tapped


@dataclass(frozen=True, slots=True)
class Event:
    """An event that was opened.

    Args:
        room_id: Where.
        event_id: Which.
        sender: Whose, the user id.
        name: How the room calls them.
        at: When the server got it.
        type: What kind of event.
        content: What is in it.
        encrypted: Whether it travelled encrypted.
    """

    room_id: str
    event_id: str
    sender: str
    name: str
    at: Timestamp
    type: str
    content: Mapping[str, Any]
    encrypted: bool


def read(event: Event, said: Mapping[str, Said]) -> Heard | None:
    """What the client shows of it; None where that is nothing.

    Args:
        event: Which.
        said: What was said before, as it reads now, by event id.
    """
    relation = event.content.get("m.relates_to")
    related: Mapping[str, Any] = relation if isinstance(relation, Mapping) else {}
    target = said.get(str(related.get("event_id")))
    if event.type == "m.reaction":
        sign = related.get("key")
        if target is None or related.get("rel_type") != "m.annotation" or not isinstance(sign, str):
            return None
        return Tapped(target, event.sender, event.name, event.at, sign)
    if event.type != "m.room.message":
        return None
    if related.get("rel_type") != "m.replace":
        return _message(event, related)
    new = event.content.get("m.new_content")
    if target is None or target.sender != event.sender or not isinstance(new, Mapping):
        return None
    return Edited(target, replace(target, body=str(new.get("body", "")), **_about(new)), event.at)


def _message(event: Event, related: Mapping[str, Any]) -> Said:
    answered = related.get("m.in_reply_to")
    return Said(
        event.room_id,
        event.event_id,
        event.sender,
        event.name,
        event.at,
        str(event.content.get("body", "")),
        answered.get("event_id") if isinstance(answered, Mapping) else None,
        encrypted=event.encrypted,
        **_about(event.content),
    )


def _about(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the bot's content key says."""
    about = content.get(CONTENT_KEY)
    if not isinstance(about, Mapping):
        return {"kind": None, "request_id": None, "state": None}
    return {"kind": about.get("kind"), "request_id": about.get("id"), "state": about.get("state")}
