"""Owns how votes are cast, taken back and looked at again, and that the rules decide as soon as they can."""

from dataclasses import replace
from typing import Any

from onboard_bot.domain.approvals import ApprovalRules, Choice, Electorate, Tally, Vote, last_words, tally
from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.identifiers import parse_username, same_user
from onboard_bot.domain.requests import Request, State
from onboard_bot.errors import ABOUT_THE_NAME, ErrorCode, OnboardError
from onboard_bot.onboarding import decision, effects, showing
from onboard_bot.onboarding.passwords import NewPasswords
from onboard_bot.onboarding.register import ADMINS_SWITCHED_OFF, RegistrationRules
from onboard_bot.store.transaction import Transaction


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
        self._seen: dict[str, tuple[int, frozenset[str] | None]] = {}

    async def cast(
        self,
        tx: Transaction,
        request: Request,
        vote: Vote,
        electorate: Electorate,
        *,
        username: str | None = None,
    ) -> tuple[str, ...]:
        """Somebody who may vote does so.

        Args:
            tx: The transaction that closes the event.
            request: On which.
            vote: What they said.
            electorate: A look at everybody who voted on it, and at them.
            username: The account's name from now on, where they correct it.

        Returns:
            Whose approvals were for another name, and do not count any more.

        Raises:
            OnboardError: `not_permitted` on one's own, or what else hinders it.
        """
        decision.refuse_own(request, vote.voter, self._rules)
        electorate = self.newest(electorate)
        vote = electorate.judge(vote)
        if not vote.counts:
            raise _refused(request, "Only approvers can vote, and you are none any more.")
        approved_before = await self._approvers(tx, request)
        before = request
        if request.state is State.FAILED and vote.choice is Choice.APPROVE:
            request = await self._take_up_again(tx, request, vote, username)
        elif request.state is State.PENDING and username is not None:
            request = await self._rename(tx, request, vote, username)
        else:
            hindrance = await self.hindrance(tx, request, vote.choice)
            if hindrance is not None:
                raise hindrance
        await tx.votes.cast(request, vote)
        facts = {"choice": vote.choice, "how": "typed" if vote.typed else "reaction", "silent": vote.silent}
        personal = {"by": vote.voter, "event_id": vote.event_id} | ({"note": vote.note} if vote.note else {})
        await tx.record(Entry(Verb.VOTE_CAST, request.id, facts=facts | _groups(vote), personal=personal))
        if request.state is State.FAILED:
            await self._approve_again(tx, request, vote)
        else:
            await self._weigh(tx, request, electorate)
        renamed = request.wish.username != before.wish.username
        return tuple(sorted(approved_before - {vote.voter})) if renamed else ()

    async def hindrance(self, tx: Transaction, request: Request, choice: Choice) -> OnboardError | None:
        """Why nobody can vote so on it now."""
        if request.state is not State.PENDING:
            return decision.decided_before(request)
        if choice is Choice.DENY:
            return None
        if not await tx.requests.shows_its_name(request.id):  # whoever approves has to have seen what it is
            return _refused(
                request,
                f"The username of request {request.id} has just been changed to {request.wish.username}. Please look at"
                " its card, and vote again.",
            )
        return self._forbidden(request)

    async def take_back(self, tx: Transaction, said_with: str, *, by: str, event_id: str) -> None:
        """What said some votes was removed; those that are still open lose them.

        Whether that decides is for a look at everybody else, which follows. A vote is its voter's: where somebody else
        tidies it away it still counts.

        Args:
            tx: The transaction.
            said_with: What was removed.
            by: By whom.
            event_id: Where they did that.
        """
        for request_id in await tx.votes.said_with(said_with):
            request = await tx.requests.get(request_id)
            if request is None or request.state is not State.PENDING:
                continue
            (vote,) = [vote for vote in await tx.votes.of(request) if vote.event_id == said_with]
            if not same_user(vote.voter, by):
                continue
            await tx.votes.take_back(request_id, said_with)
            personal = {"by": vote.voter, "vote": said_with, "event_id": event_id}
            await tx.record(Entry(Verb.VOTE_TAKEN_BACK, request_id, personal=personal))
            await showing.changed(tx, request_id)
            await tx.intend(effects.weigh(event_id))

    async def look_again(self, tx: Transaction, electorate: Electorate) -> None:
        """Somebody came, went, or got another level: what is open may count otherwise now, or be decided by it."""
        electorate = self.newest(electorate)
        for request_id in await tx.votes.undecided():
            request = await tx.requests.get(request_id)
            if request is not None:
                await self._weigh(tx, request, electorate, only_if_changed=True)

    async def count(self, tx: Transaction, request: Request) -> Tally:
        """How the votes stand, as of the last look at who cast them."""
        return tally(request, await tx.votes.of(request), self._rules)

    def newest(self, electorate: Electorate) -> Electorate:
        """What the latest look showed of each of these people: looks do not come to their end as they began."""
        for who, groups in electorate.people.items():
            if who not in self._seen or self._seen[who][0] <= electorate.number:
                self._seen[who] = electorate.number, groups
        return replace(electorate, people={who: self._seen[who][1] for who in electorate.people})

    async def _approvers(self, tx: Transaction, request: Request) -> set[str]:
        words = last_words(await tx.votes.of(request))
        return {vote.voter for vote in words if vote.choice is Choice.APPROVE}

    async def _weigh(
        self, tx: Transaction, request: Request, electorate: Electorate, *, only_if_changed: bool = False
    ) -> None:
        votes, changed = [], False
        for vote in await tx.votes.of(request):
            judged = electorate.judge(vote)
            votes.append(judged)
            if judged != vote:
                changed = True
                await tx.votes.judged(request, judged)
                await _record_change(tx, request, vote, judged)
        counted = tally(request, votes, self._rules)
        match counted.decision:
            case Choice.APPROVE if self._forbidden(request) is None:
                facts = {"rule": "votes", "approvals": len(counted.approvals), "needed": counted.needed}
                await decision.approve(tx, request, self._passwords, facts=facts)
            case Choice.DENY:
                await decision.deny(tx, request, counted)
            case _ if changed or not only_if_changed:
                await showing.changed(tx, request.id)

    def _forbidden(self, request: Request) -> OnboardError | None:
        """Why such an account cannot be approved any more: the operator changed what may be asked for."""
        allowed = self._registration
        if request.wish.admin and not allowed.allow_admin:
            return _refused(request, ADMINS_SWITCHED_OFF)
        try:
            parse_username(request.wish.username, server_name=allowed.server_name, reserved=allowed.reserved)
        except OnboardError as error:
            sentence = f"{error.sentence} An approver can do that with --username=…."
            return OnboardError(error.code, sentence, request_id=request.id, state=request.state)
        return None

    async def _rename(self, tx: Transaction, request: Request, vote: Vote, typed: str) -> Request:
        """The request is for another name from now on: approvals of the old one do not count for it, denials do."""
        allowed = self._registration
        username = str(parse_username(typed, server_name=allowed.server_name, reserved=allowed.reserved))
        if username == request.wish.username:
            return request
        await decision.refuse_duplicate(tx, username)
        words = last_words(await tx.votes.of(request))
        await tx.votes.carry_over(request, [word for word in words if word.choice is Choice.DENY])
        await tx.requests.begin_round(request, username=username, expires_at=request.expires_at)
        names = {"by": vote.voter, "event_id": vote.event_id, "username": username}
        personal = names | {"instead_of": request.wish.username}
        await tx.record(Entry(Verb.REQUEST_RENAMED, request.id, personal=personal))
        if request.state is State.FAILED:
            return await decision.begin_anew(tx, request, self._rules)
        renamed = await decision.current(tx, request)
        await showing.ask_again(tx, renamed)
        return renamed

    async def _take_up_again(self, tx: Transaction, request: Request, vote: Vote, typed: str | None) -> Request:
        """A request that failed: under another name it has to be voted on anew, under its own it was approved."""
        if typed is not None:
            renamed = await self._rename(tx, request, vote, typed)
            if renamed.wish.username != request.wish.username:
                return renamed
        if request.error in ABOUT_THE_NAME:
            sentence = f"The name {request.wish.username} cannot be had; choose another one with --username=…."
            raise OnboardError(ErrorCode.BAD_ARGUMENT, sentence, request_id=request.id, state=request.state)
        forbidden = self._forbidden(request)
        if forbidden is not None:
            raise forbidden
        await decision.refuse_duplicate(tx, request.wish.username)
        await tx.requests.begin_round(request, username=request.wish.username, expires_at=request.expires_at)
        return await decision.current(tx, request)

    async def _approve_again(self, tx: Transaction, request: Request, vote: Vote) -> None:
        by = {"by": vote.voter, "event_id": vote.event_id}
        await decision.approve(tx, request, self._passwords, facts={"rule": "again"}, personal=by)


async def _record_change(tx: Transaction, request: Request, before: Vote, now: Vote) -> None:
    """A new look at a voter showed something else than the last one."""
    if now.counts != before.counts:
        verb = Verb.VOTE_RESTORED if now.counts else Verb.VOTE_LAPSED
        await tx.record(Entry(verb, request.id, facts=_groups(now), personal={"by": now.voter}))
    elif now.groups != before.groups:
        await tx.record(Entry(Verb.VOTE_REGROUPED, request.id, facts=_groups(now), personal={"by": now.voter}))


def _groups(vote: Vote) -> dict[str, Any]:
    return {"groups": sorted(vote.groups)} if vote.groups else {}


def _refused(request: Request, sentence: str) -> OnboardError:
    return OnboardError(ErrorCode.NOT_PERMITTED, sentence, request_id=request.id, state=request.state)
