"""Owns answering commands: each once, in order, and several in one message while the server limits the bot."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onboard_bot.chat import replies
from onboard_bot.chat.lists import Answered, as_list, thread_of
from onboard_bot.chat.messages import Message, ReplyTo, render
from onboard_bot.domain.requests import Request, State
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.jobs.effect import Effect, PostponedError, Record
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.onboarding import outcome
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
    """One answer: the job that it belongs to, and the request that it is about, if it is about one."""

    job: Job
    answered: Answered
    request: Request | None


@dataclass(frozen=True, slots=True)
class Answers:
    """What goes out as one message.

    `may_be_out` says whether an earlier try may have brought the first of them into the room.
    """

    room_id: str
    due: tuple[Due, ...]
    may_be_out: bool


class Answer(Effect[Answers]):
    """Replies to a command.

    A try that the server refused for its rate limit certainly said nothing. Only then may others that wait behind it
    join it; before the message goes out it is written down which, so that a repeat says the same again.

    Args:
        sender: Says it.
        naming: For the event's name.
        server_name: Of the accounts.
        credentials_in_room: Whether the password follows in the room instead of a direct message.
    """

    at_once = 10

    def __init__(self, sender: Sender, naming: Naming, *, server_name: str, credentials_in_room: bool) -> None:
        self._sender = sender
        self._naming = naming
        self._server_name = server_name
        self._credentials_in_room = credentials_in_room

    async def prepare(self, tx: Transaction, job: Job) -> Answers | None:
        """What is to be said now, this answer first."""
        first = await self._due(tx, job)
        if first is None:
            return None
        # A version that wrote nothing of it down may have sent it all the same, and so may the life before a restore.
        may_be_out = bool(job.payload.get("may_be_out", job.attempts > 1))
        may_be_out = may_be_out or self._naming.of(job).tried_since is not None
        due = [first, *[d for other in await tx.jobs.attached(job) if (d := await self._due(tx, other)) is not None]]
        if job.attempts > 1 and not may_be_out:
            due += await self._join(tx, job, due)
        await tx.jobs.remember(job, may_be_out=True)
        room_id = job.payload["room_id"] if first.request is None else first.request.origin_room
        return Answers(room_id, tuple(due), may_be_out)

    async def perform(self, job: Job, prepared: Answers) -> Record | None:
        """Replies. A room that does not let the bot speak does not hold the credentials up."""
        first, *others = prepared.due
        content = as_list([due.answered for due in prepared.due]) if others else first.answered.content
        outgoing = self._naming.of(job, *(other.job.key for other in others))
        try:
            await self._sender.send(prepared.room_id, "m.room.message", content, outgoing)
        except RateLimitedError as error:
            raise PostponedError(str(error), wait=error.wait, record=_certainly_unsaid(job, prepared)) from error
        except RefusedError as error:
            if not error.is_definite:
                raise
            _log.warning("%s: the room did not take the answer (%s)", job.key, error)
        return lambda tx: self._said(tx, prepared.due)

    async def give_up(self, tx: Transaction, job: Job, error: str) -> None:  # noqa: ARG002 - the log has it
        """Nobody waits for what cannot be said."""
        due = [await self._due(tx, each) for each in (job, *await tx.jobs.attached(job))]
        await self._said(tx, [each for each in due if each is not None])

    async def _join(self, tx: Transaction, job: Job, due: Sequence[Due]) -> list[Due]:
        """Takes along what waits behind."""
        joined: list[Due] = []
        size = sum(_size(each) for each in due)
        for other in await tx.jobs.waiting_behind(job, at_most=_AT_MOST - len(due)):
            one = await self._due(tx, other)
            if one is None or thread_of(one.answered) != thread_of(due[0].answered):
                break
            size += _size(one)
            if size > _BYTES_AT_MOST:
                break
            await tx.jobs.attach(other, to=job)
            joined.append(one)
        return joined

    async def _said(self, tx: Transaction, due: Sequence[Due]) -> None:
        for each in due:
            if each.request is not None:
                await outcome.answered(tx, each.request)
        for follower in due[1:]:
            await tx.jobs.finish(follower.job, now=tx.now)

    async def _due(self, tx: Transaction, job: Job) -> Due | None:
        if "content" in job.payload:
            return Due(job, Answered(job.payload["asker"], job.payload["content"]), None)
        request = await tx.requests.get(job.payload["request_id"])
        if request is None:
            return None
        content = render(self._words(request), ReplyTo(request.origin_event, request.thread_root))
        return Due(job, Answered(request.requester, content), request)

    def _words(self, request: Request) -> Message:
        wish = request.wish
        user_id = request.user_id or f"@{wish.username}:{self._server_name}"
        if request.state is State.CREATED:
            where = (
                "The password follows here."
                if self._credentials_in_room
                else "I send you the password in a direct message."
            )
            return replies.account_created(
                request.id, user_id, wish.display_name, admin=wish.admin, where_credentials_went=where
            )
        if request.state is State.UNKNOWN:
            return replies.account_unknown(request.id, user_id)
        code = ErrorCode(request.error or ErrorCode.INTERNAL)
        if code is ErrorCode.INTERNAL:
            return replies.internal_failure(request.id)  # the log names the request
        error = OnboardError(code, replies.why_failed(code, wish.username), request_id=request.id)
        return replies.failure(error, state=request.state, user_id=user_id)


def _certainly_unsaid(job: Job, tried: Answers) -> Record:
    async def record(tx: Transaction) -> None:
        await tx.jobs.remember(job, may_be_out=tried.may_be_out)

    return record


def _size(due: Due) -> int:
    content: Mapping[str, Any] = due.answered.content
    return len(json.dumps(content))
