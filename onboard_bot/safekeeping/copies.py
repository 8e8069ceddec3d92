"""Owns what is asked of a copy of the database on its way in or out: that it can be trusted, and its new beginning."""

from pathlib import Path

from onboard_bot.clock import Clock, Timestamp
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding.restoration import begin_anew
from onboard_bot.store.schema import LATEST, bring_up_to_date
from onboard_bot.store.snapshot import change_copy, make_one_file, revision_of_whole
from onboard_bot.store.transaction import Transaction


def judge(copy: Path, what: str, clock: Clock) -> str:
    """The schema of a copy that is whole, and whose audit log nobody changed.

    Args:
        copy: Of an older schema, it is only looked at page by page: nothing in it is changed.
        what: It is, for the sentence.
        clock: For the look.

    Raises:
        OnboardError: `state_unusable`.
    """
    revision = revision_of_whole(copy, what)
    if revision == LATEST:
        change_copy(copy, what, clock, lambda tx: _refuse_changed_audit(tx, what))
        make_one_file(copy)
    return revision


def make_new_life(copy: Path, what: str, clock: Clock, *, saved_at: Timestamp, epoch: str) -> None:
    """Makes a copy what the bot goes on with.

    Args:
        copy: Brought up to date here.
        what: It is, for the sentence.
        clock: When.
        saved_at: When it was taken.
        epoch: See `begin_anew`.

    Raises:
        OnboardError: `state_unusable`.
    """

    async def begin(tx: Transaction) -> None:
        await _refuse_changed_audit(tx, what)
        await begin_anew(tx, saved_at=saved_at, epoch=epoch)

    revision_of_whole(copy, what)
    bring_up_to_date(copy)
    change_copy(copy, what, clock, begin)
    make_one_file(copy)


async def _refuse_changed_audit(tx: Transaction, what: str) -> None:
    misfit = await tx.audit.verify()
    if misfit is not None:
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE,
            f"{what} has an audit log that was changed behind the bot's back: row {misfit} does not fit.",
        )
