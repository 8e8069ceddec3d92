"""Two people vote at the same instant, again and again: one decision, one account, one answer.

`make votes` does it a hundred times and prints the figures for docs/reliability.md, `make test` a dozen times.
"""

import asyncio
import itertools
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import REGISTER, Between
from tests.e2e.bot_process import Launch
from tests.e2e.person import Person
from tests.e2e.server_view import ServerView
from tests.element.client import Element
from tests.element.council import NO, YES, Ballot, Council, open_council
from tests.element.events import Event
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAPPED, TYPED = "tapped", "typed"
WAYS = list(itertools.product([TAPPED, TYPED], repeat=2))
"""How Ada votes, and how Grace does."""


@dataclass
class Race:
    """Both may decide alone, and `between` counts what the bot asks the server for."""

    council: Council
    between: Between
    ballots: list[Ballot] = field(default_factory=list)
    votes: dict[str, list[str]] = field(default_factory=dict)
    """On each request, Ada's and Grace's."""

    async def run(self, ways: Sequence[str], choices: Sequence[str] = (YES, YES)) -> Ballot:
        """Somebody asks, and the two vote at the same instant; the request, decided."""
        ballot = await self.council.asks()
        people: list[Element | Person] = [self.council.ada, self.council.grace]
        votes = [self._vote(ballot, *vote) for vote in zip(people, ways, choices, strict=True)]
        self.votes[ballot.id] = await asyncio.gather(*votes)
        await self.council.ada.until(lambda: ballot.state in ("created", "denied"), why=f"a decision on {ballot.id}")
        self.ballots.append(ballot)
        return ballot

    async def _vote(self, ballot: Ballot, person: Element | Person, way: str, sign: str) -> str:
        if way == TAPPED:
            return await ballot.tap(person, sign)
        verb = {YES: "approve", NO: "deny"}[sign]
        return await person.say(self.council.room_id, f"!{verb} {ballot.id}")

    def answers_to_typed(self) -> list[int]:
        """How many each typed vote had."""
        events, said = self.council.ada.events, self.council.ada.said_by(self.council.talk.bot_id, self.council.room_id)
        answered = Counter(event.in_reply_to for event in said)
        return [answered[vote] for votes in self.votes.values() for vote in votes if events[vote].encrypted]

    def apart(self) -> list[int]:
        """By how many milliseconds Grace's vote came after Ada's to the server, on each request."""
        events = self.council.ada.events
        return [round(1000 * (events[grace].at - events[ada].at)) for ada, grace in self.votes.values()]

    def both_were_there_before_any_effect(self) -> int:
        """On how many requests both votes had come to the server before it heard of the first one's effect."""
        events = self.council.ada.events
        effects = {b.id: min(events[str(b.card.edited_by)].at, b.replies()[1].at) for b in self.ballots}
        return sum(max(events[vote].at for vote in votes) <= effects[of] for of, votes in self.votes.items())

    def told_too_late(self, ballot: Ballot) -> list[Event]:
        """The answers to whoever was the later of the two, whether they tapped or typed."""
        said = self.council.ada.said_by(self.council.talk.bot_id, self.council.room_id)
        return [e for e in said if (e.about.get("error"), e.about.get("id")) == ("already_decided", ballot.id)]

    def times_asked_for(self, ballot: Ballot) -> int:
        """How often the bot asked the server to make the account."""
        name = ballot.user_id[1:].partition(":")[0].encode()
        return sum(passing.is_a("POST", REGISTER) and name in passing.body for passing in self.between.passed)

    def passwords_sent(self, ballot: Ballot) -> int:
        said = self.council.eve.said_by(self.council.talk.bot_id)
        return sum(e.about == {"v": 1, "kind": "credentials", "user_id": ballot.user_id} for e in said)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def council_and_between(
    synapse: RunningSynapse,
    view: ServerView,
    node: Node,
    tmp_path_factory: pytest.TempPathFactory,
    quickly: Launch,
) -> AsyncIterator[tuple[Council, Between]]:
    """One vote decides."""
    async with (
        Between(synapse.url) as between,
        open_council(
            tmp_path_factory.mktemp("race"),
            synapse,
            view,
            node,
            version="12",
            launch=quickly,
            url=between.url,
            approval={"always": True, "required": 1},
        ) as council,
    ):
        yield council, between


@pytest.fixture
def race(council_and_between: tuple[Council, Between]) -> Race:
    """Nobody has run yet."""
    return Race(*council_and_between)


async def test_two_approvals_at_the_same_instant_make_one_account(race: Race, *, long: bool) -> None:
    times, view, began = 100 if long else 12, race.council.talk.view, time.monotonic()
    for number in range(times):
        ballot = await race.run(WAYS[number % len(WAYS)])
        if number == 0:
            await ballot.brings_the_account()  # from here on Eve has her room for passwords
    took = time.monotonic() - began
    await race.council.talk.all_said()
    for ballot in race.ballots:
        await race.council.talk.credentials(ballot.user_id, to=race.council.eve)

    of_each = {
        "accounts": [int(await view.account(ballot.user_id) is not None) for ballot in race.ballots],
        "times the server was asked for the account": [race.times_asked_for(ballot) for ballot in race.ballots],
        "answers to who asked, beside the card": [len(ballot.replies()) - 1 for ballot in race.ballots],
        "passwords sent": [race.passwords_sent(ballot) for ballot in race.ballots],
        "the later of the two was told that it is decided": [len(race.told_too_late(b)) for b in race.ballots],
    }
    of_typed, apart = race.answers_to_typed(), race.apart()
    if long:
        print(f"\n{times} requests, on each two approvals at the same instant, {took:.0f} s")
        between = sorted(map(abs, apart))
        print(f"  milliseconds between the two: {statistics.median(between):.0f} (median), {between[-1]} (longest)")
        print(f"  the first was Ada's, with Element: {sum(ms > 0 for ms in apart)}")
        print(f"  both were there before the first had an effect: {race.both_were_there_before_any_effect()}")
        for what, counted in {**of_each, "answers to each typed approval": of_typed}.items():
            print(f"  {what}: {spread(counted)}")
    assert {what: set(counted) for what, counted in of_each.items()} == {what: {1} for what in of_each}
    assert set(of_typed) == {1}


async def test_of_a_yes_and_a_no_at_the_same_instant_one_decides(race: Race, *, long: bool) -> None:
    times, view, began = 40 if long else 4, race.council.talk.view, time.monotonic()
    for number in range(times):
        await race.run(WAYS[number % len(WAYS)], (YES, NO) if number // 2 % 2 else (NO, YES))
    took = time.monotonic() - began
    await race.council.talk.all_said()
    outcomes = Counter(ballot.state for ballot in race.ballots)
    if long:
        print(f"\n{times} requests, on each an approval and a denial at the same instant, {took:.0f} s")
        print("\n".join(f"  {state}: {many}" for state, many in sorted(outcomes.items())))
    for ballot in race.ballots:
        made = ballot.state == "created"
        assert (await view.account(ballot.user_id) is not None, race.times_asked_for(ballot)) == (made, int(made))
        assert [e.about["state"] for e in ballot.replies()] == ["pending", ballot.state]
        assert len(race.told_too_late(ballot)) == 1


def spread(counted: Sequence[int]) -> str:
    """Such as `1 on 99, 2 on 1`."""
    return ", ".join(f"{number} on {many}" for number, many in sorted(Counter(counted).items()))
