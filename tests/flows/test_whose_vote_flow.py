"""A vote is its voter's: who may take it back, whose look at them counts, and what the record tells of both."""

import asyncio
import json
from typing import Any

import pytest

from onboard_bot.domain.approvals import ApprovalRules, Group
from onboard_bot.onboarding.ports import RefusedError
from tests.flows.conftest import OpenRoom
from tests.flows.room import Card, Person, Room, member_event

STAFF, STAFF_ROOM = "#staff:example.org", "!staff:example.org"


@pytest.fixture
async def room(open_room: OpenRoom) -> Room:
    """A room in which two have to agree, for or against."""
    return await open_room(approval=ApprovalRules(required=2, deny=2))


@pytest.fixture
async def card(room: Room, eve: Person) -> Card:
    """A request for bob."""
    return await room.asks(eve)


async def recorded(room: Room, verb: str) -> list[dict[str, Any]]:
    """The rows of a verb, facts and personal details in one."""
    rows = await room.rows("SELECT verb, facts, personal FROM audit ORDER BY seq")
    return [json.loads(row.facts) | json.loads(row.personal) for row in rows if row.verb == verb]


class SlowLook:
    """Holds the answer to one of the next looks back, as the server gave it."""

    def __init__(self, room: Room, monkeypatch: pytest.MonkeyPatch, call: str, *, number: int = 1) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self._look = getattr(room.chat, call)
        self._before = number - 1
        monkeypatch.setattr(room.chat, call, self.look)

    async def look(self, *about: str) -> Any:
        """As of the chat; one of them comes late."""
        found = await self._look(*about)
        if self._before == 0:
            self._before = -1
            self.begun.set()
            await self.go_on.wait()
        self._before -= self._before > 0
        return found


# Taken back


async def test_a_denial_that_somebody_else_removes_still_counts(
    room: Room, ada: Person, grace: Person, card: Card
) -> None:
    await card.tap(ada)
    denial = await card.tap(ada, "❌")
    await card.tap(grace)
    await room.remove(grace, denial)
    assert (card.state, room.accounts) == ("pending", {})
    assert "1 of 2 approvals, 1 of 2 denials" in card.body
    assert await recorded(room, "vote:taken_back") == []


async def test_so_does_a_typed_vote_that_somebody_else_removes(
    room: Room, ada: Person, grace: Person, card: Card
) -> None:
    typed = await room.say(ada, f"!approve {card.id} I know them")
    await room.remove(grace, typed)
    assert "1 of 2 approvals" in card.body
    await card.tap(grace)
    assert card.state == "created"


async def test_nobody_takes_a_denial_on_an_admin_account_back_for_its_voter(open_room: OpenRoom) -> None:
    room = await open_room(allow_admin=True, approval=ApprovalRules(deny=2))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve, "!register bob --admin")
    await room.say(ada, f"!approve {card.id}")
    denial = await room.say(ada, f"!deny {card.id} wait, no")
    await room.say(grace, f"!approve {card.id}")
    await room.remove(grace, denial)
    assert (card.state, room.accounts) == ("pending", {})
    await room.remove(ada, denial)
    assert card.state == "created"


async def test_under_another_spelling_it_is_still_ones_own(room: Room, ada: Person, card: Card) -> None:
    approval = await card.tap(ada)
    await room.remove(room.person("@ADA:example.org", level=100), approval)
    assert "0 of 2 approvals" in card.body


async def test_the_record_tells_who_took_which_vote_back_and_where(room: Room, ada: Person, card: Card) -> None:
    approval = await card.tap(ada)
    await room.remove(ada, approval)
    removal = room.room.said_by(ada.user_id, "m.room.redaction")[-1].event_id
    assert await recorded(room, "vote:taken_back") == [{"by": ada.user_id, "vote": approval, "event_id": removal}]


async def test_a_vote_is_taken_back_also_while_nobody_can_be_looked_up(
    room: Room, ada: Person, grace: Person, card: Card
) -> None:
    approval = await card.tap(ada)
    room.chat.fail_next("power_levels", RefusedError(403, {"errcode": "M_UNKNOWN"}), times=3)
    await room.remove(ada, approval)
    assert await recorded(room, "vote:taken_back") != []
    await room.wait(60)
    await card.tap(grace)
    assert (card.state, room.accounts) == ("pending", {})


async def test_a_denial_that_is_taken_back_decides_only_with_those_who_may_still_vote(
    room: Room, ada: Person, grace: Person, card: Card
) -> None:
    await card.tap(grace)
    await card.tap(ada)
    assert card.state == "created"
    other = await room.asks(room.person("@dave:example.org"), "!register carol")
    await other.tap(ada)
    denial = await other.tap(ada, "❌")
    await other.tap(grace)
    room.leaves(grace)  # and the server has not told of it
    await room.remove(ada, denial)
    assert (other.state, "1 of 2 approvals" in other.body) == ("pending", True)


# Looked at


async def test_a_look_that_began_earlier_does_not_bring_the_vote_of_who_left_back(
    room: Room, ada: Person, grace: Person, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    await card.tap(ada)
    look = SlowLook(room, monkeypatch, "membership")
    await room._arrive([member_event("$somebody", "@somebody:example.org", "join")])
    weighing = asyncio.create_task(room.life.runner.run_due())
    await look.begun.wait()
    room.leaves(ada)
    await room.puts_sign(grace, card.posted.event_id)
    await room.life.dispatch.run_open()
    look.go_on.set()
    await weighing
    await room.settle()
    assert (card.state, room.accounts) == ("pending", {})
    assert (await room.rows("SELECT voter FROM votes WHERE counts")) == [(grace.user_id,)]


async def test_a_tap_whose_voter_was_seen_to_be_gone_meanwhile_is_nothing(
    room: Room,
    ada: Person,
    grace: Person,
    card: Card,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await card.tap(ada)
    await room.puts_sign(ada, card.posted.event_id, "👍")
    look = SlowLook(room, monkeypatch, "power_levels", number=2)  # the first one is whether she may tap at all
    taking = asyncio.create_task(room.life.dispatch.run_open())
    await look.begun.wait()
    room.loses_level(ada)
    await room._arrive([member_event("$somebody", "@somebody:example.org", "join")])
    await room.life.runner.run_due()
    look.go_on.set()
    await taking
    await room.settle()
    await card.tap(grace)
    assert (card.state, room.accounts) == ("pending", {})
    assert [vote["by"] for vote in await recorded(room, "vote:cast")] == [ada.user_id, grace.user_id]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_many_reasons_to_look_again_are_one_look(room: Room, ada: Person, card: Card) -> None:
    await card.tap(ada)
    await room.restart()
    await room.settle()
    calls = len(room.chat.calls)
    events = [member_event(f"$m{count}", "@mallory:example.org", ("join", "leave")[count % 2]) for count in range(50)]
    for event in events:
        await room._arrive([event])
    await room.settle()
    assert len(room.chat.calls) - calls < 10
    assert "weigh" not in await room.open_jobs()


# Recorded


async def test_the_record_tells_for_which_groups_a_vote_counted_and_when_that_changed(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2, groups=(Group("staff", room=STAFF),)))
    ada, eve = room.people(ada=100, eve=0)
    room.chat.make_room(STAFF_ROOM)
    room.group_rooms[STAFF] = STAFF_ROOM
    card = await room.asks(eve)
    await card.tap(ada)
    await room.moves(ada, "join", room_id=STAFF_ROOM)
    await room.moves(ada, "leave", room_id=STAFF_ROOM)
    assert await recorded(room, "vote:regrouped") == [{"by": ada.user_id, "groups": ["staff"]}, {"by": ada.user_id}]
    await room.moves(ada, "join", room_id=STAFF_ROOM)
    await card.tap(ada, "👍")
    *_, last = await recorded(room, "vote:cast")
    assert (last["groups"], last["silent"]) == (["staff"], False)
    shown = await room.answer(ada, f"!show {card.id}")
    for words in (f"{ada.user_id} counts for: staff", f"{ada.user_id} counts for no group any more"):
        assert words in shown.body


async def test_the_record_tells_of_a_silent_vote_and_of_the_rooms_that_were_asked_for(open_room: OpenRoom) -> None:
    room = await open_room(room_sets=("staff", "labs"), approval=ApprovalRules(deny=2))
    ada, eve = room.people(ada=100, eve=0)
    card = await room.asks(eve, "!register bob --rooms=staff,labs")
    await room.say(ada, f"!deny {card.id} --silent")
    ((made,), (cast,)) = (await recorded(room, "request:made"), await recorded(room, "vote:cast"))
    assert sorted(made["room_sets"]) == ["labs", "staff"]
    assert (cast["choice"], cast["silent"]) == ("deny", True)
