"""Owns the bot's admin room: made once, or the one that the operator named, joined as soon as that is possible."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.roles import ADMIN_LEVEL, creators_stand_above
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.room_making import ENCRYPTION, NO_GUESTS, RoomMaking
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.onboarding.ports import RefusedError
from onboard_bot.store.jobs import NewJob
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.transaction import Store, Transaction

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdminRoomWish:
    """What the configuration says.

    `room` is an id or an alias; None lets the bot make one and invite `admins`.
    """

    room: str | None
    admins: tuple[str, ...]
    name: str


class NotThereYetError(Exception):
    """The room cannot be entered yet; the sentence says what is waited for."""


class AdminRoom:
    """Brings the admin room about.

    Args:
        api: For joining.
        rooms: For looking.
        making: For making one.
        store: Where the room is remembered.
        wish: From the configuration.
        own_user_id: Ours.
        new_marker: Gives a fresh marker.
    """

    def __init__(
        self,
        api: ClientApi,
        rooms: Rooms,
        making: RoomMaking,
        store: Store,
        *,
        wish: AdminRoomWish,
        own_user_id: str,
        new_marker: Callable[[], str],
    ) -> None:
        self._api = api
        self._rooms = rooms
        self._making = making
        self._store = store
        self._wish = wish
        self._own_user_id = own_user_id
        self._new_marker = new_marker
        self._this_start = new_marker()
        self._admins_are_called = False

    async def enter(self) -> str:
        """The room's id, once the bot is in it.

        Raises:
            NotThereYetError: The room was named and has not let us in.
        """
        if self._wish.room is None:
            room_id = await self._enter_own()
        else:
            room_id = await self._enter_named(self._wish.room)
        return room_id

    async def is_named(self, room_id: str) -> bool:
        """Whether the operator named this room as the admin room."""
        named = self._wish.room
        if named is not None and named.startswith("#"):
            named = await self._api.resolve_alias(named)
        return named == room_id

    async def _enter_own(self) -> str:
        async with self._store.transaction() as tx:
            plan, fresh = await self._plan_own(tx)
        if plan.room_id is None:
            room_id = await self._making.make(plan, await self._creation(), may_exist=not fresh)
            async with self._store.transaction() as tx:
                await tx.rooms.settle(plan.marker, room_id)
                await tx.record(Entry(Verb.ADMIN_ROOM_SET, personal={"room_id": room_id}))
        else:
            room_id = plan.room_id
            await self._join(room_id, f"somebody removed the bot from its admin room {room_id}; invite it again")
        if not self._admins_are_called:
            async with self._store.transaction() as tx:
                await tx.intend(*(invite_admin(room_id, admin, self._this_start) for admin in self._wish.admins))
            self._admins_are_called = True
        return room_id

    async def _plan_own(self, tx: Transaction) -> tuple[PlannedRoom, bool]:
        """The plan of the room that the bot makes, and whether it is a new one."""
        plan = await tx.rooms.find(Purpose.ADMIN)
        if plan is not None and plan.made_by_bot:
            return plan, False
        if plan is not None:  # one that the operator named, and names no more
            await tx.rooms.forget(plan.marker)
        plan = await tx.rooms.find(Purpose.RESTING_ADMIN)
        if plan is not None:
            await tx.rooms.give_purpose(plan.marker, Purpose.ADMIN)
            return plan, False
        plan = PlannedRoom(self._new_marker(), Purpose.ADMIN, "", None, made_by_bot=True)
        await tx.rooms.plan(plan)
        return plan, True

    async def _creation(self) -> dict[str, Any]:
        version = await self._api.default_room_version()
        levels = dict.fromkeys(self._wish.admins, ADMIN_LEVEL)
        if not creators_stand_above(version):
            levels[self._own_user_id] = ADMIN_LEVEL
        return {
            "room_version": version,
            "preset": "private_chat",
            "visibility": "private",
            "name": self._wish.name,
            "topic": "Accounts are made here. Type !help to see how.",
            "initial_state": [ENCRYPTION, NO_GUESTS],
            "power_level_content_override": {"users": levels},
        }

    async def _enter_named(self, room: str) -> str:
        room_id: str | None = room
        if room.startswith("#"):
            room_id = await self._api.resolve_alias(room)
        if room_id is None:
            raise NotThereYetError(f"there is no room {room} yet")
        # Known before we are in: the first command may arrive with our own join.
        async with self._store.transaction() as tx:
            await self._plan_named(tx, room_id)
        await self._join(room_id, f"waiting for an invitation to {room}; invite {self._own_user_id} there")
        return room_id

    async def _plan_named(self, tx: Transaction, room_id: str) -> None:
        plan = await tx.rooms.find(Purpose.ADMIN)
        if plan is not None and plan.room_id == room_id:
            return
        if plan is not None and plan.made_by_bot:
            await tx.rooms.give_purpose(plan.marker, Purpose.RESTING_ADMIN)
        elif plan is not None:
            await tx.rooms.forget(plan.marker)
        known = await tx.rooms.of_room(room_id)
        if known is not None and known.purpose is Purpose.RESTING_ADMIN:
            await tx.rooms.give_purpose(known.marker, Purpose.ADMIN)
        else:
            if known is not None:
                await tx.rooms.forget(known.marker)
            await tx.rooms.plan(PlannedRoom(self._new_marker(), Purpose.ADMIN, "", room_id, made_by_bot=False))
        await tx.record(Entry(Verb.ADMIN_ROOM_SET, personal={"room_id": room_id}))

    async def _join(self, room_id: str, waiting_for: str) -> None:
        if await self._is_joined(room_id):
            return
        via = room_id.partition(":")[2]
        try:
            await self._api.join(room_id, via=[via] if via else [])
        except RefusedError as error:
            raise NotThereYetError(waiting_for) from error

    async def _is_joined(self, room_id: str) -> bool:
        return room_id in await self._api.joined_rooms()


def invite_admin(room_id: str, user_id: str, start: str) -> NewJob:
    """The intent to have one of the configured admins in the room that the bot made, once in each start of the bot."""
    return NewJob(
        kind="invite_admin",
        key=f"invite_admin:{room_id}:{user_id}:{start}",
        lane=f"invite_admin:{room_id}",
        payload={"room_id": room_id, "user_id": user_id},
    )
