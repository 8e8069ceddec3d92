"""The bot signs what it knows itself, with an identity that is its own; what a server shows never gets a signature."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import (
    USAGES,
    ForeignDeviceError,
    ForeignIdentityError,
    Identity,
    NotKeptError,
    look_at_own,
    sign_own_device,
    upload_identity,
)
from onboard_bot.matrix.signed_json import is_signed_by
from onboard_bot.onboarding.ports import RefusedError, UnreachableError
from tests.fakes.own_account import BOT, DEVICE, PASSWORD, Device, Json, OwnAccount, identity_of

OURS, OTHERS = identity_of(1), identity_of(2)


async def sign(server: OwnAccount, device: Device, identity: Identity = OURS, password: str | None = PASSWORD) -> None:
    secret = None if password is None else SecretStr(password)
    await sign_own_device(cast("ClientApi", server), device, identity, password=secret)


async def upload(server: OwnAccount, password: str | None, *, replacing: bool) -> None:
    secret = None if password is None else SecretStr(password)
    await upload_identity(cast("ClientApi", server), OURS, DEVICE, secret, replacing=replacing)


def is_good(server: OwnAccount, device: Device, identity: Identity = OURS) -> bool:
    """What a strict client asks of the bot's device."""
    master, self_signing = identity.public("master"), identity.public("self_signing")
    return (
        server.master_key == master
        and is_signed_by(server.keys["self_signing"], BOT, master)
        and is_signed_by(server.devices[device.device_id], BOT, self_signing)
        and is_signed_by(server.keys["master"], BOT, device.fingerprint, key_id=device.device_id)
    )


async def test_a_first_identity_is_uploaded_and_signs_the_device_and_is_signed_by_it() -> None:
    device = Device()
    server = OwnAccount(device)
    await sign(server, device)
    assert is_good(server, device)


async def test_where_all_is_there_one_look_is_enough() -> None:
    device = Device()
    server = OwnAccount(device)
    await sign(server, device)
    server.calls.clear()
    await sign(server, device)
    assert server.calls == ["keys_query"]


def another_fingerprint(device: Json) -> None:
    device["keys"][f"ed25519:{DEVICE}"] = Device(seed=b"e" * 32).fingerprint


def another_sender_key(device: Json) -> None:
    device["keys"][f"curve25519:{DEVICE}"] = "E" * 43


def another_algorithm(device: Json) -> None:
    device["algorithms"] = ["m.megolm.v0.plain"]


def one_more_key(device: Json) -> None:
    device["keys"]["ed25519:OTHER"] = "E" * 43


def another_name(device: Json) -> None:
    device["device_id"] = "OTHER"


def something_more(device: Json) -> None:
    device["dehydrated"] = True


LIES = [another_fingerprint, another_sender_key, another_algorithm, one_more_key, another_name, something_more]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("known", [True, False])
async def test_a_server_that_shows_other_keys_for_our_device_gets_nothing_signed(
    lie: Callable[[Json], None], *, known: bool
) -> None:
    device = Device()
    server = OwnAccount(device)
    if known:
        server.has(OURS)
    lie(server.devices[DEVICE])
    with pytest.raises(ForeignDeviceError):
        await sign(server, device)
    assert server.calls == ["keys_query"]


async def test_an_identity_that_is_not_ours_is_left_alone() -> None:
    device = Device()
    server = OwnAccount(device)
    server.has(OTHERS)
    with pytest.raises(ForeignIdentityError) as foreign:
        await sign(server, device)
    assert foreign.value.master_key == OTHERS.public("master")
    assert server.calls == ["keys_query"]


@pytest.mark.parametrize("key_of", ["device", "master"])
@pytest.mark.parametrize("wrong", ["A" * 86, "no base64", "", 5, None])
async def test_a_signature_that_is_none_is_replaced(key_of: str, wrong: object) -> None:
    device = Device()
    server = OwnAccount(device)
    await sign(server, device)
    signed = server.devices[DEVICE] if key_of == "device" else server.keys["master"]
    (name,) = signed["signatures"][BOT]
    signed["signatures"][BOT][name] = wrong
    await sign(server, device)
    assert is_good(server, device)


@pytest.mark.parametrize("usage", ["self_signing", "user_signing"])
@pytest.mark.parametrize("change", ["another key", "another key, signed", "another signature", "gone"])
async def test_a_key_that_is_not_ours_under_our_master_key_is_replaced(usage: str, change: str) -> None:
    device = Device()
    server = OwnAccount(device, proof="never")
    await sign(server, device)
    if change == "another key":
        server.keys[usage] = OTHERS.key_object(usage)
    elif change == "another key, signed":
        server.keys[usage] = OURS.signed("master", OTHERS.key_object(usage))
    elif change == "another signature":
        server.keys[usage] = OTHERS.signed("master", OURS.key_object(usage))
    else:
        del server.keys[usage]
    await sign(server, device)
    assert is_good(server, device)
    assert server.keys[usage] == OURS.key_object(usage)


async def test_a_new_device_is_signed_by_the_old_identity() -> None:
    old, new = Device(), Device("NEW", b"n" * 32)
    server = OwnAccount(old)
    await sign(server, old)
    server.devices["NEW"] = new.device_keys
    server.calls.clear()
    await sign(server, new)
    assert is_good(server, new)
    assert "device_signing_upload" not in server.calls


# Servers that want the password.


async def test_a_server_that_wants_the_password_for_a_first_identity_gets_it() -> None:
    device = Device()
    server = OwnAccount(device, proof="always")
    await sign(server, device)
    assert is_good(server, device)


@pytest.mark.parametrize("password", [None, "not the password"])
async def test_without_the_right_password_it_is_a_refusal_and_not_tried_in_a_circle(password: str | None) -> None:
    device = Device()
    server = OwnAccount(device, proof="always")
    with pytest.raises(RefusedError) as refused:
        await sign(server, device, password=password)
    assert server.calls.count("device_signing_upload") == (1 if password is None else 2)
    assert "password" not in str(refused.value).replace("Invalid password", "")


async def test_an_identity_that_came_in_between_is_not_replaced_with_the_password() -> None:
    """The server showed none, and asks for the password because there is one now."""
    device = Device()
    server = OwnAccount(device)

    def somebody_is_quicker(call: str) -> None:
        if call == "device_signing_upload":
            server.has(OTHERS)

    server.before = somebody_is_quicker
    with pytest.raises(ForeignIdentityError):
        await sign(server, device)
    assert server.master_key == OTHERS.public("master")


async def test_only_a_reset_replaces_an_identity() -> None:
    device = Device()
    server = OwnAccount(device)
    server.has(OTHERS)
    with pytest.raises(ForeignIdentityError):
        await upload(server, PASSWORD, replacing=False)
    assert server.master_key == OTHERS.public("master")
    await upload(server, PASSWORD, replacing=True)
    assert server.master_key == OURS.public("master")


@pytest.mark.parametrize(
    "flows",
    [
        None,
        [],
        "m.login.password",
        [{"stages": ["m.oauth"]}],
        [{"stages": ["m.login.password", "m.login.email.identity"]}],
        ["m.login.password", {"stages": "m.login.password"}],
    ],
)
async def test_a_server_that_wants_more_than_a_password_gets_none(flows: object) -> None:
    device = Device()
    server = OwnAccount(device)

    def ask(call: str) -> None:
        if call == "device_signing_upload":
            raise RefusedError(401, {"flows": flows, "session": "x"})

    server.before = ask
    with pytest.raises(RefusedError):
        await sign(server, device)
    assert server.calls.count("device_signing_upload") == 1


# Servers that make no sense.


async def test_a_server_that_keeps_nothing_is_not_asked_for_ever() -> None:
    device = Device()
    server = OwnAccount(device)
    server.after = lambda call: server.keys.clear() if call == "device_signing_upload" else None
    with pytest.raises(NotKeptError):
        await sign(server, device)
    assert len(server.calls) < 12


@pytest.mark.parametrize("devices", [{}, {BOT: {}}, {BOT: {"OTHER": {}}}])
async def test_a_server_that_does_not_know_our_device_is_asked_again_later(devices: Json) -> None:
    device = Device()
    server = OwnAccount(device)
    server.show = lambda answer: answer | {"device_keys": devices}
    with pytest.raises(UnreachableError):
        await sign(server, device)
    assert server.calls == ["keys_query"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["keys", BOT, DEVICE]), inner),
    max_leaves=4,
)


def places(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every place in an object."""
    deeper = [place for key in value for place in places(value[key], (*path, key))] if isinstance(value, dict) else []
    return [path, *deeper]


@given(data=st.data(), known=st.booleans())
async def test_no_answer_makes_anything_but_a_clear_error_and_our_own_keys_signed(
    data: st.DataObject,
    known: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    device = Device()
    server = OwnAccount(device, proof="never")
    if known:
        await sign(server, device)

    def twist(answer: Json) -> Json:
        place = data.draw(st.sampled_from(places(answer)))
        value = data.draw(json_values)
        if not place:
            return value if isinstance(value, dict) else {}
        inner = answer
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        return answer

    server.show = twist
    with suppress(UnreachableError, ForeignIdentityError, ForeignDeviceError, NotKeptError):
        await sign(server, device)
    assert server.devices[DEVICE]["keys"] == device.device_keys["keys"]
    server.show = lambda answer: answer
    await sign(server, device)
    assert is_good(server, device)


@pytest.mark.parametrize(
    "answer", [{"master_keys": 5}, {"master_keys": {BOT: []}}, {"master_keys": {BOT: {"keys": {}}}}]
)
async def test_a_malformed_identity_is_not_taken_for_none(answer: Json) -> None:
    device = Device()
    server = OwnAccount(device)
    server.show = lambda shown: shown | answer
    with pytest.raises(UnreachableError):
        await look_at_own(cast("ClientApi", server), BOT, DEVICE)
    with pytest.raises(UnreachableError):
        await sign(server, device)
    assert "device_signing_upload" not in server.calls


@pytest.mark.parametrize("seed", ["", "AAAA", "not base64!", 5])
def test_seeds_that_are_none_are_refused(seed: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Identity.from_stored(OURS.to_stored() | {"master": seed})


def test_an_identity_survives_its_file() -> None:
    again = Identity.from_stored(OURS.to_stored())
    assert {usage: again.public(usage) for usage in USAGES} == {usage: OURS.public(usage) for usage in USAGES}
