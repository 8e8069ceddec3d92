"""Whose votes count and what they decide: whatever happens in a room, in whatever order, however people are spelled."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onboard_bot.domain.approvals import (
    Choice,
    Electorate,
    Tally,
    Vote,
    may_vote_on,
    reaction_counts,
    tally,
)
from tests.unit.voting import (
    OUTSIDER,
    PARENTS,
    PEOPLE,
    SAID,
    TEACHERS,
    Act,
    Ballot,
    Case,
    Event,
    World,
    after,
    counted,
    heard,
    possible,
    ruling,
    spellings,
    standing,
    voices,
)

BOB_TEACHES = World(groups=frozenset({(TEACHERS, "bob")}))

people = st.sampled_from(PEOPLE)
any_spelling = st.integers(0, len(spellings("ada")) - 1)
acts = st.sampled_from([*Act, *SAID, *SAID])
events = st.lists(st.builds(Event, st.sampled_from(PEOPLE[:3]), acts, any_spelling), max_size=30)
ballots = st.builds(Ballot, people, st.sampled_from(Choice), st.booleans(), any_spelling)
worlds = st.builds(
    World,
    ballots=st.lists(ballots, max_size=12).map(tuple),
    away=st.frozensets(people, max_size=1),
    powerless=st.frozensets(people, max_size=1),
    groups=st.frozensets(st.tuples(st.sampled_from([TEACHERS, PARENTS]), people)),
)
cases = st.builds(
    Case,
    needed=st.sampled_from((1, 2, 2, 3)),
    deny=st.sampled_from((1, 2, 2, 3)),
    admin=st.booleans(),
    self_approval=st.booleans(),
    requester=st.sampled_from([*PEOPLE, OUTSIDER]),
    voucher=st.none() | people,
    groups=st.sampled_from([(), ((TEACHERS, 1),), ((TEACHERS, 2),), ((TEACHERS, 1), (PARENTS, 1))]),
    spelling=any_spelling,
)


def small_cases(*, requesters: Sequence[str], vouchers: Sequence[str | None]) -> list[Case]:
    sides = (False, True)
    groups: list[tuple[tuple[str, int], ...]] = [(), ((TEACHERS, 1),)]
    return list(itertools.starmap(Case, itertools.product((1, 2), (1, 2), sides, sides, requesters, vouchers, groups)))


def reachable(people: Sequence[str], length: int) -> set[World]:
    """Every world that some sequence of so many events leads to; several that lead to the same ask the same."""
    seen = newest = {BOB_TEACHES}
    for _ in range(length):
        newest = {then for world in newest for _, then in possible(world, people)} - seen
        seen = seen | newest
    return seen


@pytest.mark.parametrize(
    ("people", "length", "small"),
    [
        (("ada", "bob"), 4, small_cases(requesters=("ada", OUTSIDER), vouchers=("bob", None))),
        (("ada", "bob", "cleo"), 3, small_cases(requesters=("ada",), vouchers=("cleo", None))),
    ],
    ids=["two people", "three people"],
)
def test_wherever_a_few_events_lead_the_votes_decide_what_the_rules_say(
    people: Sequence[str], length: int, small: list[Case]
) -> None:
    decisions = set()
    asked = [(case, case.request(), case.rules()) for case in small]
    for world in reachable(people, length):
        votes = standing(world)
        for case, request, rules in asked:
            result = tally(request, votes, rules)
            assert result.decision is ruling(world, case), (world, case)
            assert heard(result) == voices(world, case), (world, case)
            decisions.add(result.decision)
    assert decisions == {None, *Choice}


@given(events, cases)
@settings(max_examples=300, deadline=None)
def test_whatever_happens_the_first_state_that_decides_decides(happened: list[Event], case: Case) -> None:
    world = World()
    for event in happened:
        world = after(world, event)
        result = counted(world, case)
        assert heard(result) == voices(world, case)
        assert result.decision is ruling(world, case)
        if result.decision is not None:
            break


def until_decided(happened: Sequence[Event], case: Case) -> tuple[World, int]:
    """Where the events lead up to the first decision, and how many of them that takes."""
    world, took = World(), 0
    while took < len(happened) and counted(world, case).decision is None:
        world, took = after(world, happened[took]), took + 1
    return world, took


def outcome(result: Tally) -> tuple[object, ...]:
    """What a tally says, whoever spoke first."""
    return frozenset(heard(result).items()), result.needed, result.missing, result.decision


@pytest.mark.parametrize(
    "case",
    [
        Case(needed=2, deny=2),
        Case(needed=2, deny=1, groups=((TEACHERS, 1),)),
        Case(needed=1, deny=2, admin=True, groups=((TEACHERS, 1),)),
        Case(needed=2, deny=2, requester="ada", self_approval=True),
    ],
)
def test_every_two_orders_of_the_same_events_without_an_earlier_decision_end_alike(case: Case) -> None:
    """What each person does stays in its order; between people there is none."""
    known: dict[World, tuple[object, ...]] = {}
    ends: dict[tuple[tuple[Act, ...], ...], set[tuple[object, ...]]] = {}

    def go_on(world: World, histories: dict[str, tuple[Act, ...]], left: int) -> None:
        if world not in known:
            known[world] = outcome(counted(world, case))
        ends.setdefault(tuple(histories.values()), set()).add(known[world])
        if left and known[world][-1] is None:
            for event, then in possible(world, tuple(histories)):
                go_on(then, {**histories, event.who: (*histories[event.who], event.act)}, left - 1)

    go_on(BOB_TEACHES, {"ada": (), "bob": ()}, 4)
    assert all(len(ways) == 1 for ways in ends.values())
    assert {decision for ways in ends.values() for *_, decision in ways} == {None, *Choice}


@given(events, cases, st.data())
@settings(max_examples=200, deadline=None)
def test_long_orders_of_the_same_events_without_an_earlier_decision_end_alike(
    happened: list[Event], case: Case, data: st.DataObject
) -> None:
    one, took = until_decided(happened, case)
    turns = data.draw(st.permutations([event.who for event in happened[:took]]))
    left = {who: iter([event for event in happened if event.who == who]) for who in PEOPLE}
    other, took_too = until_decided([next(left[who]) for who in turns], case)
    assume(took_too == took)
    assert outcome(counted(one, case)) == outcome(counted(other, case))


@given(worlds, cases)
@settings(deadline=None)
def test_neither_who_asks_nor_who_vouched_counts_in_any_spelling(world: World, case: Case) -> None:
    silent = {case.voucher} if case.self_approval else {case.requester, case.voucher}
    without = [vote for vote, ballot in zip(standing(world), world.ballots, strict=True) if ballot.who not in silent]
    assert counted(world, case) == tally(case.request(), without, case.rules())
    for who in PEOPLE:
        for user_id in spellings(who):
            assert may_vote_on(case.request(), user_id, case.rules()) is (who not in silent)


@given(worlds, cases)
@settings(deadline=None)
def test_with_self_approval_who_asks_counts_like_anybody_unless_they_vouched_too(world: World, case: Case) -> None:
    case = case._replace(self_approval=True)
    same_for_anybody = case._replace(requester=OUTSIDER)
    assert counted(world, case) == counted(world, same_for_anybody)


@given(worlds, cases)
@settings(deadline=None)
def test_reactions_move_nothing_where_the_account_has_admin_rights(world: World, case: Case) -> None:
    """Neither for nor against, nor by covering what the same person typed: the homeserver could forge them."""
    case = case._replace(admin=True)
    typed = [vote for vote in standing(world) if vote.typed]
    assert counted(world, case) == tally(case.request(), typed, case.rules())
    assert not reaction_counts(case.request())


@given(worlds, cases)
@settings(deadline=None)
def test_where_the_account_has_no_admin_rights_a_reaction_is_worth_a_typed_word(world: World, case: Case) -> None:
    case = case._replace(admin=False)
    typed = world._replace(ballots=tuple(ballot._replace(typed=True) for ballot in world.ballots))
    assert outcome(counted(world, case)) == outcome(counted(typed, case))
    assert reaction_counts(case.request())


@given(worlds, cases, st.data())
@settings(deadline=None)
def test_nobody_counts_twice_and_the_spelling_changes_nothing(world: World, case: Case, data: st.DataObject) -> None:
    respelled = world._replace(
        ballots=tuple(ballot._replace(spelling=data.draw(any_spelling)) for ballot in world.ballots)
    )
    assert outcome(counted(world, case)) == outcome(counted(respelled, case))


@given(worlds, cases, ballots)
@settings(deadline=None)
def test_a_later_vote_replaces_an_earlier_and_taken_back_it_gives_way_again(
    world: World, case: Case, ballot: Ballot
) -> None:
    case = case._replace(admin=False, requester=OUTSIDER, voucher=None)
    assume(world.may_vote(ballot.who))
    before = counted(world, case)
    said = next(act for act, meant in SAID.items() if meant == (ballot.choice, ballot.typed))
    voted = after(world, Event(ballot.who, said, ballot.spelling))
    assert heard(counted(voted, case)) == {**heard(before), ballot.who: ballot.choice}
    assert counted(after(voted, Event(ballot.who, Act.TAKES_BACK_LATEST)), case) == before


def test_an_earlier_vote_that_was_taken_back_does_not_come_again() -> None:
    world, case = World(), Case(needed=2, deny=2)
    for act, now_said in (
        (Act.TYPES_YES, Choice.APPROVE),
        (Act.REACTS_NO, Choice.DENY),
        (Act.TAKES_BACK_FIRST, Choice.DENY),
        (Act.TAKES_BACK_LATEST, None),
    ):
        world = after(world, Event("ada", act))
        assert heard(counted(world, case)).get("ada") is now_said


@pytest.mark.parametrize(("goes", "returns"), [(Act.LEAVES, Act.COMES_BACK), (Act.LOSES_LEVEL, Act.GAINS_LEVEL)])
def test_who_leaves_or_loses_the_level_counts_no_more_until_they_are_back(goes: Act, returns: Act) -> None:
    case = Case(needed=2, deny=2)
    world = after(World(), Event("ada", Act.REACTS_YES))
    assert set(heard(counted(world, case))) == {"ada"}
    world = after(world, Event("ada", goes))
    assert counted(world, case) == Tally((), (), 2, 2, (), None)
    world = after(world, Event("ada", Act.TYPES_NO))
    world = after(world, Event("ada", returns))
    assert heard(counted(world, case)) == {"ada": Choice.APPROVE}


def yes(*names: str) -> World:
    """All of them said yes; ada and bob are teachers, bob is a parent too."""
    return World(
        tuple(Ballot(who, Choice.APPROVE, typed=True) for who in names),
        groups=frozenset({(TEACHERS, "ada"), (TEACHERS, "bob"), (PARENTS, "bob")}),
    )


ONE_TEACHER, TWO_TEACHERS, BOTH = ((TEACHERS, 1),), ((TEACHERS, 2),), ((TEACHERS, 1), (PARENTS, 1))


@pytest.mark.parametrize(
    ("needed", "groups", "world", "missing", "decided"),
    [
        (1, ONE_TEACHER, yes("ada"), (), True),
        (2, ONE_TEACHER, yes("ada"), (), False),
        (2, ONE_TEACHER, yes("ada", "cleo"), (), True),
        (2, ONE_TEACHER, yes("cleo", "dan"), ((TEACHERS, 1),), False),
        (1, TWO_TEACHERS, yes("ada", "cleo", "dan"), ((TEACHERS, 1),), False),
        (1, TWO_TEACHERS, yes("cleo"), ((TEACHERS, 2),), False),
        (1, TWO_TEACHERS, yes("ada", "bob"), (), True),
        (1, BOTH, yes("bob"), (), True),
        (1, BOTH, yes("ada"), ((PARENTS, 1),), False),
        (2, BOTH, yes(), BOTH, False),
    ],
)
def test_a_member_counts_for_their_groups_and_for_the_number_needed(
    needed: int,
    groups: tuple[tuple[str, int], ...],
    world: World,
    missing: tuple[tuple[str, int], ...],
    *,
    decided: bool,
) -> None:
    result = counted(world, Case(needed, groups=groups))
    assert (result.needed, result.missing) == (needed, missing)
    assert result.decision is (Choice.APPROVE if decided else None)


def test_a_group_is_not_represented_by_a_member_who_is_against() -> None:
    world = yes("cleo")._replace(ballots=(Ballot("ada", Choice.DENY, typed=True), *yes("cleo").ballots))
    assert counted(world, Case(deny=2, groups=ONE_TEACHER)).missing == ONE_TEACHER


@given(worlds, cases)
@settings(deadline=None)
def test_where_both_sides_have_enough_the_denial_stands(world: World, case: Case) -> None:
    result = counted(world, case)
    assert (result.decision is Choice.DENY) is (len(result.denials) >= case.deny)
    enough = len(result.approvals) >= case.needed and not result.missing
    assert (result.decision is Choice.APPROVE) is (enough and len(result.denials) < case.deny)


def test_a_denial_stands_against_a_quorum_that_came_back_in_the_same_moment() -> None:
    against = Ballot("cleo", Choice.DENY, typed=True)
    world = World((*yes("ada", "bob").ballots, against), powerless=frozenset(PEOPLE))
    assert counted(world, Case(needed=2)).decision is None
    assert counted(world._replace(powerless=frozenset()), Case(needed=2)).decision is Choice.DENY


@given(worlds, cases)
@settings(deadline=None)
def test_votes_are_told_in_the_order_in_which_they_came(world: World, case: Case) -> None:
    result = counted(world, case)
    for side in (result.approvals, result.denials):
        assert [vote.at for vote in side] == sorted(vote.at for vote in side)


def said(choice: Choice, *, counts: bool) -> Vote:
    groups = frozenset({TEACHERS})
    return Vote("@ada:example.org", choice, typed=True, event_id="$1", at=5.0, note="?", counts=counts, groups=groups)


def test_who_was_not_looked_at_counts_as_before() -> None:
    for vote in (said(Choice.APPROVE, counts=True), said(Choice.DENY, counts=False)):
        assert Electorate({}).judge(vote) == vote
        assert Electorate({"@bob:example.org": None}).judge(vote) == vote


def test_a_look_changes_who_somebody_is_and_nothing_that_they_said() -> None:
    vote = said(Choice.DENY, counts=True)
    gone = Electorate({vote.voter: None}).judge(vote)
    assert (gone.counts, gone.groups) == (False, frozenset())
    back = Electorate({vote.voter: frozenset({TEACHERS})}).judge(gone)
    assert back == vote
