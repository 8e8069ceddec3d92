"""Owns the rules by which a room decides: whose votes count, and what they make of a request.

What stands in the room counts: of each person the latest vote that was not taken back, while that person may vote.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from onboard_bot.clock import Timestamp
from onboard_bot.domain.identifiers import same_user
from onboard_bot.domain.requests import Request


class Choice(StrEnum):
    """What somebody wants to become of a request."""

    APPROVE = "approve"
    DENY = "deny"

    @property
    def sign(self) -> str:
        """What the bot puts under a card, so that one tap says it."""
        return "✅" if self is Choice.APPROVE else "❌"


@dataclass(frozen=True, slots=True)
class Group:
    """People of whom some must approve, named one by one or by a room that they are in.

    Args:
        name: As people know it.
        required: How many of them.
        members: User ids.
        room: Id or alias, as the configuration names it.
    """

    name: str
    required: int = 1
    members: frozenset[str] = frozenset()
    room: str | None = None


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    """What the configuration says of votes (design, section 3, `approval`); lengths of time in seconds.

    `deny` is how many denials decide; `required_for_admin` is for accounts with server-admin rights.
    """

    power_level: int = 50
    always: bool = False
    required: int = 1
    required_for_admin: int = 2
    deny: int = 1
    self_approval: bool = False
    expires_after: float = 7 * 24 * 3600.0
    remind_after: float = 24 * 3600.0
    groups: tuple[Group, ...] = ()

    def needed(self, request: Request) -> int:
        """How many approvals this request needs."""
        return self.required_for_admin if request.wish.admin else self.required


@dataclass(frozen=True, slots=True)
class Vote:
    """A vote that stands, as of the last look at who its voter is.

    Args:
        voter: Who.
        choice: For or against.
        typed: Whether it was typed; reactions are not encrypted, so the homeserver could forge one.
        event_id: What said it.
        at: When.
        note: What they said with it.
        silent: Whether who asked is not told of it.
        counts: Whether its voter may vote now.
        groups: Names of the groups that they belong to now.
    """

    voter: str
    choice: Choice
    typed: bool
    event_id: str
    at: Timestamp
    note: str | None = None
    silent: bool = False
    counts: bool = True
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Electorate:
    """A look at some people.

    Args:
        people: The groups of each who may vote now; None for who may not.
        number: Looks are numbered as they begin.
    """

    people: Mapping[str, frozenset[str] | None]
    number: int = 0

    def judge(self, vote: Vote) -> Vote:
        """The vote as it counts now; unchanged where nobody looked at its voter."""
        if vote.voter not in self.people:
            return vote
        groups = self.people[vote.voter]
        return replace(vote, counts=groups is not None, groups=groups or frozenset())


NOBODY = Electorate({})
"""Nobody was looked at."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the votes make of a request.

    Args:
        approvals: Those that count, oldest first.
        denials: The same.
        needed: Approvals.
        needed_to_deny: Denials.
        missing: Groups that are not represented yet, and by how many.
        decision: None while it is open.
    """

    approvals: tuple[Vote, ...]
    denials: tuple[Vote, ...]
    needed: int
    needed_to_deny: int
    missing: tuple[tuple[str, int], ...]
    decision: Choice | None


def may_vote_on(request: Request, user_id: str, rules: ApprovalRules) -> bool:
    """Whether nothing stands between this person and this request; the level is another matter."""
    if request.voucher is not None and same_user(user_id, request.voucher):
        return False
    return rules.self_approval or not same_user(user_id, request.requester)


def reaction_counts(request: Request) -> bool:
    """Whether a reaction may decide; never on accounts with server-admin rights (design, section 3)."""
    return not request.wish.admin


def tally(request: Request, votes: Sequence[Vote], rules: ApprovalRules) -> Tally:
    """What the standing votes make of a request. Where both sides have enough, the denial stands.

    Args:
        request: Which.
        votes: All that stand, in the order in which they came.
        rules: From the configuration.
    """
    counted = last_words(
        vote
        for vote in votes
        if vote.counts and may_vote_on(request, vote.voter, rules) and (vote.typed or reaction_counts(request))
    )
    approvals = tuple(vote for vote in counted if vote.choice is Choice.APPROVE)
    denials = tuple(vote for vote in counted if vote.choice is Choice.DENY)
    needed = rules.needed(request)
    missing = tuple(
        (group.name, lacking)
        for group in rules.groups
        if (lacking := group.required - sum(group.name in vote.groups for vote in approvals)) > 0
    )
    decision = None
    if len(denials) >= rules.deny:
        decision = Choice.DENY
    elif len(approvals) >= needed and not missing:
        decision = Choice.APPROVE
    return Tally(approvals, denials, needed, rules.deny, missing, decision)


def last_words(votes: Iterable[Vote]) -> list[Vote]:
    """The latest one of each person, in the order in which they came."""
    latest: dict[str, Vote] = {}
    for vote in votes:
        key = vote.voter.casefold()
        latest.pop(key, None)
        latest[key] = vote
    return list(latest.values())
