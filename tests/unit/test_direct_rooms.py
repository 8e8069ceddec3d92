"""One encrypted room for each person: made once, used again, and left where nobody is there any more."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from onboard_bot.matrix.direct_rooms import DirectRooms
from onboard_bot.matrix.room_making import RoomMaking
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.onboarding.ports import RefusedError, UnreachableError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.transaction import Store
from tests.fakes.clock import FakeClock
from tests.fakes.room_server import NONSENSE, RoomServer, ServedRoom

BOT, ADA, BOB = "@onboard:example.org", "@ada:example.org", "@bob:example.org"


@dataclass
class Desk:
    """A bot with its database, and the server."""

    server: RoomServer
    store: Store
    clock: FakeClock

    def __post_init__(self) -> None:
        self._markers = count()
        self.start()

    def start(self) -> None:
        """A new process on the same state."""
        api, rooms = self.server.api, Rooms(self.server.api)
        making = RoomMaking(api, rooms, self.clock)
        self.direct = DirectRooms(api, rooms, making, self.store, new_marker=lambda: f"marker{next(self._markers)}")

    async def room_with(self, user_id: str) -> ServedRoom:
        return self.server.rooms[await self.direct.with_person(user_id)]

    @property
    def ours(self) -> list[str]:
        """The rooms that the bot is in, as the server knows."""
        return [room.room_id for room in self.server.rooms.values() if room.membership(BOT) == "join"]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    bring_up_to_date(tmp_path / "onboard.db")
    clock = FakeClock()
    store = Store(Database(sqlite_url(tmp_path / "onboard.db")), clock)
    async with RoomServer(BOT) as server:
        yield Desk(server, store, clock)
    await store.close()
    shutil.rmtree(tmp_path)


async def test_the_room_is_encrypted_and_the_person_is_invited(desk: Desk) -> None:
    room = await desk.room_with(ADA)
    assert room.membership(ADA) == "invite"
    assert room.state[("m.room.encryption", "")] == {"algorithm": "m.megolm.v1.aes-sha2"}


@pytest.mark.parametrize("membership", ["invite", "join"])
async def test_there_is_one_room_for_each_person_also_after_a_restart(desk: Desk, membership: str) -> None:
    room = await desk.room_with(ADA)
    room.set_membership(ADA, membership)
    assert await desk.room_with(BOB) != room
    desk.start()
    assert await desk.room_with(ADA) == room
    assert len(desk.server.rooms) == 2


@pytest.mark.parametrize("membership", ["leave", "ban"])
async def test_a_room_that_the_person_left_is_left_and_another_one_made(desk: Desk, membership: str) -> None:
    old = await desk.room_with(ADA)
    old.set_membership(ADA, membership)
    new = await desk.room_with(ADA)
    assert new != old
    assert new.membership(ADA) == "invite"
    assert desk.ours == [new.room_id]
    assert await desk.room_with(ADA) == new


async def test_a_room_that_cannot_be_left_does_not_keep_the_next_one_back(desk: Desk) -> None:
    old = await desk.room_with(ADA)
    old.set_membership(ADA, "leave")
    with desk.server.wrong("POST", "/leave", (403, {"errcode": "M_FORBIDDEN"})):
        assert await desk.room_with(ADA) != old


@pytest.mark.parametrize("settled", [True, False])
async def test_a_room_that_the_server_left_half_made_is_completed(desk: Desk, settled: bool) -> None:  # noqa: FBT001 - a case
    """Synapse makes the room and our membership first; a stop of it after that leaves the rest out."""
    room = await desk.room_with(ADA)
    del room.state["m.room.member", ADA], room.state["m.room.encryption", ""]
    if not settled:
        async with desk.store.transaction() as tx:
            await tx.rooms.forget("marker0")
            await tx.rooms.plan(PlannedRoom("marker0", Purpose.DIRECT, ADA, None, made_by_bot=True))
    desk.start()
    assert await desk.room_with(ADA) == room
    assert room.membership(ADA) == "invite"
    assert room.state[("m.room.encryption", "")] == {"algorithm": "m.megolm.v1.aes-sha2"}


async def test_a_room_that_serves_costs_one_look_at_the_person(desk: Desk) -> None:
    await desk.room_with(ADA)
    await desk.room_with(ADA)
    desk.server.calls.clear()
    await desk.room_with(ADA)
    assert [path.rpartition("/")[2] for _, path in desk.server.calls] == ["joined_rooms", ADA]


async def test_somebody_who_cannot_be_invited_costs_one_room_however_often_it_is_tried(desk: Desk) -> None:
    room = await desk.room_with(ADA)
    del room.state["m.room.member", ADA]
    with desk.server.wrong("POST", "/invite", (403, {"errcode": "M_FORBIDDEN"})):
        for _ in range(5):
            with pytest.raises(RefusedError):
                await desk.direct.with_person(ADA)
    assert desk.ours == [room.room_id]


async def test_a_room_that_the_bot_was_put_out_of_is_replaced(desk: Desk) -> None:
    old = await desk.room_with(ADA)
    old.set_membership(BOT, "leave")
    new = await desk.room_with(ADA)
    assert desk.ours == [new.room_id]


@pytest.mark.parametrize("answer", [*NONSENSE, "an empty object"])
@pytest.mark.parametrize("ending", ["/joined_rooms", f"/state/m.room.member/{ADA}"])
async def test_nonsense_makes_no_second_room(desk: Desk, ending: str, answer: str) -> None:
    room = await desk.room_with(ADA)
    wrong = (NONSENSE | {"an empty object": (200, {})})[answer]
    with desk.server.wrong("GET", ending, wrong), pytest.raises((UnreachableError, RefusedError)):
        await desk.direct.with_person(ADA)
    assert await desk.room_with(ADA) == room
    assert desk.ours == [room.room_id]


@pytest.mark.parametrize("answer", ["null", "a list", "a number", "a web page", "nothing", "an empty object"])
async def test_a_room_whose_answer_was_nonsense_is_found_again(desk: Desk, answer: str) -> None:
    wrong = (NONSENSE | {"an empty object": (200, {})})[answer]

    def made_and_not_said(_method: str, path: str) -> tuple[int, Any] | None:
        if path != "/createRoom":
            return None
        room = desk.server.make(BOT, {"invite": [ADA], "creation_content": marked})
        assert room.membership(BOT) == "join"
        return wrong

    # The marker that the bot will choose; it stands in the room, as Synapse keeps a creation content.
    marked = {"io.github.onboard_bot": {"marker": "marker0"}}
    with desk.server.answering(made_and_not_said):
        found = await desk.room_with(ADA)
    assert desk.ours == [found.room_id]
    assert found.membership(ADA) == "invite"
    assert await desk.room_with(ADA) == found
