"""Owns what is done about messages that cannot be read: sessions are started over, and their sender is asked.

Healing is three jobs, one for what each needs to know: whose devices, a new session with one of them, and the message
that tells of it. The message is written down before it goes out, so that a repeat is the same.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onboard_bot.chat import replies
from onboard_bot.chat.messages import ReplyTo, render
from onboard_bot.jobs.effect import Effect, OfJobAlone, PostponedError, Record
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.onboarding import effects, unread
from onboard_bot.onboarding.ports import (
    NamedDevice,
    NotReadableError,
    RefusedError,
    RoomView,
    Sender,
    SessionRepair,
    TokenRejectedError,
)
from onboard_bot.onboarding.spending import spend
from onboard_bot.onboarding.unread import HEALINGS, QUESTIONS, Question
from onboard_bot.store.jobs import Job
from onboard_bot.store.rooms import Purpose
from onboard_bot.store.transaction import Transaction

_log = logging.getLogger(__name__)


async def _is_in(view: RoomView, rooms: Sequence[str], user_id: str) -> bool:
    """Whether somebody is in one of the rooms, and we are."""
    for room_id in rooms:
        try:
            if await view.membership(room_id, user_id) == "join":
                return True
        except TokenRejectedError:
            raise
        except RefusedError as error:
            if not error.is_definite:
                raise
    return False


@dataclass(frozen=True, slots=True)
class Patient:
    """Somebody of whom something cannot be read, the rooms that they should be in, and what is known of the device."""

    user_id: str
    rooms: tuple[str, ...]
    named: tuple[NamedDevice, ...]


class HealPerson(Effect[Patient]):
    """Finds the devices whose sessions with us are to be started over; only of people in our rooms."""

    at_once = 4

    def __init__(self, view: RoomView, repair: SessionRepair) -> None:
        self._view = view
        self._repair = repair

    async def prepare(self, tx: Transaction, job: Job) -> Patient | None:
        """Whether something still cannot be read."""
        user_id, device_id = job.payload["user_id"], job.payload.get("device_id")
        if device_id is not None:
            ours = [await tx.rooms.find(Purpose.ADMIN), await tx.rooms.find(Purpose.DIRECT, user_id)]
            rooms = tuple(room.room_id for room in ours if room is not None and room.room_id is not None)
            return Patient(user_id, rooms, (NamedDevice(device_id, None),))
        kept = await tx.undecrypted.of_session(user_id, job.payload["session_id"])
        if not kept:
            return None
        found = sorted({each.room_id for each in kept})
        rooms = tuple([room_id for room_id in found if await tx.rooms.of_room(room_id) is not None])
        return Patient(user_id, rooms, tuple(unread.named_devices(kept)))

    async def perform(self, job: Job, prepared: Patient) -> Record | None:  # noqa: ARG002 - the job says no more
        """Asks who they are, and which devices they have."""
        user_id = prepared.user_id
        if not await _is_in(self._view, prepared.rooms, user_id):
            return None
        devices = await self._repair.devices_of(user_id, prepared.named)
        return lambda tx: self._intend(tx, user_id, devices)

    @staticmethod
    async def _intend(tx: Transaction, user_id: str, devices: Sequence[str]) -> None:
        for device_id in devices:
            if await spend(tx, "healings", HEALINGS, user_id, device_id):
                await tx.intend(effects.heal_device(user_id, device_id, now=tx.now))


class HealDevice(OfJobAlone):
    """Makes a new session with a device."""

    at_once = 4

    def __init__(self, repair: SessionRepair) -> None:
        self._repair = repair

    async def perform(self, job: Job, prepared: Job) -> Record | None:  # noqa: ARG002 - the job says all
        """Claims a key.

        Cut off before the message is written down, the next try makes another session. What goes out in the first one
        until then can be read all the same: until the device answers, every message says how to open its session.
        """
        user_id, device_id = job.payload["user_id"], job.payload["device_id"]
        messages = await self._repair.start_over(user_id, device_id)
        if messages is None:
            _log.warning("the device %s of %s has no key with which to start over", device_id, user_id)
            return None
        told = effects.tell_of_session(user_id, device_id, messages)
        return lambda tx: tx.intend(told)


class TellOfSession(OfJobAlone):
    """Tells a device of its new session with us."""

    at_once = 4

    def __init__(self, repair: SessionRepair) -> None:
        self._repair = repair

    async def perform(self, job: Job, prepared: Job) -> Record | None:
        """Sends the message."""
        payload: Mapping[str, Any] = prepared.payload
        if await self._repair.tell(payload["messages"], transaction_id=effects.digest_of(payload["messages"])):
            _log.info("the session with the device %s of %s was started over", payload["device_id"], payload["user_id"])
        else:
            _log.info("%s: nobody could open what another device of ours wrote", job.key)
        return None


class AskAgain(Effect[Question]):
    """Asks somebody to type again what could not be read: once for each key, and only who is in the room.

    Args:
        sender: Says it.
        view: Tells who is there.
        naming: For the question's name.
    """

    at_once = 4

    def __init__(self, sender: Sender, view: RoomView, naming: Naming) -> None:
        self._sender = sender
        self._view = view
        self._naming = naming

    async def prepare(self, tx: Transaction, job: Job) -> Question | None:
        """What is to be asked; from here on it counts as asked."""
        written = job.payload.get("question")
        if written is not None:
            return await unread.asked_before(tx, unread.from_payload(written))
        sender, session_id = job.payload["sender"], job.payload["session_id"]
        question = await unread.ask_about(tx, sender, session_id)
        if question is None:
            return None
        if not await spend(tx, "questions", QUESTIONS, sender, session_id):
            raise PostponedError("enough was asked in this minute", wait=QUESTIONS.period)
        await tx.jobs.remember(job, question=unread.as_payload(question))
        return question

    async def perform(self, job: Job, prepared: Question) -> Record | None:
        """Asks."""
        if not await _is_in(self._view, [prepared.room_id], prepared.sender):
            return None
        message = replies.not_readable(prepared.sender, prepared.reason, more=prepared.more)
        content = render(message, ReplyTo(prepared.event_id, prepared.thread_root))
        room_id, outgoing = prepared.room_id, self._naming.of(job)
        try:
            await self._sender.send(room_id, "m.room.message", content, outgoing, only_for=prepared.sender)
        except NotReadableError:  # between their device and ours nothing is right; the question holds no secret
            await self._sender.send(room_id, "m.room.message", content, outgoing, in_clear=True)
        return None
