"""Owns the encrypted room between the bot and one person."""

import logging
from collections.abc import Callable

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
        """A room that the person is in or invited to; its id."""
        async with self._store.reading() as tx:
            plan = await tx.rooms.find(Purpose.DIRECT, user_id)
        if plan is not None and plan.room_id is not None and not await self._still_good(plan.room_id, user_id):
            await self._leave(plan.room_id)
            async with self._store.transaction() as tx:
                await tx.rooms.forget(plan.marker)
            plan = None
        if plan is not None and plan.room_id is not None:
            return plan.room_id
        fresh = plan is None
        if plan is None:
            plan = PlannedRoom(self._new_marker(), Purpose.DIRECT, user_id, None, made_by_bot=True)
            async with self._store.transaction() as tx:
                await tx.rooms.plan(plan)
        body = {
            "preset": "private_chat",
            "visibility": "private",
            "is_direct": True,
            "invite": [user_id],
            "initial_state": [ENCRYPTION, NO_GUESTS],
        }
        room_id = await self._making.make(plan, body, may_exist=not fresh)
        async with self._store.transaction() as tx:
            await tx.rooms.settle(plan.marker, room_id)
        if not fresh and await self._rooms.membership(room_id, user_id) == "leave":
            await self._api.invite(room_id, user_id)
        return room_id

    async def _leave(self, room_id: str) -> None:
        """Nobody is there any more."""
        try:
            await self._api.leave(room_id)
        except TokenRejectedError:
            raise
        except RefusedError as error:
            _log.info("could not leave %s: %s", room_id, error)

    async def _still_good(self, room_id: str, user_id: str) -> bool:
        if room_id not in await self._api.joined_rooms():
            return False
        return await self._rooms.membership(room_id, user_id) in ("join", "invite")
