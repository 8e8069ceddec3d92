"""Owns the cross-signing identity of one account: three keys made from seeds, and what they sign.

Specification, "Cross-signing". Ids and signatures are unpadded base64: clients built on matrix-rust-sdk drop padded
ones.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.machine import Machine

SEED_BYTES = 32
USAGES = ("master", "self_signing", "user_signing")

Json = dict[str, Any]


class ForeignIdentityError(Exception):
    """The server holds another identity for this account than our seeds make; it is never replaced silently."""


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The three key pairs.

    `seeds` maps each usage to 32 bytes.
    """

    user_id: str
    seeds: Mapping[str, bytes]

    @classmethod
    def from_stored(cls, values: Mapping[str, str]) -> "Identity":
        """As `to_stored` gave it."""
        return cls(values["user_id"], {usage: base64.b64decode(values[usage]) for usage in USAGES})

    def to_stored(self) -> dict[str, str]:
        """For a private file."""
        return {"user_id": self.user_id} | {usage: base64.b64encode(self.seeds[usage]).decode() for usage in USAGES}

    def public(self, usage: str) -> str:
        """A public key, unpadded base64."""
        raw = self._key(usage).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return _unpadded(raw)

    def signed(self, usage: str, thing: Mapping[str, Any]) -> Json:
        """The JSON object with our signature as its only one."""
        signature = _unpadded(self._key(usage).sign(canonical(thing)))
        plain = {key: value for key, value in thing.items() if key not in ("signatures", "unsigned")}
        return plain | {"signatures": {self.user_id: {f"ed25519:{self.public(usage)}": signature}}}

    def key_object(self, usage: str) -> Json:
        """A public key as `keys/device_signing/upload` wants it; all but the master key are signed by that one."""
        public = self.public(usage)
        key: Json = {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}
        return key if usage == "master" else self.signed("master", key)

    def _key(self, usage: str) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seeds[usage])


async def sign_own_device(api: ClientApi, machine: Machine, identity: Identity) -> None:
    """Uploads the identity where the server has none, and signs this device; safe to repeat at every start.

    The device's keys must have been uploaded, and the seeds must be on the disk.

    Raises:
        ForeignIdentityError: See there.
    """
    user = identity.user_id
    answer = await api.keys_query([user])
    master = answer.get("master_keys", {}).get(user)
    if master is None:
        await api.device_signing_upload({f"{usage}_key": identity.key_object(usage) for usage in USAGES})
        answer = await api.keys_query([user])
        master = answer["master_keys"][user]
    if list(master["keys"].values()) != [identity.public("master")]:
        raise ForeignIdentityError
    signatures: Json = {}
    device = answer["device_keys"][user][machine.device_id]
    if f"ed25519:{identity.public('self_signing')}" not in _signers(device, user):
        signatures[machine.device_id] = identity.signed("self_signing", device)
    if f"ed25519:{machine.device_id}" not in _signers(master, user):
        plain = {key: value for key, value in master.items() if key not in ("signatures", "unsigned")}
        signature = machine.sign(canonical(plain).decode())
        signatures[identity.public("master")] = plain | {
            "signatures": {user: {f"ed25519:{machine.device_id}": signature}}
        }
    if signatures:
        await api.signatures_upload({user: signatures})


def canonical(thing: Mapping[str, Any]) -> bytes:
    """What a signature covers (specification, "Canonical JSON" and "Signing JSON")."""
    covered = {key: value for key, value in thing.items() if key not in ("signatures", "unsigned")}
    return json.dumps(covered, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def _signers(thing: Mapping[str, Any], user: str) -> set[str]:
    return set(thing.get("signatures", {}).get(user, {}))


def _unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")
