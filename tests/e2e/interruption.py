"""A fault at one request: which request, where on its way, and whether the connection or the bot does not survive."""

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from tests.e2e.between import Between, Cut, Passing

# aiohttp repeats these once by itself when a connection ends without an answer; the program would hear of nothing.
_REPEATED = frozenset({"GET", "PUT", "DELETE"})


class Place(StrEnum):
    """Where a request is on its way."""

    BEFORE = "before the server"
    AFTER = "after the server, before the answer"
    MIDDLE = "in the middle of the answer"


class Way(StrEnum):
    """What does not survive."""

    CUT = "cut"
    KILL = "killed"


@dataclass(frozen=True)
class Moment:
    """The n-th request of its route: what runs side by side comes in another order every time."""

    route: str
    number: int

    def __str__(self) -> str:
        return f"{self.route} #{self.number}"


@dataclass(frozen=True)
class Fault:
    """What happens, where and when."""

    moment: Moment
    place: Place
    way: Way

    def __str__(self) -> str:
        return f"{self.way} at {self.moment}, {self.place}"


class Interruption:
    """Numbers the requests that come by, and makes faults happen, one after the other.

    Args:
        between: What the bot speaks through.
        kill: Kills the bot.
        faults: In their order; from each of them on, requests are numbered anew.
    """

    def __init__(self, between: Between, kill: Callable[[], Awaitable[None]], *faults: Fault) -> None:
        self.heard: list[list[Moment]] = [[]]
        """What came by up to the first fault, that request included; from there to the second one; and so on."""
        self._kill = kill
        self._to_come = deque(faults)
        self._numbers: Counter[str] = Counter()
        self._counting = True
        self._met: Passing | None = None
        self._repetition: tuple[Place, Passing] | None = None
        between.before, between.after, between.halfway = self._before, self._after, self._halfway

    @property
    def all_happened(self) -> bool:
        """Whether no request was waited for in vain."""
        return not self._to_come

    def stop_counting(self) -> None:
        """What comes from now on has no number."""
        self._counting = False

    async def _before(self, passing: Passing) -> None:
        if self._counting and self._met is None and not self._is_repetition(passing):
            self._numbers[passing.route] += 1
            moment = Moment(passing.route, self._numbers[passing.route])
            self.heard[-1].append(moment)
            if self._to_come and self._to_come[0].moment == moment:
                self._met = passing
        await self._at(Place.BEFORE, passing)

    async def _after(self, passing: Passing) -> None:
        await self._at(Place.AFTER, passing)

    async def _halfway(self, passing: Passing) -> None:
        await self._at(Place.MIDDLE, passing)

    def _is_repetition(self, passing: Passing) -> bool:
        return self._repetition is not None and self._repetition[1] == passing

    async def _at(self, place: Place, passing: Passing) -> None:
        if self._repetition == (place, passing):
            self._repetition = None
            raise Cut
        if self._met is not passing or self._to_come[0].place is not place:
            return
        fault = self._to_come.popleft()
        if fault.way is Way.KILL:
            await self._kill()
        elif passing.method in _REPEATED and place is not Place.MIDDLE:
            self._repetition = (place, passing)
        self._met = None
        self._numbers.clear()
        self.heard.append([])
        raise Cut
