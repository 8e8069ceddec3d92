"""What the bot sends can be read by every device that should, and what strangers send does no harm."""

import asyncio
import base64
import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onboard_bot.matrix import encryption
from onboard_bot.matrix.cross_signing import USAGES, ForeignIdentityError, Identity, sign_own_device
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.payload import UndecryptableError
from onboard_bot.matrix.signed_json import canonical
from onboard_bot.onboarding.ports import NotReadableError, UnreachableError
from tests.unit.key_world import ADA, BOB, BOT, ROOM, Device, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


async def test_every_device_of_every_reader_can_read(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    phones = [await world.device(ADA, "PHONE"), await world.device(ADA, "LAPTOP"), await world.device(BOB, "PHONE")]
    event = await bot.send("hello", BOT, ADA, BOB)
    assert [await phone.read(event) for phone in phones] == ["hello"] * 3


async def test_a_room_key_is_shared_once_and_the_next_message_needs_no_more_calls(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    await bot.send("one", ADA)
    bot.api.calls.clear()
    event = await bot.send("two", ADA)
    assert bot.api.calls == []
    assert await ada.read(event) == "two"


async def test_somebody_who_left_cannot_read_what_comes_after(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada, bob = await world.device(ADA, "PHONE"), await world.device(BOB, "PHONE")
    await bot.send("for both", ADA, BOB)
    event = await bot.send("for ada", ADA)
    assert await ada.read(event) == "for ada"
    with pytest.raises(UndecryptableError):
        await bob.read(event)


async def test_somebody_who_comes_later_gets_the_key_from_then_on(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    await world.device(ADA, "PHONE")
    before = await bot.send("before", ADA)
    bob = await world.device(BOB, "PHONE")
    after = await bot.send("after", ADA, BOB)
    assert await bob.read(after) == "after"
    with pytest.raises(UndecryptableError):
        await bob.read(before)


async def test_a_new_device_of_a_reader_is_noticed(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    await world.device(ADA, "PHONE")
    await bot.send("one", ADA)
    laptop = await world.device(ADA, "LAPTOP")
    bot.machine.receive({"device_lists": {"changed": [ADA]}})
    assert await laptop.read(await bot.send("two", ADA)) == "two"


@pytest.mark.parametrize("call", ["keys_query", "keys_claim", "send_to_device"])
async def test_a_failed_step_of_key_sharing_is_mended_by_the_next_try(world: World, call: str) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    bot.api.fail_next[call] = UnreachableError("502")
    with pytest.raises(UnreachableError):
        await bot.send("never", ADA)
    assert await ada.read(await bot.send("at last", ADA)) == "at last"


class Silence:
    """Servers of other people that do not answer for them, as `keys/query` shows it."""

    def __init__(self, bot: Device, *users: str) -> None:
        self.users = set(users)
        self._ask = bot.api.keys_query
        bot.api.keys_query = self.keys_query  # type: ignore[method-assign]

    async def keys_query(self, users: Sequence[str]) -> dict[str, Any]:
        answer = await self._ask(users)
        for user in self.users:
            answer["device_keys"].pop(user, None)
        return answer | {"failures": {user.partition(":")[2]: {} for user in self.users}}


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The time that the event loop goes by is as much later."""
    loop = asyncio.get_running_loop()
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + seconds)


async def test_somebody_whose_server_is_silent_holds_nobody_else_up(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada, bob = await world.device(ADA, "PHONE"), await world.device(BOB, "PHONE")
    Silence(bot, BOB)
    event = await bot.send("hello", ADA, BOB)
    assert await ada.read(event) == "hello"
    with pytest.raises(UndecryptableError):
        await bob.read(event)


async def test_somebody_whose_server_was_silent_is_asked_for_again_later_and_not_at_every_message(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await world.device(BOT, "BOT")
    ada, bob = await world.device(ADA, "PHONE"), await world.device(BOB, "PHONE")
    silence = Silence(bot, BOB)
    for body in ("one", "two", "three"):
        assert await ada.read(await bot.send(body, ADA, BOB)) == body
    assert bot.api.calls.count("keys_query") == 1
    silence.users.clear()
    later(monkeypatch, 3600)
    event = await bot.send("four", ADA, BOB)
    assert bot.api.calls.count("keys_query") == 2
    assert [await ada.read(event), await bob.read(event)] == ["four", "four"]
    await bot.send("five", ADA, BOB)
    assert bot.api.calls.count("keys_query") == 2


async def test_a_server_that_falls_silent_takes_no_devices_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bot = await world.device(BOT, "BOT")
    bob = await world.device(BOB, "PHONE")
    await bot.send("one", BOB)
    Silence(bot, BOB)
    bot.machine.receive({"device_lists": {"changed": [BOB]}})
    assert await bob.read(await bot.send("two", BOB)) == "two"
    later(monkeypatch, 3600)
    assert await bob.read(await bot.send("three", BOB)) == "three"


async def only_for_ada(bot: Device, *readers: str) -> dict[str, Any]:
    """What only Ada is to read."""
    content = await bot.encryption.encrypt(ROOM, readers, "m.room.message", {"body": "secret"}, only_for=ADA)
    return {"type": "m.room.encrypted", "event_id": "$secret", "sender": BOT, "content": content}


async def test_what_is_for_one_person_goes_out_once_one_of_their_devices_can_read_it(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    await world.device(BOB, "PHONE")
    with pytest.raises(NotReadableError):
        await only_for_ada(bot, ADA, BOB)
    await bot.send("others go on talking", ADA, BOB)
    ada = await world.device(ADA, "PHONE")
    bot.machine.receive({"device_lists": {"changed": [ADA]}})
    assert await ada.read(await only_for_ada(bot, ADA, BOB)) == "secret"


async def test_what_is_for_one_person_waits_while_their_device_has_no_key_to_begin_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "_CLAIM_AGAIN_AFTER", 0)
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    keys = world.server.one_time_keys.pop((ADA, "PHONE"))
    fallback = world.server.fallback_keys.pop((ADA, "PHONE"), None)
    with pytest.raises(NotReadableError):
        await only_for_ada(bot, ADA)
    world.server.one_time_keys[(ADA, "PHONE")] = keys
    if fallback is not None:
        world.server.fallback_keys[(ADA, "PHONE")] = fallback
    assert await ada.read(await only_for_ada(bot, ADA)) == "secret"


async def test_what_is_for_one_person_waits_when_they_have_signed_their_last_device_out(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    await world.device(ADA, "PHONE")
    await only_for_ada(bot, ADA)
    world.server.devices[ADA].clear()
    bot.machine.receive({"device_lists": {"changed": [ADA]}})
    with pytest.raises(NotReadableError):
        await only_for_ada(bot, ADA)


async def test_both_sides_read_each_other_after_restarts(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    for n in range(3):
        assert await ada.read(await bot.send(f"to ada {n}", ADA)) == f"to ada {n}"
        assert await bot.read(await ada.send(f"to bot {n}", BOT)) == f"to bot {n}"
        bot.restart()
        ada.restart()


async def test_one_time_keys_are_refilled_and_a_drained_pool_still_has_a_fallback_key(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    assert len(world.server.one_time_keys[(BOT, "BOT")]) == 50
    world.server.one_time_keys[(BOT, "BOT")].clear()
    assert await bot.read(await ada.send("through the fallback key", BOT)) == "through the fallback key"
    assert len(world.server.one_time_keys[(BOT, "BOT")]) == 50


async def test_keys_are_in_the_store_before_the_server_has_them(world: World) -> None:
    bot = Device(world.server, BOT, "BOT", world.folder)
    world.devices.append(bot)
    ada = await world.device(ADA, "PHONE")
    body = bot.machine.keys_to_upload()
    assert body is not None
    await bot.api.keys_upload(body)  # and then the process dies before it hears the answer
    bot.restart()
    assert await bot.read(await ada.send("hello", BOT)) == "hello"


async def test_the_same_sync_fed_twice_changes_nothing(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    event = await ada.send("hello", BOT)
    sync = world.server.sync(BOT, "BOT")
    bot.machine.receive(sync)
    bot.machine.receive(copy.deepcopy(sync))
    assert bot.machine.decrypt(ROOM, event).content["body"] == "hello"
    assert bot.machine.decrypt(ROOM, event).content["body"] == "hello"


async def test_an_event_says_by_itself_whether_its_key_is_missing(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    event = await ada.send("hello", BOT)
    with pytest.raises(UndecryptableError) as error:
        bot.machine.decrypt(ROOM, event)
    assert error.value.missing_key


async def test_events_without_the_deprecated_fields_can_be_read(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    event = await ada.send("hello", BOT)
    del event["content"]["sender_key"], event["content"]["device_id"]
    assert await bot.read(event) == "hello"


def forge(device: Device, payload: dict[str, Any]) -> dict[str, Any]:
    session = device.machine._olm.outbound_group_sessions[ROOM]
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "sender_key": device.machine._olm.account.identity_keys["curve25519"],
        "ciphertext": session.encrypt(json.dumps(payload)),
        "session_id": session.id,
    }
    return {"type": "m.room.encrypted", "event_id": "$forged", "sender": device.user_id, "content": content}


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "m.room.power_levels", "state_key": "", "content": {"users": {ADA: 100}}, "room_id": ROOM},
        {"type": "m.room.member", "state_key": ADA, "content": {"membership": "join"}, "room_id": ROOM},
        {"type": "m.room.member", "content": {"membership": "join"}, "room_id": ROOM},
        {"type": "m.room.redaction", "content": {"redacts": "$x"}, "room_id": ROOM},
        {"type": "m.room.message", "content": {"body": "!register eve"}, "room_id": "!other:example.org"},
        {"type": "m.room.message", "content": {"body": "!register eve"}},
        {"type": 1, "content": {}, "room_id": ROOM},
        {"type": "m.room.message", "content": [], "room_id": ROOM},
        {},
    ],
)
async def test_a_forged_payload_is_not_believed(world: World, payload: dict[str, Any]) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    await ada.send("first", BOT)
    await bot.sync()
    with pytest.raises(UndecryptableError) as error:
        bot.machine.decrypt(ROOM, forge(ada, payload))
    assert not error.value.missing_key


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
TO_DEVICE = st.fixed_dictionaries(
    {"type": st.sampled_from(["m.room.encrypted", "m.room_key_request", "m.key.verification.start", "x"])},
    optional={
        "sender": ANYTHING,
        "content": ANYTHING
        | st.fixed_dictionaries(
            {
                "algorithm": st.just("m.olm.v1.curve25519-aes-sha2"),
                "sender_key": st.text(max_size=50),
                "ciphertext": st.dictionaries(
                    st.just("OWN"), st.fixed_dictionaries({"type": st.integers(-1, 2), "body": st.text(max_size=50)})
                ),
            }
        ),
    },
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(events=st.lists(TO_DEVICE | ANYTHING, max_size=4), rest=ANYTHING)
async def test_nothing_that_a_stranger_sends_to_the_device_stops_it(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any], rest: Any
) -> None:
    machine = Machine(BOT, "BOT", tmp_path_factory.mktemp("fuzz"), b"k" * 32)
    own = machine._olm.account.identity_keys["curve25519"]
    text = json.dumps(events).replace('"OWN"', json.dumps(own))
    machine.receive({"to_device": {"events": json.loads(text)}, "device_lists": rest})
    machine.receive({"to_device": rest, "device_one_time_keys_count": rest, "device_unused_fallback_key_types": rest})
    answer = {"device_keys": {ADA: rest, BOB: {"PHONE": rest}}}
    machine.learn_devices(answer, [ADA, BOB], asked_at=machine.about_to_ask(), first={})
    machine.start_sessions({"one_time_keys": {ADA: {"PHONE": rest}, BOB: rest}}, machine.devices_of([ADA, BOB]))
    with pytest.raises(UndecryptableError):
        machine.decrypt(ROOM, {"event_id": "$x", "content": rest})
    machine.close()


async def test_malformed_device_keys_do_not_hide_the_good_ones(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    world.server.devices[ADA]["EVIL"] = {"user_id": ADA, "device_id": "EVIL", "keys": {"ed25519:EVIL": 1}}
    world.server.devices[ADA]["WORSE"] = "no keys at all"  # type: ignore[assignment]
    assert await ada.read(await bot.send("hello", ADA)) == "hello"


async def test_what_one_of_several_people_can_read_goes_out(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    assert await ada.read(await bot.send("hello", ADA, BOB, BOT)) == "hello"


async def test_a_room_of_the_bot_alone_is_spoken_into(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    assert (await bot.send("hello", BOT))["type"] == "m.room.encrypted"


async def test_a_device_that_disappears_for_a_while_is_served_again(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    ada = await world.device(ADA, "PHONE")
    await bot.send("one", ADA)
    gone = world.server.devices[ADA].pop("PHONE")
    bot.machine.receive({"device_lists": {"changed": [ADA]}})
    with pytest.raises(NotReadableError, match="nobody in"):
        await bot.send("two", ADA)
    world.server.devices[ADA]["PHONE"] = gone
    bot.machine.receive({"device_lists": {"changed": [ADA]}})
    assert await ada.read(await bot.send("three", ADA)) == "three"


SEEDS = {usage: bytes([n]) * 32 for n, usage in enumerate(USAGES, start=1)}


async def test_the_bot_signs_its_device_once_and_again_after_it_lost_its_store(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    identity = Identity(BOT, SEEDS)
    await sign_own_device(bot.api, bot.machine, identity)  # type: ignore[arg-type]
    self_signing = f"ed25519:{identity.public('self_signing')}"
    assert self_signing in world.server.devices[BOT]["BOT"]["signatures"][BOT]
    bot.api.calls.clear()
    await sign_own_device(bot.api, bot.machine, identity)  # type: ignore[arg-type]
    assert bot.api.calls == ["keys_query"]
    second = await world.device(BOT, "NEW")
    await sign_own_device(second.api, second.machine, Identity.from_stored(identity.to_stored()))  # type: ignore[arg-type]
    assert self_signing in world.server.devices[BOT]["NEW"]["signatures"][BOT]


async def test_an_identity_of_somebody_else_is_never_replaced(world: World) -> None:
    bot = await world.device(BOT, "BOT")
    await sign_own_device(bot.api, bot.machine, Identity(BOT, SEEDS))  # type: ignore[arg-type]
    other = Identity(BOT, dict.fromkeys(USAGES, b"x" * 32))
    with pytest.raises(ForeignIdentityError):
        await sign_own_device(bot.api, bot.machine, other)  # type: ignore[arg-type]


def test_ids_and_signatures_are_unpadded_base64_that_verify() -> None:
    vodozemac = pytest.importorskip("vodozemac")
    identity = Identity(BOT, SEEDS)
    key = identity.key_object("self_signing")
    (signature,) = key["signatures"][BOT].values()
    assert "=" not in signature
    assert "=" not in identity.public("master")
    assert len(base64.b64decode(identity.public("master") + "=")) == 32
    vodozemac.Ed25519PublicKey.from_base64(identity.public("master")).verify_signature(
        canonical(key), vodozemac.Ed25519Signature.from_base64(signature)
    )


def test_seeds_are_in_no_repr() -> None:
    assert "\\x01" not in repr(Identity(BOT, SEEDS))
