"""Whose devices count: those that their owner signed, with the identity that was there first."""

import copy
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from onboard_bot.domain.devices import Standing
from onboard_bot.matrix.payload import UndecryptableError
from onboard_bot.onboarding.identities import AcceptedIdentities, accept_identity
from onboard_bot.onboarding.ports import NotReadableError, RefusedError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.inbox import Envelope
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.transaction import Store
from tests.fakes.clock import FakeClock
from tests.unit.key_world import ADA, BOB, BOT, ROOM, Device, World, identity_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    bring_up_to_date(tmp_path / "onboard.db")
    store = Store(Database(sqlite_url(tmp_path / "onboard.db")), FakeClock())
    yield store
    await store.close()


@pytest_asyncio.fixture
async def bot(world: World, store: Store) -> Device:
    """The bot, which serves only signed devices."""
    return await world.device(BOT, "BOT", signed_by=identity_of(BOT, 9), identities=AcceptedIdentities(store))


async def standing(bot: Device, sender: Device) -> Standing:
    """How what somebody says stands, as the bot sees it."""
    event = await sender.send(f"words {len(bot.api.calls)}", BOT)
    await bot.sync()
    return await bot.known.standing(sender.user_id, bot.machine.decrypt(ROOM, event).envelope)


async def told(store: Store) -> list[str]:
    """Of whose changed identities the admin room is told."""
    async with store.reading() as tx:
        return [job.payload["user_id"] for job in await tx.jobs.first_of_lanes(now=tx.now)]


def changed(bot: Device, *users: str) -> None:
    """The server says that something of these people's devices changed."""
    bot.machine.receive({"device_lists": {"changed": list(users)}})


async def test_a_signed_device_reads_and_counts(world: World, bot: Device) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    assert await ada.read(await bot.send("hello", BOT, ADA)) == "hello"
    assert await standing(bot, ada) is Standing.SIGNED


async def test_an_unsigned_device_reads_nothing_and_counts_for_nothing(world: World, bot: Device) -> None:
    ada, laptop = await world.device(ADA, "PHONE", signed_by=identity_of(ADA)), await world.device(ADA, "LAPTOP")
    event = await bot.send("hello", BOT, ADA)
    assert await ada.read(event) == "hello"
    with pytest.raises(UndecryptableError):
        await laptop.read(event)
    assert await standing(bot, laptop) is Standing.UNSIGNED


async def test_who_has_no_identity_reads_nothing(world: World, bot: Device) -> None:
    await world.device(ADA, "PHONE")
    with pytest.raises(NotReadableError):
        await bot.send("hello", BOT, ADA)


async def test_an_unsigned_device_is_told_why_it_gets_no_key_once_for_each_key(world: World, bot: Device) -> None:
    await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    await world.device(ADA, "LAPTOP")
    await bot.send("one", BOT, ADA)
    await bot.send("two", BOT, ADA)
    (notice,) = world.server.waiting[(ADA, "LAPTOP")]
    assert notice["type"] == "m.room_key.withheld"
    assert notice["content"]["code"] == "m.unverified"
    assert notice["content"]["room_id"] == ROOM
    bot.machine.room_keys.rotate(ROOM)
    await bot.send("three", BOT, ADA)
    assert len(world.server.waiting[(ADA, "LAPTOP")]) == 2


@pytest.mark.parametrize(
    "error", [RefusedError(403, {"errcode": "M_FORBIDDEN"})], ids=lambda error: type(error).__name__
)
async def test_a_message_does_not_wait_for_that_notice(world: World, bot: Device, error: Exception) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    await bot.send("one", BOT, ADA)
    await world.device(ADA, "LAPTOP")
    changed(bot, ADA)
    bot.api.fail_next["send_to_device"] = error
    assert await ada.read(await bot.send("two", BOT, ADA)) == "two"
    assert not world.server.waiting[(ADA, "LAPTOP")]
    await bot.send("three", BOT, ADA)
    assert world.server.waiting[(ADA, "LAPTOP")]


async def test_who_has_just_signed_is_obeyed_and_can_read_the_very_next_answer(world: World, bot: Device) -> None:
    ada = await world.device(ADA, "PHONE")
    assert await standing(bot, ada) is Standing.UNSIGNED
    await ada.sign(identity_of(ADA))
    assert await standing(bot, ada) is Standing.SIGNED
    assert await ada.read(await bot.send("welcome", BOT, ADA)) == "welcome"


async def test_the_server_is_asked_again_before_the_answer_is_no_and_not_before_it_is_yes(
    world: World, bot: Device
) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    await standing(bot, ada)
    bot.api.calls.clear()
    await standing(bot, ada)
    assert "keys_query" not in bot.api.calls


async def test_another_identity_gets_nothing_until_it_is_accepted(world: World, bot: Device, store: Store) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    bob = await world.device(BOB, "PHONE", signed_by=identity_of(BOB))
    await bot.send("hello", BOT, ADA, BOB)
    await ada.sign(identity_of(ADA, 2))
    changed(bot, ADA)
    event = await bot.send("secret", BOT, ADA, BOB)
    assert await bob.read(event) == "secret"
    with pytest.raises(UndecryptableError):
        await ada.read(event)
    assert await standing(bot, ada) is Standing.CHANGED
    assert await told(store) == [ADA]
    async with store.transaction() as tx:
        assert await accept_identity(tx, ADA, by=None) == identity_of(ADA, 2).public("master")
    assert await standing(bot, ada) is Standing.SIGNED
    assert await ada.read(await bot.send("welcome back", BOT, ADA, BOB)) == "welcome back"


async def test_the_first_identity_counts_over_restarts_and_lost_encryption_stores(
    world: World, bot: Device, store: Store
) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    await bot.send("hello", BOT, ADA)
    await ada.sign(identity_of(ADA, 2))
    other = await world.device(BOT, "OTHER", signed_by=identity_of(BOT, 9), identities=AcceptedIdentities(store))
    assert await standing(other, ada) is Standing.CHANGED
    assert await told(store) == [ADA]


async def test_an_old_identity_that_is_back_counts_again(world: World, bot: Device, store: Store) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    await bot.send("hello", BOT, ADA)
    await ada.sign(identity_of(ADA, 2))
    changed(bot, ADA)
    assert await standing(bot, ada) is Standing.CHANGED
    await ada.sign(identity_of(ADA))
    changed(bot, ADA)
    assert await standing(bot, ada) is Standing.SIGNED
    async with store.reading() as tx:
        assert (await tx.identities.of([ADA]))[ADA].changed_to is None


async def test_a_device_whose_keys_the_server_swapped_under_its_name_gets_nothing(world: World, bot: Device) -> None:
    """The server shows keys of its own for a device first; later the owner's, which the owner signed."""
    real = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    genuine = copy.deepcopy(world.server.devices[ADA]["PHONE"])
    del world.server.devices[ADA]["PHONE"]
    impostor = Device(world.server, ADA, "PHONE", world.folder / "impostor")
    world.devices.append(impostor)
    await impostor.encryption.keep_keys_stocked()
    forged = world.server.devices[ADA]["PHONE"]
    tablet = await world.device(ADA, "TABLET", signed_by=identity_of(ADA))
    await bot.send("one", BOT, ADA)
    world.server.devices[ADA]["PHONE"] = genuine
    changed(bot, ADA)
    event = await bot.send("two", BOT, ADA)
    assert await tablet.read(event) == "two"
    assert forged["keys"] != genuine["keys"]
    for device in (impostor, real):
        with pytest.raises(UndecryptableError):
            await device.read(event)


async def test_the_identity_of_one_person_signs_nothing_of_another(world: World, bot: Device) -> None:
    await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    bob = await world.device(BOB, "PHONE", signed_by=identity_of(BOB))
    world.server.cross_signing[BOB] = copy.deepcopy(world.server.cross_signing[ADA])
    assert await standing(bot, bob) is Standing.UNSIGNED


@pytest.mark.parametrize("usage", ["master_key", "self_signing_key"])
async def test_a_chain_that_is_broken_anywhere_is_none(world: World, bot: Device, usage: str) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    other = identity_of(ADA, 3)
    world.server.cross_signing[ADA][usage] = other.key_object(usage.removesuffix("_key"))
    assert await standing(bot, ada) is Standing.UNSIGNED


async def test_what_no_device_of_the_sender_said_is_foreign(world: World, bot: Device) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    bob = await world.device(BOB, "PHONE", signed_by=identity_of(BOB))
    keys = ada.machine._olm.account.identity_keys
    envelope = Envelope(keys["curve25519"], keys["ed25519"], "session", 0)
    assert await bot.known.standing(ADA, envelope) is Standing.SIGNED
    assert await bot.known.standing(BOB, envelope) is Standing.FOREIGN
    swapped = Envelope(keys["curve25519"], bob.machine.fingerprint, "session", 0)
    assert await bot.known.standing(ADA, swapped) is Standing.FOREIGN


async def test_a_device_that_is_gone_speaks_for_nobody(world: World, bot: Device) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    event = await ada.send("from the grave", BOT)
    await bot.sync()
    del world.server.devices[ADA]["PHONE"]
    assert await bot.known.standing(ADA, bot.machine.decrypt(ROOM, event).envelope) is Standing.FOREIGN


async def test_of_people_whose_server_is_silent_nothing_can_be_said(
    world: World, bot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))

    async def silent(_users: object) -> dict[str, object]:
        return {"device_keys": {}, "failures": {"example.org": {}}}

    monkeypatch.setattr(bot.api, "keys_query", silent)
    assert await standing(bot, ada) is Standing.UNKNOWN


async def test_with_allow_everybody_is_served_and_only_foreign_devices_count_for_nothing(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    assert await ada.read(await bot.send("hello", BOT, ADA)) == "hello"
    assert await standing(bot, ada) is Standing.UNSIGNED
    keys = ada.machine._olm.account.identity_keys
    envelope = Envelope(keys["curve25519"], keys["ed25519"], "session", 0)
    assert await bot.known.standing(BOB, envelope) is Standing.FOREIGN


async def test_a_device_of_the_bots_own_account_gets_no_keys(world: World, bot: Device) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    spy = await world.device(BOT, "SPY", signed_by=identity_of(BOT, 9))
    event = await bot.send("hello", BOT, ADA)
    assert await ada.read(event) == "hello"
    with pytest.raises(UndecryptableError):
        await spy.read(event)
