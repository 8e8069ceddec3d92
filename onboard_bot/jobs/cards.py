"""Owns the cards after they were posted: the signs under them, and their edits."""

from dataclasses import dataclass

from onboard_bot.chat.cards import CardView, as_edit, card
from onboard_bot.chat.messages import render
from onboard_bot.domain.requests import Card
from onboard_bot.jobs.effect import Effect, Record
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.jobs.send import Send
from onboard_bot.jobs.wording import Wording
from onboard_bot.onboarding.ports import Sender
from onboard_bot.store.jobs import Job
from onboard_bot.store.transaction import Transaction


class Offer(Send):
    """Puts ✅ or ❌ under a card; one after the other, so that in a wave of requests the answers come first."""

    at_once = 1


@dataclass(frozen=True, slots=True)
class Edit:
    """What a card is to show."""

    view: CardView
    card: Card


class EditCard(Effect[Edit]):
    """Brings a card up to date: what it shows is always what holds when it goes out, so that few edits show much.

    One after the other: what is asked in the room is not to wait for five hundred cards that expire together.

    Args:
        sender: Says it.
        naming: For its name.
        wording: For what it shows.
    """

    def __init__(self, sender: Sender, naming: Naming, wording: Wording) -> None:
        self._sender = sender
        self._naming = naming
        self._wording = wording

    async def prepare(self, tx: Transaction, job: Job) -> Edit | None:
        """Nothing to do where an earlier edit showed it already."""
        request = await tx.requests.get(job.payload["request_id"])
        if request is None or request.card is None:
            return None
        if await tx.requests.shown(request.id) >= job.payload["revision"]:
            return None
        return Edit(await self._wording.view(tx, request), request.card)

    async def perform(self, job: Job, prepared: Edit) -> Record | None:
        """Edits."""
        request, shown = prepared.view.request, prepared.card
        content = as_edit(render(card(prepared.view, mentions=shown.mentions)), shown.event_id)
        await self._sender.send(shown.room_id, "m.room.message", content, self._naming.of(job))
        # An earlier try may have gone out, and then this one was no news to the server.
        revision = request.revision if job.attempts == 1 else job.payload["revision"]
        return lambda tx: tx.requests.show(request.id, revision)
