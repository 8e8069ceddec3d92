"""Owns the verbs `audit verify` and `audit export`: whether the audit log is whole, and all of it for somebody else.

Both read beside a running bot and change nothing, not even a database of an older version. The log is read in pieces,
each at a moment of its own: it only grows, and a reader who is slow must not hold the bot's write-ahead log up.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from onboard_bot.clock import Clock, Timestamp
from onboard_bot.domain.audit import Break, Chain, Misfit, Row, decode
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.state_dir import StateDir
from onboard_bot.store.looking import look_into

_HEAD_SINCE = "0004"
"""The first schema that knows where the log ends."""
_MEANINGS = {
    Misfit.MISSING: "it is missing, though there are later ones",
    Misfit.CHANGED: "it, or what stands before it, is not what was written there",
    Misfit.PERSONAL_CHANGED: "what it says about people is not what was written there",
    Misfit.CUT_OFF: "it is missing, and so is all that came after it: the end was cut off",
    Misfit.ADDED: "no bot wrote it",
    Misfit.WRITTEN_ANEW: "it, or all that stands before it, was written anew",
    Misfit.NO_HEAD: "the note of where the log ends is gone, so that nobody knows what came after",
}


@dataclass(frozen=True, slots=True)
class Followed:
    """The log, from its first row to its last.

    Args:
        chain: What is known of it.
        since: When its first entry was written; None where there is none.
        knows_end: Whether a missing end would have been seen.
    """

    chain: Chain
    since: Timestamp | None
    knows_end: bool


async def verify(state: StateDir, clock: Clock) -> str:
    """A sentence about a log that is whole.

    Args:
        state: Of a bot that may be running.
        clock: For the look.

    Raises:
        OnboardError: `state_unusable`: the log is not whole, or not there, or cannot be read.
    """
    followed = await _follow(state, clock, lambda _: None)
    _refuse_broken(state, followed.chain.broken)
    last = followed.chain.last
    if followed.since is None:
        return "The audit log is whole: nothing was recorded yet."
    entries = "1 entry" if last.seq == 1 else f"{last.seq} entries"
    caveat = "" if followed.knows_end else " This state is of an older version: an end that is cut off does not show."
    return (
        f"The audit log is whole: {entries} since {_time(followed.since, sep=' ', timespec='seconds')}, the last one is"
        f" {last.hash}.{caveat}"
    )


async def export(state: StateDir, clock: Clock, write: Callable[[bytes], object]) -> None:
    """Writes every entry as a line of JSON; docs/security.md says what is in it.

    Args:
        state: Of a bot that may be running.
        clock: For the look.
        write: Takes one line after the other.

    Raises:
        OnboardError: `state_unusable`: the log is not there or cannot be read; or, after all of it was written, it is
            not whole.
        OSError: What `write` raises.
    """
    followed = await _follow(state, clock, lambda row: write(_line(row)))
    _refuse_broken(state, followed.chain.broken)


async def _follow(state: StateDir, clock: Clock, each: Callable[[Row], object]) -> Followed:
    _refuse_nothing(state)
    chain, since, after = Chain(), None, None
    async with look_into(state.database, clock) as look:
        knows_end = look.revision >= _HEAD_SINCE
        while True:
            async with look.store.reading() as tx:
                rows = await tx.audit.rows(after=after)
                head = await tx.audit.head()
            if not rows:
                break
            for row in rows:
                each(row)
                chain = chain.then(row)
            since = rows[0].at if since is None else since
            after = rows[-1].seq
    return Followed(chain.ended(head if knows_end else chain.last), since, knows_end)


def _refuse_nothing(state: StateDir) -> None:
    try:
        state.refuse_unfinished()
        if state.database.stat().st_size > 0:  # empty: its first start was cut off
            return
    except FileNotFoundError:
        pass
    except OSError as error:
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE,
            f"The state directory {state.path} cannot be read: {error.strerror}. Run audit as the user that the bot"
            " runs as.",
        ) from error
    raise OnboardError(
        ErrorCode.STATE_UNUSABLE,
        f"There is no audit log in {state.path}: no bot has run there. bot.state_dir says where to look.",
    )


def _refuse_broken(state: StateDir, broken: Break | None) -> None:
    if broken is not None:
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE,
            f"The audit log in {state.database} was changed behind the bot's back. The first entry that does not fit is"
            f" {broken.place}: {_MEANINGS[broken.misfit]}. An export or a backup from before shows what stood there.",
        )


def _line(row: Row) -> bytes:
    """In ASCII: what people typed must not play with the terminal of whoever looks at it."""
    entry = {
        "seq": row.seq,
        "at": repr(row.at),  # as it goes into the hash: what a reader makes of a number need not be the same text
        "time": _time(row.at),
        "verb": row.verb,
        "request_id": row.request_id,
        "facts": _values(row.facts),
        "personal": None if row.personal is None else _values(row.personal),
        "salt": None if row.salt is None else row.salt.hex(),
        "personal_digest": row.personal_digest,
        "hash": row.hash,
    }
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def _values(text: str) -> dict[str, Any] | str:
    """The values of a column; the text itself, where the bot never wrote that: no object gives it back exactly."""
    values = decode(text)
    return text if values is None else values


def _time(at: Timestamp, *, sep: str = "T", timespec: str = "microseconds") -> str | None:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(sep, timespec)
    except (TypeError, ValueError, OverflowError, OSError):
        return None  # what somebody else wrote there
