"""Keys that came while nothing could be stored are there afterwards, on the disk too; and what is said can be read."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.payload import UndecryptableError
from onboard_bot.store.trouble import FULL, StoreUnavailableError
from tests.fakes.sick_disk import fill
from tests.unit.key_world import ADA, BOB, BOT, ROOM, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    for device in world.devices:
        device.machine.close()


async def many_keys(world: World, *, of: str = ADA) -> list[dict[str, object]]:
    """So many messages, each with a key of its own, that their keys need a page more."""
    sender = await world.device(of, "PHONE")
    events = []
    for number in range(30):
        sender.machine.room_keys.rotate(ROOM)
        events.append(await sender.send(f"{of} {number}", BOT))
    return events


async def test_keys_that_could_not_be_stored_are_on_the_disk_once_their_sync_was_fed_again(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    events = await many_keys(world)
    sync = world.server.sync(BOT, "BOT")
    for _ in range(3):
        fill(bot.machine)
        with pytest.raises(StoreUnavailableError, match=FULL):
            bot.machine.receive(copy.deepcopy(sync))
    with pytest.raises(UndecryptableError):
        bot.machine.decrypt(ROOM, events[0])
    assert bot.machine.receive(copy.deepcopy(sync)) is True
    bot.restart()
    assert [bot.machine.decrypt(ROOM, e).content["body"] for e in events] == [f"{ADA} {n}" for n in range(30)]


async def test_a_sync_that_is_fed_again_still_says_that_keys_came_with_it(world: World) -> None:
    """The keys may be on the disk and what waits for them still closed: the transaction after them failed."""
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    await ada.send("hello", BOT)
    sync = world.server.sync(BOT, "BOT")
    assert bot.machine.receive(copy.deepcopy(sync)) is True
    bot.restart()
    assert bot.machine.receive(copy.deepcopy(sync)) is True


async def test_what_is_said_after_the_trouble_can_be_read_by_everybody(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    before = await bot.send("before", BOT, ADA)
    await many_keys(world, of=BOB)
    fill(bot.machine)
    with pytest.raises(StoreUnavailableError):
        bot.machine.receive(world.server.sync(BOT, "BOT"))
    laptop = await world.device(ADA, "LAPTOP")
    after = await bot.send("after", BOT, ADA)
    assert [await ada.read(event) for event in (before, after)] == ["before", "after"]
    assert await laptop.read(after) == "after"


async def test_the_first_message_of_a_new_device_after_the_trouble_can_be_read(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    await many_keys(world)
    sync = world.server.sync(BOT, "BOT")
    fill(bot.machine)
    with pytest.raises(StoreUnavailableError):
        bot.machine.receive(copy.deepcopy(sync))
    new = await world.device(BOB, "NEW")  # its one-time key exchange begins only now
    hello = await new.send("hello", BOT)
    bot.machine.receive(sync)
    assert await bot.read(hello) == "hello"
    bot.restart()
    assert bot.machine.decrypt(ROOM, hello).content["body"] == "hello"
    assert await new.read(await bot.send("welcome", BOB)) == "welcome"


async def test_a_message_whose_key_was_lost_on_the_way_is_no_message(world: World) -> None:
    """Trouble of somebody else between sharing the key and using it."""
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    await bot.encryption._share_room_key(ROOM, [ADA])
    await many_keys(world, of=BOB)
    fill(bot.machine)
    with pytest.raises(StoreUnavailableError):
        bot.machine.receive(world.server.sync(BOT, "BOT"))
    with pytest.raises(StoreUnavailableError):
        bot.machine.room_keys.encrypt(ROOM, "m.room.message", {"body": "lost"})
    assert await ada.read(await bot.send("found", ADA)) == "found"


async def test_keys_are_uploaded_only_when_they_are_on_the_disk(world: World) -> None:
    fresh = await world.device(BOT, "BOT")
    fill(fresh.machine)
    fresh.machine.receive({"device_one_time_keys_count": {"signed_curve25519": 0}})
    fresh.api.calls.clear()
    failed = 0
    for _ in range(40):  # until the new keys need a page more
        fill(fresh.machine)
        try:
            await fresh.encryption.keep_keys_stocked()
        except StoreUnavailableError:
            failed += 1
            break
        fresh.machine.receive({"device_one_time_keys_count": {"signed_curve25519": 0}})
    assert failed == 1
    uploaded = fresh.api.calls.count("keys_upload")
    await fresh.encryption.keep_keys_stocked()
    assert fresh.api.calls.count("keys_upload") == uploaded + 1
    ada = await world.device(ADA, "PHONE")
    assert await fresh.read(await ada.send("hello", BOT)) == "hello"


async def test_a_store_that_cannot_be_opened_again_is_trouble_until_it_can(world: World) -> None:
    said: list[StoreUnavailableError] = []
    bot = await world.device(BOT, "BOT")
    bot.machine.close()
    bot.machine = Machine(BOT, "BOT", bot.folder, b"k" * 32, on_trouble=said.append)
    events = await many_keys(world)
    sync = world.server.sync(BOT, "BOT")
    fill(bot.machine)
    with pytest.raises(StoreUnavailableError):
        bot.machine.receive(copy.deepcopy(sync))
    away = bot.folder.rename(bot.folder.with_name("away"))
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="cannot be opened"):
            bot.machine.receive(copy.deepcopy(sync))
    away.rename(bot.folder)
    bot.machine.receive(copy.deepcopy(sync))
    assert bot.machine.decrypt(ROOM, events[0]).content["body"] == f"{ADA} 0"
    assert said[0].sentence == FULL
    assert len(said) == 3
