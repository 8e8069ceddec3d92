"""The admin room that the bot makes: one, whatever the operator names meanwhile; and who is called into it when."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from onboard_bot.jobs.effect import Effect
from onboard_bot.jobs.invitations import InviteAdmin
from onboard_bot.jobs.runner import Runner
from onboard_bot.matrix.admin_room import AdminRoom, AdminRoomWish, NotThereYetError
from onboard_bot.matrix.membership import Membership
from onboard_bot.matrix.room_making import RoomMaking
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.onboarding.effects import JobKind
from onboard_bot.onboarding.ports import RefusedError, UnreachableError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.rooms import Purpose
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.transaction import Store
from tests.fakes.clock import FakeClock
from tests.fakes.room_server import NONSENSE, RoomServer, ServedRoom

BOT, ADA, BOB = "@onboard:example.org", "@ada:example.org", "@bob:example.org"
ALIAS = "#desk:example.org"


@dataclass
class Operator:
    """Starts the bot again and again, with another configuration each time."""

    server: RoomServer
    store: Store
    clock: FakeClock

    def __post_init__(self) -> None:
        self._markers = count()
        self.start()

    def start(self, room: str | None = None, admins: tuple[str, ...] = (ADA,)) -> None:
        """A new process on the same state."""
        api, rooms = self.server.api, Rooms(self.server.api)
        self.admin_room = AdminRoom(
            api,
            rooms,
            RoomMaking(api, rooms, self.clock),
            self.store,
            wish=AdminRoomWish(room, admins, name="Onboarding"),
            own_user_id=BOT,
            new_marker=lambda: f"marker{next(self._markers)}",
        )
        effects: dict[str, Effect[Any]] = {JobKind.INVITE_ADMIN: InviteAdmin(Membership(api), rooms)}
        self._runner = Runner(self.store, effects, self.clock, device_id="DEVICE")

    async def enter(self) -> ServedRoom:
        """One look at the admin room, with what follows from it."""
        room_id = await self.admin_room.enter()
        await self._runner.run_due()
        return self.server.rooms[room_id]

    async def obeyed_in(self) -> str | None:
        """The room whose commands are obeyed."""
        async with self.store.reading() as tx:
            planned = await tx.rooms.find(Purpose.ADMIN)
        return None if planned is None else planned.room_id

    async def obeys_in(self, room: ServedRoom) -> bool:
        """Whether commands in this room are obeyed."""
        async with self.store.reading() as tx:
            planned = await tx.rooms.of_room(room.room_id)
        return planned is not None and planned.purpose is Purpose.ADMIN

    def named_room(self, membership: str = "invite") -> ServedRoom:
        """A room of somebody else's, with an alias and an invitation for the bot."""
        room = self.server.make(BOB, {})
        room.set_membership(BOT, membership)
        self.server.aliases[ALIAS] = room.room_id
        return room

    @property
    def made(self) -> list[str]:
        """The rooms that the bot made."""
        return [room.room_id for room in self.server.rooms.values() if room.creator == BOT]

    @property
    def invitations(self) -> int:
        """How many invitations went out."""
        return self.server.count("POST", "/invite")


@pytest_asyncio.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    bring_up_to_date(tmp_path / "onboard.db")
    clock = FakeClock()
    store = Store(Database(sqlite_url(tmp_path / "onboard.db")), clock)
    async with RoomServer(BOT) as server:
        yield Operator(server, store, clock)
    await store.close()


async def test_the_bots_own_room_is_encrypted_and_its_admins_are_invited_with_the_highest_level(
    operator: Operator,
) -> None:
    room = await operator.enter()
    assert room.state[("m.room.encryption", "")] == {"algorithm": "m.megolm.v1.aes-sha2"}
    assert room.state[("m.room.power_levels", "")]["users"][ADA] == 100
    assert room.membership(ADA) == "invite"
    for _ in range(3):
        assert await operator.enter() == room
    operator.start()
    assert await operator.enter() == room
    assert operator.made == [room.room_id]
    assert operator.invitations == 1


@pytest.mark.parametrize("named", ["by its alias", "by its id"])
async def test_the_bots_own_room_rests_while_another_one_is_named_and_is_used_again(
    operator: Operator, named: str
) -> None:
    own = await operator.enter()
    other = operator.named_room()
    operator.start(ALIAS if named == "by its alias" else other.room_id)
    for _ in range(2):
        assert await operator.enter() == other
        assert (await operator.obeys_in(other), await operator.obeys_in(own)) == (True, False)
    operator.start()
    for _ in range(2):
        assert await operator.enter() == own
        assert (await operator.obeys_in(other), await operator.obeys_in(own)) == (False, True)
    assert operator.made == [own.room_id]


async def test_to_and_fro_there_is_one_room_of_the_bots_own(operator: Operator) -> None:
    own = await operator.enter()
    first, second = operator.named_room(), operator.named_room()
    for room in (first.room_id, second.room_id, None, first.room_id, None, second.room_id, own.room_id, None):
        operator.start(room)
        entered = await operator.enter()
        assert entered.room_id == (room or own.room_id)
        assert await operator.obeyed_in() == entered.room_id
    assert operator.made == [own.room_id]


async def test_naming_the_bots_own_room_makes_it_no_less_its_own(operator: Operator) -> None:
    own = await operator.enter()
    operator.start(own.room_id)
    assert await operator.enter() == own
    operator.start()
    assert await operator.enter() == own
    assert operator.made == [own.room_id]


async def test_while_the_named_room_does_not_let_the_bot_in_its_own_is_not_obeyed_either(operator: Operator) -> None:
    own = await operator.enter()
    other = operator.named_room("leave")
    operator.start(ALIAS)
    with pytest.raises(NotThereYetError):
        await operator.enter()
    assert not await operator.obeys_in(own)
    operator.start()
    assert await operator.enter() == own
    assert not await operator.obeys_in(other)


async def test_a_room_that_was_planned_and_not_made_yet_is_made_once_after_all(operator: Operator) -> None:
    with (
        operator.server.wrong("POST", "/createRoom", (502, b"<html>Bad Gateway</html>")),
        pytest.raises(UnreachableError),
    ):
        await operator.enter()
    operator.named_room()
    operator.start(ALIAS)
    await operator.enter()
    operator.start()
    own = await operator.enter()
    assert operator.made == [own.room_id]


@pytest.mark.parametrize("answer", [*NONSENSE, "an empty object"])
@pytest.mark.parametrize("ending", ["/joined_rooms", "/capabilities"])
async def test_nonsense_makes_no_second_room_and_none_of_another_kind(
    operator: Operator, ending: str, answer: str
) -> None:
    wrong = (NONSENSE | {"an empty object": (200, {})})[answer]
    if ending == "/joined_rooms":
        await operator.enter()
    with operator.server.wrong("GET", ending, wrong), pytest.raises((UnreachableError, RefusedError)):
        await operator.enter()
    room = await operator.enter()
    assert operator.made == [room.room_id]
    assert room.version == "11"


@pytest.mark.parametrize("answer", [*NONSENSE, "an empty object"])
async def test_nonsense_about_the_alias_of_the_named_room_is_waited_out(operator: Operator, answer: str) -> None:
    wrong = (NONSENSE | {"an empty object": (200, {})})[answer]
    other = operator.named_room()
    operator.start(ALIAS)
    with operator.server.wrong("GET", ALIAS, wrong), pytest.raises((UnreachableError, RefusedError)):
        await operator.enter()
    assert await operator.enter() == other
    assert operator.made == []


# Who is called into the room


async def test_an_admin_who_declined_is_asked_again_at_the_next_start_and_not_before(operator: Operator) -> None:
    room = await operator.enter()
    room.set_membership(ADA, "leave")
    for _ in range(5):
        operator.clock.advance(60)
        await operator.enter()
    assert (room.membership(ADA), operator.invitations) == ("leave", 1)
    operator.start()
    await operator.enter()
    assert (room.membership(ADA), operator.invitations) == ("invite", 2)
    room.set_membership(ADA, "leave")
    operator.start()
    await operator.enter()
    assert (room.membership(ADA), operator.invitations) == ("invite", 3)


@pytest.mark.parametrize("membership", ["invite", "join", "ban"])
async def test_an_admin_who_is_invited_there_or_banned_is_left_in_peace(operator: Operator, membership: str) -> None:
    room = await operator.enter()
    room.set_membership(ADA, membership)
    for _ in range(2):
        operator.start()
        await operator.enter()
    assert (room.membership(ADA), operator.invitations) == (membership, 1)
    assert operator.server.count("PUT", "/state/m.room.power_levels") == 0


async def test_a_banned_admin_gets_no_level_back(operator: Operator) -> None:
    room = await operator.enter()
    room.set_membership(ADA, "ban")
    room.state[("m.room.power_levels", "")] = {"users": {BOT: 100}}
    operator.start()
    await operator.enter()
    assert room.state[("m.room.power_levels", "")] == {"users": {BOT: 100}}


async def test_an_admin_whom_the_configuration_names_later_is_invited_with_the_level(operator: Operator) -> None:
    room = await operator.enter()
    operator.start(admins=(ADA, BOB))
    await operator.enter()
    assert room.membership(BOB) == "invite"
    assert room.state[("m.room.power_levels", "")]["users"] == {BOT: 100, ADA: 100, BOB: 100}
    assert operator.invitations == 2


@pytest.mark.parametrize("answer", ["null", "a list", "an empty object", "a web page"])
async def test_nonsense_about_an_admin_invites_nobody_twice_and_forgets_nobody(operator: Operator, answer: str) -> None:
    room = await operator.enter()
    room.set_membership(ADA, "leave")
    operator.start()
    wrong: dict[str, tuple[int, Any]] = NONSENSE | {"an empty object": (200, {})}
    with operator.server.wrong("GET", f"/state/m.room.member/{ADA}", wrong[answer]):
        await operator.enter()
        assert operator.invitations == 1
    operator.clock.advance(600)
    await operator.enter()
    assert (room.membership(ADA), operator.invitations) == ("invite", 2)
