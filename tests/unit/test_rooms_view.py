"""What the server says of a room is believed where it says something; nonsense is no “no”, and is asked about again."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from onboard_bot.matrix.rooms import Rooms
from onboard_bot.onboarding.ports import RefusedError, UnreachableError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.transaction import Store
from tests.fakes.clock import FakeClock
from tests.fakes.room_server import NONSENSE, RoomServer, ServedRoom

BOT, ADA, BOB = "@onboard:example.org", "@ada:example.org", "@bob:example.org"
NOT_SAID = (UnreachableError, RefusedError)
"""What waits and asks again; a refusal that is not about us is for the caller to tell from one that is."""


@pytest_asyncio.fixture
async def server() -> AsyncIterator[RoomServer]:
    async with RoomServer(BOT) as running:
        yield running


@pytest.fixture
def room(server: RoomServer) -> ServedRoom:
    """Of version 12, made by Ada, the bot in it, encrypted."""
    made = server.make(ADA, {"room_version": "12", "power_level_content_override": {"users": {BOB: 50}}})
    made.set_membership(BOT, "join")
    made.state[("m.room.encryption", "")] = {"algorithm": "m.megolm.v1.aes-sha2"}
    return made


@pytest.fixture
def rooms(server: RoomServer) -> Rooms:
    return Rooms(server.api)


Ask = Callable[[Rooms, str], Awaitable[Any]]

QUESTIONS: dict[str, tuple[Ask, str, Any]] = {
    "is it encrypted": (lambda rooms, room_id: rooms.is_encrypted(room_id), "/state/m.room.encryption", True),
    "is it known to be": (lambda rooms, room_id: rooms.encryption_known(room_id), "/state/m.room.encryption", True),
    "who reads": (lambda rooms, room_id: rooms.readers(room_id), "/members", frozenset({BOT, ADA})),
    "is Ada in": (lambda rooms, room_id: rooms.membership(room_id, ADA), f"/state/m.room.member/{ADA}", "join"),
    "was Bob in": (lambda rooms, room_id: rooms.membership(room_id, BOB), f"/state/m.room.member/{BOB}", "leave"),
}
EMPTY: dict[str, tuple[int, Any]] = {"an empty object": (200, {})}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("answer", NONSENSE | EMPTY)
async def test_nonsense_answers_no_question_and_the_next_answer_does(
    server: RoomServer, rooms: Rooms, room: ServedRoom, question: str, answer: str
) -> None:
    ask, ending, truth = QUESTIONS[question]
    with server.wrong("GET", ending, (NONSENSE | EMPTY)[answer]), pytest.raises(NOT_SAID):
        await ask(rooms, room.room_id)
    assert await ask(rooms, room.room_id) == truth


@pytest.mark.parametrize("question", ["is it encrypted", "is Ada in"])
@pytest.mark.parametrize("content", [{"algorithm": None}, {"algorithm": 5}, {"membership": None}, {"membership": []}])
async def test_a_content_without_what_it_is_for_answers_nothing(
    server: RoomServer, rooms: Rooms, room: ServedRoom, question: str, content: dict[str, Any]
) -> None:
    ask, ending, truth = QUESTIONS[question]
    with server.wrong("GET", ending, (200, content)), pytest.raises(UnreachableError):
        await ask(rooms, room.room_id)
    assert await ask(rooms, room.room_id) == truth


@pytest.mark.parametrize("answer", [*NONSENSE, "no state at all"])
async def test_a_room_without_a_creation_has_no_levels_and_its_creator_is_not_forgotten(
    server: RoomServer, rooms: Rooms, room: ServedRoom, answer: str
) -> None:
    wrong = (NONSENSE | {"no state at all": (200, [])})[answer]
    with server.wrong("GET", f"/{room.room_id}/state", wrong), pytest.raises(NOT_SAID):
        await rooms.power_levels(room.room_id)
    levels = await rooms.power_levels(room.room_id)
    assert levels.of(ADA) == float("inf")
    assert levels.of(BOB) == 50


@pytest.mark.parametrize("answer", NONSENSE)
async def test_nonsense_takes_nobodys_level_away(
    server: RoomServer, rooms: Rooms, room: ServedRoom, answer: str
) -> None:
    with server.wrong("GET", "/state/m.room.power_levels", NONSENSE[answer]), pytest.raises(NOT_SAID):
        await rooms.power_levels(room.room_id)
    assert (await rooms.power_levels(room.room_id)).of(BOB) == 50


@pytest.mark.parametrize(
    "entry",
    [None, 5, {}, {"state_key": ADA}, {"state_key": ADA, "content": None}, {"state_key": 5, "content": []}],
    ids=repr,
)
async def test_a_member_list_with_nonsense_in_it_stops_nothing(
    server: RoomServer, rooms: Rooms, room: ServedRoom, entry: Any
) -> None:
    good = [event for event in room.events() if event["type"] == "m.room.member"]
    with server.wrong("GET", "/members", (200, {"chunk": [entry, *good]})):
        try:
            readers = await rooms.readers(room.room_id)
        except UnreachableError:
            readers = frozenset({BOT, ADA})  # asked again later is as good
    assert readers == {BOT, ADA}
    assert await rooms.readers(room.room_id) == {BOT, ADA}


async def test_a_room_without_encryption_is_not_encrypted_until_it_is_and_then_stays_so(
    rooms: Rooms, room: ServedRoom
) -> None:
    kept = room.state.pop(("m.room.encryption", ""))
    assert not await rooms.encryption_known(room.room_id)
    room.state[("m.room.encryption", "")] = kept
    rooms.note(room.room_id, {"type": "m.room.encryption"})
    assert await rooms.encryption_known(room.room_id)
    del room.state[("m.room.encryption", "")]
    assert await rooms.encryption_known(room.room_id)
    rooms.forget(room.room_id)
    assert await rooms.is_encrypted(room.room_id)


async def test_a_bot_that_is_not_in_the_room_is_told_so(server: RoomServer, rooms: Rooms, room: ServedRoom) -> None:
    room.set_membership(BOT, "leave")
    with pytest.raises(RefusedError) as caught:
        await rooms.membership(room.room_id, ADA)
    assert caught.value.errcode == "M_FORBIDDEN"
    assert server.calls != []


async def test_members_are_asked_for_once_until_somebody_comes_or_goes(
    server: RoomServer, rooms: Rooms, room: ServedRoom
) -> None:
    for _ in range(3):
        assert await rooms.readers(room.room_id) == {BOT, ADA}
    rooms.note(room.room_id, {"type": "m.room.topic"})
    assert await rooms.readers(room.room_id) == {BOT, ADA}
    assert server.count("GET", "/members") == 1
    room.set_membership(BOB, "join")
    rooms.note(room.room_id, {"type": "m.room.member"})
    assert await rooms.readers(room.room_id) == {BOT, ADA, BOB}
    assert server.count("GET", "/members") == 2


@pytest.mark.parametrize("how", ["noted", "forgotten"])
@pytest.mark.parametrize("somebody", ["comes", "goes"])
async def test_a_change_while_the_members_are_on_their_way_is_not_overwritten(
    server: RoomServer, rooms: Rooms, room: ServedRoom, how: str, somebody: str
) -> None:
    if somebody == "goes":
        room.set_membership(BOB, "join")
    old = [event for event in room.events() if event["type"] == "m.room.member"]

    def too_late(_method: str, path: str) -> tuple[int, Any] | None:
        if not path.endswith("/members"):
            return None
        room.set_membership(BOB, "join" if somebody == "comes" else "leave")
        if how == "noted":
            rooms.note(room.room_id, {"type": "m.room.member", "state_key": BOB})
        else:
            rooms.forget(room.room_id)
        return 200, {"chunk": old}

    with server.answering(too_late):
        await rooms.readers(room.room_id)
    assert await rooms.readers(room.room_id) == ({BOT, ADA, BOB} if somebody == "comes" else {BOT, ADA})


async def test_a_room_of_ours_that_was_encrypted_stays_so_after_a_restart_whatever_the_server_says(
    server: RoomServer, room: ServedRoom, fresh_database: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(fresh_database, tmp_path))
    store = Store(Database(sqlite_url(path)), FakeClock())
    try:
        async with store.transaction() as tx:
            await tx.rooms.plan(PlannedRoom("marker", Purpose.ADMIN, "", room.room_id, made_by_bot=False))
        assert await Rooms(server.api, store).is_encrypted(room.room_id)
        del room.state[("m.room.encryption", "")]
        assert not await Rooms(server.api).is_encrypted(room.room_id)
        assert await Rooms(server.api, store).encryption_known(room.room_id)
    finally:
        await store.close()
