"""Answers: in the order of the questions, merged only while the server limits the bot, and never said twice."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onboard_bot.jobs.outgoing import Restoration
from onboard_bot.onboarding.ports import NotReadableError, RateLimitedError, RefusedError, UnreachableError
from tests.fakes.chat import Said
from tests.flows.conftest import OpenRoom
from tests.flows.room import Person, Room

LIMITED = RateLimitedError("PUT send", 5.0)
A_DAY = 24 * 3600.0


def answered(said: Said) -> list[Any]:
    """The commands that a message answers, in order."""
    if said.about["kind"] == "list":
        return [item["event_id"] for item in said.about["items"]]
    return [said.answers]


def all_answered(room: Room) -> list[Any]:
    return [command for said in room.said for command in answered(said)]


@pytest.fixture
def grace(room: Room) -> Person:
    """Another admin."""
    return room.person("@grace:example.org", level=50)


async def test_what_one_person_asks_is_answered_in_order_although_the_second_is_ready_first(
    room: Room, ada: Person
) -> None:
    room.answers.clear()  # the homeserver thinks about it
    first = await room.types(ada, "!register bob")
    second = await room.types(ada, "!help")
    async with room.running():
        await room.until(lambda: len(room.endpoint.calls) >= 2)
        assert room.said == []
        room.answers.set()
        await room.until(lambda: len(room.said) == 2)
    assert all_answered(room) == [first, second]


async def test_nobody_waits_for_somebody_elses_account(room: Room, ada: Person, grace: Person) -> None:
    room.answers.clear()
    await room.types(ada, "!register bob")
    second = await room.types(grace, "!help")
    async with room.running():
        await room.until(lambda: room.said)
        assert all_answered(room) == [second]
        room.answers.set()
        await room.until(lambda: len(room.said) == 2)


async def test_an_account_that_is_in_trouble_holds_no_later_answer_up(room: Room, ada: Person) -> None:
    room.endpoint.mode = "unreachable_502"
    first = await room.say(ada, "!register bob")
    second = await room.say(ada, "!help")
    await room.wait(5)
    assert all_answered(room) == [second]
    room.endpoint.mode = "ok"
    await room.wait(120)
    assert all_answered(room) == [second, first]


async def test_answers_that_wait_for_the_limit_come_as_one_list_of_the_contract(
    room: Room, ada: Person, grace: Person
) -> None:
    room.chat.fail_next("send", LIMITED)
    commands = [
        await room.say(ada, "!register bob Bob"),
        await room.say(grace, "!register admin"),
        await room.say(ada, "!register carol"),
    ]
    await room.wait(6)
    (listed,) = room.said
    assert (listed.about["v"], listed.about["kind"]) == (1, "list")
    items = {item.pop("event_id"): item for item in listed.about["items"]}
    ids = dict(tuple(row) for row in await room.rows("SELECT username, id FROM requests"))
    assert items == {
        commands[0]: {"kind": "account", "state": "created", "user_id": "@bob:example.org", "id": ids["bob"]},
        commands[1]: {"kind": "error", "error": "username_reserved"},
        commands[2]: {"kind": "account", "state": "created", "user_id": "@carol:example.org", "id": ids["carol"]},
    }
    assert "m.relates_to" not in listed.content
    assert "@ada:example.org: " in listed.body
    assert listed.content["formatted_body"].startswith("<ul><li>@")
    assert [said.about["user_id"] for said in room.direct(ada)] == ["@bob:example.org", "@carol:example.org"]
    assert await room.open_jobs() == ["erase_credentials"] * 2


async def test_a_list_grows_while_the_server_goes_on_limiting(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", LIMITED, times=3)
    commands = [await room.say(ada, "!status")]
    for _ in range(3):
        commands.append(await room.say(ada, "!status"))
        await room.wait(5)
    await room.wait(5)
    assert [answered(said) for said in room.said] == [commands]


async def test_without_a_limit_every_answer_stands_alone(room: Room, ada: Person) -> None:
    commands = [await room.types(ada, f"!register bob{number}") for number in range(5)]
    await room.settle()
    assert [said.answers for said in room.said] == commands


@pytest.mark.parametrize("after", [False, True], ids=["it did not go out", "it did"])
async def test_what_may_be_in_the_room_already_is_repeated_word_for_word(
    room: Room, ada: Person, *, after: bool
) -> None:
    """A merged answer under the transaction id of a lost one would be dropped by the server, and others with it."""
    room.chat.fail_next("send", UnreachableError("cut off"), after=after)
    commands = [await room.say(ada, "!help")]
    commands.append(await room.say(ada, "!status"))
    room.chat.fail_next("send", LIMITED, times=2)
    await room.wait(60)
    assert [answered(said) for said in room.said] == [[commands[0]], [commands[1]]]


async def test_a_lost_list_is_said_once_and_nobody_is_forgotten(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", LIMITED)
    commands = [await room.say(ada, "!register bob"), await room.say(ada, "!status")]
    room.chat.fail_next("send", UnreachableError("cut off"), after=True)
    await room.wait(5.5)
    await room.restart()
    await room.wait(120)
    assert [answered(said) for said in room.said] == [commands]
    assert len(room.direct(ada)) == 1
    assert await room.open_jobs() == ["erase_credentials"]


async def test_answers_of_different_threads_are_not_merged(room: Room, ada: Person) -> None:
    thread = {"rel_type": "m.thread", "event_id": "$root"}
    room.chat.fail_next("send", LIMITED)
    inside = [await room.types(ada, "!status", **{"m.relates_to": thread}) for _ in range(2)]
    outside = await room.types(ada, "!status")
    await room.wait(30)
    listed, alone = room.said
    assert (answered(listed), answered(alone)) == (inside, [outside])
    assert listed.content["m.relates_to"]["rel_type"] == "m.thread"
    assert listed.content["m.relates_to"]["event_id"] == "$root"


async def test_a_list_that_the_room_refuses_does_not_hold_the_credentials_up(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", LIMITED)
    await room.types(ada, "!register bob")
    await room.types(ada, "!register carol")
    await room.settle()
    room.room.power_levels["events_default"] = 101
    await room.wait(6)
    assert room.said == []
    assert len(room.direct(ada)) == 2


async def test_an_endless_fault_of_a_list_forgets_nobodys_credentials(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", LIMITED)
    await room.types(ada, "!register bob")
    await room.types(ada, "!register carol")
    await room.settle()
    room.chat.fail_next("send", ZeroDivisionError("a fault"), times=10)
    await room.wait(3600)
    assert len(room.direct(ada)) == 2
    assert await room.open_jobs() == ["erase_credentials"] * 2


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["!register", "!status", "!register admin"])), max_size=12
    ),
    mishaps=st.lists(st.sampled_from(["limited", "lost", "lost with effect", "fine"]), max_size=8),
)
async def test_whatever_hinders_the_bot_everybody_is_answered_once_and_in_order(
    open_room: OpenRoom, lines: list[tuple[int, str]], mishaps: list[str]
) -> None:
    room = await open_room()
    people = [room.person(f"@person{number}:example.org", level=50) for number in range(3)]
    failures = {
        "limited": (LIMITED, False),
        "lost": (UnreachableError("cut off"), False),
        "lost with effect": (UnreachableError("cut off"), True),
    }
    asked: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for number, (who, line) in enumerate(lines):
        text = f"{line} name{number}" if line == "!register" else line
        asked[who].append(await room.types(people[who], text))
    for mishap in mishaps:
        if mishap in failures:
            error, after = failures[mishap]
            room.chat.fail_next("send", error, after=after)
        await room.wait(2)
    await room.wait(300)
    answers = all_answered(room)
    assert sorted(answers) == sorted(command for commands in asked.values() for command in commands)
    for commands in asked.values():
        assert [answer for answer in answers if answer in commands] == commands
    assert set(await room.open_jobs()) <= {"erase_credentials"}


async def test_a_repeat_that_the_server_no_longer_knows_is_looked_for_first(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", UnreachableError("cut off"), after=True)
    command = await room.say(ada, "!help")
    room.chat.forget_transaction_ids()
    room.clock.advance(A_DAY)
    await room.settle()
    assert [said.answers for said in room.said] == [command]
    assert await room.open_jobs() == []


async def test_a_repeat_from_a_new_device_is_looked_for_first(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", UnreachableError("cut off"), after=True)
    command = await room.say(ada, "!help")
    room.chat.forget_transaction_ids()
    room.device_id = "ANOTHER"
    await room.restart()
    await room.wait(60)
    assert [said.answers for said in room.said] == [command]


async def test_what_never_went_out_goes_out_from_a_new_device_or_after_a_day(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", UnreachableError("cut off"), times=2)
    command = await room.say(ada, "!register bob")
    room.chat.forget_transaction_ids()
    room.device_id = "ANOTHER"
    await room.restart()
    room.clock.advance(A_DAY)
    await room.wait(60)
    assert [said.answers for said in room.said] == [command]
    assert len(room.direct(ada)) == 1


async def test_credentials_go_out_once_although_the_device_is_another_one(room: Room, ada: Person) -> None:
    await room.say(ada, "!status")
    room.chat.fail_next("send", UnreachableError("cut off"), after=True, times=2)
    await room.say(ada, "!register bob")
    await room.wait(1)
    room.chat.forget_transaction_ids()
    room.device_id = "ANOTHER"
    await room.restart()
    await room.wait(60)
    assert len(room.direct(ada)) == 1


async def test_an_answer_that_nobody_could_read_waits_for_a_reader(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", NotReadableError("nobody could read it"), times=3)
    command = await room.say(ada, "!help")
    assert room.said == []
    await room.wait(60)
    assert [said.answers for said in room.said] == [command]


async def test_a_crowd_gets_no_more_than_three_hourglasses_a_minute(room: Room, ada: Person) -> None:
    room.endpoint.mode = "unreachable_502"
    for number in range(5):
        await room.types(ada, f"!register bob{number}")
    await room.wait(6)
    assert len(room.signs) == 3


async def test_an_account_of_which_nobody_can_tell_does_not_keep_its_name(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    await room.tamper("UPDATE requests SET state = 'unknown'")
    await room.say(ada, "!register bob")
    assert room.last.about["error"] == "username_taken"


async def test_a_list_leaves_out_whoever_asked_something_earlier_that_is_not_known_yet(
    room: Room, ada: Person, grace: Person
) -> None:
    room.answers.clear()
    first = await room.types(grace, "!register bob")
    room.chat.fail_next("send", LIMITED)
    by_ada = await room.types(ada, "!help")
    second = await room.types(grace, "!status")
    async with room.running():
        while not room.said:
            room.passes(1)
            await asyncio.sleep(0.01)
        room.answers.set()
        await room.until(lambda: len(all_answered(room)) == 3)
    assert all_answered(room) == [by_ada, first, second]


async def test_an_answer_that_the_server_refuses_without_a_reason_is_said_later(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", RefusedError(404, {"errcode": "M_UNRECOGNIZED"}), times=3)
    command = await room.say(ada, "!help")
    await room.wait(60)
    assert all_answered(room) == [command]


async def test_an_account_whose_endpoint_is_limited_for_long_holds_no_later_answer_up(room: Room, ada: Person) -> None:
    limited = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests", "retry_after_ms": 600_000}
    room.endpoint.fail_before_once(429, limited)
    first = await room.say(ada, "!register bob")
    second = await room.say(ada, "!status")
    await room.wait(5)
    assert all_answered(room) == [second]
    await room.wait(700)
    assert all_answered(room) == [second, first]


# After a restore


async def saved(room: Room) -> tuple[Path, float]:
    """A copy of the state as it is now, and when that was."""
    copy = room.state.path / "saved.db"
    with closing(sqlite3.connect(room.state.database)) as live, closing(sqlite3.connect(copy)) as target:
        live.backup(target)
    return copy, room.clock.now()


async def restore(room: Room, copy: Path, saved_at: float) -> None:
    """The bot starts on a state of then, and with another device."""
    await room.life.store.close()
    for file in room.state.path.glob("onboard.db*"):
        file.unlink()
    await asyncio.to_thread(copy.rename, room.state.database)
    room.restoration = Restoration(saved_at, room.clock.now())
    room.chat.forget_transaction_ids()
    await room.restart()


async def test_an_answer_that_the_first_life_gave_is_neither_repeated_nor_takes_another_with_it(
    room: Room, ada: Person
) -> None:
    room.chat.fail_next("send", LIMITED)
    first = await room.say(ada, "!help")
    backup = await saved(room)
    await room.wait(6)
    await restore(room, *backup)
    second = await room.types(ada, "!status")
    await room.wait(30)
    assert all_answered(room) == [first, second]


async def test_what_the_first_life_said_in_a_list_is_not_said_alone_after_a_restore(room: Room, ada: Person) -> None:
    first, second = await room.types(ada, "!register bob"), await room.types(ada, "!register carol")
    await room.life.dispatch.run_open()
    backup = await saved(room)
    room.chat.fail_next("send", LIMITED)
    await room.wait(6)
    assert [answered(said) for said in room.said] == [[first, second]]
    await restore(room, *backup)
    await room.tamper("UPDATE requests SET state = 'creating'")  # as `restore` does
    await room.wait(60)
    assert [answered(said) for said in room.said] == [[first, second]]
    assert len(room.direct(ada)) == 2


async def test_credentials_that_the_first_life_brought_and_removed_are_not_brought_again(
    room: Room, ada: Person
) -> None:
    await room.types(ada, "!register bob")
    await room.life.dispatch.run_open()
    backup = await saved(room)
    await room.wait(A_DAY + 60)
    (message,) = room.direct(ada)
    assert message.removed_because is not None
    await restore(room, *backup)
    await room.tamper("UPDATE requests SET state = 'creating'")
    await room.wait(60)
    assert room.direct(ada) == [message]
