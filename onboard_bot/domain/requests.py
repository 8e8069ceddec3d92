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
    State.FAILED: frozenset({State.APPROVED, State.PENDING}),
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
class Card:
    """The message that shows a request; `mentions` are those whom it asked to decide."""

    room_id: str
    event_id: str
    mentions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One wish for an account and what became of it.

    Args:
        id: Short, never used again.
        state: Where it stands.
        wish: What is asked for.
        origin: Where it came from.
        requester: Who asks.
        origin_room: Where the answer belongs, with `origin_event` and `thread_root`.
        origin_event: What asked.
        thread_root: The thread that it was asked in.
        created_at: When.
        voucher: Who invited the one who asks, if somebody did.
        round: How often it became pending again; votes belong to one.
        revision: Counts what changed on its card.
        expires_at: When it ends undecided; None where it never was to be decided.
        card: Its card, once that stands in a room.
        user_id: The account that was made.
        error: An `ErrorCode`, where it failed.
        finished_at: When it came to an end.
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
    voucher: str | None = None
    round: int = 0
    revision: int = 0
    expires_at: Timestamp | None = None
    card: Card | None = None
    user_id: str | None = None
    error: str | None = None
    finished_at: Timestamp | None = None

    def account_on(self, server_name: str) -> str:
        """The user id of the account that was, or is to be, made on this server."""
        return self.user_id or f"@{self.wish.username}:{server_name}"


def may_become(now: State, then: State) -> bool:
    """Whether the table allows the step."""
    return then in TRANSITIONS[now]
