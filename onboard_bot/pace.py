"""Owns how fast all requests of this process together may go, and what may not be asked again yet.

Every part that talks to the homeserver waits for itself, and forty open jobs that each wait politely still knock forty
times at once. So each request takes one of a few places. A good answer gives the place back at once: in good times
nobody waits. Whatever else becomes of a request, its place stays taken for a little more than a second after it was
sent, and while something went wrong lately, so does that of the good ones: hence no second in an outage sees more
requests than there are places, however many jobs are open and whatever they believe.

What the server limits is a thing by itself: until its time has come nobody asks for it, and then they ask one by one.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from onboard_bot.clock import Clock

PLACES = 5
"""Requests without a good answer in any second; at most six are promised in a storm of 429, ten in an outage."""
HELD = 1.5
"""Seconds for which a place is taken: one, and what a busy machine may lose between deciding and sending."""
ROUGH = 2.0
"""Seconds after a failure in which good answers do not hurry anybody on."""
CALM = 10.0
"""Seconds after the end of a limit in which its things are asked for one by one, and a new limit follows the old."""
UNSAID_WAIT = 5.0
"""How long a limit is taken to last where the answer does not say."""
LONGEST_WAIT = 600.0
_FIRST_WAIT = 0.25
_WAIT_IN_THE_END = 10.0
_SHORTEST_REST = 0.05


class NotYetError(Exception):
    """The server has limited this, and it is not time yet: nothing was sent.

    Args:
        wait: Seconds until then.
    """

    def __init__(self, wait: float) -> None:
        super().__init__(f"limited for another {wait:.1f} s")
        self.wait = wait


class Turn(Protocol):
    """One request, for as long as `async with` lasts: sent inside, and told there what became of it.

    Without a word it went well; with an exception that leaves it, it failed.
    """

    async def __aenter__(self) -> Self:
        """Waits for a place.

        Raises:
            NotYetError: See there.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It has ended."""
        ...

    def failed(self) -> None:
        """The answer is of no use: a 5xx, a proxy's page."""
        ...

    def limited(self, asked: float | None) -> float:
        """A 429 that asks for so many seconds; for how many the thing is let alone."""
        ...


@dataclass(frozen=True, slots=True)
class Thing:
    """What the server limits together, and how its callers wait.

    Args:
        name: The same for all of it.
        ahead: Whether it goes before those who wait already; for the sync, which waits by itself and tells of the end.
        longest: Seconds that no limit of it exceeds.
        proves: Whether a good answer shows that the limit is over.
    """

    name: str
    ahead: bool = False
    longest: float = LONGEST_WAIT
    proves: bool = True


class Pace(Protocol):
    """Says when a request may go."""

    def turn(self, thing: Thing) -> Turn:
        """The turn of one request."""
        ...


class NoPace:
    """Lets everything go; for those who ask once, and not again and again."""

    def turn(self, thing: Thing) -> Turn:
        """A turn that waits for nothing."""
        return _FreeTurn(thing)


class _FreeTurn:
    def __init__(self, thing: Thing) -> None:
        self._thing = thing

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def failed(self) -> None:
        pass

    def limited(self, asked: float | None) -> float:
        return _within(asked, _FIRST_WAIT, self._thing.longest)


@dataclass(eq=False, slots=True)
class _Place:
    until: float


@dataclass(eq=False, slots=True)
class _Limit:
    until: float
    in_a_row: int = 0
    one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)


class SharedPace:
    """The one of a process.

    Args:
        clock: For measuring and waiting.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places: list[_Place] = []
        self._line: deque[asyncio.Future[_Place]] = deque()
        self._letting_in: asyncio.Task[None] | None = None
        self._rough_until = 0.0
        self._limits: dict[str, _Limit] = {}

    def turn(self, thing: Thing) -> Turn:
        """See `Pace`."""
        return _SharedTurn(self, thing)

    # Places

    async def take_place(self, *, ahead: bool) -> _Place:
        """A place of one's own, in order of arrival."""
        if not self._line and (place := self._free_place()) is not None:
            return place
        waiter: asyncio.Future[_Place] = asyncio.get_running_loop().create_future()
        if ahead:
            self._line.appendleft(waiter)
        else:
            self._line.append(waiter)
        if self._letting_in is None or self._letting_in.done():
            self._letting_in = asyncio.create_task(self._let_in(), name="pace")
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.give_back(waiter.result())
            raise

    def give_back(self, place: _Place) -> None:
        """Nothing was sent from it, or what was sent had a good answer."""
        if place in self._places:
            self._places.remove(place)
        self._fill_places()

    def went_well(self, place: _Place) -> None:
        """Its request was answered as it should be."""
        if self._clock.monotonic() >= self._rough_until:
            self.give_back(place)

    def went_wrong(self, seconds: float = ROUGH) -> None:
        """Some request was not: for so long nobody hurries."""
        self._rough_until = max(self._rough_until, self._clock.monotonic() + seconds)

    def _free_place(self) -> _Place | None:
        now = self._clock.monotonic()
        self._places = [place for place in self._places if place.until > now]
        if len(self._places) >= PLACES:
            return None
        place = _Place(now + HELD)
        self._places.append(place)
        return place

    def _fill_places(self) -> None:
        while self._line:
            if self._line[0].done():  # cancelled while it waited
                self._line.popleft()
                continue
            place = self._free_place()
            if place is None:
                return
            self._line.popleft().set_result(place)

    async def _let_in(self) -> None:
        """Lets those in line in as time frees the places; ends with the line."""
        while True:
            self._fill_places()
            if not self._line:
                return
            await self._clock.sleep(min(place.until for place in self._places) - self._clock.monotonic())

    # Limits

    def limit_of(self, thing: Thing) -> _Limit | None:
        """The limit that is in force or was lately."""
        limit = self._limits.get(thing.name)
        if limit is not None and self._clock.monotonic() - limit.until > CALM:
            del self._limits[thing.name]
            return None
        return limit

    def rest_of(self, limit: _Limit | None) -> float:
        """Seconds until the thing may be asked for; 0 for now."""
        if limit is None:
            return 0.0
        rest = limit.until - self._clock.monotonic()
        return 0.0 if rest <= 0 else max(rest, _SHORTEST_REST)

    def limit(self, thing: Thing, asked: float | None) -> float:
        """Nobody asks for this thing for so many seconds, which are returned."""
        now = self._clock.monotonic()
        limit = self.limit_of(thing)
        if limit is None:
            self._limits = {name: known for name, known in self._limits.items() if now - known.until <= CALM}
            limit = self._limits[thing.name] = _Limit(now)
        if now >= limit.until:  # else it was sent before the last 429 had come, and teaches nothing new
            limit.in_a_row += 1
        least = min(_WAIT_IN_THE_END, _FIRST_WAIT * 2.0 ** (limit.in_a_row - 1))
        wait = _within(asked, least, thing.longest)
        limit.until = max(limit.until, now + wait)
        self.went_wrong(HELD)
        return wait


class _SharedTurn:
    def __init__(self, pace: SharedPace, thing: Thing) -> None:
        self._pace = pace
        self._thing = thing
        self._limit: _Limit | None = None
        self._place: _Place | None = None
        self._well = True

    async def __aenter__(self) -> Self:
        while True:
            limit = await self._one_by_one()
            try:
                place = await self._pace.take_place(ahead=self._thing.ahead)
            except BaseException:
                self._next()
                raise
            if self._pace.limit_of(self._thing) is limit and not self._pace.rest_of(limit):
                self._place = place
                return self
            self._pace.give_back(place)  # limited while we stood in line
            self._next()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self.failed()
        if error is None and self._well and self._place is not None:
            if self._limit is not None and self._thing.proves:
                self._limit.in_a_row = 0
            self._pace.went_well(self._place)
        self._next()

    def failed(self) -> None:
        self._well = False
        self._pace.went_wrong()

    def limited(self, asked: float | None) -> float:
        self._well = False
        return self._pace.limit(self._thing, asked)

    async def _one_by_one(self) -> _Limit | None:
        limit = self._pace.limit_of(self._thing)
        if limit is None:
            return None
        if not (rest := self._pace.rest_of(limit)):
            await limit.one_by_one.acquire()
            self._limit = limit
            rest = self._pace.rest_of(limit)
        if rest:
            self._next()
            raise NotYetError(rest)
        return limit

    def _next(self) -> None:
        limit, self._limit = self._limit, None
        if limit is not None:
            limit.one_by_one.release()


def _within(asked: float | None, least: float, longest: float) -> float:
    return min(max(UNSAID_WAIT if asked is None else asked, least), longest)
