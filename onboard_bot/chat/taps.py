"""Owns what becomes of a reaction under a card, and of anything that is removed: a vote, a vote less, or nothing.

Whatever is no vote is nothing, and nobody is told: people put signs under messages for many reasons.
"""

from onboard_bot.chat import replies
from onboard_bot.chat.admission import Admission
from onboard_bot.chat.messages import ReplyTo, render
from onboard_bot.chat.reactions import Reaction, read_reaction
from onboard_bot.domain.approvals import ApprovalRules, Electorate, Vote, may_vote_on, reaction_counts
from onboard_bot.domain.requests import Request
from onboard_bot.domain.roles import Role
from onboard_bot.errors import OnboardError
from onboard_bot.onboarding import effects, showing
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
        if reaction is None:
            await self._close(event)
            return
        async with self._store.reading() as tx:
            shown = await tx.requests.with_card(event.room_id, reaction.event_id)
            people = {event.sender} if shown is None else {event.sender, *await tx.votes.voters([shown.id])}
        if shown is None:
            await self._set_aside(event, reaction.event_id)
        elif self._may_tap(shown, event.sender) and (await self._admission.actor(event)).role >= Role.APPROVER:
            electorate = await self._voters.look(event.room_id, people)
            await self._take(event, reaction, shown.id, electorate)
        else:
            await self._close(event)

    async def remove(self, event: RoomEvent) -> None:
        """Takes a removal; that they may, the server has seen to."""
        removed = str(event.content.get("redacts"))
        async with self._store.transaction() as tx:
            if await tx.inbox.close(event.event_id):
                await self._voting.take_back(tx, removed, by=event.sender, event_id=event.event_id)
                shown = await tx.requests.with_card(event.room_id, removed)
                if shown is not None:
                    await tx.requests.forget_card(shown.id)

    async def _take(self, event: RoomEvent, reaction: Reaction, request_id: str, electorate: Electorate) -> None:
        async with self._store.transaction() as tx:
            request = await tx.requests.get(request_id)
            may_vote = self._voting.newest(electorate).people[event.sender] is not None
            if not await tx.inbox.close(event.event_id) or request is None or not may_vote:
                return
            hindrance = await self._voting.hindrance(tx, request, reaction.choice)
            if hindrance is None:
                vote = Vote(event.sender, reaction.choice, typed=False, event_id=event.event_id, at=tx.now)
                await self._voting.cast(tx, request, vote, electorate)
            else:
                await _tell(tx, request, event, reaction.event_id, hindrance)

    async def _set_aside(self, event: RoomEvent, reacts_to: str) -> None:
        """What is no card yet may be one."""
        async with self._store.transaction() as tx:
            if await tx.requests.with_card(event.room_id, reacts_to) is not None:
                return  # it has come just now, and the event is still open
            await showing.set_aside(tx, event, reacts_to)

    def _may_tap(self, request: Request, user_id: str) -> bool:
        return reaction_counts(request) and may_vote_on(request, user_id, self._rules)

    async def _close(self, event: RoomEvent) -> None:
        async with self._store.transaction() as tx:
            await tx.inbox.close(event.event_id)


async def _tell(tx: Transaction, request: Request, event: RoomEvent, card: str, why: OnboardError) -> None:
    """Once to each person: why what they tapped is no vote."""
    content = render(replies.failure(why, mentions=(event.sender,)), ReplyTo(card, request.thread_root))
    about = f"{why.code}:{request.id}:{request.round}:{event.sender}"
    await tx.intend(effects.say(about=about, room_id=event.room_id, content=content))
