"""Owns reading a raw `/sync` body: whatever its shape, what comes out here has the types it says."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from onboard_bot.domain.identifiers import is_user_id
from onboard_bot.matrix.json_text import is_id, is_text, read_json
from onboard_bot.matrix.payload import is_shallow

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened in one joined room since the last sync.

    `limited` means that events between the last sync and `prev_batch` are left out of it.
    """

    room_id: str
    events: tuple[Json, ...]
    limited: bool
    prev_batch: str | None
    state_changed: bool


@dataclass(frozen=True, slots=True)
class Invitation:
    """Somebody wants us in a room."""

    room_id: str
    inviter: str
    is_direct: bool


class SyncBody:
    """One parsed body.

    Raises:
        ValueError: It is no sync answer at all.
    """

    def __init__(self, text: str) -> None:
        body = read_json(text)
        if not isinstance(body, dict) or not is_text(body.get("next_batch")):
            raise ValueError("not a sync answer")
        self.raw: Json = body
        self.next_batch: str = body["next_batch"]

    @property
    def holds_anything(self) -> bool:
        """Whether something in it could matter after a stop."""
        rooms = _mapping(self.raw.get("rooms"))
        return bool(to_device_events(self.raw)) or any(
            _mapping(rooms.get(section)) for section in ("join", "invite", "leave")
        )

    def timelines(self) -> Iterator[Timeline]:
        """The joined rooms."""
        for room_id, room in self._rooms("join"):
            timeline = _mapping(room.get("timeline"))
            prev_batch = timeline.get("prev_batch")
            yield Timeline(
                room_id=room_id,
                events=_with_id(_events(timeline)),
                limited=timeline.get("limited") is True,
                prev_batch=prev_batch if is_text(prev_batch) else None,
                state_changed=bool(_events(room.get("state"))),
            )

    def invitations(self, own_user_id: str) -> Iterator[Invitation]:
        """The rooms that we are invited to."""
        for room_id, room in self._rooms("invite"):
            ours = [
                event
                for event in _events(room.get("invite_state"))
                if event.get("type") == "m.room.member" and event.get("state_key") == own_user_id
            ]
            # The rest of the list is what the inviting server says of the room; our server puts the invitation itself,
            # whose sender it has checked, at the end.
            invite = ours[-1] if ours else {}
            content, inviter = _mapping(invite.get("content")), invite.get("sender")
            if content.get("membership") == "invite" and isinstance(inviter, str) and is_user_id(inviter):
                yield Invitation(room_id, inviter, content.get("is_direct") is True)

    def left(self) -> Iterator[str]:
        """The rooms that we are no longer in."""
        return (room_id for room_id, _ in self._rooms("leave"))

    def _rooms(self, section: str) -> Iterator[tuple[str, Json]]:
        for room_id, room in _mapping(_mapping(self.raw.get("rooms")).get(section)).items():
            if is_id(room_id):
                yield room_id, _mapping(room)


def to_device_events(body: Json) -> list[Json]:
    """What devices sent to ours."""
    return _events(body.get("to_device"))


def earlier_events(page: Json) -> tuple[list[Json], str | None]:
    """The events of a `/messages` page read backwards, oldest first, and where the page before it begins."""
    following = page.get("end")
    good = _with_id(_events({"events": page.get("chunk")}))
    return list(reversed(good)), following if is_text(following) else None


def _with_id(events: list[Json]) -> tuple[Json, ...]:
    return tuple(event for event in events if is_id(event.get("event_id")))


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _events(holder: object) -> list[Json]:
    events = _mapping(holder).get("events")
    if not isinstance(events, list):
        return []
    return [event for event in events if isinstance(event, dict) and is_shallow(event)]
