"""Every event meant for the bot has its place exactly once, whatever the sync looked like and whenever it stopped."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from onboard_bot.clock import SystemClock
from onboard_bot.matrix.intake import Intake
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.matrix.weighing import weigh
from onboard_bot.onboarding import effects
from onboard_bot.onboarding.effects import JobKind
from onboard_bot.onboarding.ports import RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.transaction import Store

BOT, ADA = "@onboard:example.org", "@ada:example.org"
ADMIN_ROOM, OTHER_ROOM = "!admin", "!other"

Json = dict[str, Any]


class History:
    """The part of the client API that intake uses: what came before a point, in pages of two."""

    def __init__(self) -> None:
        self.events: list[Json] = []
        self.calls: list[tuple[str, str | None]] = []
        self.fail: Exception | None = None
        self.fail_after: int | None = None
        """So many answers, and then none."""
        self.pages: list[Any] = []
        """Answered first, whatever the question."""

    async def messages_before(self, room_id: str, *, start: str, end: str | None) -> Json:
        assert room_id == ADMIN_ROOM, "only the rooms that the bot has a purpose for are worth asking about"
        self.calls.append((start, end))
        assert len(self.calls) < 50, "the walk does not end"
        if self.fail is not None:
            raise self.fail
        if self.fail_after is not None and len(self.calls) > self.fail_after:
            raise UnreachableError("502")
        if self.pages:
            wrong: Json = self.pages.pop(0)
            return wrong
        at = int(start.removeprefix("t"))
        page = self.events[max(0, at - 2) : at]
        return {"chunk": page[::-1], **({"end": f"t{at - 2}"} if at > 2 else {})}


def message(n: int | str, sender: str = ADA, **more: Any) -> Json:
    content = {"msgtype": "m.text", "body": f"!command {n}"}
    return {"event_id": f"${n}", "type": "m.room.message", "sender": sender, "content": content, **more}


def own_join(event_id: str = "$join") -> Json:
    content = {"membership": "join"}
    return {"event_id": event_id, "type": "m.room.member", "sender": BOT, "state_key": BOT, "content": content}


def sync(*events: Json, room: str = ADMIN_ROOM, next_batch: str = "s2", **timeline: Any) -> str:
    joined = {room: {"timeline": {"events": list(events), **timeline}}}
    return json.dumps({"next_batch": next_batch, "rooms": {"join": joined}})


class Desk:
    """An intake with its database, in the admin room."""

    def __init__(self, store: Store, machine: Machine) -> None:
        self.store = store
        self.history = History()
        self.watched: set[str] = set()
        self.intake = Intake(
            self.history,  # type: ignore[arg-type]
            machine,
            Rooms(self.history),  # type: ignore[arg-type]
            store,
            watches=lambda room_id: room_id in self.watched,
        )

    async def receive(self, body: str, *, since: str | None = "s1") -> None:
        async with self.store.transaction() as tx:
            await tx.journal.add(since=since, body=body, next_batch=json.loads(body)["next_batch"])
        await self.replay()

    async def replay(self) -> None:
        async with self.store.reading() as tx:
            pending = await tx.journal.pending()
        for journalled in pending:
            await self.intake.apply(journalled)

    async def inbox(self) -> list[str]:
        """Takes everything out of the inbox, in order."""
        ids: list[str] = []
        while True:
            async with self.store.transaction() as tx:
                event = await tx.inbox.next_open()
                if event is None:
                    return ids
                await tx.inbox.close(event.event_id)
                ids.append(event.event_id)

    async def weighed(self) -> list[str]:
        """The reasons for which votes are to be weighed again, in order."""
        keys: list[str] = []
        while True:
            async with self.store.transaction() as tx:
                jobs = await tx.jobs.first_of_lanes(now=tx.now)
                if not jobs:
                    return keys
                (job,) = jobs
                assert (job.kind, job.lane) == (JobKind.WEIGH, "weigh")
                keys.append(job.key.removeprefix("weigh:"))
                await tx.jobs.finish(job, now=tx.now)

    async def in_the_room_already(self) -> None:
        async with self.store.transaction() as tx:
            await tx.rooms.joined(ADMIN_ROOM, "$join")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    bring_up_to_date(tmp_path / "onboard.db")
    store = Store(Database(sqlite_url(tmp_path / "onboard.db")), SystemClock())
    (tmp_path / "crypto").mkdir()
    machine = Machine(BOT, "BOT", tmp_path / "crypto", b"k" * 32)
    async with store.transaction() as tx:
        await tx.rooms.plan(PlannedRoom("marker", Purpose.ADMIN, "", ADMIN_ROOM, made_by_bot=False))
    yield Desk(store, machine)
    machine.close()
    await store.close()


async def test_events_arrive_in_order_and_once(desk: Desk) -> None:
    await desk.in_the_room_already()
    await desk.receive(sync(message(1), message(2)))
    await desk.receive(sync(message(2), message(3), next_batch="s3"))
    assert await desk.inbox() == ["$1", "$2", "$3"]


async def test_a_body_that_was_journalled_and_not_applied_is_applied_after_the_restart(desk: Desk) -> None:
    await desk.in_the_room_already()
    async with desk.store.transaction() as tx:
        await tx.journal.add(since="s1", body=sync(message(1)), next_batch="s2")
    await desk.replay()
    async with desk.store.reading() as tx:
        assert await tx.journal.token() == "s2"
        assert await tx.journal.pending() == []
    assert await desk.inbox() == ["$1"]


async def test_a_gap_is_walked_back_to_the_last_sync(desk: Desk) -> None:
    await desk.in_the_room_already()
    desk.history.events = [message(n) for n in range(1, 6)]
    await desk.receive(sync(message(6), limited=True, prev_batch="t5"), since="s1")
    assert await desk.inbox() == ["$1", "$2", "$3", "$4", "$5", "$6"]
    assert {end for _, end in desk.history.calls} == {"s1"}


async def test_a_gap_that_cannot_be_fetched_now_is_fetched_later_and_nothing_is_lost(desk: Desk) -> None:
    await desk.in_the_room_already()
    desk.history.events = [message(1)]
    desk.history.fail = UnreachableError("502")
    with pytest.raises(UnreachableError):
        await desk.receive(sync(message(2), limited=True, prev_batch="t1"))
    assert await desk.inbox() == []
    desk.history.fail = None
    await desk.replay()
    assert await desk.inbox() == ["$1", "$2"]


@pytest.mark.parametrize(("status", "errcode"), [(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND"), (400, "M_INVALID_PARAM")])
async def test_a_gap_that_the_server_keeps_to_itself_does_not_keep_back_what_is_at_hand(
    desk: Desk, status: int, errcode: str
) -> None:
    await desk.in_the_room_already()
    desk.history.fail = RefusedError(status, {"errcode": errcode})
    await desk.receive(sync(message(2), message(3), limited=True, prev_batch="t1"))
    assert await desk.inbox() == ["$2", "$3"]
    await desk.receive(sync(message(4), next_batch="s3"))
    assert await desk.inbox() == ["$4"]


async def test_a_walk_that_was_interrupted_goes_on_from_where_it_was(desk: Desk) -> None:
    await desk.in_the_room_already()
    desk.history.events = [message(n) for n in range(1, 6)]
    desk.history.fail_after = 2
    with pytest.raises(UnreachableError):
        await desk.receive(sync(message(6), limited=True, prev_batch="t5"))
    desk.history.fail_after = None
    await desk.replay()
    assert await desk.inbox() == ["$1", "$2", "$3", "$4", "$5", "$6"]
    assert [start for start, _ in desk.history.calls] == ["t5", "t3", "t1", "t1"]


async def test_a_refusal_that_says_nothing_about_the_gap_is_asked_about_again(desk: Desk) -> None:
    await desk.in_the_room_already()
    desk.history.events = [message(1)]
    desk.history.fail = RefusedError(404, {"errcode": "M_UNRECOGNIZED"})
    with pytest.raises(RefusedError):
        await desk.receive(sync(message(2), limited=True, prev_batch="t1"))
    desk.history.fail = None
    await desk.replay()
    assert await desk.inbox() == ["$1", "$2"]


async def test_a_gap_is_no_reason_to_lose_anything_while_the_session_is_being_renewed(desk: Desk) -> None:
    await desk.in_the_room_already()
    desk.history.events = [message(1)]
    desk.history.fail = TokenRejectedError(401, {"errcode": "M_UNKNOWN_TOKEN", "soft_logout": True})
    with pytest.raises(TokenRejectedError):
        await desk.receive(sync(message(2), limited=True, prev_batch="t1"))
    desk.history.fail = None
    await desk.replay()
    assert await desk.inbox() == ["$1", "$2"]


async def test_gaps_of_rooms_without_a_purpose_are_left_alone(desk: Desk) -> None:
    await desk.receive(sync(own_join(), message(1), room=OTHER_ROOM, limited=True, prev_batch="t5"))
    assert desk.history.calls == []
    assert await desk.inbox() == []


@pytest.mark.parametrize("start", ["t1", "t7"])
async def test_a_page_that_leads_to_itself_is_the_last(desk: Desk, start: str) -> None:
    await desk.in_the_room_already()
    desk.history.pages = [{"chunk": [message(1)], "end": start}] * 3
    await desk.receive(sync(message(2), limited=True, prev_batch=start))
    assert await desk.inbox() == ["$1", "$2"]
    assert len(desk.history.calls) == 1


@pytest.mark.parametrize(
    "page", [{}, {"chunk": None}, {"chunk": 5}, {"chunk": [None, 5, {}], "end": 5}, {"chunk": [], "end": "t0"}]
)
async def test_a_page_of_nonsense_ends_the_walk_and_stops_nothing(desk: Desk, page: Json) -> None:
    await desk.in_the_room_already()
    desk.history.pages = [page]
    await desk.receive(sync(message(2), limited=True, prev_batch="t1"))
    assert await desk.inbox() == ["$2"]


async def test_nothing_before_the_bots_first_join_is_obeyed(desk: Desk) -> None:
    await desk.receive(sync(message("old"), own_join(), message("new")))
    assert await desk.inbox() == ["$new"]


async def test_a_gap_right_after_the_first_join_is_walked_back_to_the_join_and_no_further(desk: Desk) -> None:
    desk.history.events = [message("older"), message("old"), own_join(), message(1), message(2)]
    await desk.receive(sync(message(3), limited=True, prev_batch="t5"))
    assert await desk.inbox() == ["$1", "$2", "$3"]


async def test_of_a_room_that_the_account_was_in_before_only_what_follows_is_obeyed(desk: Desk) -> None:
    await desk.receive(sync(message("old"), own_join(), message("old too")), since=None)
    await desk.receive(sync(message("new"), next_batch="s3"))
    assert await desk.inbox() == ["$new"]


def own_member(event_id: str, membership: str, before: str | None = None) -> Json:
    event = {**own_join(event_id), "content": {"membership": membership}}
    return event if before is None else {**event, "unsigned": {"prev_content": {"membership": before}}}


async def test_a_change_of_the_bots_own_name_hides_nothing_also_in_a_gap(desk: Desk) -> None:
    await desk.in_the_room_already()
    desk.history.events = [message(1), message(2), own_member("$renamed", "join", before="join")]
    await desk.receive(sync(message(3), limited=True, prev_batch="t3"))
    assert await desk.inbox() == ["$1", "$2", "$3"]


async def test_what_was_said_while_the_bot_was_out_is_not_obeyed(desk: Desk) -> None:
    await desk.in_the_room_already()
    kicked, back = own_member("$kicked", "leave", before="join"), own_member("$back", "join", before="invite")
    await desk.receive(sync(message(1), kicked, message("out"), back, message(2)))
    await desk.receive(
        sync(message("out too"), own_member("$again", "join", before="leave"), message(3), next_batch="s3")
    )
    assert await desk.inbox() == ["$1", "$2", "$3"]


async def test_what_was_said_between_the_invitation_and_the_first_join_is_not_obeyed(desk: Desk) -> None:
    invited, joined = own_member("$invited", "invite"), own_member("$join", "join", before="invite")
    await desk.receive(sync(message("old"), invited, message("early"), joined, message("new")))
    assert await desk.inbox() == ["$new"]


async def test_what_was_said_before_a_kick_that_came_while_the_bot_was_away_is_obeyed(desk: Desk) -> None:
    await desk.in_the_room_already()
    kicked, back = own_member("$kicked", "leave", before="join"), own_member("$back", "join", before="invite")
    desk.history.events = [message(1), kicked, message("out")]
    await desk.receive(sync(back, message(2), limited=True, prev_batch="t3"))
    assert await desk.inbox() == ["$1", "$2"]


def nested(depth: int) -> Json:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return {**message("deep"), "content": {"msgtype": "m.text", "body": "!x", "x": value}}


@pytest.mark.parametrize("depth", [100, 400, 900])
async def test_an_event_that_is_nested_too_deep_harms_nobody(desk: Desk, depth: int) -> None:
    await desk.in_the_room_already()
    body = json.loads(sync(message(1), nested(depth), message(2)))
    body["to_device"] = {"events": [{**nested(depth), "type": "m.room.encrypted"}]}
    await desk.receive(json.dumps(body))
    assert await desk.inbox() == ["$1", "$2"]


@pytest.mark.parametrize(
    "event",
    [
        message(1, sender=BOT),
        message(1, state_key=""),
        {**message(1), "content": "not an object"},
        {**message(1), "sender": 7},
        {**message(1), "type": "m.room.topic"},
    ],
)
async def test_what_is_not_for_the_bot_is_passed_over(desk: Desk, event: Json) -> None:
    await desk.in_the_room_already()
    await desk.receive(sync(event, message("meant")))
    assert await desk.inbox() == ["$meant"]


async def test_rooms_without_a_purpose_are_passed_over(desk: Desk) -> None:
    await desk.receive(sync(own_join(), message(1), room=OTHER_ROOM))
    assert await desk.inbox() == []


async def test_an_invitation_is_one_intent_however_often_its_body_is_applied(desk: Desk) -> None:
    member = {"type": "m.room.member", "state_key": BOT, "sender": ADA, "content": {"membership": "invite"}}
    names = {"type": "m.room.member", "state_key": ADA, "sender": ADA, "content": {"membership": "join"}}
    invite = {OTHER_ROOM: {"invite_state": {"events": [names, member]}}}
    body = json.dumps({"next_batch": "s2", "rooms": {"invite": invite}})
    for _ in range(2):
        await desk.receive(body)
    async with desk.store.reading() as tx:
        (job,) = await tx.jobs.first_of_lanes(now=tx.now)
    assert job.payload == {"room_id": OTHER_ROOM, "inviter": ADA, "is_direct": False}


async def test_a_stranger_cannot_pass_for_somebody_else_who_invites(desk: Desk) -> None:
    forged = {"type": "m.room.member", "state_key": BOT, "sender": ADA, "content": {"membership": "invite"}}
    real = {**forged, "sender": "@eve:evil.org"}
    invite = {OTHER_ROOM: {"invite_state": {"events": [forged, real]}}}
    await desk.receive(json.dumps({"next_batch": "s2", "rooms": {"invite": invite}}))
    async with desk.store.reading() as tx:
        jobs = await tx.jobs.first_of_lanes(now=tx.now)
    assert [job.payload["inviter"] for job in jobs] == ["@eve:evil.org"]


@pytest.mark.parametrize(
    "rooms",
    [[], {"join": []}, {"join": {ADMIN_ROOM: []}}, {"join": {ADMIN_ROOM: {"timeline": {"events": [1, None, {}]}}}}],
)
async def test_a_malformed_body_is_passed_over(desk: Desk, rooms: Any) -> None:
    await desk.receive(json.dumps({"next_batch": "s2", "rooms": rooms}))
    async with desk.store.reading() as tx:
        assert await tx.journal.pending() == []


# Who comes, goes, or gets another level: the votes are weighed again.


def member(membership: str, before: str | None = None, *, who: str = ADA, event_id: str = "$member") -> Json:
    content = {"membership": membership}
    event = {"event_id": event_id, "type": "m.room.member", "sender": ADA, "state_key": who, "content": content}
    return event if before is None else {**event, "unsigned": {"prev_content": {"membership": before}}}


LEVELS = {"event_id": "$levels", "type": "m.room.power_levels", "sender": ADA, "state_key": "", "content": {}}


def test_the_intent_is_the_one_that_has_an_effect() -> None:
    assert weigh("$cause") == effects.weigh("$cause")


@pytest.mark.parametrize("room", ["the admin room", "a group's room"])
@pytest.mark.parametrize(
    ("event", "matters"),
    [
        (member("join"), True),
        (member("join", "leave"), True),
        (member("join", "invite"), True),
        (member("join", "join"), False),
        (member("leave", "join"), True),
        (member("leave"), True),
        (member("leave", "invite"), False),
        (member("ban", "join"), True),
        (member("ban"), True),
        (member("ban", "leave"), False),
        (member("leave", "ban"), False),
        (member("invite", "leave"), False),
        (member("knock"), False),
        (member("join", "invite", who=BOT), False),
        (member("leave", "join", who=BOT), False),
        (LEVELS, True),
        (message(1), False),
        ({**LEVELS, "state_key": 5}, False),
        ({**LEVELS, "content": "nonsense"}, False),
        ({**member("join"), "content": {"membership": ["join"]}}, False),
        ({**member("join"), "unsigned": {"prev_content": {"membership": 5}}}, True),
        ({**member("join"), "unsigned": "nonsense"}, True),
        ({key: value for key, value in member("join").items() if key != "state_key"}, False),
    ],
)
async def test_votes_are_weighed_when_somebody_comes_or_goes_or_gets_another_level(
    desk: Desk, room: str, event: Json, *, matters: bool
) -> None:
    await desk.in_the_room_already()
    desk.watched.add(OTHER_ROOM)
    await desk.receive(sync(event, room=ADMIN_ROOM if room == "the admin room" else OTHER_ROOM))
    assert await desk.weighed() == ([event["event_id"]] if matters else [])


async def test_many_who_come_at_once_are_one_reason_and_the_same_body_again_is_none(desk: Desk) -> None:
    await desk.in_the_room_already()
    body = sync(*(member("join", event_id=f"$member{n}") for n in range(50)), LEVELS, message(1))
    await desk.receive(body)
    await desk.receive(body)
    assert await desk.weighed() == ["$levels"]


async def test_two_rooms_in_one_body_are_two_reasons(desk: Desk) -> None:
    await desk.in_the_room_already()
    desk.watched.add(OTHER_ROOM)
    body = json.loads(sync(LEVELS))
    body["rooms"]["join"][OTHER_ROOM] = {"timeline": {"events": [member("join")]}}
    await desk.receive(json.dumps(body))
    assert sorted(await desk.weighed()) == ["$levels", "$member"]


@pytest.mark.parametrize("left_out", ["a limited timeline", "a change outside it"])
@pytest.mark.parametrize("room", [ADMIN_ROOM, OTHER_ROOM])
async def test_what_a_sync_leaves_out_may_be_somebody_who_came_or_went(desk: Desk, room: str, left_out: str) -> None:
    await desk.in_the_room_already()
    desk.watched.add(OTHER_ROOM)
    body = json.loads(sync(message(1), room=room, next_batch="s7"))
    if left_out == "a limited timeline":
        body["rooms"]["join"][room]["timeline"]["limited"] = True
    else:
        body["rooms"]["join"][room]["state"] = {"events": [member("join")]}
    await desk.receive(json.dumps(body))
    assert await desk.weighed() == ["s7"]


@pytest.mark.parametrize("purpose", [None, Purpose.DIRECT, Purpose.RESTING_ADMIN])
async def test_who_comes_into_any_other_room_matters_to_nobody(desk: Desk, purpose: Purpose | None) -> None:
    if purpose is not None:
        async with desk.store.transaction() as tx:
            await tx.rooms.plan(PlannedRoom("other", purpose, ADA, OTHER_ROOM, made_by_bot=True))
    await desk.receive(sync(member("join"), LEVELS, room=OTHER_ROOM, limited=True))
    assert await desk.weighed() == []


async def test_what_is_said_in_the_room_of_a_group_is_none_of_the_bots_business(desk: Desk) -> None:
    desk.watched.add(OTHER_ROOM)
    await desk.receive(sync(own_join(), message(1), member("join"), message(2), room=OTHER_ROOM))
    await desk.receive(sync(message(3), room=OTHER_ROOM, limited=True, prev_batch="t5", next_batch="s3"))
    assert await desk.inbox() == []
    assert desk.history.calls == []
    assert await desk.weighed() == ["$member", "s3"]
