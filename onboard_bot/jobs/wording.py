"""Owns which words belong to a request as it stands: its card, a reminder of it, what became of it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from onboard_bot.chat import replies, request_replies
from onboard_bot.chat.cards import CardView, card, known_code
from onboard_bot.chat.history import HistoryLine, history_line
from onboard_bot.chat.lists import merged_request
from onboard_bot.chat.messages import About, Kind, Message
from onboard_bot.domain.approvals import ApprovalRules, may_vote_on
from onboard_bot.domain.identifiers import same_user
from onboard_bot.domain.requests import OPEN, Request, State
from onboard_bot.errors import ABOUT_THE_NAME, ErrorCode, OnboardError
from onboard_bot.onboarding import effects
from onboard_bot.onboarding.effects import Says
from onboard_bot.onboarding.voting import Voting
from onboard_bot.store.transaction import Transaction

_MENTIONED_AT_MOST = 100
"""Where more people than this may decide, pinging all of them would be a nuisance, and a large event."""

_ENDED: Mapping[State, Callable[[CardView, tuple[str, ...]], Message]] = {
    State.DENIED: request_replies.denied,
    State.EXPIRED: request_replies.expired,
    State.CANCELLED: request_replies.was_cancelled,
}


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is said of which request; `history` where all of it is told."""

    says: Says
    view: CardView
    history: tuple[HistoryLine, ...] = ()

    @property
    def asks(self) -> bool:
        """Whether it asks people to decide."""
        return self.says is not Says.OUTCOME and self.view.request.state is State.PENDING

    @property
    def about(self) -> str:
        """The event that it replies to."""
        request = self.view.request
        if self.says is Says.REMINDER and request.card is not None:
            return request.card.event_id
        return request.origin_event


class Wording:
    """Finds them.

    Args:
        voting: Tells how the votes stand.
        rules: Tell who may vote on what.
        server_name: Of the accounts.
        prefix: Of commands.
        credentials_in_room: Whether the password follows in the room instead of a direct message.
    """

    def __init__(
        self, voting: Voting, rules: ApprovalRules, *, server_name: str, prefix: str, credentials_in_room: bool
    ) -> None:
        self._voting = voting
        self._rules = rules
        self._server_name = server_name
        self._prefix = prefix
        self._credentials_in_room = credentials_in_room

    async def view(self, tx: Transaction, request: Request) -> CardView:
        """The request with its votes."""
        return CardView(
            request=request,
            user_id=request.account_on(self._server_name),
            tally=await self._voting.count(tx, request),
            at=tx.now,
            prefix=self._prefix,
        )

    async def speak(self, tx: Transaction, request: Request, says: Says) -> Spoken | None:
        """What there is to say; None where it is too late for it."""
        if says is Says.REMINDER and request.state is not State.PENDING:
            return None
        if says is Says.OUTCOME and request.state in OPEN:  # it was taken up again meanwhile
            return None
        history: tuple[HistoryLine, ...] = ()
        if says is Says.CARD and request.card is not None:  # two people asked for it, and one got it
            history = tuple(history_line(row) for row in await tx.audit.of_request(request.id))
        return Spoken(says, await self.view(tx, request), history)

    def message(self, spoken: Spoken, approvers: Collection[str], *, alone: bool) -> Message:
        """The words.

        Args:
            spoken: What is said.
            approvers: Everybody who may vote in the room.
            alone: Whether it is a message of its own, and not a line in a list.
        """
        view = spoken.view
        if spoken.says is Says.OUTCOME:
            return self._outcome(view)
        if spoken.says is Says.REMINDER:
            return request_replies.reminder(view, mentions=self._have_not_voted(view, approvers))
        if view.request.card is not None:
            return request_replies.details(view, spoken.history)
        mentions = self.asked(view, approvers)
        if not alone:
            return merged_request(view, mentions=mentions)
        return card(self.seen_by(view, approvers), mentions=mentions)

    def seen_by(self, view: CardView, approvers: Collection[str]) -> CardView:
        """The view, with how many of them may decide."""
        return replace(view, deciders=len(self._deciders(view, approvers)))

    def is_needed(self, spoken: Spoken, approvers: Collection[str]) -> bool:
        """Whether it is to be said; a reminder of nobody is not."""
        return spoken.says is not Says.REMINDER or bool(self._have_not_voted(spoken.view, approvers))

    def asked(self, view: CardView, approvers: Collection[str], *, but: Collection[str] = ()) -> tuple[str, ...]:
        """Those who are mentioned because they may decide on it; never who asks for it, even where they may."""
        deciders = (who for who in self._deciders(view, approvers) if not same_user(who, view.request.requester))
        return tuple([who for who in deciders if who not in but][:_MENTIONED_AT_MOST])

    def _deciders(self, view: CardView, approvers: Collection[str]) -> list[str]:
        return sorted(who for who in approvers if may_vote_on(view.request, who, self._rules))

    def _have_not_voted(self, view: CardView, approvers: Collection[str]) -> tuple[str, ...]:
        return self.asked(view, approvers, but={vote.voter for vote in (*view.tally.approvals, *view.tally.denials)})

    def _outcome(self, view: CardView) -> Message:
        """What the person who asked hears. Whoever waited for votes is mentioned."""
        request, user_id = view.request, view.user_id
        waited = () if effects.ran_at_once(request) else (request.requester,)
        if request.state is State.CREATED:
            where = (
                "The password follows here."
                if self._credentials_in_room
                else "I send you the password in a direct message."
            )
            return replies.account_created(
                request.id,
                user_id,
                request.wish.display_name,
                admin=request.wish.admin,
                where_credentials_went=where,
                mentions=waited,
            )
        if request.state in _ENDED:
            return _ENDED[request.state](view, waited)
        if request.state is State.UNKNOWN:
            return replies.account_unknown(request.id, user_id, mentions=waited)
        code = known_code(request.error)
        if code is ErrorCode.INTERNAL:  # the log names the request
            about = About(Kind.ERROR, id=request.id, state=request.state, user_id=user_id, error=code)
            return replies.internal_failure(request.id, about=about, mentions=waited)
        sentence = replies.why_failed(code, request.wish.username)
        if code in ABOUT_THE_NAME and not effects.ran_at_once(request):
            sentence += f"\nAn approver can correct it: {self._prefix}approve {request.id} --username=…"
        error = OnboardError(code, sentence, request_id=request.id, state=request.state)
        return replies.failure(error, user_id=user_id, mentions=waited)
