"""A request and its votes at a moment, as the wording tests look at them."""

from dataclasses import replace
from typing import Any

from onboard_bot.chat.cards import CardView
from onboard_bot.chat.messages import Message, render
from onboard_bot.domain.approvals import Choice, Tally, Vote
from onboard_bot.domain.requests import Origin, Request, State, Wish

NOW = 1_767_225_600.0
"""2026-01-01 00:00 UTC."""
DAY = 86_400
KEY = "io.github.onboard_bot"
REQUEST = Request(
    id="2k4fa",
    state=State.PENDING,
    wish=Wish("ada", "Ada Lovelace", note="joins the engine group"),
    origin=Origin.ADMIN_ROOM,
    requester="@bob:example.org",
    origin_room="!admins:example.org",
    origin_event="$asked",
    thread_root=None,
    created_at=NOW,
    expires_at=NOW + 7 * DAY,
)


def vote(voter: str, choice: Choice = Choice.APPROVE, note: str | None = None, *, after: float = 0) -> Vote:
    """A typed vote, cast so many seconds after the request."""
    return Vote(f"@{voter}:example.org", choice, typed=True, event_id=f"${voter}", at=NOW + after, note=note)


def votes(*cast: Vote, needed: int = 2, deny: int = 1, missing: tuple[tuple[str, int], ...] = ()) -> Tally:
    """What they are counted as; undecided."""
    approvals = tuple(one for one in cast if one.choice is Choice.APPROVE)
    denials = tuple(one for one in cast if one.choice is Choice.DENY)
    return Tally(approvals, denials, needed, deny, missing, None)


def seen(state: State = State.PENDING, tally: Tally | None = None, **changed: Any) -> CardView:
    """The request in a state; `deciders` and `at` belong to the look at it, `username` and the like to the wish."""
    look = {name: changed.pop(name) for name in ("deciders", "at", "prefix") if name in changed}
    own = {name: changed.pop(name) for name in ("card", "error", "expires_at", "voucher", "id") if name in changed}
    request = replace(REQUEST, state=state, wish=replace(REQUEST.wish, **changed), **own)
    view = CardView(request, f"@{request.wish.username}:example.org", tally or votes(), NOW, "!")
    return replace(view, **look)


def body(message: Message) -> list[str]:
    """The lines of its plain text."""
    return str(render(message)["body"]).splitlines()


def about(message: Message) -> dict[str, Any]:
    """What programs see of it."""
    content: dict[str, Any] = render(message)[KEY]
    return content
