"""All requests of the process together: free in good times, a few a second in bad ones, and never before their time."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onboard_bot.pace import CALM, HELD, LONGEST_WAIT, PLACES, ROUGH, NoPace, NotYetError, SharedPace, Thing
from onboard_bot.retry_after import asked_wait

BEGIN = 1000.0
FULL_TURN = 20
"""Rounds of the event loop after which everybody who can do something has done it."""


class Hands:
    """A clock that goes on to the next sleeper when nobody has anything left to do: hours take no time."""

    def __init__(self) -> None:
        self._now = BEGIN
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._numbers), woken))
        await woken

    async def go_on(self, until: float) -> None:
        """Lets so much time pass."""
        await self._all_did_what_they_could()
        while self._sleepers and self._sleepers[0][0] <= until:
            self._now, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await self._all_did_what_they_could()
        self._now = until

    @staticmethod
    async def _all_did_what_they_could() -> None:
        for _ in range(FULL_TURN):
            await asyncio.sleep(0)


Answer = Callable[[float], tuple[str, float]]
"""What becomes of a request sent at this moment, and after how many seconds."""


class Bot:
    """Something that sends requests, and a server that answers them."""

    def __init__(self) -> None:
        self.clock = Hands()
        self.pace = SharedPace(self.clock)
        self.sent: list[float] = []
        self.things: list[str] = []
        self.answer: Answer = lambda _: ("well", 0.0)
        self.asked: float | None = None
        self._tasks: list[asyncio.Task[Any]] = []

    async def ask(self, thing: str = "GET state", **more: Any) -> float | None:
        """One request; for how long it is limited."""
        async with self.pace.turn(Thing(thing, **more)) as turn:
            self.sent.append(self.clock.monotonic())
            self.things.append(thing)
            outcome, seconds = self.answer(self.clock.monotonic())
            if seconds:
                await self.clock.sleep(seconds)
            match outcome:
                case "failed":
                    turn.failed()
                case "limited":
                    return turn.limited(self.asked)
                case "cut":
                    raise ConnectionError
        return None

    async def ask_for_ever(self, thing: str, pause: float) -> None:
        while True:
            try:
                await self.ask(thing)
            except ConnectionError:
                pass
            except NotYetError as error:
                await self.clock.sleep(error.wait)
            else:
                await self.clock.sleep(pause)

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        self._tasks.append(asyncio.create_task(work))
        return self._tasks[-1]

    async def for_seconds(self, seconds: float) -> None:
        await self.clock.go_on(self.clock.monotonic() + seconds)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def most_in_a_second(self, since: float = 0.0) -> int:
        """The fullest window of one second that begins with a request."""
        sent = [at for at in self.sent if at >= since]
        return max((sum(first <= at < first + 1 for at in sent) for first in sent), default=0)


@pytest.fixture
async def bot() -> AsyncIterator[Bot]:
    one = Bot()
    yield one
    await one.close()


async def test_in_good_times_nobody_waits(bot: Bot) -> None:
    for _ in range(1000):
        await bot.ask()
    assert bot.sent == [BEGIN] * 1000


async def test_only_so_many_are_under_way_at_once_and_an_answer_lets_the_next_one_go(bot: Bot) -> None:
    bot.answer = lambda _: ("well", 0.1)
    for _ in range(3 * PLACES):
        bot.begin(bot.ask())
    await bot.for_seconds(1)
    assert bot.sent == pytest.approx([BEGIN] * PLACES + [BEGIN + 0.1] * PLACES + [BEGIN + 0.2] * PLACES)


@pytest.mark.parametrize("outcome", ["failed", "cut", "limited"])
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.7, 30.0], ids=lambda seconds: f"after {seconds} s")
async def test_no_second_of_an_outage_sees_more_than_the_places_however_many_ask(
    bot: Bot, outcome: str, seconds: float
) -> None:
    bot.answer = lambda _: (outcome, seconds)
    bot.asked = 0.001
    for number in range(40):
        bot.begin(bot.ask_for_ever(f"thing {number}", 0.01))
    await bot.for_seconds(60)
    assert bot.most_in_a_second() == PLACES
    assert len(bot.sent) <= (60 / HELD + 1) * PLACES


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["failed", "cut", "limited"]), st.floats(0, 3)), min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 2)), min_size=1, max_size=25),
    st.floats(0, 5) | st.none(),
)
async def test_no_second_without_a_good_answer_sees_more_than_the_places(
    outcomes: list[tuple[str, float]], callers: list[tuple[str, float]], asked: float | None
) -> None:
    bot = Bot()
    try:
        following = itertools.cycle(outcomes)
        bot.answer, bot.asked = (lambda _: next(following)), asked
        for thing, pause in callers:
            bot.begin(bot.ask_for_ever(thing, pause + 0.01))
        await bot.for_seconds(15)
        assert 0 < bot.most_in_a_second() <= PLACES
    finally:
        await bot.close()


@pytest.mark.parametrize("outcome", ["failed", "cut", "limited"])
async def test_where_half_of_the_answers_are_good_the_good_ones_do_not_hurry_the_others_on(
    bot: Bot, outcome: str
) -> None:
    outcomes = itertools.cycle([outcome, "well"])
    bot.answer, bot.asked = (lambda _: (next(outcomes), 0.001)), 0.001
    for number in range(20):
        bot.begin(bot.ask_for_ever(f"thing {number}", 0.01))
    await bot.for_seconds(30)
    assert bot.most_in_a_second(since=BEGIN + HELD) <= PLACES + 1


async def test_after_an_outage_everything_goes_at_its_old_pace_soon(bot: Bot) -> None:
    bot.answer = lambda now: ("failed" if now < BEGIN + 10 else "well", 0.0)
    for number in range(20):
        bot.begin(bot.ask_for_ever(f"thing {number}", 0.5))
    await bot.for_seconds(10 + ROUGH + 2 * HELD)
    bot.sent.clear()
    await bot.for_seconds(5)
    assert len(bot.sent) >= 20 * 5 / 0.5 - 20


async def test_who_comes_first_goes_first_and_the_sync_goes_before_them(bot: Bot) -> None:
    bot.answer = lambda _: ("failed", 0.0)
    for number in range(12):
        bot.begin(bot.ask(f"thing {number}"))
    await bot.for_seconds(0.1)
    bot.begin(bot.ask("sync", ahead=True))
    await bot.for_seconds(10)
    waited = [f"thing {number}" for number in range(PLACES, 12)]
    assert bot.things == [f"thing {number}" for number in range(PLACES)] + ["sync", *waited]


async def test_a_caller_that_is_cancelled_takes_nobodys_place(bot: Bot) -> None:
    bot.answer = lambda _: ("failed", 0.0)
    tasks = [bot.begin(bot.ask(f"thing {number}")) for number in range(3 * PLACES)]
    await bot.for_seconds(0.1)
    for task in tasks[PLACES : 2 * PLACES]:
        task.cancel()
    await bot.for_seconds(HELD)
    assert bot.things[PLACES:] == [f"thing {number}" for number in range(2 * PLACES, 3 * PLACES)]


async def test_a_request_that_was_cancelled_was_sent_and_counts(bot: Bot) -> None:
    bot.answer = lambda _: ("well", 60.0)
    tasks = [bot.begin(bot.ask()) for _ in range(PLACES)]
    await bot.for_seconds(0.1)
    for task in tasks:
        task.cancel()
    bot.begin(bot.ask())
    await bot.for_seconds(HELD)
    assert bot.sent[PLACES:] == [BEGIN + HELD]


async def test_a_caller_that_is_cancelled_at_the_moment_of_its_turn_gives_the_place_on(bot: Bot) -> None:
    taken = [await bot.pace.take_place(ahead=False) for _ in range(PLACES)]
    tasks = [bot.begin(bot.ask(thing)) for thing in ("cancelled", "next")]
    await asyncio.sleep(0)
    bot.pace.give_back(taken[0])  # to the first in line, who has not woken yet
    tasks[0].cancel()
    await bot.for_seconds(0.1)
    assert bot.things == ["next"]


async def test_what_is_limited_is_refused_here_until_its_time_and_nothing_else_is(bot: Bot) -> None:
    bot.answer, bot.asked = (lambda _: ("limited", 0.0)), 5.0
    assert await bot.ask("messages") == 5.0
    bot.answer = lambda _: ("well", 0.0)
    await bot.for_seconds(2)
    with pytest.raises(NotYetError) as caught:
        await bot.ask("messages")
    assert caught.value.wait == pytest.approx(3)
    assert await bot.ask("sync") is None
    await bot.for_seconds(3)
    assert await bot.ask("messages") is None
    assert bot.things == ["messages", "sync", "messages"]


async def test_those_who_stood_in_line_when_the_limit_came_are_not_sent_into_it(bot: Bot) -> None:
    bot.answer, bot.asked = (lambda _: ("limited", 0.1)), 60.0
    tasks = [bot.begin(bot.ask("messages")) for _ in range(20)]
    await bot.for_seconds(10)
    assert len(bot.sent) == PLACES
    refused = [task for task in tasks if isinstance(task.exception(), NotYetError)]
    assert len(refused) == 20 - PLACES


async def test_when_the_time_has_come_one_asks_for_all(bot: Bot) -> None:
    bot.answer, bot.asked = (lambda _: ("limited", 0.1)), 5.0
    await_limit = bot.begin(bot.ask("messages"))
    await bot.for_seconds(6)
    assert await_limit.done()
    tasks = [bot.begin(bot.ask("messages")) for _ in range(20)]
    await bot.for_seconds(1)
    assert len(bot.sent) == 2
    assert sum(isinstance(task.exception(), NotYetError) for task in tasks) == 19
    await bot.for_seconds(5)
    bot.answer = lambda _: ("well", 0.1)
    for _ in range(5):
        bot.begin(bot.ask("messages"))
    await bot.for_seconds(1)
    assert bot.sent[2:] == pytest.approx([BEGIN + 12 + n / 10 for n in range(5)])


@pytest.mark.parametrize("asked", [0.0, 0.001])
async def test_limits_in_a_row_last_ten_seconds_in_the_end_whatever_is_asked(bot: Bot, asked: float) -> None:
    bot.answer, bot.asked = (lambda _: ("limited", 0.0)), asked
    waits = []
    for _ in range(8):
        wait = await bot.ask("messages")
        assert wait is not None
        waits.append(wait)
        await bot.for_seconds(wait)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    await bot.for_seconds(CALM + 0.1)
    assert await bot.ask("messages") == 0.25


@pytest.mark.parametrize(("proves", "waits"), [(True, [5, 5, 5, 5, 5, 5, 5]), (False, [5, 5, 5, 5, 5, 8, 10])])
async def test_only_limits_without_a_success_between_them_are_in_a_row(
    bot: Bot, waits: list[float], *, proves: bool
) -> None:
    """Synapse's own limit on messages is a success, a 429 of five seconds, a success, and so on."""
    bot.asked, met = 5.0, []
    for _ in waits:
        bot.answer = lambda _: ("limited", 0.0)
        wait = await bot.ask("messages")
        assert wait is not None
        met.append(wait)
        await bot.for_seconds(wait)
        bot.answer = lambda _: ("well", 0.0)
        await bot.ask("messages", proves=proves)
    assert met == waits


async def test_answers_to_what_was_sent_together_are_one_limit(bot: Bot) -> None:
    bot.answer, bot.asked = (lambda _: ("limited", 0.1)), 0.001
    tasks = [bot.begin(bot.ask("messages")) for _ in range(PLACES)]
    await bot.for_seconds(0.2)
    assert [task.result() for task in tasks] == [0.25] * PLACES


async def test_the_longest_of_limits_that_come_together_counts(bot: Bot) -> None:
    messages = Thing("messages")
    async with bot.pace.turn(messages) as one, bot.pace.turn(messages) as other:
        one.limited(60.0)
        other.limited(1.0)
    await bot.for_seconds(2)
    with pytest.raises(NotYetError):
        await bot.ask("messages")


@pytest.mark.parametrize("asked", [3600.0, 1e9])
async def test_no_limit_is_longer_than_ten_minutes_or_than_the_caller_bears(bot: Bot, asked: float) -> None:
    bot.answer, bot.asked = (lambda _: ("limited", 0.0)), asked
    assert await bot.ask("messages") == LONGEST_WAIT
    assert await bot.ask("sync", longest=30) == 30
    await bot.for_seconds(30)
    assert await bot.ask("sync", longest=30) == 30


async def test_a_storm_on_everything_leaves_less_than_one_request_a_second_for_each_thing(bot: Bot) -> None:
    bot.answer, bot.asked = (lambda _: ("limited", 0.002)), 0.001
    for number in range(40):
        bot.begin(bot.ask_for_ever(("messages", "state", "sync")[number % 3], 0.001))
    await bot.for_seconds(30)
    assert bot.most_in_a_second() <= PLACES
    assert len(bot.sent) <= 3 * 8 + PLACES


async def test_limits_that_are_over_are_forgotten(bot: Bot) -> None:
    bot.answer, bot.asked = (lambda _: ("limited", 0.0)), 1.0
    for number in range(200):
        await bot.ask(f"POST rooms/!{number}/invite")
        await bot.for_seconds(CALM + 2)
    assert len(bot.pace._limits) == 1


async def test_without_a_pace_nothing_waits_and_a_limit_is_still_no_less_than_a_moment() -> None:
    pace = NoPace()
    for _ in range(100):
        async with pace.turn(Thing("messages")) as turn:
            turn.failed()
            assert [turn.limited(asked) for asked in (0.0, 7.0, None, 1e9)] == [0.25, 7.0, 5.0, LONGEST_WAIT]


NOON = "Wed, 21 Oct 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("body", "header", "date", "wait"),
    [
        ({"retry_after_ms": 2500}, "9", NOON, 2.5),
        ({"retry_after_ms": 0.5}, None, None, 0.0005),
        ({"retry_after_ms": 0}, "9", None, 0.0),
        ({"retry_after_ms": -1}, "9", None, 9.0),
        ({"retry_after_ms": float("nan")}, "9", None, 9.0),
        ({"retry_after_ms": float("inf")}, None, None, 1e9),
        ({"retry_after_ms": 10**400}, None, None, 1e9),
        ({"retry_after_ms": "2500"}, None, None, None),
        ({"retry_after_ms": [1]}, None, None, None),
        ({"retry_after_ms": None}, " 3 ", None, 3.0),
        (None, "7", None, 7.0),
        (None, "0", None, 0.0),
        (None, "-7", None, None),
        (None, "nan", None, None),
        (None, "inf", None, 1e9),
        (None, "soon", NOON, None),
        (None, "", NOON, None),
        (None, "Wed, 21 Oct 2026 12:01:30 GMT", NOON, 90.0),
        (None, "Wed, 21 Oct 2026 13:01:30 +0100", NOON, 90.0),
        (None, "Wed, 21 Oct 2026 11:00:00 GMT", NOON, 0.0),
        (None, "Wed, 21 Oct 2026 12:01:30 GMT", None, None),
        (None, "Wed, 21 Oct 2026 12:01:30 GMT", "today", None),
        (None, "Wed, 99 Oct 99999 12:01:30 GMT", NOON, None),
        (None, None, NOON, None),
    ],
)
def test_the_wait_is_read_from_body_or_header(
    body: dict[str, Any] | None, header: str | None, date: str | None, wait: float | None
) -> None:
    assert asked_wait(body, header, date) == wait


@given(st.dictionaries(st.just("retry_after_ms"), st.integers() | st.floats() | st.text()), st.text(), st.text())
def test_whatever_is_asked_is_a_time_that_can_be_waited(body: dict[str, Any], header: str, date: str) -> None:
    wait = asked_wait(body, header, date)
    assert wait is None or 0 <= wait <= 1e9
