"""Owns putting an event into a room: one at a time per room, encrypted where the room is, never torn in the middle."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.encryption import Encryption
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.onboarding.ports import NotReadableError

# Never encrypted: reactions, so that servers can count them (specification, "Encrypting relations", and what every
# client does).
_IN_CLEAR = frozenset({"m.reaction"})
_LAST_MOMENTS = 1.0


class Sending:
    """Sends into rooms; raises what `Transport.call` raises."""

    def __init__(self, api: ClientApi, rooms: Rooms, encryption: Encryption) -> None:
        self._api = api
        self._rooms = rooms
        self._encryption = encryption
        self._under_way: set[asyncio.Task[str]] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def send(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        *,
        transaction_id: str,
        only_for: str | None = None,
    ) -> str:
        """The event's id. Our caller's cancellation does not stop a send half way between keys and event.

        Raises:
            NotReadableError: It is `only_for` somebody who could not read it, or the room is not encrypted.
        """
        sending = asyncio.create_task(self._send(room_id, event_type, content, transaction_id, only_for))
        self._under_way.add(sending)
        sending.add_done_callback(self._under_way.discard)
        return await asyncio.shield(sending)

    async def finish(self) -> None:
        """Waits for what is under way, before the connections are closed."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_LAST_MOMENTS)

    async def _send(
        self, room_id: str, event_type: str, content: Mapping[str, Any], transaction_id: str, only_for: str | None
    ) -> str:
        async with self._locks[room_id]:
            if event_type not in _IN_CLEAR and await self._rooms.encryption_known(room_id):
                readers = await self._rooms.readers(room_id)
                content = await self._encryption.encrypt(room_id, readers, event_type, content, only_for=only_for)
                event_type = "m.room.encrypted"
            elif only_for is not None:
                raise NotReadableError(f"{room_id} is not encrypted")
            return await self._api.send(room_id, event_type, content, transaction_id=transaction_id)

    async def redact(self, room_id: str, event_id: str, *, reason: str, transaction_id: str) -> str:
        """Takes an event's content away."""
        return await self._api.redact(room_id, event_id, reason=reason, transaction_id=transaction_id)
