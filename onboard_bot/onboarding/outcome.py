"""Owns what becomes of an approved request: the account is being made, was made, or was not."""

from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.requests import Request, State
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding import effects, showing
from onboard_bot.store.transaction import Transaction


async def begin_creating(tx: Transaction, request: Request) -> None:
    """Stands in the database before the call goes out: from here on an account may exist."""
    await tx.requests.advance(request, State.CREATING, now=tx.now)
    await tx.record(Entry(Verb.ACCOUNT_CREATING, request.id, personal={"username": request.wish.username}))


async def created(tx: Transaction, request: Request, user_id: str, *, found: bool) -> None:
    """The account exists.

    Args:
        tx: The transaction.
        request: As it stood before.
        user_id: As the server named it.
        found: Whether it was found to be ours after its answer had been lost.
    """
    await tx.requests.advance(request, State.CREATED, now=tx.now, user_id=user_id)
    facts = {"server_answer": "found by signing in" if found else "created"}
    await tx.record(Entry(Verb.ACCOUNT_CREATED, request.id, facts=facts, personal={"user_id": user_id}))
    await _tell(tx, request)


async def delayed(tx: Transaction, request: Request) -> None:
    """The account takes longer: what the same person asked later is not kept waiting for this answer."""
    await tx.jobs.let_pass(effects.answer(request).key)


async def answered(tx: Transaction, request: Request) -> None:
    """The room was told; the credentials follow.

    In this order, because making a direct room uses up what the server lets the bot say for a while.
    """
    if request.state is State.CREATED:
        await tx.intend(effects.deliver_credentials(request))


async def failed(tx: Transaction, request: Request, error: OnboardError) -> None:
    """The server made no account, and the password is worth nothing any more."""
    await tx.requests.advance(request, State.FAILED, now=tx.now, error=error.code)
    await tx.requests.erase_password(request.id)
    facts = {"server_answer": error.code}
    await tx.record(Entry(Verb.ACCOUNT_FAILED, request.id, facts=facts, personal={"username": request.wish.username}))
    await _tell(tx, request)


async def unknown(tx: Transaction, request: Request) -> None:
    """The call was sent and nobody can say what it did; people are told, and the password is worth nothing to them."""
    await tx.requests.advance(request, State.UNKNOWN, now=tx.now, error=ErrorCode.HOMESERVER_UNREACHABLE)
    await tx.requests.erase_password(request.id)
    await tx.record(Entry(Verb.ACCOUNT_UNKNOWN, request.id, personal={"username": request.wish.username}))
    await _tell(tx, request)


async def _tell(tx: Transaction, request: Request) -> None:
    await tx.jobs.withdraw(effects.slow_sign_key(request), now=tx.now)
    await tx.intend(effects.answer(request))
    await showing.changed(tx, request.id)
