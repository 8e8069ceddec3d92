"""The rooms of groups: entered as soon as they let the bot in, each for itself, and said so while they do not."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from onboard_bot.matrix import group_rooms
from onboard_bot.matrix.group_rooms import GroupRooms
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from tests.fakes.clock import FakeClock
from tests.fakes.room_server import NONSENSE, Json, RoomServer, ServedRoom

BOT, BOB = "@onboard:example.org", "@bob:example.org"
TEACHERS, PARENTS, ELSEWHERE = "#teachers:example.org", "#parents:example.org", "#teachers:elsewhere.org"
BAD_GATEWAY = (502, {"errcode": "M_UNKNOWN", "error": "Failed to fetch alias"})


@dataclass
class Operator:
    """Names rooms, and looks at what the bot makes of them."""

    server: RoomServer
    clock: FakeClock = field(default_factory=FakeClock)

    def name(self, **groups: str) -> GroupRooms:
        self.rooms = GroupRooms(self.server.api, self.clock, groups, own_user_id=BOT)
        return self.rooms

    def room(self, alias: str | None = None, membership: str = "leave", *, public: bool = False) -> ServedRoom:
        """Somebody else's."""
        room = self.server.make(BOB, {})
        room.set_membership(BOT, membership)
        if public:
            room.state[("m.room.join_rules", "")] = {"join_rule": "public"}
        if alias is not None:
            self.server.aliases[alias] = room.room_id
        return room

    def elsewhere_is(self, answer: tuple[int, Any]) -> AbstractContextManager[None]:
        """What becomes of looking up an alias of another server."""
        return self.server.wrong("GET", ELSEWHERE, answer)

    @property
    def joins(self) -> int:
        return sum(method == "POST" and path.startswith("/join/") for method, path in self.server.calls)


@pytest_asyncio.fixture
async def operator() -> AsyncIterator[Operator]:
    async with RoomServer(BOT) as server:
        yield Operator(server)


async def test_where_no_group_has_a_room_nothing_is_asked(operator: Operator) -> None:
    rooms = operator.name()
    await rooms.enter()
    assert not await rooms.is_named("!any:example.org")
    assert (rooms.missing(), rooms.entered(), operator.server.calls) == ([], {}, [])


@pytest.mark.parametrize("by_alias", [True, False], ids=["by its alias", "by its id"])
@pytest.mark.parametrize("lets_in", ["invite", "public", "join"])
async def test_a_room_that_lets_the_bot_in_is_entered(operator: Operator, lets_in: str, *, by_alias: bool) -> None:
    room = operator.room(TEACHERS, "leave" if lets_in == "public" else lets_in, public=lets_in == "public")
    named = TEACHERS if by_alias else room.room_id
    rooms = operator.name(teachers=named)
    assert rooms.room_id(named) is None
    await rooms.enter()
    assert room.membership(BOT) == "join"
    assert rooms.room_id(named) == room.room_id
    assert rooms.entered() == {named: room.room_id}
    assert rooms.missing() == []
    assert operator.joins == (lets_in != "join")


async def test_an_id_of_room_version_12_has_no_server_and_is_entered_as_well(operator: Operator) -> None:
    room = operator.room(membership="invite")
    operator.server.rooms["!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"] = room
    rooms = operator.name(teachers="!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM")
    await rooms.enter()
    assert room.membership(BOT) == "join"


async def test_each_room_that_is_missing_is_told_with_its_groups_and_the_mend(operator: Operator) -> None:
    operator.room(TEACHERS)
    rooms = operator.name(teachers=TEACHERS, parents=PARENTS, board=PARENTS)
    cannot = "I cannot look for {} at the moment, so nobody counts for {}; I keep trying."
    assert rooms.missing() == [
        cannot.format(TEACHERS, "the group teachers"),
        cannot.format(PARENTS, "the groups parents and board"),
    ]
    await rooms.enter()
    closed, unknown = rooms.missing()
    assert closed == f"I am not in {TEACHERS}, so nobody counts for the group teachers: invite me there."
    assert unknown == (
        f"The homeserver finds no room {PARENTS}, so nobody counts for the groups parents and board: correct"
        " approval.groups, or give a room this address."
    )
    assert rooms.entered() == {}


async def test_the_bot_never_invites_itself_and_makes_no_room(operator: Operator) -> None:
    operator.room(TEACHERS)
    rooms = operator.name(teachers=TEACHERS, parents=PARENTS)
    await rooms.enter()
    made = [path for method, path in operator.server.calls if method != "GET" and not path.startswith("/join/")]
    assert made == []


async def test_a_group_s_name_is_said_as_it_is(operator: Operator) -> None:
    rooms = operator.name(**{"{room} {0}": TEACHERS})
    await rooms.enter()
    assert "the group {room} {0}" in rooms.missing()[0]


async def test_an_invitation_is_recognised_and_taken_up_at_the_next_look(operator: Operator) -> None:
    room, other = operator.room(TEACHERS), operator.room()
    rooms = operator.name(teachers=TEACHERS)
    await rooms.enter()
    room.set_membership(BOT, "invite")
    assert await rooms.is_named(room.room_id)
    assert not await rooms.is_named(other.room_id)
    await rooms.enter()
    assert rooms.room_id(TEACHERS) == room.room_id
    assert rooms.missing() == []


async def test_a_room_is_recognised_although_its_address_is_younger_than_the_last_look(operator: Operator) -> None:
    rooms = operator.name(teachers=TEACHERS)
    await rooms.enter()
    room = operator.room(TEACHERS, "invite")
    assert await rooms.is_named(room.room_id)


async def test_a_room_that_lost_its_address_is_named_no_more(operator: Operator) -> None:
    room = operator.room(TEACHERS)
    rooms = operator.name(teachers=TEACHERS)
    await rooms.enter()
    del operator.server.aliases[TEACHERS]
    assert not await rooms.is_named(room.room_id)


async def test_whoever_keeps_the_bot_out_is_not_asked_at_every_look_and_yet_again(operator: Operator) -> None:
    room = operator.room(TEACHERS)
    rooms = operator.name(teachers=TEACHERS)
    for _ in range(5):
        await rooms.enter()
        operator.clock.advance(60)
    assert operator.joins == 1
    room.state[("m.room.join_rules", "")] = {"join_rule": "public"}
    await rooms.enter()
    assert rooms.room_id(TEACHERS) == room.room_id


async def test_a_bot_that_was_put_out_says_so_and_comes_back_when_it_is_let_in(operator: Operator) -> None:
    room = operator.room(TEACHERS, "invite")
    rooms = operator.name(teachers=TEACHERS)
    await rooms.enter()
    room.set_membership(BOT, "ban")
    await rooms.enter()
    assert (rooms.room_id(TEACHERS), len(rooms.missing())) == (None, 1)
    room.set_membership(BOT, "invite")
    assert await rooms.is_named(room.room_id)
    await rooms.enter()
    assert rooms.room_id(TEACHERS) == room.room_id


async def test_an_address_that_moves_takes_the_group_along(operator: Operator) -> None:
    old, new = operator.room(TEACHERS, "invite"), operator.room()
    rooms = operator.name(teachers=TEACHERS)
    await rooms.enter()
    operator.server.aliases[TEACHERS] = new.room_id
    await rooms.enter()
    assert (rooms.room_id(TEACHERS), len(rooms.missing())) == (None, 1)
    assert (rooms.watches(old.room_id), rooms.watches(new.room_id)) == (False, True)
    new.set_membership(BOT, "invite")
    assert await rooms.is_named(new.room_id)
    await rooms.enter()
    assert rooms.room_id(TEACHERS) == new.room_id


async def test_who_comes_matters_also_in_a_room_that_the_bot_is_just_entering(operator: Operator) -> None:
    """Its first sync may be there before the answer to the join."""
    room, other = operator.room(TEACHERS), operator.room()
    rooms = operator.name(teachers=TEACHERS, parents=PARENTS)
    assert not rooms.watches(room.room_id)
    await rooms.enter()
    assert rooms.watches(room.room_id)
    assert not rooms.watches(other.room_id)


WRONG = {**NONSENSE, "away": BAD_GATEWAY, "a limit": (429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 100})}


@pytest.mark.parametrize("answer", WRONG)
@pytest.mark.parametrize("what", ["looking", "joining"])
async def test_what_goes_wrong_with_one_room_hinders_no_other_and_passes(
    operator: Operator, what: str, answer: str
) -> None:
    troubled, fine = operator.room(TEACHERS, "invite"), operator.room(PARENTS, "invite")
    rooms = operator.name(teachers=TEACHERS, parents=PARENTS)
    method, ending = ("GET", TEACHERS) if what == "looking" else ("POST", f"/join/{troubled.room_id}")
    with operator.server.wrong(method, ending, WRONG[answer]):
        await rooms.enter()
        assert rooms.entered() == {PARENTS: fine.room_id}
        (said,) = rooms.missing()
        assert said.startswith("I cannot look for" if what == "looking" else "I am not in")
    operator.clock.advance(400)
    await rooms.enter()
    assert rooms.entered() == {TEACHERS: troubled.room_id, PARENTS: fine.room_id}


@pytest.mark.parametrize("answer", [*NONSENSE, "an empty object"])
async def test_a_server_that_does_not_say_where_the_bot_is_changes_nothing(operator: Operator, answer: str) -> None:
    room = operator.room(TEACHERS, "invite")
    rooms = operator.name(teachers=TEACHERS)
    await rooms.enter()
    wrong = (NONSENSE | {"an empty object": (200, {})})[answer]
    with operator.server.wrong("GET", "/joined_rooms", wrong), pytest.raises((UnreachableError, RefusedError)):
        await rooms.enter()
    assert rooms.room_id(TEACHERS) == room.room_id
    assert rooms.missing() == []


async def test_an_address_that_cannot_be_looked_up_for_a_while_keeps_its_room(operator: Operator) -> None:
    room = operator.room(ELSEWHERE, "invite")
    rooms = operator.name(teachers=ELSEWHERE)
    await rooms.enter()
    with operator.elsewhere_is(BAD_GATEWAY):
        await rooms.enter()
        assert rooms.room_id(ELSEWHERE) == room.room_id
        room.set_membership(BOT, "leave")
        await rooms.enter()
        assert rooms.room_id(ELSEWHERE) is None


async def test_an_address_on_a_server_that_may_not_be_asked_is_no_room(operator: Operator) -> None:
    rooms = operator.name(teachers=ELSEWHERE)
    with operator.elsewhere_is((403, {"errcode": "M_FORBIDDEN", "error": "Federation denied"})):
        await rooms.enter()
        assert not await rooms.is_named("!any:example.org")
    assert rooms.missing()[0].startswith("The homeserver finds no room")


async def test_our_server_s_trouble_leaves_an_invitation_open_and_another_server_s_does_not(
    operator: Operator,
) -> None:
    room = operator.room(TEACHERS, "invite")
    rooms = operator.name(far=ELSEWHERE, teachers=TEACHERS)
    with operator.elsewhere_is(BAD_GATEWAY):
        assert await rooms.is_named(room.room_id)
        assert not await rooms.is_named("!any:example.org")
    with operator.server.wrong("GET", TEACHERS, BAD_GATEWAY), pytest.raises(UnreachableError):
        await rooms.is_named(room.room_id)


async def test_an_address_that_takes_for_ever_holds_nobody_up(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_rooms, "_LONGEST_LOOKUP", 0.0)
    room = operator.room(membership="invite")
    rooms = operator.name(far=ELSEWHERE, teachers=room.room_id)
    await rooms.enter()
    assert rooms.entered() == {room.room_id: room.room_id}
    assert rooms.missing()[0].startswith("I cannot look for")


@pytest.mark.parametrize("ending", ["/joined_rooms", TEACHERS, "/join/{}"])
async def test_a_session_that_is_over_is_no_room_that_is_missing(operator: Operator, ending: str) -> None:
    room = operator.room(TEACHERS, "invite")
    rooms = operator.name(teachers=TEACHERS)
    over: tuple[int, Json] = (401, {"errcode": "M_UNKNOWN_TOKEN", "soft_logout": True})
    with (
        operator.server.answering(lambda _, path: over if path.endswith(ending.format(room.room_id)) else None),
        pytest.raises(TokenRejectedError),
    ):
        await rooms.enter()
    await rooms.enter()
    assert rooms.room_id(TEACHERS) == room.room_id


async def test_a_limit_on_finding_out_where_the_bot_is_is_waited_for(operator: Operator) -> None:
    rooms = operator.name(teachers=TEACHERS)
    with operator.server.wrong("GET", "/joined_rooms", WRONG["a limit"]), pytest.raises(RateLimitedError):
        await rooms.enter()
