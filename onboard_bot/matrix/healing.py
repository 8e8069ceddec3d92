"""Owns new Olm sessions with the devices whose messages cannot be read, and that these devices hear of them.

Specification, "Recovering from undecryptable messages". Current clients answer a new session by giving us their present
room keys again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.known_devices import KnownDevices
from onboard_bot.matrix.machine import Json, Machine
from onboard_bot.onboarding.ports import NamedDevice

_DEVICES_AT_MOST = 20


class Healing:
    """Starts sessions over; raises what `Transport.call` raises, and `StoreUnavailableError`.

    Args:
        api: Where keys are claimed and messages go out.
        machine: Makes the sessions.
        devices: Whose get keys from us.
    """

    def __init__(self, api: ClientApi, machine: Machine, devices: KnownDevices) -> None:
        self._api = api
        self._machine = machine
        self._devices = devices

    async def devices_of(self, user_id: str, named: Sequence[NamedDevice]) -> list[str]:
        """The devices of a person that are meant; all that get keys from us, where none of theirs is.

        Args:
            user_id: Whose.
            named: What their events say of the device that they come from. Anybody can write that.
        """
        readers = await self._devices.readers([user_id])
        theirs = self._machine.devices_of([user_id])
        keys = {device.sender_key for device in named}
        ids = {device.device_id for device in named}
        found = [d for d in theirs if self._machine.keys_of(d).sender_key in keys] or [d for d in theirs if d[1] in ids]
        return sorted(device_id for _, device_id in found or readers.devices)[:_DEVICES_AT_MOST]

    async def start_over(self, user_id: str, device_id: str) -> Json | None:
        """A new session with a device, saved, and the messages that tell of it; None where the device has no key."""
        answer = await self._api.keys_claim({user_id: [device_id]})
        return self._machine.broken.start_over((user_id, device_id), answer)

    async def tell(self, messages: Mapping[str, Any], *, transaction_id: str) -> bool:
        """Sends such messages; False where they are of a device that we gave up."""
        if not self._machine.broken.is_from_us(messages):
            return False
        await self._api.send_to_device("m.room.encrypted", messages, transaction_id=transaction_id)
        return True
