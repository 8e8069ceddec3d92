"""Owns how long a password is known: until a day after it was delivered."""

from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.requests import Request
from onboard_bot.onboarding import effects
from onboard_bot.store.transaction import Transaction


async def delivered(tx: Transaction, request: Request, *, room_id: str, event_id: str) -> None:
    """The message with the password went out."""
    await tx.requests.credentials_sent(request.id, room_id=room_id, event_id=event_id)
    to = {"to": request.requester, "room_id": room_id, "event_id": event_id}
    await tx.record(Entry(Verb.CREDENTIALS_SENT, request.id, personal=to))
    await tx.intend(effects.erase_credentials(request))


async def erased(tx: Transaction, request: Request) -> None:
    """The message was removed, and the password is forgotten."""
    await tx.requests.erase_password(request.id)
    await tx.record(Entry(Verb.CREDENTIALS_ERASED, request.id))
