"""Owns the names of the intents that use cases leave behind: kind, key and lane of each job.

A key names what the job is about, so that the same intent twice is one job, and its message one message.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from onboard_bot.clock import Timestamp
from onboard_bot.domain.requests import Request
from onboard_bot.store.jobs import NewJob

SLOW_AFTER = 1.5
CREDENTIALS_LIVE = 24 * 3600.0
_HOUR = 3600


class JobKind(StrEnum):
    """Which effect carries a job out; `jobs/` has one file for each."""

    SEND = "send"
    ANSWER = "answer"
    CREATE_ACCOUNT = "create_account"
    DELIVER_CREDENTIALS = "deliver_credentials"
    ERASE_CREDENTIALS = "erase_credentials"
    ANSWER_INVITATION = "answer_invitation"
    INVITE_ADMIN = "invite_admin"
    HEAL_PERSON = "heal_person"
    HEAL_DEVICE = "heal_device"
    TELL_OF_SESSION = "tell_of_session"
    ASK_AGAIN = "ask_again"
    TELL_OF_IDENTITY = "tell_of_identity"


def into_room(room_id: str) -> str:
    """The lane of everything that is said in one room: in order, one at a time."""
    return f"room:{room_id}"


def say(*, about: str, room_id: str, content: Mapping[str, Any], in_clear: bool = False) -> NewJob:
    """Say something that nobody asked for; `content` must hold no secret.

    Args:
        about: Names it; the same is said once.
        room_id: Where.
        content: Of the `m.room.message`.
        in_clear: Whether it is for somebody who gets no keys. It does not wait for what others cannot read yet.
    """
    return NewJob(
        JobKind.SEND,
        key=about,
        lane=f"clear:{room_id}" if in_clear else into_room(room_id),
        payload={"room_id": room_id, "type": "m.room.message", "content": dict(content), "in_clear": in_clear},
    )


def tell_of_identity(user_id: str, change: int) -> NewJob:
    """Tell the admin room that a person's identity is another one: each change, also one to what was there before."""
    return NewJob(
        JobKind.TELL_OF_IDENTITY,
        key=f"identity:{user_id}:{change}",
        lane=f"identity:{user_id}",  # what is said last is what can be accepted
        payload={"user_id": user_id, "change": change},
    )


def heal_device(user_id: str, device_id: str, *, now: Timestamp) -> NewJob:
    """Start the session with a device over; once an hour."""
    return NewJob(
        JobKind.HEAL_DEVICE,
        key=f"start over:{user_id}:{device_id}:{int(now // _HOUR)}",
        lane=f"start over:{user_id}:{device_id}",
        payload={"user_id": user_id, "device_id": device_id},
    )


def tell_of_session(user_id: str, device_id: str, messages: Mapping[str, Any]) -> NewJob:
    """Tell a device of its new session with us."""
    return NewJob(
        JobKind.TELL_OF_SESSION,
        key=f"session:{digest_of(messages)}",
        lane=f"start over:{user_id}:{device_id}",
        payload={"user_id": user_id, "device_id": device_id, "messages": dict(messages)},
    )


def digest_of(messages: Mapping[str, Any]) -> str:
    """Names messages by what is in them: no ciphertext is ever made twice."""
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()[:40]


def slow_sign(request: Request) -> NewJob:
    """A ⏳ on the command, if the answer takes longer than a moment; worth nothing when it would come late itself."""
    relation = {"rel_type": "m.annotation", "event_id": request.origin_event, "key": "⏳"}
    return NewJob(
        JobKind.SEND,
        key=slow_sign_key(request),
        lane=slow_sign_key(request),
        payload={
            "room_id": request.origin_room,
            "type": "m.reaction",
            "content": {"m.relates_to": relation},
            "only_now": True,
        },
        delay=SLOW_AFTER,
    )


def slow_sign_key(request: Request) -> str:
    """Names the ⏳, so that a quick answer can withdraw it."""
    return f"slow:{request.origin_event}"


def answer(request: Request, *, held: bool = False) -> NewJob:
    """Tell the room what became of a request; held until that is known."""
    return _answer(request.origin_event, request.origin_room, request.requester, {"request_id": request.id}, held=held)


def answer_at_once(event_id: str, room_id: str, asker: str, content: Mapping[str, Any]) -> NewJob:
    """Reply to a command whose outcome is known; `content` must hold no secret."""
    payload = {"room_id": room_id, "asker": asker, "content": dict(content)}
    return _answer(event_id, room_id, asker, payload, held=False)


def answer_key(event_id: str) -> str:
    """Names the one answer to a command."""
    return f"answer:{event_id}"


def _answer(event_id: str, room_id: str, asker: str, payload: Mapping[str, Any], *, held: bool) -> NewJob:
    return NewJob(
        JobKind.ANSWER,
        key=answer_key(event_id),
        lane=into_room(room_id),
        payload=payload,
        turn=f"{asker} in {room_id}",  # everybody is answered in the order in which they asked
        held=held,
    )


def create_account(request: Request) -> NewJob:
    """Make the account."""
    return _about(request, JobKind.CREATE_ACCOUNT, key=f"create:{request.id}", lane=f"request:{request.id}")


def deliver_credentials(request: Request) -> NewJob:
    """Bring the password to the person who asked."""
    lane = f"person:{request.requester}"
    return _about(request, JobKind.DELIVER_CREDENTIALS, key=credentials_key(request), lane=lane)


def credentials_key(request: Request) -> str:
    """Names the one message with a request's password."""
    return f"credentials:{request.id}"


def erase_credentials(request: Request) -> NewJob:
    """Forget the password a day after it was delivered, and remove its message."""
    lane = f"request:{request.id}"
    return _about(request, JobKind.ERASE_CREDENTIALS, key=f"erase:{request.id}", lane=lane, delay=CREDENTIALS_LIVE)


def _about(request: Request, kind: JobKind, *, key: str, lane: str, delay: float = 0.0) -> NewJob:
    return NewJob(kind, key=key, lane=lane, payload={"request_id": request.id}, delay=delay)
