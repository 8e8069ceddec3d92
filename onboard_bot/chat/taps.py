"""Owns what becomes of a reaction under a card, and of anything that is removed: a vote, a vote less, or nothing.

Whatever is no vote is nothing, and nobody is told: people put signs under messages for many reasons.
"""

from onboard_bot.chat import replies
from onboard_bot.chat.admission import Admission
from onboard_bot.chat.messages import ReplyTo, render
from onboard_bot.chat.reactions import read_reaction
from onboard_bot.domain.approvals import ApprovalRules, Vote, may_vote_on, reaction_counts
from onboard_bot.domain.requests import Request, State
from onboard_bot.domain.roles import Role
from onboard_bot.onboarding import decision, effects
from onboard_bot.onboarding.electorate import Voters
from onboard_bot.onboarding.voting import Voting
from onboard_bot.store.inbox import RoomEvent
from onboard_bot.store.transaction import Store, Transaction


class Taps:
    """Takes both; raises what the ports raise.

    Args:
        store: Where votes are kept.
        admission: Who is behind an event.
        voters: Who may vote.
        voting: Where votes go.
        rules: Who may not, whatever their level.
    """

    def __init__(
        self, store: Store, admission: Admission, voters: Voters, voting: Voting, rules: ApprovalRules
    ) -> None:
        self._store = store
        self._admission = admission
        self._voters = voters
        self._voting = voting
        self._rules = rules

    async def react(self, event: RoomEvent) -> None:
        """Takes a reaction."""
        reaction = read_reaction(event.content)
        async with self._store.reading() as tx:
            shown = None if reaction is None else await tx.requests.with_card(event.room_id, reaction.event_id)
            people = {event.sender} if shown is None else {event.sender, *await tx.votes.voters([shown.id])}
        if reaction is None or shown is None or not self._may_tap(shown, event.sender):
            await self._close(event)
            return
        actor = await self._admission.actor(event)
        if actor.role < Role.APPROVER:
            await self._close(event)
            return
        electorate = await self._voters.look(event.room_id, people)
        async with self._store.transaction() as tx:
            request = await tx.requests.get(shown.id)
            if not await tx.inbox.close(event.event_id) or request is None:
                return
            if request.state is State.PENDING:
                vote = Vote(event.sender, reaction.choice, typed=False, event_id=event.event_id, at=tx.now)
                await self._voting.cast(tx, request, vote, electorate)
            else:
                await _tell_outcome(tx, request, event, reaction.event_id)

    async def remove(self, event: RoomEvent) -> None:
        """Takes a removal; that they may, the server has seen to."""
        removed = str(event.content.get("redacts"))
        async with self._store.reading() as tx:
            people = await tx.votes.voters(await tx.votes.said_with(removed))
        electorate = await self._voters.look(event.room_id, people)
        async with self._store.transaction() as tx:
            if await tx.inbox.close(event.event_id):
                await self._voting.take_back(tx, removed, electorate)

    def _may_tap(self, request: Request, user_id: str) -> bool:
        return reaction_counts(request) and may_vote_on(request, user_id, self._rules)

    async def _close(self, event: RoomEvent) -> None:
        async with self._store.transaction() as tx:
            await tx.inbox.close(event.event_id)


async def _tell_outcome(tx: Transaction, request: Request, event: RoomEvent, card: str) -> None:
    """Once to each person: what they tapped under has been decided."""
    message = replies.failure(decision.decided_before(request), mentions=(event.sender,))
    content = render(message, ReplyTo(card, request.thread_root))
    about = f"late:{request.id}:{request.round}:{event.sender}"
    await tx.intend(effects.say(about=about, room_id=event.room_id, content=content))
