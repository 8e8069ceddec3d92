"""Owns telling the admin room that somebody's cross-signing identity changed."""

from dataclasses import dataclass

from onboard_bot.chat import trust_replies
from onboard_bot.chat.messages import render
from onboard_bot.jobs.effect import Effect, PostponedError, Record
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.onboarding.identities import note_told
from onboard_bot.onboarding.ports import NotReadableError, Sender
from onboard_bot.store.jobs import Job
from onboard_bot.store.rooms import Purpose
from onboard_bot.store.transaction import Transaction

_AFTER_NOBODY = 60.0


@dataclass(frozen=True, slots=True)
class Change:
    """Which identity took the place of which, in which change; `room_id` is None while there is no admin room."""

    room_id: str | None
    user_id: str
    number: int
    before: str
    now: str


class TellOfIdentity(Effect[Change]):
    """Says it, encrypted, to those whose own identity did not change.

    Args:
        sender: Says it.
        naming: For its name.
        prefix: Of commands.
    """

    def __init__(self, sender: Sender, naming: Naming, *, prefix: str) -> None:
        self._sender = sender
        self._naming = naming
        self._prefix = prefix

    async def prepare(self, tx: Transaction, job: Job) -> Change | None:
        """Nothing to do where it changed once more, the old identity is back, or the new one was accepted already."""
        user_id, number = job.payload["user_id"], job.payload["change"]
        known = (await tx.identities.of([user_id])).get(user_id)
        if known is None or known.changed_to is None or known.change != number:
            return None
        room = await tx.rooms.find(Purpose.ADMIN)
        return Change(None if room is None else room.room_id, user_id, number, known.master_key, known.changed_to)

    async def perform(self, job: Job, prepared: Change) -> Record | None:
        """Says it."""
        if prepared.room_id is None:
            raise PostponedError("there is no admin room yet")
        message = trust_replies.identity_changed(
            prepared.user_id, before=prepared.before, now=prepared.now, prefix=self._prefix
        )
        try:
            await self._sender.send(prepared.room_id, "m.room.message", render(message), self._naming.of(job))
        except NotReadableError as error:
            raise PostponedError(str(error), wait=_AFTER_NOBODY) from error
        return lambda tx: note_told(tx, prepared.user_id, prepared.number)
