"""Owns the words of the audit log and the chain that makes a change or a gap in it visible.

Each row's hash covers the row before it. What tells something about a person goes in through a salted digest, so that
it can be taken out later (columns and salt emptied, the digest kept) while the chain stays whole and nobody can guess
the erased values from the digest. The head, kept beside the log, names the last row, so that a missing end shows too.

Whoever may write the database can still write rows, hashes and head anew, as the bot would have. A chain alone never
stops that: the last hash, or an export, that somebody keeps elsewhere does. docs/security.md says how to compare.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from typing import Any

from onboard_bot.clock import Timestamp

CHAIN_START = "0" * 64
SALT_BYTES = 16


class Verb(StrEnum):
    """What happened, as `subject:action`."""

    BOT_REGISTERED = "bot:registered"
    STATE_RESTORED = "state:restored"
    IDENTITY_RESET = "identity:reset"
    ADMIN_ROOM_SET = "admin_room:set"
    CLOCK_JUMPED = "clock:jumped"
    REQUEST_MADE = "request:made"
    REQUEST_APPROVED = "request:approved"
    REQUEST_DENIED = "request:denied"
    REQUEST_CANCELLED = "request:cancelled"
    REQUEST_EXPIRED = "request:expired"
    REQUEST_REMINDED = "request:reminded"
    REQUEST_REOPENED = "request:reopened"
    REQUEST_RENAMED = "request:renamed"
    VOTE_CAST = "vote:cast"
    VOTE_TAKEN_BACK = "vote:taken_back"
    VOTE_LAPSED = "vote:lapsed"
    VOTE_RESTORED = "vote:restored"
    VOTE_REGROUPED = "vote:regrouped"
    ACCOUNT_CREATING = "account:creating"
    ACCOUNT_CREATED = "account:created"
    ACCOUNT_FAILED = "account:failed"
    ACCOUNT_UNKNOWN = "account:unknown"
    CREDENTIALS_SENT = "credentials:sent"
    CREDENTIALS_ERASED = "credentials:erased"
    IDENTITY_CHANGED = "identity:changed"
    IDENTITY_ACCEPTED = "identity:accepted"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened, before it has its place in the chain.

    Args:
        verb: What happened.
        request_id: The request it belongs to.
        facts: What the server answered and other values that say nothing about a person.
        personal: Who, about whom, from which event: what can be erased. Never a secret.
    """

    verb: Verb
    request_id: str | None = None
    facts: Mapping[str, Any] | None = None
    personal: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry of the log, as somebody reads it; `personal` is None where it was erased."""

    seq: int
    at: Timestamp
    verb: str
    request_id: str | None
    facts: dict[str, Any]
    personal: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Row:
    """An entry of the log, as it stands there: whatever somebody made of it, only `Chain` says whether it fits.

    Args:
        seq: Its place, from 1 without gaps.
        at: When, in seconds since the epoch.
        verb: What happened.
        request_id: The request it belongs to.
        facts: JSON text.
        personal: JSON text; None where it was erased.
        salt: Of the digest; erased together with `personal`.
        personal_digest: See there.
        hash: See `link`.
    """

    seq: int
    at: Timestamp
    verb: str
    request_id: str | None
    facts: str
    personal: str | None
    salt: bytes | None
    personal_digest: str
    hash: str

    def read(self) -> Recorded:
        """What it says. Text that the bot never wrote says nothing: whether there is such is the chain's business."""
        personal = None if self.personal is None else decode(self.personal) or {}
        return Recorded(self.seq, self.at, self.verb, self.request_id, decode(self.facts) or {}, personal)


@dataclass(frozen=True, slots=True)
class Head:
    """Place and hash of the last row, kept beside the log; 0 and `CHAIN_START` before the first."""

    seq: int
    hash: str


class Misfit(Enum):
    """What is wrong with a place of the log."""

    MISSING = auto()
    """No row, though there are later ones."""
    CHANGED = auto()
    """The row's hash is not that of this row after the one before: one of the two is not what was written."""
    PERSONAL_CHANGED = auto()
    """The personal values are others, or were erased in part."""
    CUT_OFF = auto()
    """No row, and none after it: the head names a later one."""
    ADDED = auto()
    """A row that no head was written for, so that no bot wrote it."""
    WRITTEN_ANEW = auto()
    """The last row, in a chain that fits, is another one than the head names."""
    NO_HEAD = auto()
    """There should be a head after the last row, and there is none."""


@dataclass(frozen=True, slots=True)
class Break:
    """The first place of the log that does not fit."""

    place: int
    misfit: Misfit


@dataclass(frozen=True, slots=True)
class Chain:
    """What is known of the log after so many of its rows.

    Args:
        last: The last row that fits.
        broken: Where it does not fit; what comes after that is not judged any more.
    """

    last: Head = Head(0, CHAIN_START)
    broken: Break | None = None

    def then(self, row: Row) -> "Chain":
        """With one more row, in the order of their places."""
        if self.broken is not None:
            return self
        misfit = self._misfit(row)
        if misfit is not None:
            return replace(self, broken=Break(self.last.seq + 1, misfit))
        return Chain(Head(row.seq, row.hash))

    def ended(self, head: Head | None) -> "Chain":
        """After the last row.

        Args:
            head: What is kept beside the log; None where nothing is.
        """
        if self.broken is not None or head == self.last or (head is None and self.last == Head(0, CHAIN_START)):
            return self
        if head is None:
            broken = Break(self.last.seq + 1, Misfit.NO_HEAD)
        elif head.seq > self.last.seq:
            broken = Break(self.last.seq + 1, Misfit.CUT_OFF)
        elif head.seq < self.last.seq:
            broken = Break(head.seq + 1, Misfit.ADDED)
        else:
            broken = Break(head.seq, Misfit.WRITTEN_ANEW)
        return replace(self, broken=broken)

    def _misfit(self, row: Row) -> Misfit | None:
        place = self.last.seq + 1
        if row.seq != place:
            return Misfit.MISSING if row.seq > place else Misfit.ADDED
        if not _personal_fits(row):
            return Misfit.PERSONAL_CHANGED
        chained = link(
            self.last.hash,
            seq=row.seq,
            at=row.at,
            verb=row.verb,
            request_id=row.request_id,
            facts=row.facts,
            personal_digest=row.personal_digest,
        )
        return None if chained == row.hash else Misfit.CHANGED


def _personal_fits(row: Row) -> bool:
    """Whether the erasable columns are as they were written, or erased together."""
    if row.salt is None or row.personal is None:
        return row.salt is None and row.personal is None
    return hashlib.sha256(row.salt + row.personal.encode()).hexdigest() == row.personal_digest


def personal_digest(salt: bytes, personal: Mapping[str, Any]) -> str:
    """What of the personal values goes into the chain; lower-case hex."""
    return hashlib.sha256(salt + _canonical(personal)).hexdigest()


def link(
    previous: str, *, seq: int, at: Timestamp, verb: str, request_id: str | None, facts: str, personal_digest: str
) -> str:
    """The hash of a row, lower-case hex.

    Args:
        previous: The hash of the row before, `CHAIN_START` for the first.
        seq: The row's place, from 1 without gaps.
        at: When, in seconds since the epoch.
        verb: What happened.
        request_id: The request it belongs to.
        facts: The stored JSON text, so that verification needs no re-encoding.
        personal_digest: See there.
    """
    covered = _canonical([previous, seq, repr(at), verb, request_id, facts, personal_digest])
    return hashlib.sha256(covered).hexdigest()


def encode(values: Mapping[str, Any] | None) -> str:
    """The JSON text of a column; the same values always give the same text."""
    return _canonical(values or {}).decode()


def decode(text: str) -> dict[str, Any] | None:
    """The values of a column; None where `encode` never gave that text."""
    try:
        values = json.loads(text)
        return values if isinstance(values, dict) and encode(values) == text else None
    except (ValueError, RecursionError):
        return None


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
