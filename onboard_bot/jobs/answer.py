"""Owns answering commands: each once, in order, and several in one message while the server limits the bot."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onboard_bot.chat.lists import Answered, as_list, thread_of
from onboard_bot.chat.messages import ReplyTo, render
from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.requests import Card, Request
from onboard_bot.jobs.effect import Effect, PostponedError, Record
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.jobs.wording import Spoken, Wording
from onboard_bot.onboarding import outcome, showing
from onboard_bot.onboarding.effects import Says
from onboard_bot.onboarding.electorate import Voters
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, Sender
from onboard_bot.store.jobs import Job
from onboard_bot.store.transaction import Transaction

_log = logging.getLogger(__name__)

_AT_MOST = 25
"""Answers in one list."""
_BYTES_AT_MOST = 24_000
"""Of the answers in one list, as they would be sent alone; the list repeats them and adds its items."""


@dataclass(frozen=True, slots=True)
class Due:
    """One answer.

    Args:
        job: It belongs to.
        asker: Who gets it.
        reply_to: What it answers.
        fixed: Its content, where that was known when it was intended.
        spoken: Else what it says of which request.
    """

    job: Job
    asker: str
    reply_to: ReplyTo
    fixed: Mapping[str, Any] | None = None
    spoken: Spoken | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What goes out as one message.

    Args:
        room_id: Where.
        due: In order.
        merged: Whether it is a list, also where all but one of it came to nothing meanwhile.
        may_be_out: Whether an earlier try may have brought it into the room.
    """

    room_id: str
    due: tuple[Due, ...]
    merged: bool
    may_be_out: bool


class Answer(Effect[Answers]):
    """Replies to a command.

    A try that the server refused for its rate limit certainly said nothing. Only then may others that wait behind it
    join it; before the message goes out it is written down which, so that a repeat says the same again.

    Args:
        sender: Says it.
        naming: For the event's name.
        wording: For what is said of requests.
        voters: Tells whom a card asks to decide.
        own_user_id: Ours.
    """

    at_once = 10

    def __init__(self, sender: Sender, naming: Naming, wording: Wording, voters: Voters, *, own_user_id: str) -> None:
        self._sender = sender
        self._naming = naming
        self._wording = wording
        self._voters = voters
        self._own_user_id = own_user_id

    async def prepare(self, tx: Transaction, job: Job) -> Answers | None:
        """What is to be said now, this answer first."""
        jobs = [job, *await tx.jobs.attached(job)]
        due = await self._all_due(tx, jobs)
        if not due:
            await self._let_go(tx, job)
            return None
        # A version that wrote nothing of it down may have sent it all the same, and so may the life before a restore.
        may_be_out = bool(job.payload.get("may_be_out", job.attempts > 1))
        may_be_out = may_be_out or self._naming.of(job).tried_since is not None
        may_grow = job.attempts > 1 and not may_be_out and not _is_to_be_a_card(job)
        joined = await self._join(tx, job, due) if may_grow else []
        await tx.jobs.remember(job, may_be_out=True)
        first = due[0]
        room_id = first.job.payload.get("room_id") or (first.spoken and first.spoken.view.request.origin_room)
        merged = len(jobs) + len(joined) > 1
        return Answers(str(room_id), (*due, *joined), merged=merged, may_be_out=may_be_out)

    async def perform(self, job: Job, prepared: Answers) -> Record | None:
        """Replies. A room that does not let the bot speak does not hold the credentials up."""
        approvers = await self._approvers(prepared)
        due = [each for each in prepared.due if each.spoken is None or self._wording.is_needed(each.spoken, approvers)]
        if not due:
            return lambda tx: self._said(tx, job, prepared)
        answered = [self._answered(each, approvers, alone=not prepared.merged) for each in due]
        content = as_list(answered) if prepared.merged else answered[0].content
        outgoing = self._naming.of(job, *(each.job.key for each in due if each.job.key != job.key))
        try:
            event_id = await self._sender.send(prepared.room_id, "m.room.message", content, outgoing)
        except RateLimitedError as error:
            raise PostponedError(str(error), wait=error.wait, record=_certainly_unsaid(job, prepared)) from error
        except RefusedError as error:
            if not error.is_definite:
                raise
            _log.warning("%s: the room did not take the answer (%s)", job.key, error)
            return lambda tx: self._said(tx, job, prepared)
        reminds = [each.spoken.view.request for each in due if each.spoken and each.spoken.says is Says.REMINDER]
        shown = due[0].spoken
        if prepared.merged or shown is None or shown.says is not Says.CARD:
            return lambda tx: self._said(tx, job, prepared, reminds)
        card = Card(prepared.room_id, event_id, self._wording.asked(shown.view, approvers))
        return lambda tx: self._posted(tx, job, prepared, shown.view.request, card)

    async def give_up(self, tx: Transaction, job: Job, error: str) -> None:  # noqa: ARG002 - the log has it
        """Nobody waits for what cannot be said."""
        due = await self._all_due(tx, [job, *await tx.jobs.attached(job)])
        await self._said(tx, job, Answers("", tuple(due), merged=True, may_be_out=True))

    async def _approvers(self, prepared: Answers) -> frozenset[str]:
        """Whom the cards and reminders among them ask; nobody where there are none."""
        if not any(due.spoken is not None and due.spoken.asks for due in prepared.due):
            return frozenset()
        return await self._voters.approvers(prepared.room_id, without=self._own_user_id)

    async def _join(self, tx: Transaction, job: Job, due: Sequence[Due]) -> list[Due]:
        """Takes along what waits behind."""
        joined: list[Due] = []
        size = sum(self._size(each) for each in due)
        for other in await tx.jobs.waiting_behind(job, at_most=_AT_MOST - len(due)):
            one = await self._due(tx, other)
            if one is None:  # it comes to its end by itself
                continue
            if one.reply_to.thread_root != due[0].reply_to.thread_root or _is_to_be_a_card(other):
                break
            size += self._size(one)
            if size > _BYTES_AT_MOST:
                break
            await tx.jobs.attach(other, to=job)
            joined.append(one)
        return joined

    async def _posted(self, tx: Transaction, job: Job, said: Answers, shown: Request, card: Card) -> None:
        await self._said(tx, job, said)
        await showing.posted(tx, shown, card, revision=0 if said.may_be_out else shown.revision)

    async def _said(self, tx: Transaction, job: Job, said: Answers, reminds: Collection[Request] = ()) -> None:
        for request in reminds:
            await tx.record(Entry(Verb.REQUEST_REMINDED, request.id))
        for each in said.due:
            if each.spoken is not None and each.spoken.says is Says.OUTCOME:
                await outcome.answered(tx, each.spoken.view.request)
        await self._let_go(tx, job)

    async def _let_go(self, tx: Transaction, job: Job) -> None:
        """What went along with it is done as well."""
        for follower in await tx.jobs.attached(job):
            await tx.jobs.finish(follower, now=tx.now)

    async def _all_due(self, tx: Transaction, jobs: Collection[Job]) -> list[Due]:
        """What these jobs have to say, without those for which it is too late."""
        return [due for job in jobs if (due := await self._due(tx, job)) is not None]

    async def _due(self, tx: Transaction, job: Job) -> Due | None:
        if "content" in job.payload:
            return _fixed(job)
        request = await tx.requests.get(job.payload["request_id"])
        if request is None:
            return None
        spoken = await self._wording.speak(tx, request, Says(job.payload.get("says", Says.OUTCOME)))
        if spoken is None:
            return None
        asked = job.payload.get("asked")
        if asked is not None:
            return Due(job, asked["asker"], ReplyTo(asked["event_id"], asked["thread_root"]), spoken=spoken)
        return Due(job, request.requester, ReplyTo(spoken.about, request.thread_root), spoken=spoken)

    def _answered(self, due: Due, approvers: frozenset[str], *, alone: bool) -> Answered:
        if due.spoken is None:
            return Answered(due.asker, due.fixed or {})
        message = self._wording.message(due.spoken, approvers, alone=alone)
        return Answered(due.asker, render(message, due.reply_to))

    def _size(self, due: Due) -> int:
        return len(json.dumps(self._answered(due, frozenset(), alone=False).content))


def _is_to_be_a_card(job: Job) -> bool:
    """Whether somebody asked for just that, because it had been merged into a list."""
    return "asked" in job.payload


def _fixed(job: Job) -> Due:
    content = job.payload["content"]
    answered = Answered(job.payload["asker"], content)
    reply_to = ReplyTo(content["m.relates_to"]["m.in_reply_to"]["event_id"], thread_of(answered))
    return Due(job, answered.asker, reply_to, fixed=content)


def _certainly_unsaid(job: Job, tried: Answers) -> Record:
    async def record(tx: Transaction) -> None:
        await tx.jobs.remember(job, may_be_out=tried.may_be_out)

    return record
