"""A homeserver's part in cross-signing, for one account: what it shows, what it takes, and what it wants proved."""

import base64
import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from onboard_bot.matrix.cross_signing import USAGES, Identity
from onboard_bot.onboarding.ports import RefusedError

BOT, DEVICE, PASSWORD = "@onboard:example.org", "BOTDEVICE", "the bot's password"
ALGORITHMS = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]

Json = dict[str, Any]


def identity_of(number: int) -> Identity:
    """Always the same one."""
    return Identity(BOT, {usage: bytes([number, n]) * 16 for n, usage in enumerate(USAGES)})


class Device:
    """A device that signs, without a machine behind it."""

    def __init__(self, device_id: str = DEVICE, seed: bytes = b"d" * 32) -> None:
        self.user_id, self.device_id = BOT, device_id
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def fingerprint(self) -> str:
        return _text(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @property
    def device_keys(self) -> Json:
        keys = {f"ed25519:{self.device_id}": self.fingerprint, f"curve25519:{self.device_id}": "C" * 43}
        return {"user_id": BOT, "device_id": self.device_id, "algorithms": ALGORITHMS, "keys": keys}

    def sign(self, text: str) -> str:
        return _text(self._key.sign(text.encode()))


class OwnAccount:
    """The server; it fits what cross-signing uses of `ClientApi`.

    `proof` is what it wants before it takes an identity: "never", "to replace" (Synapse), "always" (others).
    """

    def __init__(self, device: Device, proof: str = "to replace") -> None:
        self.proof = proof
        self.calls: list[str] = []
        self.keys: dict[str, Json] = {}
        self.devices: dict[str, Json] = {device.device_id: device.device_keys | {"unsigned": {}}}
        self.before: Callable[[str], None] = lambda _: None
        """Sees each call first, and may raise in its place."""
        self.after: Callable[[str], None] = lambda _: None
        """Sees each call that had its effect, and may raise instead of the answer."""
        self.show: Callable[[Json], Json] = lambda answer: answer
        """Makes another answer of what is shown."""

    @property
    def master_key(self) -> str | None:
        return next(iter(self.keys["master"]["keys"].values())) if "master" in self.keys else None

    def has(self, identity: Identity) -> None:
        """It has this identity from before."""
        self.keys = {usage: identity.key_object(usage) for usage in USAGES}

    async def keys_query(self, users: Sequence[str]) -> Json:
        assert list(users) == [BOT]
        self._called("keys_query")
        answer: Json = {"device_keys": {BOT: self.devices}}
        answer |= {f"{usage}_keys": {BOT: key} for usage, key in self.keys.items()}
        shown = self.show(copy.deepcopy(answer))
        self.after("keys_query")
        return shown

    async def device_signing_upload(self, body: Mapping[str, Any]) -> Json:
        self._called("device_signing_upload")
        new = {usage: copy.deepcopy(body[f"{usage}_key"]) for usage in USAGES}
        different = any(_unsigned(self.keys, usage) != _unsigned(new, usage) for usage in USAGES)
        if different and (self.proof == "always" or (self.proof == "to replace" and self.keys)):
            self._want_password(body.get("auth"))
        if different:
            self.keys = new
        self.after("device_signing_upload")
        return {}

    async def signatures_upload(self, body: Mapping[str, Any]) -> Json:
        self._called("signatures_upload")
        for name, thing in body[BOT].items():
            holder = self.devices[name] if name in self.devices else self.keys["master"]
            plain = {key: value for key, value in thing.items() if key != "signatures"}
            shown = {key: value for key, value in holder.items() if key not in ("signatures", "unsigned")}
            assert plain == shown, "a server refuses what it does not know"
            holder.setdefault("signatures", {}).setdefault(BOT, {}).update(thing["signatures"][BOT])
        self.after("signatures_upload")
        return {}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        self.before(name)

    def _want_password(self, auth: Any) -> None:
        flows = {"session": "uia", "flows": [{"stages": ["m.login.sso"]}, {"stages": ["m.login.password"]}]}
        if auth is None:
            raise RefusedError(401, flows)
        user = {"type": "m.id.user", "user": BOT}
        right = {"type": "m.login.password", "identifier": user, "password": PASSWORD, "session": "uia"}
        if auth != right:
            raise RefusedError(401, flows | {"errcode": "M_FORBIDDEN", "error": "Invalid password"})


def _unsigned(keys: Mapping[str, Json], usage: str) -> Json:
    """The key as it was uploaded: only the master key gets signatures afterwards."""
    key = keys.get(usage, {})
    return {name: value for name, value in key.items() if usage != "master" or name != "signatures"}


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")
