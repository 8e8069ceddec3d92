"""Owns what a request looks like in the room: its card, while it waits for votes and after.

A card is edited as votes come in, and has to be read at a glance: it shortens what people wrote, and `!show` does not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onboard_bot.chat.messages import (
    MAX_BYTES,
    About,
    Block,
    Bullets,
    Code,
    Inline,
    Kind,
    Message,
    Paragraph,
    Pill,
    Strong,
    render,
    shorten,
)
from onboard_bot.chat.moments import span, to_the_minute
from onboard_bot.chat.reactions import APPROVE_SIGN, DENY_SIGN
from onboard_bot.chat.replies import why_failed
from onboard_bot.clock import Timestamp
from onboard_bot.domain.approvals import Tally, Vote, reaction_counts
from onboard_bot.domain.requests import Request, State
from onboard_bot.errors import ABOUT_THE_NAME, ErrorCode

_NAMED = 10
# How long a note may be; the first that makes the card fit twice into an event, as its edit holds it.
_NOTE_LIMITS = (200, 80, 20)
_EDIT_FRAME = 500
"""Bytes of an edit beside the two copies of its content."""


@dataclass(frozen=True, slots=True)
class CardView:
    """A request as it is shown at one moment.

    Args:
        request: Which.
        user_id: The account that is asked for, or was made.
        tally: Its votes.
        at: The moment.
        prefix: Of commands.
        deciders: How many people here may decide on it; None where nobody looked.
    """

    request: Request
    user_id: str
    tally: Tally
    at: Timestamp
    prefix: str
    deciders: int | None = None

    @property
    def about(self) -> About:
        """What programs see of it."""
        error = self.request.error if self.request.state is State.FAILED else None
        return About(Kind.REQUEST, self.request.id, self.request.state, self.user_id, error)


def card(view: CardView, *, mentions: tuple[str, ...]) -> Message:
    """The card of a request.

    Args:
        view: The request.
        mentions: Who may decide on it.
    """
    for limit in _NOTE_LIMITS:
        message = Message(_blocks(view, limit), view.about, mentions)
        content = render(message)
        cut = content["body"].endswith("\n…")
        if not cut and 2 * _size(content) + _EDIT_FRAME <= MAX_BYTES:
            break
    return message


def as_edit(content: Mapping[str, Any], event_id: str) -> dict[str, Any]:
    """The event that puts this in the place of an earlier one; it pings nobody.

    Args:
        content: What a message would be sent with.
        event_id: The first event of the one that is edited.
    """
    new = {key: value for key, value in content.items() if key != "m.relates_to"}
    # Clients that know no edits show what stands at the top.
    edit = new | {
        "body": f"* {new['body']}",
        "formatted_body": f"* {new['formatted_body']}",
        "m.mentions": {},
        "m.new_content": new,
        "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
    }
    for shortened in (edit, new):
        if _size(edit) > MAX_BYTES:
            del shortened["format"], shortened["formatted_body"]
        while _size(edit) > MAX_BYTES and len(shortened["body"]) > 1:
            shortened["body"] = shorten(shortened["body"], len(shortened["body"]) // 2)
    return edit


def name_of(request: Request) -> tuple[Inline, ...]:
    """The account that is asked for, as people call it."""
    named: tuple[Inline, ...] = (Strong(request.wish.username),)
    if request.wish.display_name is not None:
        named += (" (", request.wish.display_name, ")")
    return named


def outcome(view: CardView, note_limit: int) -> tuple[Inline, ...]:
    """Where the request stands, in one line.

    Args:
        view: The request.
        note_limit: How much of a reason is shown.
    """
    request = view.request
    sign, words = _OUTCOMES[request.state]
    line: tuple[Inline, ...] = (f"{sign} Request ", Strong(request.id), ": ", *name_of(request), words)
    if request.state is State.CREATED:
        return (*line, Pill(view.user_id, view.user_id))
    if request.state is State.DENIED and view.tally.denials:
        return (*line, *_by_whom(view.tally.denials, note_limit))
    return line


_OUTCOMES = {
    State.PENDING: ("🗳️", ""),
    State.APPROVED: ("✅", " is approved; the account is being made."),
    State.CREATING: ("✅", " is approved; the account is being made."),
    State.CREATED: ("✅", " is created: "),
    State.DENIED: ("❌", " is denied"),
    State.CANCELLED: ("↩️", " is cancelled."),
    State.EXPIRED: ("🕑", " has expired: it was not decided in time."),
    State.FAILED: ("⚠️", " could not be created."),
    State.UNKNOWN: ("⚠️", ": I asked the homeserver to make it, and could not find out what came of it."),
}


def mend(view: CardView) -> tuple[Block, ...]:
    """Why it came to nothing and what can be done now; nothing where all is as it should be."""
    request, prefix = view.request, view.prefix
    if request.state is State.UNKNOWN:
        again: tuple[Inline, ...] = (
            "The account may or may not exist. To find out, ask me for the name again: ",
            Code(f"{prefix}register {request.wish.username}"),
        )
        return (Paragraph(again),)
    if request.state is not State.FAILED:
        return ()
    code = known_code(request.error)
    why = why_failed(code, request.wish.username)
    if code in ABOUT_THE_NAME:
        how: tuple[Inline, ...] = (
            "An approver can correct it: ",
            Code(f"{prefix}approve {request.id} --username=…"),
            " (a new name is voted on anew).",
        )
    else:
        how = ("When that is mended, an approver can have it tried again: ", Code(f"{prefix}approve {request.id}"))
    return (Paragraph((why,)), Paragraph(how))


def facts(view: CardView, note_limit: int) -> tuple[tuple[Inline, ...], ...]:
    """Who asks for what, a line each.

    Args:
        view: The request.
        note_limit: How much of the note is shown.
    """
    request, wish = view.request, view.request.wish
    lines: list[tuple[Inline, ...]] = [("Asked for by ", Pill(request.requester, request.requester))]
    if request.voucher is not None:
        lines[0] += (", invited by ", Pill(request.voucher, request.voucher))
    if wish.note:
        lines.append(("Why: ", shorten(wish.note, note_limit)))
    if wish.admin:
        lines.append((Strong("⚠️ With SERVER-ADMIN RIGHTS over the whole homeserver"),))
    if wish.account_type is not None:
        lines.append((f"Type: {wish.account_type}",))
    if wish.room_sets:
        lines.append(("Rooms: ", ", ".join(wish.room_sets)))
    return tuple(lines)


def count(tally: Tally) -> str:
    """How the votes stand while nothing is decided.

    Such as “1 of 2 approvals, 0 of 2 denials; still missing: 1 of staff”; where one denial decides that is not said.
    """
    words = f"{len(tally.approvals)} of {plural(tally.needed, 'approval')}"
    if tally.needed_to_deny > 1:
        words += f", {len(tally.denials)} of {plural(tally.needed_to_deny, 'denial')}"
    elif tally.denials:
        words += f", {plural(len(tally.denials), 'denial')}"
    if tally.missing:
        words += "; still missing: " + ", ".join(f"{lacking} of {group}" for group, lacking in tally.missing)
    return words


def expiry(view: CardView) -> str:
    """When it ends undecided, such as “2026-01-08 12:00 UTC, in 7 days”."""
    expires_at = view.request.expires_at
    if expires_at is None:
        return "never"
    left = expires_at - view.at
    return f"{to_the_minute(expires_at)}, {f'in {span(left)}' if left > 0 else 'now'}"


def how_to_decide(view: CardView, where: str) -> tuple[Inline, ...]:
    """What to do for a decision.

    Args:
        view: The request.
        where: The signs of its card stand, from where this is read.
    """
    request, prefix = view.request, view.prefix
    typed: tuple[Inline, ...] = (
        Code(f"{prefix}approve {request.id} [note]"),
        " / ",
        Code(f"{prefix}deny {request.id} [reason]"),
    )
    if reaction_counts(request):
        # What stands there from an earlier round cannot be put there a second time.
        again = ". If a sign of yours stands there from before, take it away first" if request.round else ""
        return (f"To decide: {APPROVE_SIGN} or {DENY_SIGN} {where}, or ", *typed, again)
    why = ". Reactions do not count here: they are not encrypted, so the homeserver could forge them."
    return ("To decide, please type: ", *typed, why)


def plural(number: int, noun: str) -> str:
    """Such as `2 approvals`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def quoted(note: str | None) -> tuple[Inline, ...]:
    """What somebody said with their vote."""
    return (": “", note, "”") if note else ()


def _blocks(view: CardView, note_limit: int) -> tuple[Block, ...]:
    pending = view.request.state is State.PENDING
    lines = list(facts(view, note_limit))
    if pending:
        lines.append(("Votes: ", Strong(count(view.tally))))
    lines += _votes(view, note_limit)
    if pending and view.request.expires_at is not None:
        lines.append((f"Expires: {to_the_minute(view.request.expires_at)}",))
    decide = (*_nobody_can(view), Paragraph(how_to_decide(view, "below"))) if pending else ()
    return (Paragraph(outcome(view, note_limit)), *mend(view), Bullets(tuple(lines)), *decide)


def _votes(view: CardView, note_limit: int) -> list[tuple[Inline, ...]]:
    """Who voted how, a line each; the first line of the card has told the denial that it begins with."""
    told = 1 if view.request.state is State.DENIED else 0
    votes = sorted((*view.tally.approvals, *view.tally.denials[told:]), key=lambda vote: vote.at)
    lines = [_vote(vote, note_limit) for vote in votes[:_NAMED]]
    if len(votes) > _NAMED:
        lines.append((f"and {len(votes) - _NAMED} more (", Code(f"{view.prefix}show {view.request.id}"), ")"))
    return lines


def _vote(vote: Vote, note_limit: int) -> tuple[Inline, ...]:
    note = None if vote.note is None else shorten(vote.note, note_limit)
    return (f"{vote.choice.sign} ", Pill(vote.voter, vote.voter), *quoted(note))


def _by_whom(denials: Sequence[Vote], note_limit: int) -> tuple[Inline, ...]:
    first = _vote(denials[0], note_limit)[1:]
    return (" by ", *first, f" and {plural(len(denials) - 1, 'other')}" if len(denials) > 1 else "")


def _nobody_can(view: CardView) -> tuple[Block, ...]:
    """The warning that there are too few people for a decision."""
    deciders, needed = view.deciders, view.tally.needed
    if deciders is None or deciders >= needed:
        return ()
    who = {0: "nobody here may", 1: "only 1 person here may"}.get(deciders, f"only {deciders} people here may")
    key = "approval.required_for_admin" if view.request.wish.admin else "approval.required"
    line = (
        f"⚠️ This cannot be approved yet: it takes {plural(needed, 'approval')}, and {who} vote on it. Bring more people"
        f" with the power level approval.power_level into this room (or the operator lowers {key})."
    )
    return (Paragraph((line,)),)


def known_code(error: str | None) -> ErrorCode:
    """The code that stands on a request; a newer program may have known another one."""
    return ErrorCode(error) if error in list(ErrorCode) else ErrorCode.INTERNAL


def _size(content: Mapping[str, Any]) -> int:
    return len(json.dumps(content))
