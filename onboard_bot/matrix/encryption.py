"""Owns that everybody who should can read what we send: device lists, one-time keys, room keys, in this order."""

import asyncio
import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.machine import Device, Json, Machine
from onboard_bot.onboarding.ports import NotReadableError, RefusedError, TokenRejectedError

_USERS_PER_QUERY = 200
# A server that does not answer for its people costs seconds of waiting; not at every message.
_ASK_AGAIN_AFTER = 300.0
_DEVICES_PER_CLAIM = 100


class Encryption:
    """One device's conversation about keys; raises what `Transport.call` raises."""

    def __init__(self, api: ClientApi, machine: Machine) -> None:
        self._api = api
        self._machine = machine
        self._asked_in_vain: dict[str, float] = {}
        self._to_upload: Json | None = None

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
        holders = {user for user, _ in self._machine.holders(room_id)}
        if only_for is not None and only_for not in holders:
            raise NotReadableError(f"{only_for} has no device that could read it")
        if not holders and people != [self._machine.user_id]:
            raise NotReadableError(f"nobody in {room_id} has a device that could read it")
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
        now = asyncio.get_running_loop().time()
        unknown = sorted(
            user
            for user in self._machine.unknown(users)
            if now - self._asked_in_vain.get(user, -math.inf) >= _ASK_AGAIN_AFTER
        )
        for start in range(0, len(unknown), _USERS_PER_QUERY):
            asked = unknown[start : start + _USERS_PER_QUERY]
            self._machine.about_to_ask(asked)
            self._machine.learn_devices(await self._api.keys_query(asked), asked)
            self._asked_in_vain |= dict.fromkeys(self._machine.unknown(asked), now)

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
