"""Owns the way of an event from the inbox to its effect: who says it, may they, what do they mean, do it once."""

import logging
from collections import Counter, deque
from dataclasses import dataclass, replace

from onboard_bot.backoff import Backoff
from onboard_bot.chat import replies, trust_replies
from onboard_bot.chat.admission import Admission
from onboard_bot.chat.commands import COMMANDS, Command, to_command
from onboard_bot.chat.grammar import CommandSpec, find_command, parse
from onboard_bot.chat.incoming import BotNames, TypedCommand, read_command
from onboard_bot.chat.messages import Message, ReplyTo, render
from onboard_bot.chat.obeying import Obeying, Order
from onboard_bot.chat.taps import Taps
from onboard_bot.chat.words import first_word
from onboard_bot.clock import Clock
from onboard_bot.domain.devices import Standing, is_obeyed
from onboard_bot.domain.passwords import Choose
from onboard_bot.domain.request_ids import generate_request_id
from onboard_bot.domain.roles import Actor, Role
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding import effects
from onboard_bot.onboarding.electorate import Voters
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.onboarding.turned_away import tell_why_turned_away
from onboard_bot.store.inbox import RoomEvent
from onboard_bot.store.rooms import Purpose
from onboard_bot.store.transaction import Store, Transaction
from onboard_bot.store.trouble import LOOK_AGAIN_AFTER, StoreUnavailableError

_log = logging.getLogger(__name__)

_NOT_NOW = (StoreUnavailableError, UnreachableError, RateLimitedError, RefusedError)
_REMEMBERED = 100
_REFUSALS_AT_MOST = 8
"""Unclear ones, when the bot asks who somebody is: about half a minute."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How the bot is spoken to.

    Args:
        prefix: What stands before a command.
        names: What may stand there instead.
        approver_level: Of whom some commands ask.
        only_signed: Whether only devices are obeyed that their owners signed.
    """

    prefix: str
    names: BotNames
    approver_level: int
    only_signed: bool


class Dispatch:
    """Obeys the inbox, one event after the other.

    Args:
        store: Where the events wait and their effects go.
        admission: Who is behind an event.
        voters: Who may vote.
        obeying: Carries commands out.
        taps: Takes reactions, and what is removed.
        manners: From the configuration.
        clock: For waiting.
        choose: Where reference numbers come from.
    """

    def __init__(
        self,
        store: Store,
        admission: Admission,
        voters: Voters,
        obeying: Obeying,
        taps: Taps,
        manners: Manners,
        *,
        clock: Clock,
        choose: Choose,
    ) -> None:
        self._store = store
        self._admission = admission
        self._voters = voters
        self._obeying = obeying
        self._taps = taps
        self._manners = manners
        self._clock = clock
        self._choose = choose
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
            try:
                await self._take(event, is_admin_room=planned is not None and planned.purpose is Purpose.ADMIN)
            except RefusedError:
                self._refused[event.event_id] += 1
                raise
            self._refused.pop(event.event_id, None)

    async def _take(self, event: RoomEvent, *, is_admin_room: bool) -> None:
        in_vain = self._refused[event.event_id] >= _REFUSALS_AT_MOST  # the others must not wait for it for ever
        if not is_admin_room:
            await self._close(event, None)
        elif event.type == "m.room.message":
            typed = read_command(event.content, prefix=self._manners.prefix, bot=self._manners.names)
            if typed is None:
                await self._close(event, None)
            elif in_vain:
                await self._close_with_reference(event, ReplyTo(event.event_id, typed.thread_root))
            else:
                await self._obey(event, typed)
        elif in_vain:
            _log.error("%s of %s had no effect: the homeserver does not say who they are", event.type, event.sender)
            await self._close(event, None)
        else:
            await self._take_tap(event)

    async def _take_tap(self, event: RoomEvent) -> None:
        try:
            await (self._taps.react(event) if event.type == "m.reaction" else self._taps.remove(event))
        except _NOT_NOW:
            raise
        except Exception:  # noqa: BLE001 - a fault of ours; nobody asked anything that could be answered
            _log.exception("%s of %s could not be taken", event.type, event.sender)
            await self._close(event, None)

    async def _obey(self, event: RoomEvent, typed: TypedCommand) -> None:
        reply_to = ReplyTo(event.event_id, typed.thread_root)
        standing = await self._standing(event)
        actor = await self._admission.actor(event)  # last, so that it is as new as can be
        if actor.role is Role.STRANGER:  # they left since; nobody answers them
            await self._close(event, None)
            return
        if not is_obeyed(standing, only_signed=self._manners.only_signed):
            await self._turn_away(event, standing, reply_to, surely=typed.surely)
            return
        spec: CommandSpec | None = None
        try:
            spec, command = self._understand(typed, actor)
            order = await self._with_electorate(Order(command, event, typed, actor))
            async with self._store.transaction() as tx:
                if not await tx.inbox.close(event.event_id):
                    return
                message = await self._obeying.carry_out(tx, order)
                if message is not None:
                    await self._say(tx, event, message, reply_to)
        except OnboardError as error:
            silent = error.code is ErrorCode.UNKNOWN_COMMAND and not typed.surely
            await self._close(event, None if silent else replies.failure(self._with_usage(error, spec)), reply_to)
        except _NOT_NOW:
            raise  # no answer either; the event stays in the inbox
        except Exception as error:  # noqa: BLE001 - a fault of ours: a person gets a reference number, the log the trace
            await self._close_with_reference(event, reply_to, error)

    def _understand(self, typed: TypedCommand, actor: Actor) -> tuple[CommandSpec, Command]:
        """What was typed, if this person may.

        Raises:
            OnboardError: It makes no sense, or they may not.
        """
        line, *more = typed.text.strip().splitlines() or [""]
        try:
            parsed = parse(line, COMMANDS, prefix=self._manners.prefix)
        except OnboardError:
            self._permit(actor, find_command(first_word(line)[0], COMMANDS, prefix=self._manners.prefix))
            raise
        if any(other.strip() for other in more):
            raise OnboardError(
                ErrorCode.BAD_ARGUMENT,
                "A command is one line, and nothing of this message was obeyed. Please send each command by itself.",
            )
        if not parsed.help:
            self._permit(actor, parsed.spec)
        return parsed.spec, to_command(parsed)

    def _permit(self, actor: Actor, spec: CommandSpec) -> None:
        if actor.role < spec.role:
            raise OnboardError(
                ErrorCode.NOT_PERMITTED,
                f"Only people with power level {self._manners.approver_level} or more in this room can use"
                f" {self._manners.prefix}{spec.name}. Please ask one of them.",
            )

    async def _with_electorate(self, order: Order) -> Order:
        """The order, with a look at all whose votes may decide by it."""
        async with self._store.reading() as tx:
            about = await self._obeying.decided_on(tx, order.command, order.event, order.typed)
            people = {order.actor.user_id, *await tx.votes.voters(about)} if about else set()
        electorate = await self._voters.look(order.event.room_id, people)
        return replace(order, about=tuple(about), electorate=electorate)

    def _with_usage(self, error: OnboardError, spec: CommandSpec | None) -> OnboardError:
        if error.code is not ErrorCode.BAD_ARGUMENT or spec is None or "Usage:" in error.sentence:
            return error
        sentence = f"{error.sentence}\nUsage: {spec.usage(self._manners.prefix)}"
        return OnboardError(error.code, sentence, request_id=error.request_id, state=error.state)

    async def _standing(self, event: RoomEvent) -> Standing:
        """How the device stands to the sender; unknown where that cannot be found out although the server answers."""
        try:
            return await self._admission.standing(event)
        except UnreachableError:
            await self._admission.actor(event)  # where the server is gone, everybody waits for it
            self._refused[event.event_id] += 1
            if self._refused[event.event_id] < _REFUSALS_AT_MOST:
                raise
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
