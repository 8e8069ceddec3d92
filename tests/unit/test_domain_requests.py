"""The table of transitions: which way a request may go, and from where there is no way on."""

from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.domain.requests import OPEN, TRANSITIONS, State, may_become

FINAL = {State.CREATED, State.CANCELLED, State.EXPIRED}


def reachable(start: State) -> set[State]:
    seen = {start}
    while new := {then for now in seen for then in TRANSITIONS[now]} - seen:
        seen |= new
    return seen


def test_every_state_has_a_row_and_every_step_is_in_it() -> None:
    assert set(TRANSITIONS) == set(State)
    for now in State:
        for then in State:
            assert may_become(now, then) is (then in TRANSITIONS[now])


def test_every_state_is_reached_from_the_first() -> None:
    assert reachable(State.PENDING) == set(State)


def test_what_was_created_cancelled_or_expired_stays_so() -> None:
    assert {state for state in State if not TRANSITIONS[state]} == FINAL


def test_an_account_is_created_only_after_it_was_written_down_that_it_might_be() -> None:
    assert {state for state in State if may_become(state, State.CREATED)} == {State.CREATING, State.UNKNOWN}
    assert {state for state in State if may_become(state, State.CREATING)} == {State.APPROVED}


def test_nobody_knows_only_after_a_call_went_out() -> None:
    assert {state for state in State if may_become(state, State.UNKNOWN)} == {State.CREATING}


@given(st.lists(st.sampled_from(State), max_size=20))
def test_a_request_whose_account_may_still_be_made_holds_its_username_and_no_other_does(path: list[State]) -> None:
    """Where nobody can tell, asking again is the way to find out (docs/decisions/0006)."""
    now = State.PENDING
    for then in path:
        if may_become(now, then):
            now = then
    assert (now in OPEN) is (now in (State.PENDING, State.APPROVED, State.CREATING))
