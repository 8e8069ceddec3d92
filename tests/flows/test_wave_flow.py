"""Many requests at once, while the server lets the bot say little: all answered, all decidable, nothing twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, product
from typing import Any

import pytest
from sqlalchemy import event

from onboard_bot.domain.approvals import ApprovalRules
from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.request_ids import ALPHABET, LENGTH
from onboard_bot.domain.requests import Origin, Request, State, Wish
from onboard_bot.onboarding import decision
from onboard_bot.onboarding.ports import Outgoing, RateLimitedError
from tests.fakes.chat import FakeChat, Said
from tests.fakes.clock import FakeClock
from tests.flows.conftest import OpenRoom
from tests.flows.room import ADMIN_ROOM, Card, Person, Room

LIMITED = RateLimitedError("PUT send", 5.0)
ON_A_PAGE = 25


class SynapsesLimit:
    """`rc_message` as Synapse has it by default: ten messages at once, then one every five seconds."""

    def __init__(self, chat: FakeChat, clock: FakeClock, *, burst: float = 10.0, per_second: float = 0.2) -> None:
        self._send = chat.send
        self._clock = clock
        self._burst, self._per_second = burst, per_second
        self._left, self._since = burst, clock.monotonic()

    async def send(self, room_id: str, event_type: str, content: Any, outgoing: Outgoing, **more: Any) -> str:
        """As of the chat, where it is not too early."""
        now = self._clock.monotonic()
        self._left = min(self._burst, self._left + (now - self._since) * self._per_second)
        self._since = now
        if self._left < 0.999:
            raise RateLimitedError("PUT send", (1 - self._left) / self._per_second)
        self._left -= 1
        return await self._send(room_id, event_type, content, outgoing, **more)


@pytest.fixture
def limited(room: Room, monkeypatch: pytest.MonkeyPatch) -> Room:
    """The room on a server with its default limits."""
    monkeypatch.setattr(room.chat, "send", SynapsesLimit(room.chat, room.clock).send)
    # To look for hundreds of them at every step takes minutes; at the end they are looked for as ever.
    monkeypatch.setattr(room, "find_passwords_on_disk", set)
    return room


@pytest.fixture
def ada(room: Room) -> Person:
    """An admin."""
    return room.person("@ada:example.org", level=100)


@pytest.fixture
def grace(room: Room) -> Person:
    """Another one who may decide."""
    return room.person("@grace:example.org", level=50)


def answered(room: Room) -> list[tuple[str, dict[str, Any]]]:
    """Every command that was answered, alone or in a list, and what the answer says."""
    found: list[tuple[str, dict[str, Any]]] = []
    for said in room.posted:
        if said.about["kind"] == "list" and "m.in_reply_to" not in said.content.get("m.relates_to", {}):
            found += [(item["event_id"], {k: v for k, v in item.items() if k != "event_id"}) for item in items(said)]
        elif said.answers is not None:
            found.append((said.answers, {key: value for key, value in said.about.items() if key != "v"}))
    return found


def items(said: Said) -> list[dict[str, Any]]:
    """Of a list."""
    return list(said.about["items"])


def lists(room: Room) -> list[Said]:
    """The answers that were merged."""
    return [said for said in room.posted if said.about["kind"] == "list" and said.answers is None]


async def wave(room: Room, number: int, people: int = 10) -> list[str]:
    """So many requests, by several people, within a minute; the commands."""
    crowd = [room.person(f"@person{who}:example.org") for who in range(people)]
    commands = []
    for count in range(number):
        commands.append(await room.types(crowd[count % people], f"!register name{count} Name {count}"))
        await room.wait(60 / number)
    return commands


async def merged_requests(room: Room, who: Person, number: int = 3) -> list[str]:
    """Requests that came into one list; their ids."""
    room.chat.fail_next("send", LIMITED)
    for count in range(number):
        await room.types(who, f"!register bob{count}")
    await room.wait(6)
    (listed,) = lists(room)
    return [item["id"] for item in items(listed)]


# A wave


@pytest.mark.usefixtures("limited")
async def test_of_a_wave_of_a_hundred_everybody_is_answered_once_and_all_are_decided_by_four_commands(
    room: Room, ada: Person, grace: Person
) -> None:
    began = room.clock.monotonic()
    commands = await wave(room, 100)
    while len(answered(room)) < 100:
        await room.wait(5)
        assert room.clock.monotonic() - began < 180
    assert sorted(command for command, _ in answered(room)) == sorted(commands)
    ids = dict(tuple(row) for row in await room.rows("SELECT origin_event, id FROM requests"))
    for number, command in enumerate(commands):
        about = {"kind": "request", "id": ids[command], "state": "pending", "user_id": f"@name{number}:example.org"}
        assert (command, about) in answered(room)
    assert sum(len(items(said)) for said in lists(room)) > 50, "nothing was merged: the limit did not bite"
    assert all(said.mentions == [ada.user_id, grace.user_id] for said in room.posted)

    given, *refused = (commands[start:][:ON_A_PAGE] for start in range(0, 100, ON_A_PAGE))
    decisions = [await room.types(ada, "!approve " + " ".join(ids[command] for command in given))]
    for some in refused:
        line = "!deny " + " ".join(ids[command] for command in some) + " --silent"
        decisions.append(await room.types(grace, line))
    await room.settle()
    assert await room.states() == ["created"] * 25 + ["denied"] * 75
    while await room.open_jobs() != ["erase_credentials"] * 25:
        await room.wait(30)
        assert room.clock.monotonic() - began < 900
    assert sorted(room.accounts) == sorted(f"@name{number}:example.org" for number in range(25))
    outcomes = [command for command, about in answered(room) if about["kind"] == "account"]
    assert sorted(outcomes) == sorted(given)
    decided = {command: len(about["items"]) for command, about in answered(room) if about["kind"] == "list"}
    assert decided == dict.fromkeys(decisions, ON_A_PAGE)
    for who in range(10):
        brought = room.direct(Person(f"@person{who}:example.org"))
        names = [f"@name{number}:example.org" for number in range(25) if number % 10 == who]
        assert sorted(said.about["user_id"] for said in brought) == sorted(names)
        assert {said.about["kind"] for said in brought} == {"credentials"}
    shown = [Card(room, said) for said in room.posted if said.about["kind"] == "request" and said.answers in ids]
    assert shown
    assert {card.state for card in shown} <= {"created", "denied"}


@pytest.mark.usefixtures("limited")
async def test_an_answer_does_not_wait_for_the_passwords_of_others(room: Room, ada: Person) -> None:
    people = [room.person(f"@person{who}:example.org", level=50) for who in range(5)]
    for number in range(30):
        await room.types(people[number % 5], f"!register name{number}")
    await room.wait(30)
    command = await room.types(ada, "!status")
    await room.wait(15)
    assert command in [answers for answers, _ in answered(room)]
    assert sum(len(room.direct(person)) for person in people) < 20
    await room.wait(200)
    assert sum(len(room.direct(person)) for person in people) == 30


async def test_a_list_of_requests_says_how_to_decide_them_and_mentions_only_who_may(
    room: Room, ada: Person, grace: Person
) -> None:
    people = [room.person(f"@{name}:example.org") for name in ("eve", "mallory")]
    room.chat.fail_next("send", LIMITED)
    commands = [await room.types(who, f"!register {name}") for who, name in zip(people, ("bob", "carol"), strict=True)]
    commands.append(await room.types(ada, "!status"))
    await room.wait(6)
    (listed,) = room.posted
    ids = dict(tuple(row) for row in await room.rows("SELECT username, id FROM requests"))
    assert (listed.about["v"], listed.about["kind"]) == (1, "list")
    assert items(listed) == [
        {
            "kind": "request",
            "id": ids[name],
            "state": "pending",
            "user_id": f"@{name}:example.org",
            "event_id": command,
        }
        for name, command in zip(("bob", "carol"), commands, strict=False)
    ] + [{"kind": "status", "event_id": commands[2]}]
    assert listed.mentions == [ada.user_id, grace.user_id]
    for name, who in zip(("bob", "carol"), people, strict=True):
        line = next(line for line in listed.body.splitlines() if ids[name] in line)
        for words in (name, who.user_id, f"!approve {ids[name]}", f"!deny {ids[name]}", f"!show {ids[name]}"):
            assert words in line
    assert room.signs == []


async def test_of_one_that_asks_for_himself_nobody_is_mentioned_who_may_not_decide(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(always=True))
    ada, grace = room.person("@ada:example.org", 100), room.person("@grace:example.org", 50)
    room.person("@mallory:example.org")
    await merged_requests(room, grace)
    (listed,) = lists(room)
    assert listed.mentions == [ada.user_id]


# Deciding what was merged


async def test_merged_requests_are_decided_by_typed_command(room: Room, ada: Person) -> None:
    eve = room.person("@eve:example.org")
    first, second, third = await merged_requests(room, eve)
    await room.say(ada, f"!approve {first} welcome")
    await room.say(ada, f"!deny {second} who is that?")
    assert await room.states() == ["created", "denied", "pending"]
    approved, denied = (said for said in room.posted if said.mentions == [eve.user_id])
    assert (approved.about["kind"], approved.about["id"]) == ("account", first)
    assert (denied.about["kind"], denied.about["id"], denied.about["state"]) == ("status", second, "denied")
    assert len(room.direct(eve)) == 1
    assert [said for said in room.said if said.replaces is not None] == []
    assert (await room.rows(f"SELECT state FROM requests WHERE id = '{third}'"))[0][0] == "pending"  # noqa: S608


async def test_several_are_decided_in_one_answer_also_while_the_server_limits_the_bot(room: Room, ada: Person) -> None:
    eve = room.person("@eve:example.org")
    ids = await merged_requests(room, eve, 6)
    room.chat.fail_next("send", LIMITED, times=2)
    approve = await room.say(ada, "!approve " + " ".join(ids[:3]))
    deny = await room.say(ada, "!deny " + " ".join(ids[3:]) + " --silent")
    await room.wait(60)
    assert await room.states() == ["created"] * 3 + ["denied"] * 3
    outcomes = [about for _, about in answered(room) if about["kind"] == "account"]
    assert sorted(about["id"] for about in outcomes) == sorted(ids[:3])
    assert len([command for command, _ in answered(room) if command in (approve, deny)]) == 2
    assert not any(about.get("state") == "denied" and about["kind"] == "status" for _, about in answered(room))
    assert sorted(said.about["user_id"] for said in room.direct(eve)) == [f"@bob{n}:example.org" for n in range(3)]


async def test_show_posts_the_card_of_a_merged_one_and_a_tap_on_it_decides(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace = room.person("@ada:example.org", 100), room.person("@grace:example.org", 50)
    eve = room.person("@eve:example.org")
    first, *_ = await merged_requests(room, eve)
    show = await room.say(ada, f"!show {first}")
    card = room.card_of(show)
    assert (card.id, card.state, card.posted.mentions) == (first, "pending", [ada.user_id, grace.user_id])
    assert room.signs == ["✅", "❌"]
    await card.tap(ada)
    assert "1 of 2 approvals" in card.body
    await card.tap(grace)
    assert (card.state, list(room.accounts)) == ("created", ["@bob0:example.org"])


async def test_where_two_people_ask_for_a_card_there_is_one_and_the_other_gets_the_details(
    room: Room, ada: Person, grace: Person
) -> None:
    first, *_ = await merged_requests(room, room.person("@eve:example.org"))
    shows = [await room.types(who, f"!show {first}") for who in (ada, grace)]
    await room.settle()
    card, (other,) = room.card_of(shows[0]), room.answers_to(shows[1])
    assert (other.about["kind"], other.about["id"], other.about["state"]) == ("request", first, "pending")
    assert f"✅ or ❌ under its card, or `!approve {first} [note]`" in other.body
    assert "What happened:" in other.body
    assert other.mentions == []
    await card.tap(grace)
    assert card.state == "created"


# Hundreds that wait


async def many_pending(room: Room, number: int) -> list[str]:
    """So many requests that wait for votes, as if they had been merged into lists long ago; their ids."""
    ids = ["2" + "".join(symbols) for symbols in islice(product(ALPHABET, repeat=LENGTH - 1), number)]
    async with room.life.store.transaction() as tx:
        for count, request_id in enumerate(ids):
            request = Request(
                id=request_id,
                state=State.PENDING,
                wish=Wish(f"waits{count}"),
                origin=Origin.ADMIN_ROOM,
                requester="@eve:example.org",
                origin_room=ADMIN_ROOM,
                origin_event=f"$long-ago-{count}",
                thread_root=None,
                created_at=tx.now,
                expires_at=tx.now + ApprovalRules().expires_after,
            )
            await tx.requests.add(request)
            await tx.record(Entry(Verb.REQUEST_MADE, request.id))
            await decision.open_to_votes(tx, request, ApprovalRules())
    return ids


async def test_of_five_hundred_that_wait_the_pages_show_each_once(room: Room, ada: Person) -> None:
    ids = await many_pending(room, 500)
    found: list[str] = []
    for page in range(1, 21):
        (said,) = room.answers_to(await room.say(ada, f"!requests --page={page}"))
        assert said.about["kind"] == "list"
        assert f"page {page} of 20" in said.body
        found += [item["id"] for item in items(said)]
        assert all(item["kind"] == "request" and item["state"] == "pending" for item in items(said))
    assert sorted(found) == sorted(ids)
    (said,) = room.answers_to(await room.say(ada, "!requests --page=21"))
    assert said.about["error"] == "bad_argument"


@contextmanager
def counted(room: Room) -> Iterator[list[str]]:
    """What the database and the server are asked meanwhile."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    engine = room.life.store._database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    before = len(room.chat.calls)
    yield asked
    event.remove(engine, "before_cursor_execute", note)
    asked += room.chat.calls[before:]


@pytest.mark.parametrize("line", ["!show {}", "!approve {}", "!deny {}", "!requests"])
async def test_what_is_asked_takes_no_more_looks_with_five_hundred_that_wait_than_with_thirty(
    open_room: OpenRoom, line: str
) -> None:
    looks = []
    for number in (30, 500):
        room = await open_room()
        ada = room.person("@ada:example.org", level=100)
        ids = await many_pending(room, number)
        await room.say(ada, "!status")
        with counted(room) as asked:
            await room.say(ada, line.format(ids[number // 2]))
        looks.append(asked)
    assert len(looks[0]) == len(looks[1])


@pytest.mark.usefixtures("limited")
async def test_when_a_hundred_expire_together_everybody_is_told_once_and_the_bot_still_answers(
    room: Room, ada: Person
) -> None:
    await many_pending(room, 100)
    room.clock.advance(ApprovalRules().expires_after)
    status = await room.types(ada, "!status")
    await room.wait(30)
    assert status in [command for command, _ in answered(room)]
    await room.wait(120)
    told = [about["id"] for _, about in answered(room) if about.get("state") == "expired"]
    assert len(told) == len(set(told)) == 100
    assert len(room.posted) < 20
    assert await room.open_jobs() == []
