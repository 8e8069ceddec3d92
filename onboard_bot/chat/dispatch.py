"""Owns the way of an event from the inbox to its effect: who says it, may they, what do they mean, do it once."""

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from onboard_bot.backoff import Backoff
from onboard_bot.chat import replies, trust_replies
from onboard_bot.chat.admission import Admission
from onboard_bot.chat.commands import COMMANDS, Command, Help, Register, Status, Trust, to_command
from onboard_bot.chat.grammar import parse
from onboard_bot.chat.help import help_message
from onboard_bot.chat.incoming import BotNames, TypedCommand, read_command
from onboard_bot.chat.messages import Message, ReplyTo, render
from onboard_bot.chat.replies import StatusReport
from onboard_bot.clock import Clock
from onboard_bot.domain.devices import Standing, is_obeyed
from onboard_bot.domain.identifiers import parse_user_id
from onboard_bot.domain.passwords import Choose
from onboard_bot.domain.request_ids import generate_request_id
from onboard_bot.domain.roles import Actor, Role
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding import effects
from onboard_bot.onboarding.identities import accept_identity
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.onboarding.register import Asked, RegistrationRules, register
from onboard_bot.onboarding.turned_away import tell_why_turned_away
from onboard_bot.store.inbox import RoomEvent
from onboard_bot.store.rooms import Purpose
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Store, Transaction
from onboard_bot.store.trouble import LOOK_AGAIN_AFTER, StoreUnavailableError

_log = logging.getLogger(__name__)

_REMEMBERED = 100
_REFUSALS_AT_MOST = 8
"""Unclear ones, when the bot asks who somebody is: about half a minute."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How the bot is spoken to, and what it lets people do; `only_signed`: only from devices that they signed."""

    prefix: str
    names: BotNames
    rules: RegistrationRules
    only_signed: bool


class Dispatch:
    """Obeys the inbox, one event after the other.

    Args:
        store: Where the events wait and their effects go.
        admission: Who is behind an event.
        manners: From the configuration.
        sealer: For new passwords.
        clock: For waiting.
        choose: Where ids and passwords come from.
        status: Tells how the bot is doing.
    """

    def __init__(
        self,
        store: Store,
        admission: Admission,
        manners: Manners,
        *,
        sealer: Sealer,
        clock: Clock,
        choose: Choose,
        status: Callable[[Transaction], Awaitable[StatusReport]],
    ) -> None:
        self._store = store
        self._admission = admission
        self._manners = manners
        self._sealer = sealer
        self._clock = clock
        self._choose = choose
        self._status = status
        self._refused: Counter[str] = Counter()
        self._turned_away: deque[tuple[str, Standing]] = deque(maxlen=_REMEMBERED)

    async def run(self) -> None:
        """Goes on until cancelled. An event whose sender cannot be looked up now is looked up again later."""
        backoff = Backoff(cap=10)
        while True:
            self._store.inbox_filled.clear()
            try:
                await self.run_open()
            except RateLimitedError as error:
                await self._clock.sleep(error.wait)
            except StoreUnavailableError:
                await self._clock.sleep(LOOK_AGAIN_AFTER)
            except TokenRejectedError:
                raise
            except Exception as error:  # noqa: BLE001 - the event stays in the inbox; the loop outlives what hinders it
                wait = backoff.after_failure()
                expected = isinstance(error, UnreachableError | RefusedError)
                _log.warning("an event has to wait %.1f s (%s)", wait, error, exc_info=not expected)
                await self._clock.sleep(wait)
            else:
                backoff.succeeded()
                await self._store.inbox_filled.wait()

    async def run_open(self) -> None:
        """Obeys what is in the inbox."""
        while True:
            async with self._store.reading() as tx:
                event = await tx.inbox.next_open()
                planned = None if event is None else await tx.rooms.of_room(event.room_id)
            if event is None:
                return
            typed = None
            if event.type == "m.room.message" and planned is not None and planned.purpose is Purpose.ADMIN:
                typed = read_command(event.content, prefix=self._manners.prefix, bot=self._manners.names)
            if typed is None:
                await self._close(event, None)
            else:
                await self._obey(event, typed)

    async def _obey(self, event: RoomEvent, typed: TypedCommand) -> None:
        reply_to = ReplyTo(event.event_id, typed.thread_root)
        if self._refused[event.event_id] >= _REFUSALS_AT_MOST:  # the others must not wait for it for ever
            del self._refused[event.event_id]
            await self._close_with_reference(event, reply_to)
            return
        standing = await self._standing(event)
        try:  # last, so that it is as new as can be
            actor = await self._admission.actor(event)
        except RefusedError:
            self._refused[event.event_id] += 1
            raise
        if actor.role is Role.STRANGER:  # they left since; nobody answers them
            await self._close(event, None)
            return
        if not is_obeyed(standing, only_signed=self._manners.only_signed):
            await self._turn_away(event, standing, reply_to, surely=typed.surely)
            return
        try:
            async with self._store.transaction() as tx:
                if not await tx.inbox.close(event.event_id):
                    return
                message = await self._carry_out(tx, event, typed, actor)
                if message is not None:
                    await self._say(tx, event, message, reply_to)
        except OnboardError as error:
            silent = error.code is ErrorCode.UNKNOWN_COMMAND and not typed.surely
            await self._close(event, None if silent else replies.failure(error), reply_to)
        except StoreUnavailableError:  # no answer either; the event stays in the inbox
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours: a person gets a reference number, the log the trace
            await self._close_with_reference(event, reply_to, error)

    async def _standing(self, event: RoomEvent) -> Standing:
        """How the device stands to the sender; unknown where that cannot be found out although the server answers."""
        try:
            return await self._admission.standing(event)
        except RefusedError:
            self._refused[event.event_id] += 1
            raise
        except UnreachableError:
            await self._admission.actor(event)  # where the server is gone, everybody waits for it
            self._refused[event.event_id] += 1
            if self._refused[event.event_id] < _REFUSALS_AT_MOST:
                raise
            del self._refused[event.event_id]
            return Standing.UNKNOWN

    async def _turn_away(self, event: RoomEvent, standing: Standing, reply_to: ReplyTo, *, surely: bool) -> None:
        """The command has no effect. Its sender hears why, once for each device, where any device can read it."""
        if (event.sender, standing) not in self._turned_away:  # a flood of events must not become a flood of lines
            self._turned_away.append((event.sender, standing))
            _log.warning("%s of %s is not obeyed: its device is %s", event.event_id, event.sender, standing)
        message = trust_replies.turned_away(standing, event.sender, prefix=self._manners.prefix)
        async with self._store.transaction() as tx:
            if await tx.inbox.close(event.event_id) and surely:
                await tell_why_turned_away(tx, event, standing, render(message, reply_to))

    async def _carry_out(self, tx: Transaction, event: RoomEvent, typed: TypedCommand, actor: Actor) -> Message | None:
        """What is to be answered now; None where the answer follows when the outcome is known."""
        line, *more = typed.text.strip().splitlines() or [""]
        parsed = parse(line, COMMANDS, prefix=self._manners.prefix)
        if any(other.strip() for other in more):
            raise OnboardError(
                ErrorCode.BAD_ARGUMENT,
                "A command is one line, and nothing of this message was obeyed. Please send each command by itself.",
            )
        if actor.role < parsed.spec.role and not parsed.help:
            raise OnboardError(
                ErrorCode.NOT_PERMITTED,
                f"Only people with power level {self._manners.rules.approver_level} or more in this room can use"
                f" {self._manners.prefix}{parsed.spec.name}. Please ask one of them.",
            )
        try:
            command = to_command(parsed)
            return await self._handle(tx, command, event, typed, actor)
        except OnboardError as error:
            if error.code is not ErrorCode.BAD_ARGUMENT or "Usage:" in error.sentence:
                raise
            usage = f"{error.sentence}\nUsage: {parsed.spec.usage(self._manners.prefix)}"
            raise OnboardError(error.code, usage, request_id=error.request_id) from error

    async def _handle(
        self, tx: Transaction, command: Command, event: RoomEvent, typed: TypedCommand, actor: Actor
    ) -> Message | None:
        match command:
            case Register():
                asked = Asked(
                    username=command.username,
                    display_name=command.display_name,
                    admin=command.admin,
                    account_type=command.account_type,
                    room_sets=command.room_sets,
                    note=command.note,
                    quiet=command.quiet,
                    room_id=event.room_id,
                    event_id=event.event_id,
                    thread_root=typed.thread_root,
                )
                await register(tx, asked, actor, self._manners.rules, sealer=self._sealer, choose=self._choose)
                return None
            case Trust():
                user_id = parse_user_id(command.user, server_name=self._manners.rules.server_name)
                accepted = await accept_identity(tx, user_id, by=actor, event_id=event.event_id)
                return trust_replies.identity_accepted(user_id, accepted)
            case Status():
                return replies.status(await self._status(tx))
            case Help(command=about):
                return help_message(COMMANDS, actor.role, about, prefix=self._manners.prefix)
            case _:
                raise AssertionError(f"{command} has a row in the table and no branch here")

    async def _close_with_reference(self, event: RoomEvent, reply_to: ReplyTo, error: Exception | None = None) -> None:
        reference = generate_request_id(self._choose)
        _log.error("reference %s: %s could not be carried out", reference, event.event_id, exc_info=error)
        await self._close(event, replies.internal_failure(reference), reply_to)

    async def _close(self, event: RoomEvent, message: Message | None, reply_to: ReplyTo | None = None) -> None:
        async with self._store.transaction() as tx:
            if await tx.inbox.close(event.event_id) and message is not None and reply_to is not None:
                await self._say(tx, event, message, reply_to)

    async def _say(self, tx: Transaction, event: RoomEvent, message: Message, reply_to: ReplyTo) -> None:
        await tx.intend(effects.answer_at_once(event.event_id, event.room_id, event.sender, render(message, reply_to)))
