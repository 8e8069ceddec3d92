"""Devices with their machines on one fake server of keys: what they send each other is really encrypted."""

from pathlib import Path
from typing import Any

from onboard_bot.matrix.cross_signing import SEED_BYTES, USAGES, Identity, sign_own_device
from onboard_bot.matrix.encryption import Encryption
from onboard_bot.matrix.known_devices import Identities, KnownDevices
from onboard_bot.matrix.machine import Machine
from tests.fakes.key_server import KeyApi, KeyServer

ROOM = "!room:example.org"
BOT, ADA, BOB = "@onboard:example.org", "@ada:example.org", "@bob:example.org"


class Device:
    """A device with its machine, its conversation about keys, and its place on the server."""

    def __init__(
        self, server: KeyServer, user_id: str, device_id: str, folder: Path, identities: Identities | None = None
    ) -> None:
        self.folder = folder / f"{user_id[1:4]}-{device_id}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.server = server
        self.user_id, self.device_id = user_id, device_id
        self.api: KeyApi = server.api(user_id, device_id)
        self.identities = identities
        self.start()

    def start(self) -> None:
        self.machine = Machine(self.user_id, self.device_id, self.folder, b"k" * 32)
        self.known = KnownDevices(self.api, self.machine, self.identities)  # type: ignore[arg-type]
        self.encryption = Encryption(self.api, self.machine, self.known)  # type: ignore[arg-type]

    def restart(self) -> None:
        self.machine.close()
        self.start()

    async def sign(self, identity: Identity) -> None:
        """The owner signs the device; an identity that was there before is replaced."""
        known = self.server.cross_signing.get(self.user_id, {}).get("master_key", {})
        if list(known.get("keys", {}).values()) != [identity.public("master")]:
            self.server.cross_signing.pop(self.user_id, None)
        await sign_own_device(self.api, self.machine, identity)  # type: ignore[arg-type]

    async def sync(self) -> None:
        self.machine.receive(self.server.sync(self.user_id, self.device_id))
        await self.encryption.keep_keys_stocked()

    async def send(self, body: str, *readers: str, **more: Any) -> dict[str, Any]:
        content = await self.encryption.encrypt(ROOM, readers, "m.room.message", {"body": body, **more})
        await self.encryption.say_withheld(ROOM)
        return {"type": "m.room.encrypted", "event_id": f"${body}", "sender": self.user_id, "content": content}

    async def read(self, event: dict[str, Any]) -> str:
        await self.sync()
        return str(self.machine.decrypt(ROOM, event).content["body"])


class World:
    def __init__(self, folder: Path) -> None:
        self.server = KeyServer()
        self.folder = folder
        self.devices: list[Device] = []

    async def device(
        self,
        user_id: str,
        device_id: str,
        *,
        signed_by: Identity | None = None,
        identities: Identities | None = None,
    ) -> Device:
        """A device that uploaded its keys.

        Args:
            user_id: Whose.
            device_id: Its id.
            signed_by: The identity of its owner; none if it is not signed.
            identities: Whose devices it wants to be signed by them; everybody's count, if nothing is said.
        """
        device = Device(self.server, user_id, device_id, self.folder, identities)
        self.devices.append(device)
        await device.encryption.keep_keys_stocked()
        if signed_by is not None:
            await device.sign(signed_by)
        return device

    def close(self) -> None:
        for device in self.devices:
            device.machine.close()


def identity_of(user_id: str, seed: int = 1) -> Identity:
    """A person's cross-signing identity; another seed, another identity."""
    return Identity(user_id, {usage: bytes([seed, n]) * (SEED_BYTES // 2) for n, usage in enumerate(USAGES)})
