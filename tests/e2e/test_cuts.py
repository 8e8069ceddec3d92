"""Every request of a registration is cut off, or the bot killed at it, in every place: it is done once all the same.

From the start of a bot that has its state, through the answer in the room and the password in a new direct room, until
nothing is left to do. The requests are found by looking, never written down. `make cuts` tries all of them, `make test`
the first of each route.
"""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onboard_bot.clock import SystemClock
from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.between import Between
from tests.e2e.bot_process import POLL_EVERY, READY_WITHIN, BotProcess, Launch, running_bot
from tests.e2e.desk import Desk, open_desk, password_in
from tests.e2e.interruption import Fault, Interruption, Moment, Place, Way
from tests.e2e.person import Seen, somebody, unique
from tests.e2e.server_view import ServerView

AT_ONCE = 3
WITHIN = 45.0
SOON = 3600.0
"""What is not due by then may be open: a password's message is taken away after a day."""


@dataclass
class Counter:
    """A bot and its one admin, whose registrations go wrong one after the other. The bot is down between them."""

    desk: Desk
    between: Between
    registered: int = 0

    async def register(self, *faults: Fault) -> Interruption:
        """One registration with these faults; everything is there once afterwards.

        Raises:
            AssertionError: Something is not as it should be.
        """
        desk = self.desk
        user_id = desk.view.user_id(unique("ada"))
        command = await desk.admin.say(desk.room_id, f"!register {user_id} Ada")
        interruption = Interruption(self.between, self.start_again, *faults)
        await desk.bot.start()
        await desk.admin.reply_to(command, within=WITHIN)
        await desk.credentials(user_id)
        await until_idle(desk.bot)
        interruption.stop_counting()
        self.between.leave_alone()
        brought = await self.all_is_there_once(command, user_id)
        await desk.bot.kill()
        await desk.admin.leave(brought.room_id)  # so that the next one needs a new room
        self.registered += 1
        return interruption

    async def start_again(self) -> None:
        """As after a power cut."""
        await self.desk.bot.kill()
        await self.desk.bot.start()

    async def all_is_there_once(self, command: str, user_id: str) -> Seen:
        """One account, one answer, one message with its password, one device, one direct room; that message."""
        desk, view = self.desk, self.desk.view
        account = await view.account(user_id)
        assert account is not None
        assert account["displayname"] == "Ada"
        assert await view.devices(user_id) == []  # nor a session that somebody forgot

        answers = [event for event in await self.read(desk.room_id, after=command) if event.type != "m.reaction"]
        assert [(e.in_reply_to, e.about["state"], e.about["user_id"]) for e in answers] == [
            (command, "created", user_id)
        ]
        (direct,) = set(await view.rooms_of(desk.bot_id)) - {desk.room_id}
        (brought,) = await self.read(direct)
        assert brought.about == {"v": 1, "kind": "credentials", "user_id": user_id}
        assert brought.encrypted
        assert await view.sign_in(user_id, password_in(brought)) == 200

        assert len(await view.devices(desk.bot_id)) == 1
        assert desk.bot_id not in desk.admin.invited_to.values()
        await until_idle(desk.bot)
        return brought

    async def read(self, room_id: str, *, after: str | None = None) -> list[Seen]:
        """All that the bot said in a room, as the admin reads it; nothing of it may be unreadable."""
        said = ("m.room.message", "m.room.encrypted", "m.reaction", "m.sticker")
        events = await self.desk.view.timeline(room_id)
        if after is not None:
            events = events[[event["event_id"] for event in events].index(after) + 1 :]
        ids = [e["event_id"] for e in events if e["sender"] == self.desk.bot_id and e["type"] in said]
        await self.desk.admin.until(
            lambda: {event.event_id for event in self.desk.admin.seen}.issuperset(ids), why="all that the bot said"
        )
        return [event for event in self.desk.admin.seen if event.event_id in ids]


async def until_idle(bot: BotProcess) -> None:
    """Waits until the bot has nothing left to do."""
    try:
        async with asyncio.timeout(READY_WITHIN):
            while left_over(bot):  # noqa: ASYNC110 - another process's database sets no event
                await asyncio.sleep(POLL_EVERY)
    except TimeoutError:
        raise AssertionError(f"left over: {left_over(bot)}; the bot's log:\n{bot.log()}") from None


def left_over(bot: BotProcess) -> list[str]:
    """What the bot's database says is still to be done, or was given up."""
    queries = {
        "job {} was given up": "SELECT key FROM jobs WHERE state NOT IN ('open', 'done')",
        "job {} is open": "SELECT key FROM jobs WHERE state = 'open' AND run_after <= :soon",
        "event {} is not dealt with": "SELECT event_id FROM inbox WHERE NOT done",
        "event {} cannot be read": "SELECT event_id FROM undecrypted",
        "sync body {} has no place": "SELECT seq FROM sync_journal",
    }
    soon = {"soon": SystemClock().now() + SOON}
    with sqlite3.connect(f"file:{bot.state / 'onboard.db'}?mode=ro", uri=True) as database:
        return [words.format(row[0]) for words, query in queries.items() for row in database.execute(query, soon)]


def all_faults(moment: Moment) -> list[Fault]:
    """Everything that may happen at one request."""
    return [Fault(moment, place, way) for place in Place for way in Way]


def in_words(faults: tuple[Fault, ...]) -> str:
    """For the one who reads what went wrong."""
    return ", then ".join(map(str, faults))


OpenCounter = Callable[[Path], AbstractAsyncContextManager[Counter]]


class SpoiledError(Exception):
    """Something went wrong at this desk; the next run needs another one."""


@dataclass
class Cuts:
    """All the runs: which are still to come, and what became of the others.

    Args:
        open_counter: Gives a bot of its own to each of those that work side by side.
        folder: For all of them.
        every: Whether every request is tried, or the first of each route.
        twice: Whether something goes wrong again while the bot recovers.
    """

    open_counter: OpenCounter
    folder: Path
    every: bool
    twice: bool
    moments: set[Moment] = field(default_factory=set)
    runs: int = 0
    second_faults: int = 0
    kills: int = 0
    failures: list[str] = field(default_factory=list)
    missed: list[tuple[Fault, ...]] = field(default_factory=list)
    _left: deque[tuple[Fault, ...]] = field(default_factory=deque)

    @property
    def routes(self) -> set[str]:
        """Of all requests that a registration makes where nothing goes wrong."""
        return {moment.route for moment in self.moments}

    async def go(self) -> None:
        """Finds the requests in undisturbed runs and disturbs them, until no request is new."""
        async with self.open_counter(self.folder / "undisturbed") as counter:
            self._find(await counter.register())
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while self._left:
            with suppress(SpoiledError):
                async with self.open_counter(self.folder / unique("desk")) as counter:
                    while self._left and await self._try(counter, *self._left.popleft()):
                        pass

    async def _try(self, counter: Counter, *faults: Fault) -> bool:
        """One run; False where it needs another desk: some requests are made by the first registration alone."""
        self.runs += 1
        self.second_faults += len(faults) - 1
        try:
            interruption = await counter.register(*faults)
        except (AssertionError, ValueError) as error:
            self.failures.append(f"{in_words(faults)}: {error}\n{counter.desk.bot.log()[-6000:]}")
            raise SpoiledError from error
        self.kills += sum(fault.way is Way.KILL for fault in faults[: len(interruption.heard) - 1])
        self._find(interruption, *faults)
        if interruption.all_happened:
            return True
        if counter.registered > 1:
            self._left.appendleft(faults)
            return False
        self.missed.append(faults)
        return True

    def _find(self, interruption: Interruption, *faults: Fault) -> None:
        for moment in interruption.heard[0]:
            if moment not in self.moments and (self.every or moment.number == 1):
                self._left += [(fault,) for fault in all_faults(moment)]
            self.moments.add(moment)
        if self.twice and len(faults) == 1 and interruption.all_happened:
            self._find_second(faults[0], interruption.heard[1])

    def _find_second(self, first: Fault, afterwards: list[Moment]) -> None:
        """A fault during the recovery from a fault: at its repetition, and at what is done nowhere else."""
        if first.place is Place.BEFORE or first.moment.route.startswith("GET "):
            return
        routes = dict.fromkeys(moment.route for moment in afterwards)
        for route in routes:
            if route == first.moment.route or route not in self.routes:
                self._left += [(first, second) for second in all_faults(Moment(route, 1))]

    def figures(self, where: str, seconds: float) -> str:
        """What stands in docs/reliability.md."""
        return "\n".join(
            (
                f"cuts: {where}",
                f"  requests of a registration: {len(self.moments)}, on {len(self.routes)} routes",
                f"  places: {len(Place)}, ways: {len(Way)}",
                f"  runs: {self.runs}, of which the request never came: {len(self.missed)}",
                f"  with a second fault while the bot recovered from the first: {self.second_faults}",
                f"  kills: {self.kills}",
                f"  failures: {len(self.failures)}",
                f"  seconds: {seconds:.0f}",
            )
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The long form runs in every kind of room."""
    rooms = ["version 12", "version 11", "clear"] if metafunc.config.getoption("--long") else ["version 12"]
    metafunc.parametrize("room", rooms)


@pytest.fixture
def its_server(request: pytest.FixtureRequest, room: str) -> RunningSynapse:
    """The one whose rooms are of that kind."""
    running: RunningSynapse = request.getfixturevalue("synapse_11" if room == "version 11" else "synapse")
    return running


async def test_a_registration_is_done_once_wherever_it_is_cut_off(
    its_server: RunningSynapse, room: str, tmp_path: Path, quickly: Launch, *, long: bool
) -> None:
    synapse = its_server
    view = await ServerView.of(synapse)

    @asynccontextmanager
    async def open_counter(folder: Path) -> AsyncIterator[Counter]:
        open_room = clear_desk if room == "clear" else made_desk
        async with Between(synapse.url) as between, open_room(folder, synapse, view, between.url, quickly) as desk:
            await until_idle(desk.bot)
            await desk.bot.kill()
            rooms_before = await view.rooms_made_by(desk.bot_id)
            counter = Counter(desk, between)
            yield counter
            # Nor one that the bot made and left again.
            assert len(await view.rooms_made_by(desk.bot_id)) == len(rooms_before) + counter.registered
            await desk.bot.start()  # it is still of use

    began = time.monotonic()
    cuts = Cuts(open_counter, tmp_path, every=long, twice=long and room == "version 12")
    await cuts.go()
    if long:
        print(f"\n{cuts.figures(room, time.monotonic() - began)}")
        for faults in cuts.missed:
            print(f"  never came: {in_words(faults)}")
    assert not cuts.failures, "\n\n".join(cuts.failures)
    assert {
        "GET sync",
        "POST /_synapse/admin/v1/register",
        "POST createRoom",
        "PUT sendToDevice/m.room.encrypted",
        "PUT rooms/…/send/m.room.encrypted",
    } <= cuts.routes


@asynccontextmanager
async def made_desk(
    folder: Path, synapse: RunningSynapse, view: ServerView, url: str, launch: Launch
) -> AsyncIterator[Desk]:
    """In an encrypted room that the bot made."""
    async with open_desk(folder, synapse, view, url=url, launch=launch) as desk:
        yield desk


@asynccontextmanager
async def clear_desk(
    folder: Path, synapse: RunningSynapse, view: ServerView, url: str, launch: Launch
) -> AsyncIterator[Desk]:
    """In a room without encryption that the admin made."""
    async with somebody(synapse, "admin", folder) as admin:
        room_id = await admin.make_room(encrypted=False)
        username = unique("onboard")
        async with running_bot(
            folder / "bot",
            synapse,
            url=url,
            launch=launch,
            bot={"username": username},
            admin_room={"room": room_id},
        ) as bot:
            await bot.wait_ready()
            desk = Desk(synapse, view, bot, admin, room_id, folder)
            await admin.invite(room_id, desk.bot_id)
            await admin.sees_join(room_id, desk.bot_id)
            yield desk
            await desk.answered_once()
