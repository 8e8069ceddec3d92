"""Owns who comes together where: invitations to the bot, and the admins' to the room that the bot made."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from onboard_bot.domain.roles import ADMIN_LEVEL
from onboard_bot.jobs.effect import Effect, PostponedError, Record
from onboard_bot.onboarding.ports import Membership, RefusedError, RoomView
from onboard_bot.store.jobs import Job
from onboard_bot.store.rooms import Purpose
from onboard_bot.store.transaction import Transaction

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation to the bot.

    `is_ours` says that the bot has a purpose for the room. `admin_room` is None until there is one.
    """

    room_id: str
    inviter: str
    is_direct: bool
    is_ours: bool
    admin_room: str | None


class AnswerInvitation(Effect[Invited]):
    """Accepts to the rooms that the operator named and from people of the admin room who want to talk; declines others.

    Design, section 3, below "Configuration".

    Args:
        membership: Joins and leaves.
        view: Tells who is in the admin room.
        is_named: Tells whether the configuration names a room that the bot has not been able to look at yet.
        may_enter: Told when a room that the bot has a purpose for lets it in.
    """

    at_once = 4

    def __init__(
        self,
        membership: Membership,
        view: RoomView,
        is_named: Callable[[str], Awaitable[bool]],
        may_enter: Callable[[], None],
    ) -> None:
        self._membership = membership
        self._view = view
        self._is_named = is_named
        self._may_enter = may_enter

    async def prepare(self, tx: Transaction, job: Job) -> Invited | None:
        """What the bot knows of the room."""
        told = job.payload
        admin_room = await tx.rooms.find(Purpose.ADMIN)
        ours = await tx.rooms.of_room(told["room_id"])
        return Invited(
            told["room_id"],
            told["inviter"],
            told["is_direct"],
            is_ours=ours is not None,
            admin_room=None if admin_room is None else admin_room.room_id,
        )

    async def perform(self, job: Job, prepared: Invited) -> Record | None:  # noqa: ARG002 - the job says no more
        """Joins or declines."""
        if prepared.is_ours:
            await self._membership.join(prepared.room_id)
            self._may_enter()
        elif await self._is_named(prepared.room_id):
            self._may_enter()  # whoever waits for it joins: its first command may come with our own join
        elif await self._may_talk(prepared):
            await self._membership.join(prepared.room_id)
        else:
            _log.info("declining the invitation of %s to %s", prepared.inviter, prepared.room_id)
            await self._membership.leave(prepared.room_id)
        return None

    async def _may_talk(self, invited: Invited) -> bool:
        if not invited.is_direct or invited.admin_room is None:
            return False
        try:
            return await self._view.membership(invited.admin_room, invited.inviter) == "join"
        except RefusedError:  # we are not in the admin room ourselves
            return False


@dataclass(frozen=True, slots=True)
class WantedAdmin:
    """Somebody who belongs into the admin room."""

    room_id: str
    user_id: str


class InviteAdmin(Effect[WantedAdmin]):
    """Gives a configured admin their power level, and invites them."""

    def __init__(self, membership: Membership, view: RoomView) -> None:
        self._membership = membership
        self._view = view

    async def prepare(self, tx: Transaction, job: Job) -> WantedAdmin | None:  # noqa: ARG002 - the job says all
        """Nothing more is needed than the job itself."""
        return WantedAdmin(job.payload["room_id"], job.payload["user_id"])

    async def perform(self, job: Job, prepared: WantedAdmin) -> Record | None:  # noqa: ARG002 - the job says no more
        """Invites, unless they are there, or were banned."""
        room_id, user_id = prepared.room_id, prepared.user_id
        membership = await self._view.membership(room_id, user_id)
        if membership == "ban":
            return None
        content = await self._membership.state_event(room_id, "m.room.power_levels")
        if content is None:  # the server is still at work on a room whose making was cut off
            raise PostponedError("the room has no power levels yet", wait=1)
        levels = await self._view.power_levels(room_id)
        if levels.of(user_id) < ADMIN_LEVEL:
            content = {**content, "users": {**content.get("users", {}), user_id: ADMIN_LEVEL}}
            await self._membership.set_state(room_id, "m.room.power_levels", content)
        if membership not in ("join", "invite"):
            await self._membership.invite(room_id, user_id)
        return None
