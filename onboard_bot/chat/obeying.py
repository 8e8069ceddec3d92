"""Owns what each command sets off: the use case behind it, and the answer that can be given at once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from onboard_bot.chat import replies, request_replies, trust_replies
from onboard_bot.chat.cards import CardView
from onboard_bot.chat.commands import (
    COMMANDS,
    Approve,
    Cancel,
    Command,
    Deny,
    Help,
    Register,
    Reopen,
    Requests,
    Show,
    Status,
    Trust,
)
from onboard_bot.chat.help import help_message
from onboard_bot.chat.incoming import TypedCommand
from onboard_bot.chat.messages import Message, shorten
from onboard_bot.chat.replies import StatusReport
from onboard_bot.domain.approvals import NOBODY, ApprovalRules, Choice, Electorate, Vote
from onboard_bot.domain.identifiers import parse_user_id
from onboard_bot.domain.passwords import Choose
from onboard_bot.domain.requests import OPEN, Request, State
from onboard_bot.domain.roles import Actor
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding import decision, effects
from onboard_bot.onboarding.identities import accept_identity
from onboard_bot.onboarding.passwords import NewPasswords
from onboard_bot.onboarding.register import Asked, RegistrationRules, register
from onboard_bot.onboarding.voting import Voting
from onboard_bot.store.inbox import RoomEvent
from onboard_bot.store.transaction import Transaction

_ON_A_PAGE = 25
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Order:
    """A command, with who typed it and where.

    Args:
        command: What is to be done.
        event: The message.
        typed: As it was read.
        actor: Who.
        about: Ids of the requests that it decides on.
        electorate: A look at those who voted on them, and at the actor.
    """

    command: Command
    event: RoomEvent
    typed: TypedCommand
    actor: Actor
    about: tuple[str, ...] = ()
    electorate: Electorate = NOBODY


class Obeying:
    """Carries orders out, each within one transaction.

    Args:
        registration: What accounts can be asked for.
        approval: Who decides.
        voting: Where votes go.
        passwords: For accounts that are made at once.
        choose: Where ids come from.
        prefix: Of commands.
        kept_for: Seconds for which a denial can be taken back; None for ever.
        status: Tells how the bot is doing.
    """

    def __init__(
        self,
        registration: RegistrationRules,
        approval: ApprovalRules,
        voting: Voting,
        passwords: NewPasswords,
        *,
        choose: Choose,
        prefix: str,
        kept_for: float | None,
        status: Callable[[Transaction], Awaitable[StatusReport]],
    ) -> None:
        self._registration = registration
        self._approval = approval
        self._voting = voting
        self._passwords = passwords
        self._choose = choose
        self._prefix = prefix
        self._kept_for = kept_for
        self._status = status

    async def decided_on(self, tx: Transaction, command: Command, event: RoomEvent, typed: TypedCommand) -> list[str]:
        """The ids of the requests that a command decides on: those that it names, or the one that it stands below.

        Raises:
            OnboardError: `bad_argument` where it names none and stands below none, or below several; `not_found` where
                what stands in the place of an id is none.
        """
        if not isinstance(command, Approve | Deny):
            return []
        if command.request_ids:
            return list(dict.fromkeys(command.request_ids))
        below = await _stands_below(tx, event.room_id, typed)
        if len(below) > 1:
            ids = ", ".join(request.id for request in below)
            raise OnboardError(ErrorCode.BAD_ARGUMENT, f"Which request? There are several in this thread: {ids}.")
        if below and below[0].wish.admin:  # what a message replies to is not encrypted: the homeserver could change it
            raise OnboardError(
                ErrorCode.BAD_ARGUMENT,
                f"Request {below[0].id} is for server-admin rights. To decide on those, please type the id.",
            )
        if below:
            return [below[0].id]
        said = command.note if isinstance(command, Approve) else command.reason
        if said is not None:
            raise _no_such_request(said.split()[0])
        raise OnboardError(
            ErrorCode.BAD_ARGUMENT,
            "Which request? Its id, like 2k4fa, comes first; only in a reply to its card or in the card's thread can it"
            " be left out.",
        )

    async def carry_out(self, tx: Transaction, order: Order) -> Message | None:
        """What is to be answered now; None where the answer follows.

        Raises:
            OnboardError: What hinders it.
        """
        match order.command:
            case Register() as command:
                await self._register(tx, command, order)
                return None
            case Show(request_id=request_id):
                return await self._show(tx, request_id, order)
            case Approve() | Deny() as command:
                return await self._decide(tx, command, order)
            case Cancel() | Reopen() as command:
                return await self._take_back(tx, command, order)
            case other:
                return await self._tell(tx, other, order)

    async def _tell(self, tx: Transaction, command: Command, order: Order) -> Message:
        match command:
            case Requests():
                return await self._list(tx, command)
            case Trust(user=user):
                user_id = parse_user_id(user, server_name=self._registration.server_name)
                accepted = await accept_identity(tx, user_id, by=order.actor, event_id=order.event.event_id)
                return trust_replies.identity_accepted(user_id, accepted)
            case Status():
                return replies.status(await self._status(tx))
            case Help(command=about):
                return help_message(COMMANDS, order.actor.role, about, prefix=self._prefix)
            case _:
                raise AssertionError(f"{command} has a row in the table and no branch here")

    async def _register(self, tx: Transaction, command: Register, order: Order) -> None:
        asked = Asked(
            username=command.username,
            display_name=command.display_name,
            admin=command.admin,
            account_type=command.account_type,
            room_sets=command.room_sets,
            note=command.note,
            quiet=command.quiet,
            room_id=order.event.room_id,
            event_id=order.event.event_id,
            thread_root=order.typed.thread_root,
        )
        await register(
            tx,
            asked,
            order.actor,
            self._registration,
            self._approval,
            passwords=self._passwords,
            choose=self._choose,
        )

    async def _decide(self, tx: Transaction, command: Approve | Deny, order: Order) -> Message:
        """One answer, however many requests it is about; what hinders one of them does not hinder the others."""
        answers: list[tuple[str, Message | OnboardError]] = []
        for request_id in order.about:
            try:
                answers.append((request_id, await self._vote(tx, request_id, command, order)))
            except OnboardError as error:
                if len(order.about) == 1:
                    raise
                answers.append((request_id, error))
        ((_, first), *others) = answers
        if not others and isinstance(first, Message):
            return first
        return request_replies.several(answers)

    async def _vote(self, tx: Transaction, request_id: str, command: Approve | Deny, order: Order) -> Message:
        request = await _find(tx, request_id)
        approves = isinstance(command, Approve)
        vote = Vote(
            order.actor.user_id,
            Choice.APPROVE if approves else Choice.DENY,
            typed=True,
            event_id=order.event.event_id,
            at=tx.now,
            note=command.note if isinstance(command, Approve) else command.reason,
            silent=isinstance(command, Deny) and command.silent,
        )
        username = command.username if isinstance(command, Approve) else None
        dropped = await self._voting.cast(tx, request, vote, order.electorate, username=username)
        return request_replies.voted(await self._view(tx, request_id), vote.choice, dropped=dropped)

    async def _take_back(self, tx: Transaction, command: Cancel | Reopen, order: Order) -> Message:
        request, event_id = await _find(tx, command.request_id), order.event.event_id
        if isinstance(command, Cancel):
            await decision.cancel(tx, request, order.actor, event_id=event_id)
            return request_replies.cancelled(await self._view(tx, request.id))
        kept_for = self._kept_for
        await decision.reopen(tx, request, order.actor, self._approval, event_id=event_id, kept_for=kept_for)
        return request_replies.reopened(await self._view(tx, request.id))

    async def _list(self, tx: Transaction, command: Requests) -> Message:
        states = OPEN if command.state is None else frozenset({command.state})
        newest_first = not states & OPEN
        total = await tx.requests.count(states)
        pages = max(1, -(-total // _ON_A_PAGE))
        if command.page > pages:
            there_are = f"are only {pages} pages" if pages > 1 else "is only one page"
            raise OnboardError(ErrorCode.BAD_ARGUMENT, f"There {there_are} of these.")
        after = (command.page - 1) * _ON_A_PAGE
        found = await tx.requests.page(states, after=after, at_most=_ON_A_PAGE, newest_first=newest_first)
        return request_replies.page(
            [(request, self._user_id(request)) for request in found],
            state=command.state,
            number=command.page,
            of=pages,
            total=total,
            at=tx.now,
            prefix=self._prefix,
        )

    async def _show(self, tx: Transaction, request_id: str, order: Order) -> Message | None:
        """Everything about a request; of a pending one that was merged into a list, its card."""
        request = await _find(tx, request_id)
        has_card = request.card is not None or await tx.jobs.is_open(effects.answer_key(request.origin_event))
        if request.state is State.PENDING and not has_card:
            await tx.intend(effects.post_card_for(request, order.event, order.typed.thread_root))
            return None
        history = [request_replies.history_line(row) for row in await tx.audit.of_request(request_id)]
        return request_replies.details(await self._view(tx, request_id), history)

    async def _view(self, tx: Transaction, request_id: str) -> CardView:
        request = await _find(tx, request_id)
        counted = await self._voting.count(tx, request)
        return CardView(request, self._user_id(request), counted, tx.now, self._prefix)

    def _user_id(self, request: Request) -> str:
        return request.account_on(self._registration.server_name)


async def _stands_below(tx: Transaction, room_id: str, typed: TypedCommand) -> list[Request]:
    """The requests that a command stands below: the one whose card or whose asking it answers, or those of its thread.

    Of a thread only those that wait for votes count, with the one whose card the thread began with.
    """
    if typed.in_reply_to is not None:
        answered = await tx.requests.with_card(room_id, typed.in_reply_to)
        answered = answered or await tx.requests.asked_with(room_id, typed.in_reply_to)
        if answered is not None:
            return [answered]
    if typed.thread_root is None:
        return []
    root = await tx.requests.with_card(room_id, typed.thread_root)
    root = root or await tx.requests.asked_with(room_id, typed.thread_root)
    inside = await tx.requests.pending_in_thread(room_id, typed.thread_root)
    return [*([root] if root is not None else []), *inside]


async def _find(tx: Transaction, request_id: str) -> Request:
    request = await tx.requests.get(request_id)
    if request is None:
        raise _no_such_request(request_id)
    return request


def _no_such_request(typed: str) -> OnboardError:
    return OnboardError(ErrorCode.NOT_FOUND, f"There is no request “{shorten(typed, _SHOWN)}”.")
