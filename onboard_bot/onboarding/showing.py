"""Owns that a request's card shows how the request stands."""

from onboard_bot.domain.approvals import Choice, reaction_counts
from onboard_bot.domain.requests import Card, Request, State
from onboard_bot.onboarding import effects
from onboard_bot.store.inbox import RoomEvent
from onboard_bot.store.transaction import Transaction


async def posted(tx: Transaction, request: Request, card: Card, *, revision: int) -> None:
    """The card stands in the room; the first one that does is it.

    Args:
        tx: The transaction.
        request: As the card shows it.
        card: The message.
        revision: Of the request, which the card shows at least.
    """
    current = await tx.requests.get(request.id)
    if current is None or current.card is not None:
        return
    await tx.requests.show(request.id, revision, card)
    if current.state is State.PENDING:
        await _offer(tx, current, card)
    if current.revision > revision:
        await tx.intend(effects.edit_card(current))
    await tx.inbox.take_up(card.event_id)


async def ask_again(tx: Transaction, request: Request) -> None:
    """It waits for votes anew: where it has no card it gets one, also where it was merged into a list at first."""
    if request.card is not None:
        await _offer(tx, request, request.card)
    elif not await tx.jobs.is_open(effects.answer_key(request.origin_event)):
        await tx.intend(effects.post_card_again(request))


async def set_aside(tx: Transaction, tap: RoomEvent, reacts_to: str) -> None:
    """A card may stand in the room before the answer to its sending has come: then the tap waits for that."""
    if await tx.jobs.is_under_way(effects.JobKind.ANSWER, effects.into_room(tap.room_id)):
        await tx.inbox.set_aside(tap.event_id, reacts_to=reacts_to)
    else:
        await tx.inbox.close(tap.event_id)


async def let_go_of_taps(tx: Transaction, room_id: str) -> None:
    """Most of what was set aside is no tap on a card; it is known as soon as no answer is under way."""
    if not await tx.jobs.is_under_way(effects.JobKind.ANSWER, effects.into_room(room_id)):
        await tx.inbox.stop_waiting(room_id)


async def catch_up(tx: Transaction) -> None:
    """Cards that fell behind, because the room did not let the bot speak, are edited once more."""
    for request_id in await tx.requests.behind():
        await changed(tx, request_id)


async def changed(tx: Transaction, request_id: str) -> None:
    """Something that the card shows has changed, and is to be seen there."""
    request = await tx.requests.touch(request_id)
    if request.card is not None:
        await tx.jobs.withdraw(effects.edit_key(request.id, request.revision - 1), now=tx.now)
        await tx.intend(effects.edit_card(request))


async def no_longer_asks(tx: Transaction, request: Request) -> None:
    """Nobody is asked to decide on it any more."""
    if request.card is not None:
        for choice in Choice:
            await tx.jobs.withdraw(effects.offer(request, request.card, choice).key, now=tx.now)
    await changed(tx, request.id)


async def _offer(tx: Transaction, request: Request, card: Card) -> None:
    if reaction_counts(request):
        await tx.intend(*(effects.offer(request, card, choice) for choice in Choice))
