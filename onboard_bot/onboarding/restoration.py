"""Owns what a restored state must know of itself: that it was restored, and what may have happened since its backup."""

from onboard_bot.clock import Timestamp
from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.onboarding import outcome
from onboard_bot.store.meta import EPOCH, RESTORED_AT, SAVED_AT, Meta
from onboard_bot.store.transaction import Transaction

LOOKED_FOR = 7 * 24 * 3600.0
"""Seconds after a restore for which the bot looks for what it may have said between backup and loss."""


async def begin_anew(tx: Transaction, *, saved_at: Timestamp, epoch: str) -> None:
    """Makes a copy that was taken earlier what the bot goes on with.

    Args:
        tx: On the copy.
        saved_at: When it was taken.
        epoch: A new random one, so that no transaction id of the first life is used again.
    """
    if await tx.meta.get(EPOCH) is not None:
        await tx.meta.set(EPOCH, epoch)
    await tx.meta.set(SAVED_AT, str(await _unknown_since(tx.meta, saved_at)))
    await tx.meta.set(RESTORED_AT, str(tx.now))
    await tx.record(Entry(Verb.STATE_RESTORED, facts={"saved_at": saved_at}))
    # An account that was about to be made may have been made since; under this state that is found out.
    for request in await tx.requests.about_to_be_made():
        await outcome.begin_creating(tx, request)


async def _unknown_since(meta: Meta, saved_at: Timestamp) -> Timestamp:
    """A gap that an earlier restore left is part of this one, as long as the bot looks for what fell into it."""
    earlier, restored_at = await meta.get(SAVED_AT), await meta.get(RESTORED_AT)
    if earlier is None or restored_at is None or float(restored_at) + LOOKED_FOR < saved_at:
        return saved_at
    return min(float(earlier), saved_at)
