"""Owns what a request is and which way its state may go."""

from dataclasses import dataclass
from enum import StrEnum

from onboard_bot.clock import Timestamp


class State(StrEnum):
    """Where a request stands (design, section 2)."""

    PENDING = "pending"
    APPROVED = "approved"
    CREATING = "creating"
    CREATED = "created"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"
    UNKNOWN = "unknown"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.APPROVED, State.DENIED, State.CANCELLED, State.EXPIRED}),
    State.APPROVED: frozenset({State.CREATING, State.CANCELLED, State.EXPIRED, State.FAILED}),
    State.CREATING: frozenset({State.CREATED, State.FAILED, State.UNKNOWN}),
    State.UNKNOWN: frozenset({State.CREATED, State.FAILED}),
    State.FAILED: frozenset({State.APPROVED}),
    State.DENIED: frozenset({State.PENDING}),
    State.CREATED: frozenset(),
    State.CANCELLED: frozenset(),
    State.EXPIRED: frozenset(),
}

OPEN = frozenset({State.PENDING, State.APPROVED, State.CREATING})
"""States in which a request holds its username: a second request for it is a duplicate.

`unknown` does not: the server gives no name out twice, so that asking again is the way to find out.
"""


class Origin(StrEnum):
    """Where a request came from."""

    ADMIN_ROOM = "admin_room"
    DIRECT_MESSAGE = "direct_message"
    INVITE = "invite"
    WEB_FORM = "web_form"
    FILE = "file"


class AccountType(StrEnum):
    """Synapse's `user_type`; an ordinary account has none."""

    BOT = "bot"
    SUPPORT = "support"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for, already checked."""

    username: str
    display_name: str | None = None
    admin: bool = False
    account_type: AccountType | None = None
    room_sets: tuple[str, ...] = ()
    note: str | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One wish for an account and what became of it.

    `origin_room`, `origin_event` and `thread_root` say where the answer belongs.
    """

    id: str
    state: State
    wish: Wish
    origin: Origin
    requester: str
    origin_room: str
    origin_event: str
    thread_root: str | None
    created_at: Timestamp
    user_id: str | None = None
    error: str | None = None


def may_become(now: State, then: State) -> bool:
    """Whether the table allows the step."""
    return then in TRANSITIONS[now]
