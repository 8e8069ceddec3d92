"""Owns that everybody who should can read what we send: device lists, one-time keys, room keys, in this order."""

import asyncio
import hashlib
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.device_keys import Device
from onboard_bot.matrix.known_devices import KnownDevices
from onboard_bot.matrix.machine import Json, Machine
from onboard_bot.onboarding.ports import (
    NotReadableError,
    RateLimitedError,
    RefusedError,
    TokenRejectedError,
    TooLargeError,
    UnreachableError,
)

_log = logging.getLogger(__name__)

_DEVICES_PER_CLAIM = 100
# A device that has no keys left gets some when it comes back; it is not asked for at every message.
_CLAIM_AGAIN_AFTER = 30.0
# People's devices may change while keys are claimed.
_ROUNDS = 3
_DEVICES_PER_NOTICE = 200


class Encryption:
    """One device's conversation about keys; raises what `Transport.call` raises.

    Args:
        api: Where it takes place.
        machine: Of the device.
        devices: Who is served; everybody's devices, if nothing is said.
    """

    def __init__(self, api: ClientApi, machine: Machine, devices: KnownDevices | None = None) -> None:
        self._api = api
        self._machine = machine
        self._room_keys = machine.room_keys
        self._devices = devices or KnownDevices(api, machine)
        self._to_upload: Json | None = None
        self._claimed_in_vain: dict[Device, float] = {}
        self._left_out: dict[str, list[Device]] = {}
        self._told_withheld: dict[str, tuple[str, set[Device]]] = {}

    async def keep_keys_stocked(self) -> None:
        """Uploads what the server should have of our keys.

        What could not be uploaded is kept for the next try: every body made anew has another fallback key, and of
        those the machine remembers two. The server may have taken the one whose answer was lost.
        """
        if self._to_upload is None:
            self._to_upload = self._machine.keys_to_upload()
        if self._to_upload is None:
            return
        try:
            answer = await self._api.keys_upload(self._to_upload)
        except TokenRejectedError:
            raise
        except RefusedError:
            self._to_upload = None
            raise
        self._machine.keys_uploaded(answer)
        self._to_upload = None

    async def encrypt(
        self,
        room_id: str,
        readers: Iterable[str],
        event_type: str,
        content: Mapping[str, Any],
        *,
        only_for: str | None = None,
    ) -> Json:
        """The encrypted form of an event that all devices of the readers can open.

        Raises:
            NotReadableError: Nobody's devices got the key, or none of `only_for`'s did.
        """
        people = sorted(readers)
        await self._share_room_key(room_id, people)
        holders = {user for user, _ in self._room_keys.holders(room_id)}
        if only_for is not None and only_for not in holders:
            raise NotReadableError(f"{only_for} has no device that could read it")
        if not holders and people != [self._machine.user_id]:
            raise NotReadableError(f"nobody in {room_id} has a device that could read it")
        return self._room_keys.encrypt(room_id, event_type, content)

    async def _share_room_key(self, room_id: str, readers: list[str]) -> None:
        of_readers = await self._devices.readers(readers)
        for _ in range(_ROUNDS):
            holders = self._room_keys.holders(room_id)
            if not await self._start_sessions([device for device in of_readers.devices if device not in holders]):
                break
            before, of_readers = of_readers, await self._devices.readers(readers)
            if of_readers == before:
                break
        holders = self._room_keys.holders(room_id)
        if not holders <= set(of_readers.devices):
            self._room_keys.rotate(room_id)  # somebody who had the key is gone, or is not to have it any more
            holders = set()
        self._room_keys.ensure_room_key(room_id)
        holders &= self._room_keys.holders(room_id)
        missing = [device for device in of_readers.devices if device not in holders]
        for portion, messages in self._room_keys.room_key_messages(room_id, missing):
            await self._api.send_to_device("m.room.encrypted", messages, transaction_id=self._share_id(messages))
            self._room_keys.room_key_shared(room_id, portion)
        self._left_out[room_id] = of_readers.left_out

    async def say_withheld(self, room_id: str) -> None:
        """Tells the devices that got no key why, once for each key (specification, "m.room_key.withheld").

        Their clients show it to their owners. It comes after the message, which does not wait for it.
        """
        notice = self._room_keys.withheld_notice(room_id, reason="This device is not verified by its owner.")
        session_id, told = self._told_withheld.get(room_id, ("", set()))
        if session_id != notice["session_id"]:
            told = set()
        news = [device for device in self._left_out.get(room_id, ()) if device not in told][:_DEVICES_PER_NOTICE]
        if not news:
            return
        messages: Json = {}
        for user, device_id in news:
            messages.setdefault(user, {})[device_id] = notice
        try:
            await self._api.send_to_device("m.room_key.withheld", messages, transaction_id=self._share_id(messages))
        except (UnreachableError, RateLimitedError, RefusedError) as error:
            _log.info("%d devices could not be told why they get no key: %s", len(news), error)
            return
        self._told_withheld[room_id] = notice["session_id"], told | set(news)

    async def _start_sessions(self, devices: list[Device]) -> bool:
        """Whether the server was asked for keys, which takes a while."""
        now = asyncio.get_running_loop().time()
        without = [
            device
            for device in self._machine.without_session(devices)
            if now - self._claimed_in_vain.get(device, -math.inf) >= _CLAIM_AGAIN_AFTER
        ]
        for start in range(0, len(without), _DEVICES_PER_CLAIM):
            await self._claim(without[start : start + _DEVICES_PER_CLAIM])
        self._claimed_in_vain |= dict.fromkeys(self._machine.without_session(without), now)
        return bool(without)

    async def _claim(self, devices: list[Device]) -> None:
        """Claims their keys at once, or, where somebody's are too large to be read, one half after the other."""
        wanted: dict[str, list[str]] = {}
        for user, device_id in devices:
            wanted.setdefault(user, []).append(device_id)
        try:
            answer = await self._api.keys_claim(wanted)
        except TooLargeError as error:
            if len(devices) == 1:
                _log.warning("the one-time key of a device of %s is too large to be read: %s", devices[0][0], error)
                return
            middle = len(devices) // 2
            await self._claim(devices[:middle])
            await self._claim(devices[middle:])
            return
        self._machine.start_sessions(answer, devices)

    @staticmethod
    def _share_id(messages: Json) -> str:
        """Names a portion by what is in it: ciphertexts never repeat, a retry of the same portion does."""
        return hashlib.sha256(repr(messages).encode()).hexdigest()[:32]
