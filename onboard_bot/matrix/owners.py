"""Owns reading which devices their owner signed: the chain from a person's master key down to each device.

Specification, "Cross-signing": the master key signs the self-signing key, and that one signs the devices. Everything
comes from the server and is taken apart with suspicion: a chain that is broken anywhere is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import vodozemac

from onboard_bot.matrix.device_keys import MALFORMED, DeviceKeys, read_device
from onboard_bot.matrix.signed_json import is_signed_by


@dataclass(frozen=True, slots=True)
class Owner:
    """A person's cross-signing identity, and what it says.

    Args:
        master_key: Unpadded base64; it stands for the identity.
        devices: The devices that it signed, by their ids, with the keys that the signature covers.
    """

    master_key: str
    devices: Mapping[str, DeviceKeys]


def read_owner(user_id: str, answer: Mapping[str, Any]) -> Owner | None:
    """The identity in the answer of a `keys/query`; None for somebody who has none that holds together.

    Args:
        user_id: Whose.
        answer: Of any shape. That the device keys are well formed is not checked here.
    """
    try:
        master = _public_key(answer["master_keys"][user_id], user_id, "master")
        signer = answer["self_signing_keys"][user_id]
        self_signing = _public_key(signer, user_id, "self_signing")
        if not is_signed_by(signer, user_id, master):
            return None
        devices = answer["device_keys"][user_id]
        signed = {
            device_id: read_device(device_id, keys)
            for device_id, keys in devices.items()
            if is_signed_by(keys, user_id, self_signing)
        }
    except MALFORMED:
        return None
    return Owner(master, {device_id: keys for device_id, keys in signed.items() if keys is not None})


def _public_key(key_object: Any, user_id: str, usage: str) -> str:
    ((key_id, public),) = key_object["keys"].items()
    if key_object["user_id"] != user_id or usage not in key_object["usage"] or key_id != f"ed25519:{public}":
        raise ValueError(usage)
    if vodozemac.Ed25519PublicKey.from_base64(public).to_base64() != public:  # it is shown, and compared as text
        raise ValueError(usage)
    return str(public)
