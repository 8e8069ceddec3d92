"""Owns the words about requests beside their cards: answers to what was typed, and what their askers are told."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onboard_bot.chat import cards
from onboard_bot.chat.cards import CardView
from onboard_bot.chat.history import HistoryLine, history_line
from onboard_bot.chat.messages import (
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
)
from onboard_bot.chat.moments import span, to_the_minute, to_the_second
from onboard_bot.clock import Timestamp
from onboard_bot.domain.approvals import Choice
from onboard_bot.domain.requests import Request, State
from onboard_bot.errors import OnboardError

__all__ = [
    "HistoryLine",
    "cancelled",
    "denied",
    "details",
    "expired",
    "history_line",
    "page",
    "reminder",
    "reopened",
    "several",
    "voted",
    "was_cancelled",
]

_UNSHORTENED = 1_000_000
_NAMED = 10


def voted(view: CardView, choice: Choice, *, dropped: tuple[str, ...] = ()) -> Message:
    """The answer to a typed vote: what it made of the request.

    Args:
        view: The request, with the vote.
        choice: What was typed.
        dropped: Whose approvals were for another name, and do not count any more.
    """
    named = _named(view.request)
    match view.request.state:
        case State.PENDING:
            words: tuple[Inline, ...] = (f"{choice.sign} Noted for ", *named, f": {cards.count(view.tally)}.")
            if dropped:
                people = [inline for who in dropped for inline in (Pill(who, who), ", ")][:-1]
                words += (" The name is another one now, so what ", *people, " said to the old one does not count.")
        case State.DENIED:
            words = ("❌ That decides it: ", *named, " is denied.")
        case _:
            words = ("✅ That decides it: ", *named, " is approved, and the account is being made.")
    return replace(_about_it(view, words), mentions=dropped if view.request.state is State.PENDING else ())


def cancelled(view: CardView) -> Message:
    """The answer to `!cancel`."""
    return _about_it(view, ("↩️ ", *_named(view.request), " is cancelled; no account is made."))


def reopened(view: CardView) -> Message:
    """The answer to `!reopen`."""
    named = _named(view.request)
    ends = "" if view.request.expires_at is None else f" It expires {cards.expiry(view)}."
    needed = cards.plural(view.tally.needed, "approval")
    return _about_it(view, ("🗳️ ", *named, f" is open again: votes are cast anew, and it takes {needed}.{ends}"))


def several(answers: Sequence[tuple[str, Message | OnboardError]]) -> Message:
    """One answer to a command about several requests, a line each.

    Args:
        answers: The requests' ids as they were typed, and what came of each.
    """
    lines: list[tuple[Inline, ...]] = []
    items: list[dict[str, Any]] = []
    mentions: dict[str, None] = {}
    for request_id, answer in answers:
        if isinstance(answer, OnboardError):
            lines.append(("⚠️ ", Strong(request_id), ": ", answer.sentence))
            about = About(Kind.ERROR, id=request_id, state=answer.state, error=answer.code)
            items.append(_item(about))
            continue
        lines.append(_one_line(answer.blocks))
        mentions |= dict.fromkeys(answer.mentions)
        if answer.about is not None:
            items.append(_item(answer.about))
    return Message((Bullets(tuple(lines)),), About(Kind.LIST, items=tuple(items)), tuple(mentions))


def denied(view: CardView, mentions: tuple[str, ...]) -> Message:
    """What somebody is told whose request was denied.

    Args:
        view: The request.
        mentions: Who asked.
    """
    told = [vote for vote in view.tally.denials if vote.note and not vote.silent]
    reasons = [(Pill(vote.voter, vote.voter), *cards.quoted(vote.note)) for vote in told]
    blocks: list[Block] = [Paragraph(("❌ ", *_named(view.request), " was denied."))]
    if reasons:
        blocks.append(Bullets(tuple(reasons[:_NAMED])))
    return Message(tuple(blocks), _told(view), mentions)


def expired(view: CardView, mentions: tuple[str, ...]) -> Message:
    """What somebody is told whose request nobody decided in time.

    Args:
        view: The request.
        mentions: Who asked.
    """
    again = Code(f"{view.prefix}register {view.request.wish.username}")
    words: tuple[Inline, ...] = (
        "🕑 ",
        *_named(view.request),
        " has expired: it was not decided in time. To ask again: ",
        again,
    )
    return Message((Paragraph(words),), _told(view), mentions)


def was_cancelled(view: CardView, mentions: tuple[str, ...]) -> Message:
    """What somebody is told whose request was cancelled by somebody else, or while its account was about to be made.

    Args:
        view: The request.
        mentions: Who asked.
    """
    return Message(
        (Paragraph(("↩️ ", *_named(view.request), " was cancelled; no account is made.")),), _told(view), mentions
    )


def reminder(view: CardView, mentions: tuple[str, ...]) -> Message:
    """What those are told, once, who could decide and have not; a reply to the card.

    Args:
        view: The request.
        mentions: Who has not voted.
    """
    request = view.request
    waits: tuple[Inline, ...] = (
        "⏰ ",
        *_named(request),
        " still waits for a decision; ",
        Pill(request.requester, request.requester),
        f" asked {span(view.at - request.created_at)} ago. Votes: {cards.count(view.tally)}.",
    )
    if request.expires_at is not None:
        waits += (f" It expires {cards.expiry(view)}.",)
    blocks = (Paragraph(waits), Paragraph(_where_to_decide(view)))
    # Nobody's client rings for a notice, whomever it mentions (specification, "Default override rules").
    return Message(blocks, _told(view), mentions, notice=False)


def details(view: CardView, history: Sequence[HistoryLine]) -> Message:
    """The answer to `!show`: all that the card says, unshortened, and every step.

    Args:
        view: The request.
        history: The steps, oldest first.
    """
    request = view.request
    lines = [*cards.facts(view, _UNSHORTENED), (f"Asked: {to_the_second(request.created_at)}",)]
    if request.state is State.PENDING:
        lines.append(("Votes: ", Strong(cards.count(view.tally))))
        if request.expires_at is not None:
            lines.append((f"Expires: {cards.expiry(view)}",))
    blocks: list[Block] = [Paragraph(cards.outcome(view, _UNSHORTENED)), *cards.mend(view), Bullets(tuple(lines))]
    if request.state is State.PENDING:
        blocks.append(Paragraph(_where_to_decide(view)))
    if history:
        first, last = history[:_FIRST_STEPS], history[_FIRST_STEPS:][-_LAST_STEPS:]
        left_out = len(history) - len(first) - len(last)
        between = [(f"… and {left_out} more; “onboard-bot audit export” has them all",)] if left_out else []
        steps = (*map(_step, first), *between, *map(_step, last))
        blocks += [Paragraph(("What happened:",)), Bullets(steps)]
    return Message(tuple(blocks), view.about)


def _where_to_decide(view: CardView) -> tuple[Inline, ...]:
    if view.request.card is not None:
        return cards.how_to_decide(view, "under its card")
    commands = (Code(f"{view.prefix}{name} {view.request.id}") for name in ("approve", "deny", "show"))
    approve, deny, show = commands
    return ("To decide: ", approve, " or ", deny, "; ", show, " posts its card.")


_FIRST_STEPS, _LAST_STEPS = 10, 40
"""What of a long history is told: as much as fits into one event, whatever was said with each vote."""


def page(
    requests: Sequence[tuple[Request, str]],
    *,
    state: State | None,
    number: int,
    of: int,
    total: int,
    at: Timestamp,
    prefix: str,
) -> Message:
    """The answer to `!requests`.

    Args:
        requests: Those of this page, each with the account that it asks for.
        state: In which they are; None for the open ones.
        number: Which page this is.
        of: How many pages there are.
        total: How many requests there are.
        at: The moment.
        prefix: Of commands.
    """
    which = "open" if state is None else state
    if not total:
        head = f"There are no {which} requests."
    else:
        where = f", page {number} of {of}" if of > 1 else ""
        head = f"{cards.plural(total, f'{which} request')}{where}:"
    blocks: list[Block] = [Paragraph((head,))]
    if requests:
        blocks.append(Bullets(tuple(_listed(request, at) for request, _ in requests)))
    if number < of:
        again = [f"{prefix}requests", *([] if state is None else [state]), f"--page={number + 1}"]
        blocks.append(Paragraph(("The next page: ", Code(" ".join(again)))))
    items = tuple(_item(About(Kind.REQUEST, one.id, one.state, user_id)) for one, user_id in requests)
    return Message(tuple(blocks), About(Kind.LIST, items=items))


def _listed(request: Request, at: Timestamp) -> tuple[Inline, ...]:
    """A request in one line."""
    line: tuple[Inline, ...] = (
        Strong(request.id),
        " ",
        *cards.name_of(request),
        ", asked for by ",
        Pill(request.requester, request.requester),
        f" {span(at - request.created_at)} ago; ",
    )
    if request.wish.admin:
        line += ("⚠️ server-admin rights; ",)
    if request.state is State.PENDING and request.expires_at is not None:
        return (*line, f"pending, expires {to_the_minute(request.expires_at)}")
    return (*line, str(request.state))


def _step(step: HistoryLine) -> tuple[Inline, ...]:
    who: tuple[Inline, ...] = () if step.who is None else (Pill(step.who, step.who), " ")
    return (f"{to_the_second(step.at)}: ", *who, step.words)


def _named(request: Request) -> tuple[Inline, ...]:
    return (Strong(request.wish.username), f" (request {request.id})")


def _about_it(view: CardView, words: tuple[Inline, ...]) -> Message:
    return Message((Paragraph(words),), view.about)


def _told(view: CardView) -> About:
    return About(Kind.STATUS, view.request.id, view.request.state, view.user_id)


def _item(about: About) -> dict[str, Any]:
    return {key: value for key, value in about.content().items() if key != "v"}


def _one_line(blocks: Sequence[Block]) -> tuple[Inline, ...]:
    """The text of a short message in one line."""
    parts: list[Inline] = []
    for block in blocks:
        for inlines in (block.inlines,) if isinstance(block, Paragraph) else block.items:
            parts += [" ", *inlines] if parts else inlines
    return tuple(parts)
