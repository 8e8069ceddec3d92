"""Owns the encrypted room between the bot and one person."""

import logging
from collections.abc import Callable
from typing import Any

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.room_making import ENCRYPTION, NO_GUESTS, RoomMaking
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.onboarding.ports import RefusedError, TokenRejectedError
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.transaction import Store

_log = logging.getLogger(__name__)


class DirectRooms:
    """Finds or makes direct rooms; raises what `Transport.call` raises."""

    def __init__(
        self, api: ClientApi, rooms: Rooms, making: RoomMaking, store: Store, *, new_marker: Callable[[], str]
    ) -> None:
        self._api = api
        self._rooms = rooms
        self._making = making
        self._store = store
        self._new_marker = new_marker

    async def with_person(self, user_id: str) -> str:
        """A room that the person is in or invited to; its id.

        A room that the person left is left, too. One whose making ended in a refused invitation is kept: a new one at
        each try would leave a trail of empty rooms.
        """
        async with self._store.reading() as tx:
            plan = await tx.rooms.find(Purpose.DIRECT, user_id)
        if plan is not None and plan.room_id is not None:
            if await self._serves(plan.room_id, user_id):
                return plan.room_id
            async with self._store.transaction() as tx:
                await tx.rooms.forget(plan.marker)
            plan = None
        fresh = plan is None
        if plan is None:
            plan = PlannedRoom(self._new_marker(), Purpose.DIRECT, user_id, None, made_by_bot=True)
            async with self._store.transaction() as tx:
                await tx.rooms.plan(plan)
        room_id = await self._making.make(plan, _creation(user_id), may_exist=not fresh)
        async with self._store.transaction() as tx:
            await tx.rooms.settle(plan.marker, room_id)
        if not fresh:
            is_invited = await self._rooms.last_membership(room_id, user_id) is not None
            await self._complete(room_id, user_id, is_invited=is_invited)
        return room_id

    async def _serves(self, room_id: str, user_id: str) -> bool:
        """Whether both are in the room, or the person is invited; if the person is gone, the bot goes too."""
        if room_id not in await self._api.joined_rooms():
            return False
        membership = await self._rooms.last_membership(room_id, user_id)
        if membership in (None, "join", "invite"):
            await self._complete(room_id, user_id, is_invited=membership is not None)
            return True
        try:
            await self._api.leave(room_id)
        except TokenRejectedError:
            raise
        except RefusedError as error:
            _log.info("could not leave %s: %s", room_id, error)
        return False

    async def _complete(self, room_id: str, user_id: str, *, is_invited: bool) -> None:
        """Adds what is missing: a server that went down while it made the room does not go on with that."""
        if not await self._rooms.is_encrypted(room_id):
            await self._api.set_state(room_id, ENCRYPTION["type"], ENCRYPTION["content"])
            self._rooms.forget(room_id)
        if not is_invited:
            await self._api.invite(room_id, user_id)


def _creation(user_id: str) -> dict[str, Any]:
    return {
        "preset": "private_chat",
        "visibility": "private",
        "is_direct": True,
        "invite": [user_id],
        "initial_state": [ENCRYPTION, NO_GUESTS],
    }
