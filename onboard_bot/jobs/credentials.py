"""Owns bringing a password to the person who asked, and taking the message away again."""

import logging
from dataclasses import dataclass

from pydantic import SecretStr

from onboard_bot.chat import replies
from onboard_bot.chat.messages import Message, ReplyTo, render
from onboard_bot.clock import Clock
from onboard_bot.domain.requests import Request
from onboard_bot.jobs.effect import Effect, PostponedError, Record
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.onboarding import credentials, effects
from onboard_bot.onboarding.passwords import password_label
from onboard_bot.onboarding.ports import (
    DirectRooms,
    NotReadableError,
    Outgoing,
    RefusedError,
    Sender,
    TokenRejectedError,
)
from onboard_bot.store.jobs import Job, NewJob
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Transaction

_log = logging.getLogger(__name__)

_AFTER_REFUSAL = 600.0
_AFTER_NOBODY = 10.0
_OFTEN = 6
_AFTER_NOBODY_FOR_LONG = 60.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """What goes to whom."""

    request: Request
    password: SecretStr


class DeliverCredentials(Effect[Delivery]):
    """Sends the password, by direct message or (where the operator chose so) as a second reply in the room.

    The text exists only here, between the sealed row and the encrypted event.

    Args:
        sender: Says it.
        direct_rooms: Where to say it.
        naming: For its name.
        sealer: Opens the password.
        clock: Tells when to give up.
        server_name: Of the account.
        in_room: Whether it goes into the room.
    """

    at_once = 10

    def __init__(
        self,
        sender: Sender,
        direct_rooms: DirectRooms,
        naming: Naming,
        sealer: Sealer,
        clock: Clock,
        *,
        server_name: str,
        in_room: bool,
    ) -> None:
        self._sender = sender
        self._direct_rooms = direct_rooms
        self._naming = naming
        self._sealer = sealer
        self._clock = clock
        self._server_name = server_name
        self._in_room = in_room

    async def prepare(self, tx: Transaction, job: Job) -> Delivery | None:
        """Opens the password; nothing to do once it was erased."""
        request = await tx.requests.get(job.payload["request_id"])
        sealed = None if request is None else await tx.requests.sealed_password(request.id)
        if request is None or sealed is None:
            return None
        return Delivery(request, self._sealer.open(sealed, belongs_to=password_label(request.id)))

    async def perform(self, job: Job, prepared: Delivery) -> Record | None:
        """Sends, and keeps where."""
        request = prepared.request
        try:
            room_id, event_id = await self._send(prepared, self._naming.of(job))
        except TokenRejectedError:
            raise
        except NotReadableError as error:
            wait = _AFTER_NOBODY if job.attempts < _OFTEN else _AFTER_NOBODY_FOR_LONG
            raise PostponedError(str(error), wait=wait, record=self._tell_once(request, error)) from error
        except RefusedError as error:
            if self._clock.now() - job.created_at >= effects.CREDENTIALS_LIVE:
                raise
            raise PostponedError(str(error), wait=_AFTER_REFUSAL, record=self._tell_once(request, error)) from error
        return lambda tx: credentials.delivered(tx, request, room_id=room_id, event_id=event_id)

    async def give_up(self, tx: Transaction, job: Job, error: str) -> None:  # noqa: ARG002 - the log has it
        """What nobody could be given is forgotten, and the room hears of it."""
        request = await tx.requests.get(job.payload["request_id"])
        if request is not None:
            await credentials.erased(tx, request)
            lost = replies.credentials_lost(request.id, self._user_id(request), request.requester)
            await tx.intend(_told(request, f"forgotten:{request.id}", lost))

    async def _send(self, delivery: Delivery, outgoing: Outgoing) -> tuple[str, str]:
        request = delivery.request
        message = replies.credentials(self._user_id(request), delivery.password, self._server_name)
        if self._in_room:
            room_id = request.origin_room
            content = render(message, ReplyTo(request.origin_event, request.thread_root))
        else:
            room_id = await self._direct_rooms.with_person(request.requester)
            content = render(message)
        event_id = await self._sender.send(room_id, "m.room.message", content, outgoing, only_for=request.requester)
        return room_id, event_id

    def _user_id(self, request: Request) -> str:
        return request.account_on(self._server_name)

    def _tell_once(self, request: Request, why: NotReadableError | RefusedError) -> Record:
        unreadable = isinstance(why, NotReadableError)
        message = replies.credentials_wait(request.id, self._user_id(request), request.requester, unreadable=unreadable)
        told = _told(request, f"undelivered:{request.id}", message)
        return lambda tx: tx.intend(told)


def _told(request: Request, about: str, message: Message) -> NewJob:
    content = render(message, ReplyTo(request.origin_event, request.thread_root))
    return effects.say(about=about, room_id=request.origin_room, content=content)


@dataclass(frozen=True, slots=True)
class Removal:
    """Which message is to go."""

    request: Request
    room_id: str
    event_id: str


class EraseCredentials(Effect[Removal]):
    """Removes the message with the password, and forgets the password."""

    def __init__(self, sender: Sender, naming: Naming) -> None:
        self._sender = sender
        self._naming = naming

    async def prepare(self, tx: Transaction, job: Job) -> Removal | None:
        """Finds the message."""
        request = await tx.requests.get(job.payload["request_id"])
        message = None if request is None else await tx.requests.credentials_message(request.id)
        if request is None or message is None:
            return None
        return Removal(request, *message)

    async def perform(self, job: Job, prepared: Removal) -> Record | None:
        """Redacts; where that is refused (the bot was put out of the room), the password is forgotten all the same."""
        try:
            await self._sender.redact(
                prepared.room_id,
                prepared.event_id,
                self._naming.of(job, effects.credentials_key(prepared.request)),
                reason="A password stays visible for 24 hours.",
            )
        except TokenRejectedError:
            raise
        except RefusedError as error:
            _log.warning("%s: the message with the password could not be removed (%s)", job.key, error)
        return lambda tx: credentials.erased(tx, prepared.request)
