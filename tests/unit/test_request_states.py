"""Which way a request may go: every step of the table, every path through it, and no path that makes two accounts."""

import itertools
import re
from collections.abc import Collection, Iterator

import pytest

from onboard_bot.domain.requests import OPEN, TRANSITIONS, State, may_become
from onboard_bot.store.tables import HOLDS_USERNAME

STEPS = {
    "pending": "approved denied cancelled expired",
    "approved": "creating cancelled expired failed",
    "creating": "created failed unknown",
    "unknown": "created failed",
    "failed": "approved pending",
    "denied": "pending",
    "created": "",
    "cancelled": "",
    "expired": "",
}
FINAL = frozenset({State.CREATED, State.CANCELLED, State.EXPIRED})
LONGEST = 12


def reachable(start: State, *, around: Collection[State] = ()) -> set[State]:
    """Where a request can get from here, without ever being in some states; its start is one only on a way back."""
    seen: set[State] = set()
    newest = {start}
    while newest:
        newest = {then for now in newest for then in State if may_become(now, then) and then not in around} - seen
        seen |= newest
    return seen


def paths(path: tuple[State, ...] = (State.PENDING,)) -> Iterator[tuple[State, ...]]:
    """Every path from the first state, of up to so many states; each is given, also those that go on."""
    yield path
    if len(path) < LONGEST:
        for then in State:
            if may_become(path[-1], then):
                yield from paths((*path, then))


def test_each_step_is_allowed_or_not_as_written_here() -> None:
    for now, then in itertools.product(State, State):
        assert may_become(now, then) is (then in STEPS[now].split()), f"{now} → {then}"


def test_the_table_has_a_row_for_every_state_and_every_state_is_reached() -> None:
    assert set(TRANSITIONS) == set(State) == {State(name) for name in STEPS}
    assert reachable(State.PENDING) == set(State)


def test_nothing_becomes_what_it_is() -> None:
    assert not any(may_become(state, state) for state in State)


def test_what_was_created_cancelled_or_expired_stays_so_and_all_else_can_come_to_an_end() -> None:
    for state in State:
        assert (not reachable(state)) is (state in FINAL)
        assert state in FINAL or reachable(state) >= {State.CREATED}


def test_no_path_makes_two_accounts() -> None:
    number = 0
    for path in paths():
        number += 1
        assert path.count(State.CREATED) <= 1
        assert State.CREATED not in path[:-1]
    assert number > 1000


def test_a_second_call_goes_out_only_after_the_first_is_known_to_have_made_nothing() -> None:
    again = [path for path in paths() if path[-1] is State.CREATING and State.CREATING in path[:-1]]
    for path in again:
        last_call = max(place for place, state in enumerate(path[:-1]) if state is State.CREATING)
        assert State.FAILED in path[last_call:]
    assert again
    assert State.CREATING not in reachable(State.CREATING, around={State.FAILED})


def test_on_every_path_an_account_was_written_down_before_it_could_exist() -> None:
    for path in paths():
        for before, now in itertools.pairwise(path):
            if now is State.CREATED:
                assert before in (State.CREATING, State.UNKNOWN)
    assert State.CREATED not in reachable(State.PENDING, around={State.CREATING})


def test_no_account_is_made_of_what_was_not_approved() -> None:
    assert State.CREATING not in reachable(State.PENDING, around={State.APPROVED})
    assert {state for state in State if may_become(state, State.CREATING)} == {State.APPROVED}
    assert {state for state in State if may_become(state, State.APPROVED)} == {State.PENDING, State.FAILED}


def test_a_denial_that_is_taken_back_is_decided_anew() -> None:
    assert reachable(State.DENIED, around={State.PENDING}) == set()


def test_nobody_knows_only_after_a_call_went_out_and_nothing_more_is_tried_meanwhile() -> None:
    assert {state for state in State if may_become(state, State.UNKNOWN)} == {State.CREATING}
    assert {state for state in State if may_become(State.UNKNOWN, state)} == {State.CREATED, State.FAILED}


@pytest.mark.parametrize("end", [State.CANCELLED, State.EXPIRED])
def test_only_what_has_not_begun_is_cancelled_or_expires(end: State) -> None:
    assert {state for state in State if may_become(state, end)} == {State.PENDING, State.APPROVED}


def test_what_failed_is_tried_again_as_it_was_or_asked_for_anew() -> None:
    assert reachable(State.FAILED) == set(State)
    assert {state for state in State if may_become(state, State.PENDING)} == {State.FAILED, State.DENIED}


def test_a_username_is_held_until_a_request_has_come_to_an_outcome() -> None:
    """Where nobody can tell, asking again is the way to find out (docs/decisions/0006)."""
    assert {state for state in State if state in OPEN} == {State.PENDING, State.APPROVED, State.CREATING}
    assert reachable(State.PENDING, around=set(State) - OPEN) | {State.PENDING} == OPEN


def test_the_database_holds_the_same_usernames() -> None:
    assert set(re.findall(r"'(\w+)'", HOLDS_USERNAME.text)) == OPEN
