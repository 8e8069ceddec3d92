"""Owns the cross-signing identity of one account: three keys made from seeds, and what they sign.

Specification, "Cross-signing". Ids and signatures are unpadded base64: clients built on matrix-rust-sdk drop padded
ones. What the server shows of the account is compared with what we know before anything of it is signed.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.device_keys import MALFORMED
from onboard_bot.matrix.signed_json import canonical, is_signed_by
from onboard_bot.onboarding.ports import RefusedError, TokenRejectedError, UnreachableError

SEED_BYTES = 32
USAGES = ("master", "self_signing", "user_signing")
# Upload the identity, sign, look whether both are there; and one more for what came in between.
_ROUNDS = 4
_UNAUTHORIZED = 401

Json = dict[str, Any]


class ForeignIdentityError(Exception):
    """The server holds another identity for this account than our seeds make; it is never replaced silently.

    Args:
        master_key: The one on the server.
    """

    def __init__(self, master_key: str) -> None:
        super().__init__(f"another master key on the server: {master_key}")
        self.master_key = master_key


class ForeignDeviceError(Exception):
    """The server shows other keys for our device than it has; they are not signed."""


class NotKeptError(Exception):
    """The server took what was uploaded, and does not show it."""


class OwnDevice(Protocol):
    """The device that is signed."""

    device_id: str

    @property
    def device_keys(self) -> Json:
        """Its keys and algorithms as they were uploaded, without signatures."""
        ...

    def sign(self, text: str) -> str:
        """Its signature, unpadded base64."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The three key pairs.

    `seeds` maps each usage to 32 bytes.
    """

    user_id: str
    seeds: Mapping[str, bytes]

    @classmethod
    def from_stored(cls, values: Mapping[str, str]) -> "Identity":
        """As `to_stored` gave it.

        Raises:
            ValueError: Something else.
        """
        seeds = {usage: base64.b64decode(values[usage], validate=True) for usage in USAGES}
        if any(len(seed) != SEED_BYTES for seed in seeds.values()):
            raise ValueError("a seed of another length")
        return cls(values["user_id"], seeds)

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


@dataclass(frozen=True, slots=True)
class Shown:
    """What the server shows of our own account.

    Args:
        keys: The cross-signing keys that it has, by usage.
        device: The keys of our device; None where it knows none.
    """

    keys: Mapping[str, Json]
    device: Json | None

    @property
    def master_key(self) -> str | None:
        """What stands for the identity; None where there is none. Text that can be stored and sent, whatever it is."""
        if "master" not in self.keys:
            return None
        return str(next(iter(self.keys["master"]["keys"].values()))).encode("ascii", "backslashreplace").decode()

    def holds(self, identity: Identity) -> bool:
        """Whether all of the identity is there, and holds together."""
        master = identity.public("master")
        return all(
            usage in self.keys
            and self.keys[usage].get("keys") == identity.key_object(usage)["keys"]
            and (usage == "master" or is_signed_by(self.keys[usage], identity.user_id, master))
            for usage in USAGES
        )

    def device_is_signed_by(self, identity: Identity) -> bool:
        """Whether our device carries the identity's good signature."""
        return is_signed_by(self.device, identity.user_id, identity.public("self_signing"))


async def look_at_own(api: ClientApi, user_id: str, device_id: str) -> Shown:
    """Asks the server for our own keys; raises what `Transport.call` raises."""
    return read_own(await api.keys_query([user_id]), user_id, device_id)


def read_own(answer: Mapping[str, Any], user_id: str, device_id: str) -> Shown:
    """Our own keys in the answer of a `keys/query`.

    Raises:
        UnreachableError: It is malformed there.
    """
    devices = _of_user(answer, "device_keys", user_id)
    device = None if devices is None else devices.get(device_id)
    keys = {usage: key for usage in USAGES if (key := _of_user(answer, f"{usage}_keys", user_id)) is not None}
    for key in keys.values():
        public = key.get("keys")
        if not isinstance(public, Mapping) or len(public) != 1 or not all(isinstance(k, str) for k in public.values()):
            raise UnreachableError("our own cross-signing keys are malformed")
    if device is not None and not isinstance(device, dict):
        raise UnreachableError("the keys of our own device are malformed")
    return Shown(keys, device)


async def sign_own_device(
    api: ClientApi,
    device: OwnDevice,
    identity: Identity,
    *,
    shown: Shown | None = None,
    password: SecretStr | None = None,
) -> None:
    """Uploads the identity where the server has none, and signs the device; safe to repeat at every start.

    The device's keys must have been uploaded, and the seeds must be on the disk. Raises what `Transport.call` raises,
    besides:

    Args:
        api: With the account's token.
        device: Ours.
        identity: Ours.
        shown: What the server shows, if it was just asked.
        password: The account's, for servers that want it.

    Raises:
        ForeignIdentityError: See there.
        ForeignDeviceError: See there.
        NotKeptError: See there.
    """
    user, ours = identity.user_id, identity.public("master")
    for _ in range(_ROUNDS):
        shown = shown or await look_at_own(api, user, device.device_id)
        if shown.device is None:
            raise UnreachableError("a keys/query that does not know our own device")
        if shown.master_key not in (None, ours):
            raise ForeignIdentityError(str(shown.master_key))
        if not _are_the_same(shown.device, device.device_keys):
            raise ForeignDeviceError
        if not shown.holds(identity):
            await upload_identity(api, identity, device.device_id, password)
        elif missing := _missing_signatures(shown, device, identity):
            await api.signatures_upload({user: missing})
        else:
            return
        shown = None
    raise NotKeptError


async def upload_identity(
    api: ClientApi, identity: Identity, device_id: str, password: SecretStr | None, *, replacing: bool = False
) -> None:
    """Uploads the three public keys, with the account's password where the server asks for one.

    Args:
        api: With the account's token.
        identity: Its seeds must be on the disk.
        device_id: Ours.
        password: The account's.
        replacing: Whether a foreign identity may be replaced. Otherwise nothing is proved to a server that has one.

    Raises:
        ForeignIdentityError: See there.
    """
    body = {f"{usage}_key": identity.key_object(usage) for usage in USAGES}
    try:
        await api.device_signing_upload(body)
    except TokenRejectedError:
        raise
    except RefusedError as refusal:
        if password is None or not _asks_for_password(refusal):
            raise
        if not replacing:
            there = (await look_at_own(api, identity.user_id, device_id)).master_key
            if there not in (None, identity.public("master")):
                raise ForeignIdentityError(str(there)) from refusal
        proof = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": identity.user_id},
            "password": password.get_secret_value(),
            "session": refusal.body.get("session"),
        }
        await api.device_signing_upload(body | {"auth": proof})


def _are_the_same(shown: Json, ours: Json) -> bool:
    """To the byte: Python takes 1 for true."""
    try:
        return canonical(shown) == canonical(ours)
    except MALFORMED:  # JSON can spell halves of characters, and nothing of ours holds one
        return False


def _asks_for_password(refusal: RefusedError) -> bool:
    """Whether a password alone is enough (specification, "User-Interactive Authentication API")."""
    flows = refusal.body.get("flows")
    return (
        refusal.status == _UNAUTHORIZED
        and isinstance(flows, list)
        and any(isinstance(flow, Mapping) and flow.get("stages") == ["m.login.password"] for flow in flows)
    )


def _missing_signatures(shown: Shown, device: OwnDevice, identity: Identity) -> Json:
    """What is to be signed, out of what we know ourselves and not out of what the server shows."""
    user, master = identity.user_id, identity.public("master")
    missing: Json = {}
    if not shown.device_is_signed_by(identity):
        missing[device.device_id] = identity.signed("self_signing", device.device_keys)
    fingerprint = device.device_keys["keys"][f"ed25519:{device.device_id}"]
    if not is_signed_by(shown.keys["master"], user, fingerprint, key_id=device.device_id):
        key = identity.key_object("master")
        signature = device.sign(canonical(key).decode())
        missing[master] = key | {"signatures": {user: {f"ed25519:{device.device_id}": signature}}}
    return missing


def _of_user(answer: Mapping[str, Any], section: str, user_id: str) -> Json | None:
    of_users = answer.get(section, {})
    value = of_users.get(user_id) if isinstance(of_users, Mapping) else of_users
    if value is not None and not isinstance(value, dict):
        raise UnreachableError(f"{section} that are none")
    return value


def _unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")
