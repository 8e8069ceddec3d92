"""Owns how often something may be done that others can cause: once for each thing, and so often for each of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from onboard_bot.clock import Timestamp


@dataclass(frozen=True, slots=True)
class Spent:
    """One time that it was done: when, because of whom, and with what."""

    at: Timestamp
    who: str
    what: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be done within any stretch of time of this length.

    Args:
        period: Seconds.
        of_one: How often because of one person.
        altogether: How often because of all of them.
    """

    period: float
    of_one: int
    altogether: int

    def spend(self, spent: Sequence[Spent], who: str, what: str, *, now: Timestamp) -> tuple[Spent, ...] | None:
        """What is spent with this once more; None where it may not be done now.

        Args:
            spent: So far. What lies in the future, by a clock that was set back since, does not count.
            who: Because of whom.
            what: With what; the same thing once.
            now: This moment.
        """
        recent = tuple(one for one in spent if 0 <= now - one.at < self.period)
        of_one = [one.what for one in recent if one.who == who]
        if what in of_one or len(of_one) >= self.of_one or len(recent) >= self.altogether:
            return None
        return (*recent, Spent(now, who, what))
