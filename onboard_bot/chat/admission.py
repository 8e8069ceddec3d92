"""Owns who is behind an event: what its sender may do in the room, and whether it was they who sent it, now."""

import asyncio

from onboard_bot.domain.devices import Standing
from onboard_bot.domain.roles import Actor, Role, role_in_room
from onboard_bot.onboarding.ports import DeviceView, RefusedError, RoomView
from onboard_bot.store.inbox import RoomEvent


class Admission:
    """Looks both up; raises what the ports raise.

    Args:
        view: The rooms.
        devices: People's devices.
        approver_level: The power level from which on somebody is an approver.
    """

    def __init__(self, view: RoomView, devices: DeviceView, *, approver_level: float) -> None:
        self._view = view
        self._devices = devices
        self._approver_level = approver_level

    async def actor(self, event: RoomEvent) -> Actor:
        """The sender, with what they may do in the room; a stranger where we are no longer in it ourselves."""
        try:
            levels, membership = await asyncio.gather(
                self._view.power_levels(event.room_id), self._view.membership(event.room_id, event.sender)
            )
        except RefusedError as error:
            if error.errcode not in ("M_FORBIDDEN", "M_NOT_FOUND"):
                raise
            return Actor(event.sender, Role.STRANGER)
        role = role_in_room(membership=membership, level=levels.of(event.sender), approver_level=self._approver_level)
        return Actor(event.sender, role)

    async def standing(self, event: RoomEvent) -> Standing:
        """How the device that it came from stands to the sender."""
        if event.envelope is not None:
            return await self._devices.standing(event.sender, event.envelope)
        return Standing.CLEAR if await self._view.encryption_known(event.room_id) else Standing.PLAIN
