"""Owns making a room exactly once.

The intent is stored with a marker before the call, and the marker is in the room's creation content. So a room whose
creation was not answered is found again among the joined rooms instead of being made a second time.
"""

from collections.abc import Mapping
from typing import Any

from onboard_bot.clock import Clock
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.onboarding.ports import UnreachableError
from onboard_bot.store.rooms import PlannedRoom

CREATION_KEY = "io.github.onboard_bot"
ENCRYPTION: dict[str, Any] = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}
NO_GUESTS = {"type": "m.room.guest_access", "state_key": "", "content": {"guest_access": "forbidden"}}
# A server that lost our connection may still be at work on the room.
_LOOKS = 3
_BETWEEN_LOOKS = 2.0


class RoomMaking:
    """Makes planned rooms; raises what `Transport.call` raises."""

    def __init__(self, api: ClientApi, rooms: Rooms, clock: Clock) -> None:
        self._api = api
        self._rooms = rooms
        self._clock = clock

    async def make(self, plan: PlannedRoom, body: Mapping[str, Any], *, may_exist: bool) -> str:
        """The room of the plan, found or made; the caller stores its id.

        Args:
            plan: Stored already.
            body: Of `createRoom`.
            may_exist: Whether an earlier try may have made it.
        """
        room_id = await self._find(plan.marker, looks=_LOOKS) if may_exist else None
        if room_id is None:
            marked = {**body, "creation_content": {CREATION_KEY: {"marker": plan.marker}}}
            try:
                room_id = await self._api.create_room(marked)
            except UnreachableError:
                room_id = await self._find(plan.marker, looks=_LOOKS)
                if room_id is None:
                    raise
        return room_id

    async def _find(self, marker: str, *, looks: int) -> str | None:
        for look in range(looks):
            if look > 0:
                await self._clock.sleep(_BETWEEN_LOOKS)
            for room_id in await self._api.joined_rooms():
                create = await self._rooms.create_event(room_id)
                ours = create.get("content", {}).get(CREATION_KEY)
                if isinstance(ours, Mapping) and ours.get("marker") == marker:
                    return room_id
        return None
