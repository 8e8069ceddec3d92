"""Owns the names of the intents that use cases leave behind: kind, key and lane of each job.

A key names what the job is about, so that the same intent twice is one job, and its message one message.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from onboard_bot.clock import Timestamp
from onboard_bot.domain.approvals import Choice
from onboard_bot.domain.requests import Card, Request
from onboard_bot.store.inbox import RoomEvent
from onboard_bot.store.jobs import NewJob

SLOW_AFTER = 1.5
CREDENTIALS_LIVE = 24 * 3600.0
_HOUR = 3600


class JobKind(StrEnum):
    """Which effect carries a job out; `jobs/` has one file for each."""

    SEND = "send"
    ANSWER = "answer"
    OFFER = "offer"
    EDIT_CARD = "edit_card"
    EXPIRE = "expire"
    REMIND = "remind"
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
    WEIGH = "weigh"


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


def weigh(cause: str) -> NewJob:
    """Look again at who of the voters counts, because somebody came, went, or got another level."""
    return NewJob(JobKind.WEIGH, key=f"weigh:{cause}", lane="weigh")


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
    """Tell who asked what became of the request; held until that is known.

    For a request that ran at once this is the answer to its command. Where it was to be decided that answer is its
    card, and this is another one for each round.
    """
    key = answer_key(request.origin_event) if ran_at_once(request) else f"outcome:{request.id}:{request.round}"
    return _answer(key, request.origin_room, request.requester, {"request_id": request.id}, held=held)


def ran_at_once(request: Request) -> bool:
    """Whether nobody was asked."""
    return request.expires_at is None and request.round == 0


class Says(StrEnum):
    """What an answer that is made when it goes out says of its request."""

    OUTCOME = "outcome"
    CARD = "card"
    REMINDER = "reminder"


def post_card(request: Request) -> NewJob:
    """Answer the command with the request's card."""
    payload = {"request_id": request.id, "says": Says.CARD}
    return _answer(answer_key(request.origin_event), request.origin_room, request.requester, payload, held=False)


def post_card_again(request: Request) -> NewJob:
    """Show a request that waits for votes anew and has no card."""
    payload = {"request_id": request.id, "says": Says.CARD}
    key = f"card again:{request.id}:{request.round}"
    return _answer(key, request.origin_room, request.requester, payload, held=False)


def post_card_for(request: Request, event: RoomEvent, thread_root: str | None) -> NewJob:
    """Answer somebody who asks for it with the card of a request that was merged into a list."""
    asked = {"asker": event.sender, "event_id": event.event_id, "thread_root": thread_root}
    payload = {"request_id": request.id, "says": Says.CARD, "room_id": event.room_id, "asked": asked}
    return _answer(answer_key(event.event_id), event.room_id, event.sender, payload, held=False)


def post_reminder(request: Request) -> NewJob:
    """Ask those who have not voted, once before each end."""
    payload = {"request_id": request.id, "says": Says.REMINDER}
    key = f"reminder:{request.id}:{request.expires_at}"
    return NewJob(JobKind.ANSWER, key=key, lane=into_room(request.origin_room), payload=payload)


def offer(request: Request, card: Card, choice: Choice) -> NewJob:
    """Put a sign under a card, so that one tap decides."""
    relation = {"rel_type": "m.annotation", "event_id": card.event_id, "key": choice.sign}
    return NewJob(
        JobKind.OFFER,
        key=f"offer:{card.event_id}:{choice}:{request.round}",
        lane=f"card:{request.id}",
        payload={"room_id": card.room_id, "type": "m.reaction", "content": {"m.relates_to": relation}},
    )


def edit_card(request: Request) -> NewJob:
    """Show on the card how the request stands now."""
    payload = {"request_id": request.id, "revision": request.revision}
    key = edit_key(request.id, request.revision)
    return NewJob(JobKind.EDIT_CARD, key=key, lane=f"card:{request.id}", payload=payload)


def edit_key(request_id: str, revision: int) -> str:
    """Names an edit, so that a later one can take its place."""
    return f"card:{request_id}:{revision}"


def expire(request: Request, *, now: Timestamp) -> NewJob:
    """End a request that nobody decided."""
    return _at(request, JobKind.EXPIRE, expire_key(request), (request.expires_at or now) - now)


def expire_key(request: Request) -> str:
    """Names the end of a round; a request that is opened again gets another one."""
    return f"expire:{request.id}:{request.expires_at}"


def remind(request: Request, *, delay: float) -> NewJob:
    """Remind those who have not voted."""
    return _at(request, JobKind.REMIND, remind_key(request), delay)


def remind_key(request: Request) -> str:
    """Names the one reminder before an end."""
    return f"remind:{request.id}:{request.expires_at}"


def _at(request: Request, kind: JobKind, key: str, delay: float) -> NewJob:
    payload = {"request_id": request.id, "expires_at": request.expires_at}
    return NewJob(kind, key=key, lane=key, payload=payload, delay=delay)


def answer_at_once(event_id: str, room_id: str, asker: str, content: Mapping[str, Any]) -> NewJob:
    """Reply to a command whose outcome is known; `content` must hold no secret."""
    payload = {"room_id": room_id, "asker": asker, "content": dict(content)}
    return _answer(answer_key(event_id), room_id, asker, payload, held=False)


def answer_key(event_id: str) -> str:
    """Names the one answer to a command."""
    return f"answer:{event_id}"


def _answer(key: str, room_id: str, asker: str, payload: Mapping[str, Any], *, held: bool) -> NewJob:
    return NewJob(
        JobKind.ANSWER,
        key=key,
        lane=into_room(room_id),
        payload=payload,
        turn=f"{asker} in {room_id}",  # everybody is answered in the order in which they asked
        held=held,
    )


def create_account(request: Request) -> NewJob:
    """Make the account."""
    key = f"create:{request.id}:{request.round}" if request.round else f"create:{request.id}"
    return _about(request, JobKind.CREATE_ACCOUNT, key=key, lane=f"request:{request.id}")


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
