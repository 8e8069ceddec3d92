"""Owns coming into rooms, leaving them, and bringing people in."""

from collections.abc import Mapping
from typing import Any

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.onboarding.ports import RefusedError


class Membership:
    """The client-server API's calls, with what is already so taken for done."""

    def __init__(self, api: ClientApi) -> None:
        self._api = api

    async def join(self, room: str) -> str:
        """Joins; the room's id."""
        return await self._api.join(room)

    async def leave(self, room_id: str) -> None:
        """Leaves, or declines an invitation; a room that we are not in is left already."""
        try:
            await self._api.leave(room_id)
        except RefusedError as error:
            if error.errcode not in ("M_FORBIDDEN", "M_NOT_FOUND"):
                raise

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invites a person."""
        await self._api.invite(room_id, user_id)

    async def state_event(self, room_id: str, event_type: str) -> dict[str, Any] | None:
        """The content of a state event."""
        return await self._api.state_event(room_id, event_type)

    async def set_state(self, room_id: str, event_type: str, content: Mapping[str, Any]) -> None:
        """Replaces a state event."""
        await self._api.set_state(room_id, event_type, content)
