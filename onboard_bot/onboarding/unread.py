"""Owns when somebody is asked to type again what could not be read, and how often sessions are started over."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from onboard_bot.domain.allowance import Allowance
from onboard_bot.domain.withheld import WAITED_FOR, Withheld
from onboard_bot.onboarding.ports import NamedDevice
from onboard_bot.store.rooms import Purpose
from onboard_bot.store.transaction import Transaction
from onboard_bot.store.undecrypted import KeptEvent

QUESTIONS = Allowance(period=60.0, of_one=3, altogether=20)
HEALINGS = Allowance(period=3600.0, of_one=20, altogether=200)
_NAMES_AT_MOST = 20
_LONGEST_ID = 255


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of whom.

    Args:
        room_id: Where.
        event_id: The message that is asked about, the first one that waits.
        thread_root: The thread that it stands in.
        sender: Whose.
        reason: Why its key did not come; None for all that is known.
        more: How many others of theirs it is about.
    """

    room_id: str
    event_id: str
    thread_root: str | None
    sender: str
    reason: Withheld | None
    more: int


async def ask_about(tx: Transaction, sender: str, session_id: str) -> Question | None:
    """What is to be asked because of a key that did not come; written down as asked.

    None where it has come, was asked about, or belongs to a room where nobody is obeyed. With it goes what else waits
    in that room for the same reason, so that many keys are not as many questions.
    """
    of_key = await tx.undecrypted.of_session(sender, session_id)
    if not of_key or any(kept.asked_at is not None for kept in of_key):
        return None
    first = of_key[0]
    planned = await tx.rooms.of_room(first.room_id)
    if planned is None or planned.purpose is not Purpose.ADMIN:
        return None
    reason = await tx.withheld.reason(sender, session_id, first.room_id)
    about = [kept for kept in of_key if kept.room_id == first.room_id]
    for kept in await tx.undecrypted.in_room(first.room_id, sender):
        due = kept.asked_at is None and kept.received_at <= tx.now - WAITED_FOR
        if due and kept.session_id != session_id:
            about += [kept] if await tx.withheld.reason(sender, kept.session_id, kept.room_id) == reason else []
    await tx.undecrypted.asked([kept.event_id for kept in about], now=tx.now)
    return Question(first.room_id, first.event_id, _thread_of(first), sender, reason, len(about) - 1)


async def asked_before(tx: Transaction, question: Question) -> Question | None:
    """A question that was written down and may not have gone out; None where nothing waits for it any more."""
    waiting = [kept.event_id for kept in await tx.undecrypted.in_room(question.room_id, question.sender)]
    return question if question.event_id in waiting else None


def as_payload(question: Question) -> dict[str, Any]:
    """For a job."""
    return {name: getattr(question, name) for name in Question.__slots__}


def from_payload(payload: dict[str, Any]) -> Question:
    """As it was written down."""
    question = Question(**payload)
    return question if question.reason is None else replace(question, reason=Withheld.read(question.reason))


def named_devices(events: Sequence[KeptEvent]) -> list[NamedDevice]:
    """What the events say of the devices that they come from (deprecated: specification, "m.megolm.v1.aes-sha2")."""
    found = dict.fromkeys(
        NamedDevice(_text(kept.event["content"].get("device_id")), _text(kept.event["content"].get("sender_key")))
        for kept in events
    )
    return [named for named in found if named != NamedDevice(None, None)][:_NAMES_AT_MOST]


def _thread_of(kept: KeptEvent) -> str | None:
    """Relations stand outside of what is encrypted."""
    relation = kept.event["content"].get("m.relates_to")
    if not isinstance(relation, dict) or relation.get("rel_type") != "m.thread":
        return None
    root = _text(relation.get("event_id"))
    return root if root is not None and root.startswith("$") else None


def _text(value: object) -> str | None:
    """Something short and plain that can be stored and sent back."""
    plain = isinstance(value, str) and value.isascii() and value.isprintable()
    return str(value) if plain and 0 < len(str(value)) <= _LONGEST_ID else None
