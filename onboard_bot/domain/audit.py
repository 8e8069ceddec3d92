"""Owns the words of the audit log and the chain that makes a change or a gap in it visible.

Each row's hash covers the row before it. What tells something about a person goes in through a salted digest, so that
it can be taken out later (columns and salt emptied, the digest kept) while the chain stays whole and nobody can guess
the erased values from the digest.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
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
    REQUEST_MADE = "request:made"
    REQUEST_APPROVED = "request:approved"
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


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
