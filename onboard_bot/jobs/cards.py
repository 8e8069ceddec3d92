"""Owns the cards after they were posted: the signs under them, and their edits."""

from dataclasses import dataclass, replace

from onboard_bot.chat.cards import CardView, as_edit, card
from onboard_bot.chat.messages import render
from onboard_bot.domain.requests import Card, State
from onboard_bot.jobs.effect import Effect, Record
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.jobs.send import Send
from onboard_bot.jobs.wording import Wording
from onboard_bot.onboarding.electorate import Voters
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
        voters: Tells how many may decide.
        own_user_id: Ours.
    """

    def __init__(self, sender: Sender, naming: Naming, wording: Wording, voters: Voters, *, own_user_id: str) -> None:
        self._sender = sender
        self._naming = naming
        self._wording = wording
        self._voters = voters
        self._own_user_id = own_user_id

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
        view, request, shown = prepared.view, prepared.view.request, prepared.card
        if request.state is State.PENDING:
            approvers = await self._voters.approvers(shown.room_id, without=self._own_user_id)
            view = self._wording.seen_by(view, approvers)
        content = as_edit(render(card(view, mentions=shown.mentions)), shown.event_id)
        # The same edit twice harms nobody, and one of a life before a restore may have shown something else.
        outgoing = replace(self._naming.of(job), tried_since=None)
        await self._sender.send(shown.room_id, "m.room.message", content, outgoing)
        # An earlier try may have gone out, and then this one was no news to the server.
        revision = request.revision if job.attempts == 1 else job.payload["revision"]
        return lambda tx: tx.requests.show(request.id, revision)
