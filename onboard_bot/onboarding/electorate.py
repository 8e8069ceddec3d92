"""Owns the look at who may vote: looked up at that moment, before the transaction that decides by it."""

import asyncio
import itertools
from collections.abc import Callable, Collection

from onboard_bot.domain.approvals import NOBODY, ApprovalRules, Electorate, Group
from onboard_bot.domain.identifiers import same_user
from onboard_bot.domain.roles import PowerLevels, Role, role_in_room
from onboard_bot.onboarding.ports import RefusedError, RoomView, TokenRejectedError


class Voters:
    """Looks people up; raises what the port raises.

    Args:
        view: The rooms.
        rules: From which level on people may vote, and which groups there are.
        group_room: The id of a room that the configuration names; None while the bot is not in it.
    """

    def __init__(self, view: RoomView, rules: ApprovalRules, group_room: Callable[[str], str | None]) -> None:
        self._view = view
        self._rules = rules
        self._group_room = group_room
        self._looks = itertools.count(1)

    async def look(self, room_id: str, people: Collection[str]) -> Electorate:
        """Which of these people may vote in the room now, and for which groups."""
        if not people:
            return NOBODY
        number = next(self._looks)
        levels = await self._view.power_levels(room_id)
        found = await asyncio.gather(*(self._groups_of(room_id, levels, user_id) for user_id in people))
        return Electorate(dict(zip(people, found, strict=True)), number)

    async def approvers(self, room_id: str, *, without: str) -> frozenset[str]:
        """Everybody who may vote in the room now, but the bot."""
        levels, members = await asyncio.gather(self._view.power_levels(room_id), self._view.joined(room_id))
        return frozenset(user for user in members if user != without and levels.of(user) >= self._rules.power_level)

    async def _groups_of(self, room_id: str, levels: PowerLevels, user_id: str) -> frozenset[str] | None:
        membership = await self._view.membership(room_id, user_id)
        role = role_in_room(membership=membership, level=levels.of(user_id), approver_level=self._rules.power_level)
        if role < Role.APPROVER:
            return None
        belongs = await asyncio.gather(*(self._belongs(user_id, group) for group in self._rules.groups))
        return frozenset(group.name for group, is_in in zip(self._rules.groups, belongs, strict=True) if is_in)

    async def _belongs(self, user_id: str, group: Group) -> bool:
        if group.room is None:
            return any(same_user(user_id, member) for member in group.members)
        room_id = self._group_room(group.room)
        if room_id is None:
            return False
        try:
            return await self._view.membership(room_id, user_id) == "join"
        except TokenRejectedError:
            raise
        except RefusedError as error:
            if not error.is_definite:
                raise
            return False  # we were put out of it: nobody can be seen to belong there
