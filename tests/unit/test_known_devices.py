"""Whose devices count: those that their owner signed, with the identity that was there first."""

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from onboard_bot.domain.devices import Standing
from onboard_bot.matrix import device_keys, known_devices
from onboard_bot.matrix.cross_signing import Identity
from onboard_bot.matrix.healing import Healing
from onboard_bot.matrix.olm_gaps import session_with
from onboard_bot.matrix.payload import UndecryptableError
from onboard_bot.matrix.room_keys import MEGOLM
from onboard_bot.matrix.signed_json import canonical
from onboard_bot.onboarding.identities import AcceptedIdentities, accept_identity
from onboard_bot.onboarding.ports import NotReadableError, RefusedError, TooLargeError
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.inbox import Envelope
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.transaction import Store
from tests.fakes.clock import FakeClock
from tests.unit.key_world import ADA, BOB, BOT, ROOM, Device, World, identity_of

EVE = "@eve:example.org"


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
    changed(bot, ADA)
    assert await standing(bot, ada) is Standing.SIGNED
    assert await ada.read(await bot.send("welcome", BOT, ADA)) == "welcome"


async def test_the_server_is_asked_again_before_the_answer_is_no_unless_it_just_was(
    world: World, bot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await world.device(ADA, "PHONE")
    bot.api.calls.clear()
    for _ in range(5):
        assert await standing(bot, ada) is Standing.UNSIGNED
    assert bot.api.calls.count("keys_query") == 1
    await ada.sign(identity_of(ADA))  # and no word of it has come yet
    monkeypatch.setattr(known_devices, "_JUST_NOW", 0)
    assert await standing(bot, ada) is Standing.SIGNED
    bot.api.calls.clear()
    assert await standing(bot, ada) is Standing.SIGNED
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


# People and servers that would like to be in the way


def sign_anew(device: Device, identity: Identity, **keys: str) -> None:
    """The device names other keys as its own; it and its owner sign that."""
    shown = device.server.devices[device.user_id][device.device_id]
    shown["keys"] |= keys
    plain = {key: value for key, value in shown.items() if key not in ("signatures", "unsigned")}
    own = {f"ed25519:{device.device_id}": device.machine.sign(canonical(plain).decode())}
    owners = identity.signed("self_signing", plain)["signatures"][device.user_id]
    shown["signatures"] = {device.user_id: own | owners}


@pytest.mark.parametrize("known_before", [True, False])
async def test_whoever_names_another_devices_key_as_theirs_takes_nobodys_keys_away(
    world: World,
    bot: Device,
    known_before: bool,  # noqa: FBT001 - a case of the test
) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    if known_before:
        await bot.send("one", BOT, ADA)
    thief = await world.device(EVE, "THIEF", signed_by=identity_of(EVE))
    sign_anew(thief, identity_of(EVE), **{"curve25519:THIEF": ada.machine.device_keys["keys"]["curve25519:PHONE"]})
    healing = Healing(bot.api, bot.machine, bot.known)  # type: ignore[arg-type]
    await bot.known.readers([ADA, EVE])
    await healing.start_over(EVE, "THIEF")
    bot.machine.room_keys.rotate(ROOM)
    event = await bot.send("two", BOT, ADA, EVE)
    assert await ada.read(event) == "two"
    with pytest.raises(UndecryptableError):
        await thief.read(event)
    bot.restart()
    assert await ada.read(await bot.send("three", BOT, ADA, EVE)) == "three"


async def passes_on(thief: Device, bot: Device, key: dict[str, str]) -> None:
    """Somebody gives the bot a room's key that is not theirs, as if it were."""
    olm = thief.machine._olm
    await thief.known.readers([BOT])
    await thief.encryption._start_sessions([(BOT, "BOT")])
    device = olm.device_store[BOT]["BOT"]
    content = olm._olm_encrypt(session_with(olm, device), device, "m.room_key", key)
    await thief.api.send_to_device("m.room.encrypted", {BOT: {"BOT": content}}, transaction_id="passed on")
    await bot.sync()


@pytest.mark.parametrize("first", ["the thief", "the owner"])
async def test_whoever_passes_a_key_on_from_a_device_that_nobody_knows_silences_nobody(
    world: World, bot: Device, first: str
) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    thief = await world.device("@puppet:elsewhere.org", "PUPPET")
    await bot.known.readers([ADA])
    await ada.send("earlier", BOT if first == "the owner" else ADA)
    session = ada.machine._olm.outbound_group_sessions[ROOM]
    key = {"algorithm": MEGOLM, "room_id": ROOM, "session_id": session.id, "session_key": session.session_key}
    await passes_on(thief, bot, key)
    assert await standing(bot, ada) is Standing.SIGNED


async def test_a_late_answer_about_devices_does_not_undo_a_newer_one(
    world: World, bot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = await world.device(ADA, "PHONE"), await world.device(BOB, "PHONE", signed_by=identity_of(BOB))
    release, ask = asyncio.Event(), bot.api.keys_query

    async def slowly(users: Sequence[str]) -> dict[str, Any]:
        answer = copy.deepcopy(await ask(users))
        if "@slow:elsewhere.org" in users:
            await release.wait()
        return answer

    monkeypatch.setattr(bot.api, "keys_query", slowly)
    sending = asyncio.create_task(bot.send("hello", BOT, ADA, BOB, "@slow:elsewhere.org"))
    await asyncio.sleep(0.01)
    await ada.sign(identity_of(ADA))
    changed(bot, ADA)
    assert await standing(bot, ada) is Standing.SIGNED
    release.set()
    assert await bob.read(await sending) == "hello"
    assert await standing(bot, ada) is Standing.SIGNED
    assert await ada.read(await bot.send("the very next answer", BOT, ADA, BOB)) == "the very next answer"


async def test_a_device_that_goes_while_keys_are_claimed_gets_none(
    world: World, bot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    bob = await world.device(BOB, "PHONE", signed_by=identity_of(BOB))
    claim = bot.api.keys_claim

    async def while_ada_signs_out(devices: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        answer = await claim(devices)
        if world.server.devices[ADA].pop("PHONE", None) is not None:
            changed(bot, ADA)
        return answer

    monkeypatch.setattr(bot.api, "keys_claim", while_ada_signs_out)
    event = await bot.send("secret", BOT, ADA, BOB)
    assert await bob.read(event) == "secret"
    with pytest.raises(UndecryptableError):
        await ada.read(event)


@pytest.mark.parametrize("call", ["keys_query", "keys_claim"])
async def test_whose_keys_are_too_large_to_be_read_is_left_out_and_harms_no_other(
    world: World, bot: Device, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    people = [f"@p{n}:example.org" for n in range(5)]
    readers = [await world.device(user, "PHONE", signed_by=identity_of(user)) for user in people]
    await world.device(EVE, "FAT", signed_by=identity_of(EVE))
    ask: Any = getattr(bot.api, call)

    async def not_hers(wanted: Any) -> Any:
        if EVE in wanted:
            raise TooLargeError("POST keys: more than 64 bytes")
        return await ask(wanted)

    monkeypatch.setattr(bot.api, call, not_hers)
    event = await bot.send("one", BOT, EVE, *people)
    assert [await reader.read(event) for reader in readers] == ["one"] * 5
    bot.api.calls.clear()
    await bot.send("two", BOT, EVE, *people)
    assert bot.api.calls == [], "nor is she asked for again at every message"


async def test_a_device_without_keys_is_not_asked_for_at_every_message(world: World, bot: Device) -> None:
    await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    await world.device(BOB, "PHONE", signed_by=identity_of(BOB))
    world.server.one_time_keys[(BOB, "PHONE")].clear()
    del world.server.fallback_keys[(BOB, "PHONE")]
    for n in range(5):
        await bot.send(f"message {n}", BOT, ADA, BOB)
    assert bot.api.calls.count("keys_claim") == 1


async def test_of_too_many_devices_the_signed_ones_are_taken_first(
    world: World, bot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_keys, "OF_ONE_PERSON", 3)
    for n in range(4):
        await world.device(ADA, f"A{n}")
    phone = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    assert await standing(bot, phone) is Standing.SIGNED
    assert await phone.read(await bot.send("hello", BOT, ADA)) == "hello"


async def test_what_was_said_before_the_key_begins_waits_for_an_earlier_copy(world: World, bot: Device) -> None:
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))
    early = await ada.send("early", ADA)
    await ada.send("later", BOT)
    await bot.sync()
    with pytest.raises(UndecryptableError) as caught:
        bot.machine.decrypt(ROOM, early)
    assert caught.value.missing_key


class SlowToDecide:
    """Accepts whatever it is asked about, and the identity changes while it thinks."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def accepted(self, found: Mapping[str, str]) -> frozenset[str]:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
            return frozenset(found)
        return frozenset()


async def test_an_identity_that_comes_while_another_is_accepted_is_not_taken_for_it(world: World) -> None:
    identities = SlowToDecide()
    bot = await world.device(BOT, "BOT", signed_by=identity_of(BOT, 9), identities=identities)
    ada = await world.device(ADA, "PHONE", signed_by=identity_of(ADA))

    async def another_identity() -> None:
        await ada.sign(identity_of(ADA, 2))
        changed(bot, ADA)
        await bot.known.readers([ADA])

    identities.meanwhile = another_identity
    assert await standing(bot, ada) is Standing.CHANGED
