"""Owns what a decision sets off: how a request stops being pending, and how it becomes so again."""

from collections.abc import Mapping
from typing import Any

from onboard_bot.domain.approvals import ApprovalRules, Tally, may_vote_on
from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.identifiers import same_user
from onboard_bot.domain.requests import Request, State
from onboard_bot.domain.roles import Actor, Role
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding import effects, showing
from onboard_bot.onboarding.passwords import NewPasswords
from onboard_bot.store.transaction import Transaction


async def open_to_votes(tx: Transaction, request: Request, rules: ApprovalRules) -> None:
    """From now until its end a pending request waits for votes, and for one reminder on the way."""
    await tx.intend(effects.expire(request, now=tx.now))
    if 0 < rules.remind_after < rules.expires_after:
        await tx.intend(effects.remind(request, delay=rules.remind_after))


async def begin_anew(tx: Transaction, request: Request, rules: ApprovalRules) -> Request:
    """What was decided waits for votes again, in the round that was begun, with all its time; as it stands now."""
    await tx.requests.advance(request, State.PENDING, now=tx.now)
    await tx.requests.extend(request.id, expires_at=tx.now + rules.expires_after)
    pending = await current(tx, request)
    await open_to_votes(tx, pending, rules)
    await showing.ask_again(tx, pending)
    return pending


async def approve(
    tx: Transaction,
    request: Request,
    passwords: NewPasswords,
    *,
    facts: Mapping[str, Any],
    personal: Mapping[str, Any] | None = None,
) -> Request:
    """The account is to be made; the request as it stands now.

    Args:
        tx: The transaction.
        request: As it stood before.
        passwords: Makes the account's.
        facts: By which rule, for the record.
        personal: By whom.
    """
    await tx.requests.advance(request, State.APPROVED, now=tx.now)
    await tx.requests.seal_password(request.id, passwords.sealed(request.id))
    await tx.record(Entry(Verb.REQUEST_APPROVED, request.id, facts=facts, personal=personal))
    approved = await current(tx, request)
    await tx.intend(effects.create_account(approved))
    await _no_longer_pending(tx, request)
    return approved


async def deny(tx: Transaction, request: Request, counted: Tally) -> None:
    """There will be no account; who asked is told, unless all who denied it want that to be silent."""
    await tx.requests.advance(request, State.DENIED, now=tx.now)
    silent = all(vote.silent for vote in counted.denials)
    facts = {"denials": len(counted.denials), "silent": silent}
    await tx.record(Entry(Verb.REQUEST_DENIED, request.id, facts=facts))
    await _no_longer_pending(tx, request)
    if not silent:
        await tx.intend(effects.answer(request))


async def cancel(tx: Transaction, request: Request, by: Actor, *, event_id: str) -> None:
    """Withdraws a request whose account is not being made yet.

    Raises:
        OnboardError: `not_permitted` for another one's request, `already_decided`.
    """
    is_own = same_user(by.user_id, request.requester)
    if not is_own and by.role < Role.APPROVER:
        raise OnboardError(
            ErrorCode.NOT_PERMITTED,
            f"Request {request.id} is not yours. An approver can deny or cancel it.",
            request_id=request.id,
            state=request.state,
        )
    if request.state not in (State.PENDING, State.APPROVED):
        raise decided_before(request)
    await tx.requests.advance(request, State.CANCELLED, now=tx.now)
    await tx.requests.erase_password(request.id)
    await tx.record(Entry(Verb.REQUEST_CANCELLED, request.id, personal={"by": by.user_id, "event_id": event_id}))
    await _no_longer_pending(tx, request)
    # Where it ran at once its command waits for its answer, and what they asked later waits behind that.
    if effects.ran_at_once(request) or not is_own:
        await tx.jobs.withdraw(effects.slow_sign_key(request), now=tx.now)
        await tx.intend(effects.answer(request))


async def expire(tx: Transaction, request: Request) -> None:
    """Nobody decided in time."""
    await tx.requests.advance(request, State.EXPIRED, now=tx.now)
    await tx.record(Entry(Verb.REQUEST_EXPIRED, request.id))
    await _no_longer_pending(tx, request)
    await tx.intend(effects.answer(request))


async def reopen(
    tx: Transaction, request: Request, by: Actor, rules: ApprovalRules, *, event_id: str, kept_for: float | None
) -> None:
    """Takes a denial back: the request waits for votes again, and none that was cast so far counts.

    Args:
        tx: The transaction.
        request: As it stands.
        by: Who says so, an approver.
        rules: Whether that may be who asked.
        event_id: Where they said so.
        kept_for: Seconds for which what was decided can be taken back; None for ever.

    Raises:
        OnboardError: `not_permitted` for one's own, `already_decided` where it was not denied, `not_found` where that
            is too long ago, `duplicate_request` where somebody else asks for the name by now.
    """
    refuse_own(request, by.user_id, rules)
    if request.state is not State.DENIED:
        raise OnboardError(
            ErrorCode.ALREADY_DECIDED,
            f"Request {request.id} is {request.state}; only a denial can be taken back.",
            request_id=request.id,
            state=request.state,
        )
    if kept_for is not None and request.finished_at is not None and tx.now - request.finished_at > kept_for:
        raise OnboardError(
            ErrorCode.NOT_FOUND,
            f"Request {request.id} was denied too long ago to be taken up again. Please ask anew.",
            request_id=request.id,
            state=request.state,
        )
    await refuse_duplicate(tx, request.wish.username)
    await tx.requests.begin_round(request, username=request.wish.username, expires_at=request.expires_at)
    await tx.record(Entry(Verb.REQUEST_REOPENED, request.id, personal={"by": by.user_id, "event_id": event_id}))
    await begin_anew(tx, request, rules)
    await showing.changed(tx, request.id)


async def refuse_duplicate(tx: Transaction, username: str) -> None:
    """Refuses a name that an open request holds.

    Raises:
        OnboardError: `duplicate_request`, with the id of that request.
    """
    holder = await tx.requests.open_for(username)
    if holder is not None:
        raise OnboardError(
            ErrorCode.DUPLICATE_REQUEST,
            f"Request {holder.id} asks for the username {username} already.",
            request_id=holder.id,
            state=holder.state,
        )


def refuse_own(request: Request, user_id: str, rules: ApprovalRules) -> None:
    """Refuses who may not decide on this request, whatever their level.

    Raises:
        OnboardError: `not_permitted`.
    """
    if not may_vote_on(request, user_id, rules):
        raise OnboardError(
            ErrorCode.NOT_PERMITTED,
            f"Nobody decides on a request of their own, or of somebody whom they invited. Please ask another approver"
            f" about {request.id}.",
            request_id=request.id,
            state=request.state,
        )


def decided_before(request: Request) -> OnboardError:
    """What somebody hears who comes after the decision."""
    return OnboardError(
        ErrorCode.ALREADY_DECIDED,
        f"Request {request.id} for {request.wish.username} {_DECIDED[request.state]}",
        request_id=request.id,
        state=request.state,
    )


_DECIDED = {
    State.APPROVED: "was approved before; the account is being made.",
    State.CREATING: "was approved before; the account is being made.",
    State.CREATED: "was approved before, and the account is made.",
    State.DENIED: "was denied before.",
    State.CANCELLED: "was cancelled before.",
    State.EXPIRED: "has expired: it was not decided in time.",
    State.FAILED: "was approved before, but the account could not be made.",
    State.UNKNOWN: "was approved before; whether the account was made is not known.",
}


async def _no_longer_pending(tx: Transaction, request: Request) -> None:
    for key in (effects.expire_key(request), effects.remind_key(request)):
        await tx.jobs.withdraw(key, now=tx.now)
    await showing.no_longer_asks(tx, request)


async def current(tx: Transaction, request: Request) -> Request:
    """The request as it stands now."""
    found = await tx.requests.get(request.id)
    assert found is not None
    return found
