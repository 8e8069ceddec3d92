"""Owns which devices in the answer of a `keys/query` are taken: what is malformed is left out, and harms no other."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import vodozemac
from nio.exceptions import EncryptionError

from onboard_bot.matrix.json_text import is_id
from onboard_bot.matrix.payload import is_shallow

_log = logging.getLogger(__name__)

MALFORMED = (
    *(ValueError, TypeError, KeyError, AttributeError, IndexError, StopIteration),
    *(AssertionError, RecursionError, EncryptionError),
)
"""What malformed input makes of nio and vodozemac; every vodozemac exception is a ValueError."""
OF_ONE_PERSON = 200
"""Devices. Each costs a one-time key and an Olm message; somebody with more is not served on all of them."""

Json = dict[str, Any]
Verify = Callable[[Json, str, str, str], bool]
"""nio's: the signed object, the signing key, the user and the device."""


Device = tuple[str, str]
"""A user id and a device id."""


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """What a device is known by: its Ed25519 and its Curve25519 key, unpadded base64."""

    fingerprint: str
    sender_key: str


def read_device(device_id: str, keys: Mapping[str, Any]) -> DeviceKeys | None:
    """What the device is known by; None where its keys do not say."""
    try:
        return DeviceKeys(str(keys["keys"][f"ed25519:{device_id}"]), str(keys["keys"][f"curve25519:{device_id}"]))
    except MALFORMED:
        return None


def good_devices(
    user: str, devices: Mapping[str, Any], verify: Verify, *, first: Collection[str] = ()
) -> dict[str, Json]:
    """The devices that nio can take without raising.

    Their names are left out: the bot shows them to nobody, and they are a stranger's words.

    Args:
        user: Whose.
        devices: As the server shows them.
        verify: Checks a device's own signature.
        first: Ids of devices that are taken before others, where there are too many.
    """
    in_order = {device_id: devices[device_id] for device_id in sorted(devices, key=lambda each: each not in first)}
    good = islice(_well_formed(user, in_order, verify), OF_ONE_PERSON)
    return {device_id: {**devices[device_id], "unsigned": {}} for device_id in good}


def _well_formed(user: str, devices: Mapping[str, Any], verify: Verify) -> Iterator[str]:
    reasons = set()
    for device_id, keys in devices.items():
        try:
            if _is_well_formed(user, device_id, keys, verify):
                yield device_id
        except MALFORMED as error:
            reasons.add(type(error).__name__)
    if reasons:
        _log.warning("malformed keys of devices of %s: %s", user, ", ".join(sorted(reasons)))


def _is_well_formed(user: str, device_id: str, keys: Any, verify: Verify) -> bool:
    if not is_id(device_id) or not is_shallow(keys) or keys["user_id"] != user or keys["device_id"] != device_id:
        return False
    signing_key = keys["keys"][f"ed25519:{device_id}"]
    vodozemac.Curve25519PublicKey.from_base64(keys["keys"][f"curve25519:{device_id}"])
    return verify(dict(keys), signing_key, user, device_id)
