"""Which devices a person signed: a chain that is broken anywhere is none, and nothing that a server says raises."""

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.matrix.cross_signing import Identity
from onboard_bot.matrix.owners import read_owner
from tests.unit.key_world import ADA, BOB, identity_of

Json = dict[str, Any]

MINE = identity_of(ADA)
PHONE: Json = {
    "user_id": ADA,
    "device_id": "PHONE",
    "keys": {"ed25519:PHONE": "fingerprint", "curve25519:PHONE": "sender key"},
}


def answer(owner: Identity = MINE, **changed: Json) -> Json:
    """What a server says of Ada.

    Args:
        owner: Whose keys sign.
        changed: Objects that stand for `master`, `self_signing` or `phone`.
    """
    keys = {
        "master": owner.key_object("master"),
        "self_signing": owner.key_object("self_signing"),
        "phone": owner.signed("self_signing", PHONE),
    } | changed
    return {
        "master_keys": {ADA: keys["master"]},
        "self_signing_keys": {ADA: keys["self_signing"]},
        "device_keys": {ADA: {"PHONE": keys["phone"]}},
    }


def with_keys(usage: str, keys: Json) -> Json:
    key = MINE.key_object(usage) | {"keys": keys}
    return key if usage == "master" else MINE.signed("master", key)


def other_usage(usage: str) -> Json:
    return MINE.signed("master", MINE.key_object(usage) | {"usage": ["user_signing"]})


def other_owner(usage: str) -> Json:
    return MINE.signed("master", MINE.key_object(usage) | {"user_id": BOB})


def other_key_id(usage: str) -> Json:
    return with_keys(usage, {f"ed25519:{identity_of(ADA, 2).public(usage)}": MINE.public(usage)})


def two_keys(usage: str) -> Json:
    return with_keys(usage, {f"ed25519:{key}": key for key in (MINE.public(usage), MINE.public("user_signing"))})


def padded(usage: str) -> Json:
    return with_keys(usage, {f"ed25519:{MINE.public(usage)}=": MINE.public(usage) + "="})


def another_spelling(usage: str) -> Json:
    """The same 32 bytes: the last character of their base64 has two bits that mean nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    public = MINE.public(usage)
    respelt = public[:-1] + alphabet[alphabet.index(public[-1]) + 1]
    assert base64.b64decode(respelt + "=") == base64.b64decode(public + "=")
    return with_keys(usage, {f"ed25519:{respelt}": respelt})


def test_what_the_owner_signed_is_theirs() -> None:
    owner = read_owner(ADA, answer())
    assert owner is not None
    assert owner.master_key == MINE.public("master")
    assert {device: keys.fingerprint for device, keys in owner.devices.items()} == {"PHONE": "fingerprint"}


@pytest.mark.parametrize("usage", ["master", "self_signing"])
@pytest.mark.parametrize("broken", [other_usage, other_owner, other_key_id, two_keys, padded, another_spelling])
def test_a_key_that_is_not_exactly_what_it_should_be_signs_nothing(usage: str, broken: Callable[[str], Json]) -> None:
    assert read_owner(ADA, answer(MINE, **{usage: broken(usage)})) is None


@pytest.mark.parametrize("of", ["keys", "device_id", "user_id"])
def test_a_device_that_was_changed_after_it_was_signed_is_not_signed(of: str) -> None:
    phone = MINE.signed("self_signing", PHONE)
    phone[of] = {**PHONE["keys"], "ed25519:PHONE": "another"} if of == "keys" else "another"
    owner = read_owner(ADA, answer(phone=phone))
    assert owner is not None
    assert owner.devices == {}


def test_only_the_self_signing_key_signs_devices() -> None:
    for usage in ("master", "user_signing"):
        owner = read_owner(ADA, answer(phone=MINE.signed(usage, PHONE)))
        assert owner is not None
        assert owner.devices == {}


def test_text_that_cannot_be_encoded_is_not_signed() -> None:
    phone = MINE.signed("self_signing", PHONE) | {"algorithms": ["\ud800"]}
    owner = read_owner(ADA, answer(phone=phone))
    assert owner is not None
    assert owner.devices == {}


def _places(thing: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    return [path] * bool(path) + [place for key, each in inner for place in _places(each, (*path, key))]


PLACES = _places(answer())
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(place=st.sampled_from(PLACES), value=anything)
def test_whatever_stands_anywhere_no_device_is_taken_for_signed_that_is_not(place: tuple[Any, ...], value: Any) -> None:
    said = copy.deepcopy(answer())
    inner = said
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    owner = read_owner(ADA, said)
    if owner is not None and owner.devices:
        assert json.dumps(said, sort_keys=True) == json.dumps(answer(), sort_keys=True)
