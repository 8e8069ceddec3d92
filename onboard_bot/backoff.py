"""Owns how long to wait before the next try: growing, capped, spread."""

import secrets
from collections.abc import Callable

_SPREAD_STEPS = 1000


def _spread() -> float:
    return secrets.randbelow(_SPREAD_STEPS) / _SPREAD_STEPS


class Backoff:
    """The waits of one thing that keeps failing.

    Args:
        first: Seconds of the first wait, before spreading.
        cap: Seconds that no wait exceeds.
        spread: Gives numbers from 0 up to 1; each wait is between half of its full length and all of it.
    """

    def __init__(self, *, first: float = 0.5, cap: float = 60.0, spread: Callable[[], float] = _spread) -> None:
        self._first = first
        self._cap = cap
        self._spread = spread
        self._failures = 0

    def after_failure(self) -> float:
        """Seconds to wait now."""
        wait = wait_before_try(self._failures, first=self._first, cap=self._cap, spread=self._spread)
        self._failures += 1
        return wait

    def succeeded(self) -> None:
        """Begins anew."""
        self._failures = 0


def wait_before_try(
    failures: int, *, first: float = 0.5, cap: float = 60.0, spread: Callable[[], float] = _spread
) -> float:
    """Seconds to wait after so many failures in a row (0 for the first)."""
    full = min(cap, first * 2.0 ** min(failures, 30))
    return full * (1 + spread()) / 2
