"""The process is killed at every step of a registration, and started again: everything happens once.

A step is a moment just before or just after a commit, a call to the homeserver or a message. They are not listed here
but counted: one life that nobody kills tells how many there are.
"""

from collections.abc import Awaitable, Callable

import pytest

from tests.flows.conftest import OpenRoom
from tests.flows.room import Person, Room

Prepare = Callable[[Room], None]
A_DAY = 24 * 3600.0


def _nothing(_room: Room) -> None:
    """An ordinary day."""


def _lost_answer(room: Room) -> None:
    room.endpoint.lose_answer_once()


def _failed_call(room: Room) -> None:
    room.endpoint.fail_before_once(502)


def _in_room(open_room: OpenRoom) -> Awaitable[Room]:
    return open_room(delivery_in_room=True)


def _direct(open_room: OpenRoom) -> Awaitable[Room]:
    return open_room()


async def begun(room: Room, prepare: Prepare) -> tuple[Person, str]:
    ada = room.person("@ada:example.org", level=100)
    prepare(room)
    return ada, await room.types(ada, "!register bob")


async def happened_once(room: Room, who: Person, command: str) -> None:
    assert list(room.accounts) == ["@bob:example.org"]
    messages = room.answers_to(command) + room.direct(who)
    assert sorted(message.about["kind"] for message in messages) == ["account", "credentials"]
    (credentials,) = [message for message in messages if message.about["kind"] == "credentials"]
    assert room.may_sign_in("@bob:example.org", credentials.body.split("`")[1])
    assert await room.states() == ["created"]
    assert await room.open_jobs() == ["erase_credentials"]
    assert len(set(room.passwords)) == len(room.passwords)
    assert room.accounts["@bob:example.org"].sessions == {}


@pytest.mark.parametrize(
    ("prepare", "delivery"),
    [(_nothing, _direct), (_lost_answer, _direct), (_failed_call, _direct), (_nothing, _in_room)],
    ids=["plain", "answer lost", "call failed", "password in the room"],
)
async def test_killed_at_any_step_it_happens_once(
    open_room: OpenRoom, prepare: Prepare, delivery: Callable[[OpenRoom], Awaitable[Room]]
) -> None:
    room = await delivery(open_room)
    await begun(room, prepare)
    await room.wait(30)
    steps = list(room.life.fate.steps)
    assert {"before commit", "after commit", "before create", "before send", "after send"} <= set(steps)
    for last in range(1, len(steps) + 1):
        room = await delivery(open_room)
        ada, command = await begun(room, prepare)
        room.life.fate.dies_at = last
        await room.wait(30)
        assert room.life.fate.died.is_set(), f"there was no step {last}"
        await room.restart()
        await room.arrives(command)  # the server tells again of what was not confirmed
        await room.wait(120)
        await happened_once(room, ada, command)


@pytest.mark.parametrize("prepare", [_nothing, _lost_answer], ids=["plain", "answer lost"])
async def test_killed_again_and_again_it_comes_to_its_end(open_room: OpenRoom, prepare: Prepare) -> None:
    for first in (1, 2, 3):
        room = await open_room()
        ada, command = await begun(room, prepare)
        lives = first
        while True:
            room.life.fate.dies_at = lives
            await room.wait(30)
            if not room.life.fate.died.is_set():
                break
            await room.restart()
            lives += 1
        assert lives > first + 1
        await happened_once(room, ada, command)


async def test_killed_at_any_step_of_the_erasure_the_password_goes_once(open_room: OpenRoom) -> None:
    steps = 1
    last = 0
    while last < steps:
        room = await open_room()
        ada, command = await begun(room, _nothing)
        await room.wait(60)
        await happened_once(room, ada, command)
        room.life.fate.steps.clear()
        room.life.fate.dies_at = last or None
        await room.wait(A_DAY)
        if last == 0:
            steps = len(room.life.fate.steps)
            assert steps >= 6
        else:
            assert room.life.fate.died.is_set()
            await room.restart()
            await room.wait(120)
        (message,) = room.direct(ada)
        assert message.content == {}
        assert [row[0] for row in await room.rows("SELECT sealed_password FROM requests")] == [None]
        assert len(await room.rows("SELECT 1 FROM audit WHERE verb = 'credentials:erased'")) == 1
        assert await room.open_jobs() == []
        last += 1


async def test_a_restart_between_two_commands_changes_nothing(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    await room.restart()
    await room.say(ada, "!register carol")
    assert list(room.accounts) == ["@bob:example.org", "@carol:example.org"]
    assert len(room.direct(ada)) == 2
