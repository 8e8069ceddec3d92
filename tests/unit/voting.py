"""A room in which people vote, and what becomes of a request there.

`ruling` is the rules once more, from what was promised and not from the code: people are names here, each with a pile
of ballots, so that it cannot share a mistake about spellings, order or who counts. `counted` asks the code.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from onboard_bot.domain.approvals import ApprovalRules, Choice, Electorate, Group, Tally, Vote, tally
from onboard_bot.domain.requests import Origin, Request, State, Wish

PEOPLE = ("ada", "bob", "cleo", "dan")
OUTSIDER = "zoe"
TEACHERS, PARENTS = "teachers", "parents"


def spellings(who: str) -> tuple[str, ...]:
    """User ids that mean the same person."""
    return (
        f"@{who}:example.org",
        f"@{who.title()}:example.org",
        f"@{who.upper()}:example.org",
        f"@{who}:EXAMPLE.org",
        f"@{who.upper()}:EXAMPLE.ORG",
    )


def person(user_id: str) -> str:
    """Whom a user id means."""
    return user_id[1:].partition(":")[0].lower()


class Act(StrEnum):
    """What one person can do, or have done to them, that bears on a decision."""

    TYPES_YES = "types ✅"
    TYPES_NO = "types ❌"
    REACTS_YES = "reacts ✅"
    REACTS_NO = "reacts ❌"
    TAKES_BACK_LATEST = "takes back the latest"
    TAKES_BACK_FIRST = "takes back the first"
    LOSES_LEVEL = "loses the level"
    GAINS_LEVEL = "gains the level"
    LEAVES = "leaves"
    COMES_BACK = "comes back"
    BECOMES_TEACHER = "becomes a teacher"
    NO_TEACHER = "is no teacher any more"


SAID = {
    Act.TYPES_YES: (Choice.APPROVE, True),
    Act.TYPES_NO: (Choice.DENY, True),
    Act.REACTS_YES: (Choice.APPROVE, False),
    Act.REACTS_NO: (Choice.DENY, False),
}
IN_THE_ADMIN_ROOM = tuple(act for act in Act if act not in (Act.BECOMES_TEACHER, Act.NO_TEACHER))


class Event(NamedTuple):
    """Something that happens in the room; `spelling` is how the voter's user id is written."""

    who: str
    act: Act
    spelling: int = 0


class Ballot(NamedTuple):
    """A vote that nobody took back."""

    who: str
    choice: Choice
    typed: bool
    spelling: int = 0


class World(NamedTuple):
    """What stands: the ballots in the order in which they came, who is away, who lacks the level, who is in a group."""

    ballots: tuple[Ballot, ...] = ()
    away: frozenset[str] = frozenset()
    powerless: frozenset[str] = frozenset()
    groups: frozenset[tuple[str, str]] = frozenset()

    def may_vote(self, who: str) -> bool:
        """Whether they are joined and have the level."""
        return who not in self.away and who not in self.powerless

    def groups_of(self, who: str) -> frozenset[str]:
        """Those to which they belong."""
        return frozenset(group for group, member in self.groups if member == who)


def after(world: World, event: Event) -> World:
    """The world a moment later; the same one where the event is nothing."""
    who, act, spelling = event
    then = world
    match act:
        case Act.TAKES_BACK_LATEST | Act.TAKES_BACK_FIRST:
            theirs = [place for place, ballot in enumerate(world.ballots) if ballot.who == who]
            if theirs:
                gone = theirs[-1] if act is Act.TAKES_BACK_LATEST else theirs[0]
                then = world._replace(ballots=world.ballots[:gone] + world.ballots[gone + 1 :])
        case Act.LOSES_LEVEL:
            then = world._replace(powerless=world.powerless | {who})
        case Act.GAINS_LEVEL:
            then = world._replace(powerless=world.powerless - {who})
        case Act.LEAVES:
            then = world._replace(away=world.away | {who})
        case Act.COMES_BACK:
            then = world._replace(away=world.away - {who})
        case Act.BECOMES_TEACHER:
            then = world._replace(groups=world.groups | {(TEACHERS, who)})
        case Act.NO_TEACHER:
            then = world._replace(groups=world.groups - {(TEACHERS, who)})
        case _:
            if world.may_vote(who):  # it is looked at in that moment: a vote of who may not is nothing, for good
                then = world._replace(ballots=(*world.ballots, Ballot(who, *SAID[act], spelling)))
    return then


def possible(world: World, people: Sequence[str]) -> Iterator[tuple[Event, World]]:
    """Everything in the admin room that would change something, and what it would lead to."""
    for who in people:
        for act in IN_THE_ADMIN_ROOM:
            event = Event(who, act)
            if (then := after(world, event)) != world:
                yield event, then


class Case(NamedTuple):
    """A request and the rules for it; `needed` is for this request, and the other number of approvals is another one.

    `groups` are names and how many of each must approve.
    """

    needed: int = 1
    deny: int = 1
    admin: bool = False
    self_approval: bool = False
    requester: str = OUTSIDER
    voucher: str | None = None
    groups: tuple[tuple[str, int], ...] = ()
    spelling: int = 0

    def rules(self) -> ApprovalRules:
        """As the configuration says them."""
        other = self.needed % 2 + 1
        return ApprovalRules(
            required=other if self.admin else self.needed,
            required_for_admin=self.needed if self.admin else other,
            deny=self.deny,
            self_approval=self.self_approval,
            groups=tuple(Group(name, required) for name, required in self.groups),
        )

    def request(self) -> Request:
        """As the store gives it."""
        return Request(
            id="2fhk4",
            state=State.PENDING,
            wish=Wish("newcomer", admin=self.admin),
            origin=Origin.ADMIN_ROOM,
            requester=spellings(self.requester)[self.spelling],
            origin_room="!room",
            origin_event="$asked",
            thread_root=None,
            created_at=5.0,
            voucher=None if self.voucher is None else spellings(self.voucher)[-1 - self.spelling],
        )


def voices(world: World, case: Case) -> dict[str, Choice]:
    """What each person who counts says: the uppermost ballot of their pile."""
    piles: dict[str, list[Choice]] = {}
    for who, choice, typed, _ in world.ballots:
        if typed or not case.admin:  # a reaction to an account with server-admin rights is no ballot
            piles.setdefault(who, []).append(choice)
    return {
        who: pile[-1]
        for who, pile in piles.items()
        if who not in world.away
        and who not in world.powerless
        and who != case.voucher
        and (who != case.requester or case.self_approval)
    }


def ruling(world: World, case: Case) -> Choice | None:
    """What the rules make of it."""
    said = voices(world, case)
    yes = {who for who, choice in said.items() if choice is Choice.APPROVE}
    if len(said) - len(yes) >= case.deny:
        return Choice.DENY
    for group, required in case.groups:
        if len(yes & {member for name, member in world.groups if name == group}) < required:
            return None
    return Choice.APPROVE if len(yes) >= case.needed else None


def standing(world: World) -> list[Vote]:
    """The votes after a look at each voter; what the look before it had shown was wrong in everything."""
    electorate = Electorate(
        {
            spellings(ballot.who)[ballot.spelling]: world.groups_of(ballot.who) if world.may_vote(ballot.who) else None
            for ballot in world.ballots
        }
    )
    return [
        electorate.judge(
            Vote(
                voter=spellings(who)[spelling],
                choice=choice,
                typed=typed,
                event_id=f"${place}",
                at=float(place),
                counts=not world.may_vote(who),
                groups=frozenset({TEACHERS, PARENTS}) - world.groups_of(who),
            )
        )
        for place, (who, choice, typed, spelling) in enumerate(world.ballots)
    ]


def counted(world: World, case: Case) -> Tally:
    """What the code makes of it."""
    return tally(case.request(), standing(world), case.rules())


def heard(result: Tally) -> dict[str, Choice]:
    """What the code heard each person say; an error where it heard somebody twice, or on the wrong side."""
    said = [(person(vote.voter), vote.choice) for vote in (*result.approvals, *result.denials)]
    assert len(dict(said)) == len(said)
    assert {vote.choice for vote in result.approvals} <= {Choice.APPROVE}
    assert {vote.choice for vote in result.denials} <= {Choice.DENY}
    return dict(said)
