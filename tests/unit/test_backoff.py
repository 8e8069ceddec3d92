"""How long to wait before the next try: growing, capped, spread."""

from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.backoff import Backoff, wait_before_try

spreads = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 10**6), st.floats(0.01, 10), st.floats(10, 600), spreads)
def test_a_wait_is_between_half_its_length_and_all_of_it(
    failures: int, first: float, cap: float, spread: float
) -> None:
    wait = wait_before_try(failures, first=first, cap=cap, spread=lambda: spread)
    full = min(cap, first * 2 ** min(failures, 30))
    assert full / 2 <= wait <= full <= cap


@given(spreads)
def test_waits_grow_until_the_cap_and_begin_anew_after_a_success(spread: float) -> None:
    backoff = Backoff(first=1, cap=60, spread=lambda: spread)
    waits = [backoff.after_failure() for _ in range(10)]
    assert waits == sorted(waits)
    assert waits[-1] == waits[-2]
    backoff.succeeded()
    assert backoff.after_failure() == waits[0]


def test_two_bots_do_not_come_back_at_the_same_moment() -> None:
    assert len({wait_before_try(5) for _ in range(50)}) > 10
