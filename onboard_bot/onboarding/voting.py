"""Owns how votes are cast, taken back and looked at again, and that the rules decide as soon as they can."""

from dataclasses import replace

from onboard_bot.domain.approvals import ApprovalRules, Choice, Electorate, Tally, Vote, tally
from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.identifiers import parse_username
from onboard_bot.domain.requests import Request, State
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding import decision, showing
from onboard_bot.onboarding.passwords import NewPasswords
from onboard_bot.onboarding.register import RegistrationRules
from onboard_bot.store.transaction import Transaction

_ABOUT_THE_NAME = frozenset({ErrorCode.USERNAME_TAKEN, ErrorCode.USERNAME_INVALID, ErrorCode.USERNAME_RESERVED})


class Voting:
    """The polling station.

    Args:
        rules: What decides.
        registration: What an approver may rename an account to.
        passwords: For the accounts that are approved.
    """

    def __init__(self, rules: ApprovalRules, registration: RegistrationRules, passwords: NewPasswords) -> None:
        self._rules = rules
        self._registration = registration
        self._passwords = passwords

    async def cast(
        self,
        tx: Transaction,
        request: Request,
        vote: Vote,
        electorate: Electorate,
        *,
        username: str | None = None,
        silent: bool = False,
    ) -> None:
        """Somebody who may vote does so.

        Args:
            tx: The transaction that closes the event.
            request: On which.
            vote: What they said.
            electorate: A look at everybody who voted on it, and at them.
            username: The account's name from now on, where they correct it.
            silent: Whether who asked is not told of a denial.

        Raises:
            OnboardError: `not_permitted` on one's own, `already_decided`, or what is wrong with the new name.
        """
        decision.refuse_own(request, vote.voter, self._rules)
        if request.state is State.FAILED and vote.choice is Choice.APPROVE:
            request = await self._take_up_again(tx, request, vote, username)
        elif request.state is not State.PENDING:
            raise decision.decided_before(request)
        elif username is not None:
            request = await self._rename(tx, request, vote, username)
        await tx.votes.cast(request, electorate.judge(vote))
        facts = {"choice": vote.choice, "how": "typed" if vote.typed else "reaction"}
        personal = {"by": vote.voter, "event_id": vote.event_id} | ({"note": vote.note} if vote.note else {})
        await tx.record(Entry(Verb.VOTE_CAST, request.id, facts=facts, personal=personal))
        if request.state is State.FAILED:
            await self._approve_again(tx, request, vote)
        else:
            await self._weigh(tx, request, electorate, silent=silent)

    async def take_back(self, tx: Transaction, event_id: str, electorate: Electorate) -> None:
        """What said some votes was removed; those that are still open lose them."""
        for request_id in await tx.votes.said_with(event_id):
            request = await tx.requests.get(request_id)
            if request is None or request.state is not State.PENDING:
                continue
            (vote,) = [vote for vote in await tx.votes.of(request) if vote.event_id == event_id]
            await tx.votes.take_back(request_id, event_id)
            by = {"by": vote.voter, "event_id": event_id}
            await tx.record(Entry(Verb.VOTE_TAKEN_BACK, request_id, personal=by))
            await self._weigh(tx, request, electorate)

    async def look_again(self, tx: Transaction, electorate: Electorate) -> None:
        """Somebody came, went, or got another level: what is open may count otherwise now, or be decided by it."""
        for request_id in await tx.votes.undecided():
            request = await tx.requests.get(request_id)
            if request is not None:
                await self._weigh(tx, request, electorate, only_if_changed=True)

    async def count(self, tx: Transaction, request: Request) -> Tally:
        """How the votes stand, as of the last look at who cast them."""
        return tally(request, await tx.votes.of(request), self._rules)

    async def _weigh(
        self,
        tx: Transaction,
        request: Request,
        electorate: Electorate,
        *,
        silent: bool = False,
        only_if_changed: bool = False,
    ) -> None:
        votes, changed = [], False
        for vote in await tx.votes.of(request):
            judged = electorate.judge(vote)
            votes.append(judged)
            if judged != vote:
                changed = True
                await tx.votes.judged(request, judged)
            if judged.counts != vote.counts:
                verb = Verb.VOTE_RESTORED if judged.counts else Verb.VOTE_LAPSED
                await tx.record(Entry(verb, request.id, personal={"by": vote.voter}))
        counted = tally(request, votes, self._rules)
        match counted.decision:
            case Choice.APPROVE:
                facts = {"rule": "votes", "approvals": len(counted.approvals), "needed": counted.needed}
                await decision.approve(tx, request, self._passwords, facts=facts)
            case Choice.DENY:
                await decision.deny(tx, request, counted, silent=silent)
            case None if changed or not only_if_changed:
                await showing.changed(tx, request.id)

    async def _rename(self, tx: Transaction, request: Request, vote: Vote, typed: str) -> Request:
        """The request is for another name from now on; what was said to the old one does not count for it."""
        allowed = self._registration
        username = str(parse_username(typed, server_name=allowed.server_name, reserved=allowed.reserved))
        if username == request.wish.username:
            return request
        await decision.refuse_duplicate(tx, username)
        expires_at = request.expires_at
        if request.state is not State.PENDING or expires_at is None:
            expires_at = tx.now + self._rules.expires_after
        await tx.requests.begin_round(request, username=username, expires_at=expires_at)
        names = {"by": vote.voter, "username": username, "instead_of": request.wish.username}
        await tx.record(Entry(Verb.REQUEST_RENAMED, request.id, personal=names))
        renamed = await tx.requests.get(request.id)
        assert renamed is not None
        return renamed

    async def _take_up_again(self, tx: Transaction, request: Request, vote: Vote, typed: str | None) -> Request:
        """A request that failed: under another name it has to be voted on anew, under its own it was approved."""
        if typed is not None:
            renamed = await self._rename(tx, request, vote, typed)
            if renamed.wish.username != request.wish.username:
                await tx.requests.advance(request, State.PENDING, now=tx.now)
                renamed = replace(renamed, state=State.PENDING)
                await decision.open_to_votes(tx, renamed, self._rules)
                return renamed
        if request.error in _ABOUT_THE_NAME:
            raise OnboardError(
                ErrorCode.BAD_ARGUMENT,
                f"The name {request.wish.username} cannot be had; choose another one with --username=….",
                request_id=request.id,
                state=request.state,
            )
        await decision.refuse_duplicate(tx, request.wish.username)
        await tx.requests.begin_round(request, username=request.wish.username, expires_at=request.expires_at)
        again = await tx.requests.get(request.id)
        assert again is not None
        return again

    async def _approve_again(self, tx: Transaction, request: Request, vote: Vote) -> None:
        by = {"by": vote.voter, "event_id": vote.event_id}
        await decision.approve(tx, request, self._passwords, facts={"rule": "again"}, personal=by)
