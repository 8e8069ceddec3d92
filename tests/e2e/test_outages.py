"""A homeserver in trouble: the bot asks little, uses little, can be stopped, and everything is done once in the end.

`make outages` runs every kind of trouble for longer than any timeout, with forty open commands, and prints the figures.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from onboard_bot.demo.synapse import RunningSynapse, SynapseSettings, running_synapse
from tests.e2e.between import Passing
from tests.e2e.bot_process import POLL_EVERY, STOP_WITHIN, Launch, running_bot
from tests.e2e.desk import Desk, open_desk, password_in
from tests.e2e.person import Seen, unique
from tests.e2e.server_view import ServerView
from tests.e2e.weather import (
    Hits,
    Spoil,
    Weather,
    all_but_registrations,
    answers,
    cpu_seconds,
    cuts,
    cuts_in_the_body,
    dawdles,
    drips,
    everything,
    limits,
    most_in_a_second,
    pours,
    registrations,
    says_nothing,
    sends,
    syncs,
)

A_SECOND = 10
A_SECOND_OF_LIMITS = 6
OF_A_CORE = 0.25
UNREADY_AFTER = 90.0
LOOKED_AT_BY_EACH = "/state/m.room.power_levels"
AGAIN_WITHIN = 180.0
"""A job that has failed for long is tried once a minute, and so does the admin's client."""


@dataclass(frozen=True)
class Trouble:
    """One kind of it."""

    name: str
    spoil: Spoil
    hits: Hits = everything
    most: int = A_SECOND
    short: bool = False
    slow_only: bool = False
    """Whether all the answers come in the end, so that nothing is wrong."""

    def __str__(self) -> str:
        return self.name


def storm(name: str, spoil: Spoil, hits: Hits = everything, *, short: bool = False) -> Trouble:
    return Trouble(f"429, {name}", spoil, hits, A_SECOND_OF_LIMITS, short)


NOON = "Wed, 21 Oct 2026 12:00:00 GMT"
TROUBLES = [
    Trouble("502, a page", answers(502, "<html>Bad Gateway</html>", Content_Type="text/html"), short=True),
    Trouble("500, JSON", answers(500, '{"errcode": "M_UNKNOWN", "error": "Internal server error"}')),
    Trouble("503, come back at once", answers(503, "{}", Retry_After="0")),
    # In the endpoint's place these are definite answers: something hides it, and who asked is told so.
    Trouble("200, a page", answers(200, "<html>Sign in</html>", Content_Type="text/html"), all_but_registrations),
    Trouble("a redirect", answers(302, "", Location="http://127.0.0.1:1/"), all_but_registrations),
    Trouble("connections cut", cuts),
    Trouble("bodies cut", cuts_in_the_body),
    Trouble("no answer", says_nothing),
    Trouble("answers that drip", drips, short=True),
    Trouble("answers that pour", pours),
    Trouble("slow answers", dawdles, slow_only=True),
    Trouble("502 on sends", answers(502), sends),
    Trouble("502 on the sync", answers(502), syncs),
    storm("1 ms", limits(1), short=True),
    storm("0 ms", limits(0)),
    storm("negative", limits(-1)),
    storm("two seconds", limits(2000)),
    storm("garbage", limits('"soon"')),
    storm("no hint", limits()),
    storm("the header 0", limits(Retry_After="0")),
    storm("the header 1", limits(Retry_After="1")),
    storm("a date", limits(Retry_After="Wed, 21 Oct 2026 12:00:02 GMT", Date=NOON), short=True),
    storm("1 ms, only sends", limits(1), sends, short=True),
    storm("1 ms, only registrations", limits(1), registrations),
    storm("1 ms, only the sync", limits(1), syncs),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outage_synapse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningSynapse]:
    """One that may be stopped; passwords cost a little, so that commands are under way when it happens."""
    settings = SynapseSettings(rate_limits=False, bcrypt_rounds=9)
    async with running_synapse(tmp_path_factory.mktemp("outages"), settings) as synapse:
        yield synapse


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outage_view(outage_synapse: RunningSynapse) -> ServerView:
    return await ServerView.of(outage_synapse)


@dataclass
class Commands:
    """What was typed: the event of each, and the account that it is about."""

    desk: Desk
    typed: dict[str, str] = field(default_factory=dict)

    async def type(self, number: int) -> None:
        for _ in range(number):
            name = unique("ada")
            event_id = await self.desk.admin.say(self.desk.room_id, f"!register {name}")
            self.typed[event_id] = self.desk.view.user_id(name)

    async def done_once(self, *, within: float = AGAIN_WITHIN) -> None:
        """Each has one account, one answer, and one message with a password that signs in."""
        desk, wanted = self.desk, set(self.typed.values())
        await desk.admin.until(
            lambda: set(self.typed) <= set(self._answered()), within=within, why="an answer to everything"
        )
        await desk.admin.until(lambda: wanted <= set(self._delivered()), within=within, why="all credentials")
        await desk.answered_once()  # asks something, so that whatever came before has been seen
        answered, delivered = self._answered(), self._delivered()
        assert {answered[event_id] for event_id in self.typed} == {1}
        assert {delivered[user_id] for user_id in wanted} == {1}
        assert desk.admin.unreadable == []
        for user_id in list(wanted)[:2]:
            assert await desk.view.sign_in(user_id, password_in(await desk.credentials(user_id))) == 200

    def _answered(self) -> Counter[str]:
        """How many answers each command had, those in lists too."""
        said = [e for e in self.desk.admin.said_by(self.desk.bot_id, self.desk.room_id) if e.type == "m.room.message"]
        counted: Counter[str] = Counter()
        for event in said:
            items = event.about.get("items")
            counted.update([item["event_id"] for item in items] if items else [str(event.in_reply_to)])
            assert all(about["state"] == "created" for about in items or [event.about] if "state" in about), event
        return counted

    def _delivered(self) -> Counter[str]:
        def is_credentials(event: Seen) -> bool:
            return event.sender == self.desk.bot_id and event.about.get("kind") == "credentials"

        return Counter(event.about["user_id"] for event in self.desk.admin.seen if is_credentials(event))


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    name: str
    seconds: float
    commands: int
    requests: int
    most: int
    core: float
    stopped_after: float
    again_after: float

    def __str__(self) -> str:
        return (
            f"{self.name:32} {self.commands:3} commands, {self.seconds:5.1f} s: {self.requests:4} requests,"
            f" at most {self.most} in a second, {100 * self.core:4.1f} % of a core;"
            f" SIGTERM {self.stopped_after:.1f} s; all done {self.again_after:.1f} s after its end"
        )


@asynccontextmanager
async def desk_in_the_weather(
    folder: Path, synapse: RunningSynapse, view: ServerView, launch: Launch
) -> AsyncIterator[tuple[Desk, Weather]]:
    async with (
        Weather(synapse.url) as weather,
        open_desk(folder, synapse, view, url=weather.url, launch=launch) as desk,
    ):
        await desk.bot.wait_ready()
        user_id = view.user_id(unique("first"))
        await desk.ask(f"!register {user_id}", within=60)
        await desk.credentials(user_id)  # so that the direct room is there, and the admin in it
        yield desk, weather


async def endure(desk: Desk, weather: Weather, trouble: Trouble, *, commands: int, seconds: float) -> Figures:
    """The trouble begins when all the commands are open; in it the bot is stopped once and started again."""
    typed = Commands(desk)
    weather.begin(says_nothing, registrations)
    obeyed = weather.count("GET", LOOKED_AT_BY_EACH)
    await typed.type(commands)
    async with asyncio.timeout(60):
        while weather.count("GET", LOOKED_AT_BY_EACH) < obeyed + commands:  # noqa: ASYNC110 - a count sets no event
            await asyncio.sleep(POLL_EVERY)
    weather.begin(trouble.spoil, trouble.hits)
    began, used = time.monotonic(), cpu_seconds(desk.bot.pid)
    await asyncio.sleep(seconds)
    core = (cpu_seconds(desk.bot.pid) - used) / (time.monotonic() - began)
    if time.monotonic() - weather.last_good_sync > UNREADY_AFTER:
        page = await desk.bot.readyz()
        assert page is not None
        assert page.status == 503, page
    ended = await desk.bot.stop()
    assert (ended.status, ended.seconds < STOP_WITHIN) == (0, True)
    by_the_first = len(weather.in_vain())
    await desk.bot.start()
    await asyncio.sleep(2)
    if trouble.hits is everything and not trouble.slow_only:
        await desk.bot.wait_page(lambda page: page.status == 503)
    lasted = time.monotonic() - began
    weather.clear()
    moments = weather.in_vain()
    most = max(most_in_a_second(moments[:by_the_first]), most_in_a_second(moments[by_the_first:]))
    assert len(moments) > 1
    assert most <= trouble.most, f"{trouble}: {most} in a second; {moments}"
    assert core < OF_A_CORE, f"{trouble}: {core:.2f} of a core"
    await desk.bot.wait_ready(within=AGAIN_WITHIN)
    await typed.done_once()
    again = time.monotonic() - weather.cleared_at
    return Figures(str(trouble), lasted, commands, len(moments), most, core, ended.seconds, again)


async def test_trouble_is_endured(
    outage_synapse: RunningSynapse, outage_view: ServerView, tmp_path: Path, quickly: Launch, *, long: bool
) -> None:
    """Several at once, each with a bot of its own: most of the time is spent waiting."""
    some_at_once = asyncio.Semaphore(8)

    async def one(number: int, trouble: Trouble) -> None:
        async with (
            some_at_once,
            desk_in_the_weather(tmp_path / str(number), outage_synapse, outage_view, quickly) as (desk, weather),
        ):
            figures = await endure(desk, weather, trouble, commands=40 if long else 10, seconds=125 if long else 4)
            if long:
                print(figures, flush=True)

    endured = [one(number, trouble) for number, trouble in enumerate(TROUBLES) if long or trouble.short]
    failures = [failed for failed in await asyncio.gather(*endured, return_exceptions=True) if failed]
    if failures:
        raise BaseExceptionGroup("not endured", failures)


async def test_a_synapse_that_was_away_is_taken_up_where_it_was_left(
    outage_synapse: RunningSynapse, outage_view: ServerView, tmp_path: Path, quickly: Launch, *, long: bool
) -> None:
    """Stopped and started for real: its nonces die, its connections break.

    For one bot it is away at its start, for one in the middle of its commands, and one has nothing to do but to sync.
    """
    number = 40 if long else 8

    def desk(name: str) -> AbstractAsyncContextManager[tuple[Desk, Weather]]:
        return desk_in_the_weather(tmp_path / name, outage_synapse, outage_view, quickly)

    async with (
        desk("starting") as (starting, before_starting),
        desk("working") as (working, before_working),
        desk("idle") as (idle, before_idle),
    ):
        desks, weathers = (starting, working, idle), (before_starting, before_working, before_idle)
        typed = [Commands(each) for each in desks]
        await starting.bot.stop()
        has_nonces, all_are_typed = asyncio.Event(), asyncio.Event()

        async def between_nonce_and_post(passing: Passing) -> None:
            if passing.is_a("GET", "/register"):
                has_nonces.set()
                await all_are_typed.wait()

        before_working.after = between_nonce_and_post
        await asyncio.gather(typed[0].type(number), typed[1].type(number), has_nonces.wait())
        await outage_synapse.stop()
        try:
            all_are_typed.set()
            await starting.bot.start()
            began, used = time.monotonic(), [cpu_seconds(each.bot.pid) for each in desks[1:]]
            await asyncio.sleep(100 if long else 3)
            cores = [
                (cpu_seconds(each.bot.pid) - before) / (time.monotonic() - began)
                for each, before in zip(desks[1:], used, strict=True)
            ]
            pages = [await each.bot.readyz() for each in desks]
            statuses = [page.status if page else None for page in pages]
            assert statuses[0] == 503
            assert statuses == [503] * 3 or not long
        finally:
            await outage_synapse.start()
        most = [most_in_a_second([one.at for one in each.arrivals if one.at >= began]) for each in weathers]
        for each in desks:
            await each.bot.wait_ready(within=AGAIN_WITHIN)
        await typed[2].type(number)
        await asyncio.gather(*[each.done_once() for each in typed])
        if long:
            print(f"Synapse stopped and started: at most {max(most)} in a second, {100 * max(cores):.1f} % of a core")
        assert max(most) <= A_SECOND
        assert max(cores) < OF_A_CORE


async def test_a_bot_that_waits_for_a_synapse_that_never_came_can_be_stopped(
    outage_synapse: RunningSynapse, tmp_path: Path, quickly: Launch
) -> None:
    room = {"admins": ["@ada:localhost"]}
    async with running_bot(tmp_path, outage_synapse, url="http://127.0.0.1:1", launch=quickly, admin_room=room) as bot:
        await bot.wait_page(lambda page: page.status == 503)
        await asyncio.sleep(1)
        ended = await bot.stop()
        assert (ended.status, ended.seconds < STOP_WITHIN) == (0, True)
