"""Owns telling the room what became of a request, once it is known."""

import logging

from onboard_bot.chat import replies
from onboard_bot.chat.messages import Message, ReplyTo, render
from onboard_bot.domain.requests import Request, State
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.jobs.effect import Effect, Record
from onboard_bot.jobs.transaction_ids import TransactionIds
from onboard_bot.onboarding import outcome
from onboard_bot.onboarding.ports import RefusedError, Sender, TokenRejectedError
from onboard_bot.store.jobs import Job
from onboard_bot.store.transaction import Transaction

_log = logging.getLogger(__name__)


class Answer(Effect[Request]):
    """Replies to the command that made the request.

    Args:
        sender: Says it.
        ids: For its transaction id.
        server_name: Of the accounts.
        credentials_in_room: Whether the password follows in the room instead of a direct message.
    """

    at_once = 10

    def __init__(self, sender: Sender, ids: TransactionIds, *, server_name: str, credentials_in_room: bool) -> None:
        self._sender = sender
        self._ids = ids
        self._server_name = server_name
        self._credentials_in_room = credentials_in_room

    async def prepare(self, tx: Transaction, job: Job) -> Request | None:
        """The request as it stands."""
        return await tx.requests.get(job.payload["request_id"])

    async def perform(self, job: Job, prepared: Request) -> Record | None:
        """Replies. A room that does not let the bot speak does not hold the credentials up."""
        request = prepared
        content = render(self._words(request), ReplyTo(request.origin_event, request.thread_root))
        try:
            await self._sender.send(
                request.origin_room, "m.room.message", content, transaction_id=self._ids.about(job.key)
            )
        except TokenRejectedError:
            raise
        except RefusedError as error:
            _log.warning("%s: the room did not take the answer (%s)", job.key, error)
        return lambda tx: outcome.answered(tx, request)

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
