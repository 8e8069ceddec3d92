"""What a homeserver must not be able to do by one wrong answer, and a database by one bad moment: make us forget."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest
from sqlalchemy.exc import OperationalError

from onboard_bot.chat import commands, dispatch
from onboard_bot.domain.roles import Role
from onboard_bot.onboarding.ports import RefusedError
from onboard_bot.store.transaction import Transaction
from tests.fakes.chat import Said
from tests.flows.conftest import OpenRoom
from tests.flows.room import Person, Room

HOUR = 3600.0


def kinds(messages: list[Said]) -> list[str]:
    """What the messages are about, in order."""
    return [said.about["kind"] for said in messages]


def passwords_said(room: Room) -> int:
    """How many messages anywhere hold a password."""
    everything = [said for one in room.chat.rooms.values() for said in one.events]
    return sum(any(password in said.body for password in room.passwords) for said in everything)


async def hours_pass(room: Room, hours: float = 6) -> None:
    """A long time, with hardly a look in between: there would be one every ten seconds."""
    await room.wait(30)
    room.clock.advance(hours * HOUR)
    await room.wait(30)


# Nobody reads a password who should not


async def test_no_password_goes_into_a_room_in_clear_text(open_room: OpenRoom) -> None:
    room = await open_room(delivery_in_room=True)
    ada = room.person("@ada:example.org", level=100)
    room.chat.unencrypted = True
    command = await room.say(ada, "!register bob")
    await hours_pass(room)
    assert passwords_said(room) == 0
    assert kinds(room.answers_to(command)) == ["account", "error"]
    room.chat.unencrypted = False
    await room.wait(60)
    assert kinds(room.answers_to(command)) == ["account", "error", "credentials"]
    assert passwords_said(room) == 1


async def test_no_password_goes_into_a_direct_room_in_clear_text(room: Room, ada: Person) -> None:
    room.chat.unencrypted = True
    await room.say(ada, "!register bob")
    await hours_pass(room)
    assert passwords_said(room) == 0
    room.chat.unencrypted = False
    await room.wait(60)
    assert kinds(room.direct(ada)) == ["credentials"]


async def test_everything_else_may_be_said_in_clear_text(room: Room, ada: Person) -> None:
    room.chat.unencrypted = True
    await room.say(ada, "!help")
    await room.say(ada, "!register admin")
    assert kinds(room.said) == ["help", "error"]


# Somebody who cannot read yet


async def test_the_password_of_somebody_without_a_device_waits_and_the_room_is_told_once(
    room: Room, ada: Person
) -> None:
    room.chat.without_devices.add(ada.user_id)
    command = await room.say(ada, "!register bob")
    await hours_pass(room)
    created, told = room.answers_to(command)
    assert created.about["state"] == "created"
    assert (told.about["kind"], told.about["user_id"]) == ("error", "@bob:example.org")
    assert ada.user_id in told.content["m.mentions"]["user_ids"]
    assert room.said == [created, told]
    assert room.direct(ada) == []
    assert passwords_said(room) == 0
    room.chat.without_devices.clear()
    await room.wait(60)
    (credentials,) = room.direct(ada)
    assert room.may_sign_in("@bob:example.org", credentials.body.split("`")[1])
    assert room.said == [created, told]


async def test_it_waits_over_a_restart_and_the_room_is_not_told_again(room: Room, ada: Person) -> None:
    room.chat.without_devices.add(ada.user_id)
    await room.say(ada, "!register bob")
    await room.wait(60)
    await room.restart()
    await room.wait(60)
    assert kinds(room.said) == ["account", "error"]
    room.chat.without_devices.clear()
    await room.wait(60)
    assert kinds(room.direct(ada)) == ["credentials"]


async def test_somebody_who_signs_in_a_week_later_still_gets_it(room: Room, ada: Person) -> None:
    room.chat.without_devices.add(ada.user_id)
    await room.say(ada, "!register bob")
    for _ in range(7):
        await hours_pass(room, 24)
    room.chat.without_devices.clear()
    await room.wait(60)
    (credentials,) = room.direct(ada)
    assert room.may_sign_in("@bob:example.org", credentials.body.split("`")[1])


async def test_whoever_cannot_read_holds_nobody_else_up(room: Room, ada: Person) -> None:
    grace = room.person("@grace:example.org", level=50)
    room.chat.without_devices.add(ada.user_id)
    await room.say(ada, "!register bob")
    await room.say(grace, "!register carol")
    assert kinds(room.direct(grace)) == ["credentials"]
    await room.say(ada, "!register dora")
    await room.wait(60)
    room.chat.without_devices.clear()
    await room.wait(60)
    assert kinds(room.direct(ada)) == ["credentials", "credentials"]


# No command is lost


@pytest.mark.parametrize("call", ["power_levels", "membership"])
@pytest.mark.parametrize(("status", "errcode"), [(403, "M_UNKNOWN"), (404, "M_UNRECOGNIZED"), (400, "M_UNKNOWN")])
async def test_a_refusal_that_is_not_about_us_loses_no_command(
    room: Room, ada: Person, call: str, status: int, errcode: str
) -> None:
    room.chat.fail_next(call, RefusedError(status, {"errcode": errcode}), times=3)
    async with room.running():
        command = await room.types(ada, "!register bob")
        await room.until(lambda: room.direct(ada))
    assert kinds(room.answers_to(command)) == ["account"]
    assert list(room.accounts) == ["@bob:example.org"]


@pytest.mark.parametrize("call", ["power_levels", "membership"])
@pytest.mark.parametrize(("status", "errcode"), [(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")])
async def test_a_refusal_that_is_about_us_means_that_we_are_out(
    room: Room, ada: Person, call: str, status: int, errcode: str
) -> None:
    room.chat.fail_next(call, RefusedError(status, {"errcode": errcode}))
    await room.say(ada, "!register bob")
    await room.say(ada, "!help")
    assert kinds(room.said) == ["help"]
    assert room.accounts == {}


async def test_a_fault_of_ours_while_looking_somebody_up_loses_no_command(room: Room, ada: Person) -> None:
    room.chat.fail_next("membership", TypeError("'NoneType' object is not subscriptable"), times=2)
    async with room.running():
        await room.types(ada, "!register bob")
        await room.until(lambda: room.direct(ada))
    assert list(room.accounts) == ["@bob:example.org"]


# A database that fails for a moment

Open = Callable[[], AbstractAsyncContextManager[Transaction]]


def failing_once(opens: Open, at: int, *, after: bool) -> Open:
    """The `at`-th use fails: when it begins, or (`after`) when all is done in it but to commit."""
    uses = 0

    @asynccontextmanager
    async def once() -> AsyncIterator[Transaction]:
        nonlocal uses
        uses += 1
        fails = uses == at
        if fails and not after:
            raise OperationalError("SELECT 1", {}, Exception("disk I/O error"))
        async with opens() as tx:
            yield tx
            if fails:
                raise OperationalError("COMMIT", {}, Exception("database is locked"))

    return once


@pytest.mark.parametrize("after", [False, True], ids=["at its begin", "at its end"])
@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("which", ["reading", "transaction"])
async def test_one_bad_moment_of_the_database_loses_nothing_and_doubles_nothing(
    room: Room, ada: Person, monkeypatch: pytest.MonkeyPatch, which: str, number: int, *, after: bool
) -> None:
    command = await room.types(ada, "!register bob")
    store = room.life.store
    with monkeypatch.context() as patched:
        patched.setattr(store, which, failing_once(getattr(store, which), number, after=after))
        async with room.running(), asyncio.timeout(5):
            while not (room.direct(ada) or kinds(room.said) == ["error"]):
                room.passes(0.1)
                await asyncio.sleep(0.005)
    await room.wait(60)
    if kinds(room.said) == ["error"]:  # it came in the middle of what the command itself does
        assert room.last.about["error"] == "internal"
        assert room.accounts == {}
        command = await room.say(ada, "!register bob")
        await room.wait(60)
    assert kinds(room.answers_to(command)) == ["account"]
    assert kinds(room.direct(ada)) == ["credentials"]
    assert list(room.accounts) == ["@bob:example.org"]
    assert await room.open_jobs() == ["erase_credentials"]


# Who may do what


async def test_help_shows_only_what_the_one_who_asks_may_run(room: Room, ada: Person) -> None:
    bob = room.person("@bob:example.org", level=49)
    await room.say(bob, "!help")
    assert "!approve" not in room.last.body
    assert "!register" in room.last.body
    await room.say(ada, "!help")
    assert "!approve" in room.last.body
    await room.say(ada, "!help approve")
    assert room.last.about["kind"] == "help"


@pytest.mark.parametrize("typed", ["!help approve", "!approve --help"])
async def test_help_does_not_explain_what_the_one_who_asks_may_not_run(room: Room, typed: str) -> None:
    bob = room.person("@bob:example.org", level=49)
    await room.say(bob, typed)
    assert room.last.about["kind"] == "error"
    assert "<id>" not in room.last.body


async def test_help_of_a_person_follows_their_level(room: Room) -> None:
    bob = room.person("@bob:example.org", level=49)
    await room.say(bob, "!help")
    room.room.power_levels["users"][bob.user_id] = 50
    await room.say(bob, "!help")
    assert ["!approve" in said.body for said in room.said] == [False, True]


async def test_a_command_of_a_higher_role_is_not_permitted(
    room: Room, ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple(replace(row, role=Role.APPROVER) if row.name == "status" else row for row in commands.COMMANDS)
    for module in (commands, dispatch):
        monkeypatch.setattr(module, "COMMANDS", rows)
    bob = room.person("@bob:example.org", level=49)
    await room.say(bob, "!status")
    assert room.last.about == {"v": 1, "kind": "error", "error": "not_permitted"}
    await room.say(ada, "!status")
    assert room.last.about["kind"] == "status"
