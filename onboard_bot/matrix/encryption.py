"""Owns that everybody who should can read what we send: device lists, one-time keys, room keys, in this order."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.machine import Device, Json, Machine

_USERS_PER_QUERY = 200
_DEVICES_PER_CLAIM = 100


class Encryption:
    """One device's conversation about keys; raises what `Transport.call` raises."""

    def __init__(self, api: ClientApi, machine: Machine) -> None:
        self._api = api
        self._machine = machine

    async def keep_keys_stocked(self) -> None:
        """Uploads what the server should have of our keys."""
        body = self._machine.keys_to_upload()
        if body is not None:
            self._machine.keys_uploaded(await self._api.keys_upload(body))

    async def encrypt(self, room_id: str, readers: Iterable[str], event_type: str, content: Mapping[str, Any]) -> Json:
        """The encrypted form of an event that all devices of the readers can open."""
        await self._share_room_key(room_id, sorted(readers))
        return self._machine.encrypt(room_id, event_type, content)

    async def _share_room_key(self, room_id: str, readers: list[str]) -> None:
        await self._know_devices(readers)
        devices = self._machine.devices_of(readers)
        if not self._machine.holders(room_id) <= set(devices):
            self._machine.rotate(room_id)  # somebody who had the key is gone
        self._machine.ensure_room_key(room_id)
        missing = [device for device in devices if device not in self._machine.holders(room_id)]
        if not missing:
            return
        await self._start_sessions(missing)
        for portion, messages in self._machine.room_key_messages(room_id, missing):
            await self._api.send_to_device("m.room.encrypted", messages, transaction_id=self._share_id(messages))
            self._machine.room_key_shared(room_id, portion)

    async def _know_devices(self, users: list[str]) -> None:
        unknown = sorted(self._machine.unknown(users))
        for start in range(0, len(unknown), _USERS_PER_QUERY):
            asked = unknown[start : start + _USERS_PER_QUERY]
            self._machine.learn_devices(await self._api.keys_query(asked), asked)

    async def _start_sessions(self, devices: list[Device]) -> None:
        without = self._machine.without_session(devices)
        for start in range(0, len(without), _DEVICES_PER_CLAIM):
            wanted: dict[str, list[str]] = {}
            for user, device_id in without[start : start + _DEVICES_PER_CLAIM]:
                wanted.setdefault(user, []).append(device_id)
            self._machine.start_sessions(await self._api.keys_claim(wanted))

    @staticmethod
    def _share_id(messages: Json) -> str:
        """Names a portion by what is in it: ciphertexts never repeat, a retry of the same portion does."""
        return hashlib.sha256(repr(messages).encode()).hexdigest()[:32]
