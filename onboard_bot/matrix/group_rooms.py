"""Owns being in the rooms that groups of voters are named by, so that who is in them can be looked up."""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onboard_bot.clock import Clock
from onboard_bot.domain.identifiers import server_of
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError

_log = logging.getLogger(__name__)

# Trying to join where nobody let us in counts against the server's limits, and may go to another server each time.
_KNOCK_AGAIN_AFTER = 300.0
# Another server's alias is asked for there, and that server may have gone for good.
_LONGEST_LOOKUP = 5.0
_PASSING = (UnreachableError, RateLimitedError, RefusedError)

_NOT_LOOKED = "I cannot look for {room} at the moment, so nobody counts for {groups}; I keep trying."
_NO_ROOM = (
    "The homeserver finds no room {room}, so nobody counts for {groups}: correct approval.groups, or give a room this"
    " address."
)
_NOT_IN = "I am not in {room}, so nobody counts for {groups}: invite me there."


@dataclass(slots=True)
class _Named:
    """A room that the configuration names.

    Args:
        room: By this id or alias.
        groups: Those whose members are the people in it, as a sentence says it.
        room_id: As of the last good look; None where there is no such room, or nobody has looked yet.
        lack: Why the bot is not in it; None while it is.
        knock_at: From when on joining may be tried.
    """

    room: str
    groups: str
    room_id: str | None = None
    lack: str | None = _NOT_LOOKED
    knock_at: float = -math.inf

    @property
    def entered(self) -> str | None:
        """Its id, while the bot is in it."""
        return self.room_id if self.lack is None else None

    @property
    def complaint(self) -> str | None:
        """The sentence for people."""
        return self.lack and self.lack.format(room=self.room, groups=self.groups)


class GroupRooms:
    """The rooms, and how the bot stands to each.

    Args:
        api: For looking and joining.
        clock: For not trying too often.
        groups: The room (id or alias) of each group that is named by one, by the group's name.
        own_user_id: Ours.
    """

    def __init__(self, api: ClientApi, clock: Clock, groups: Mapping[str, str], *, own_user_id: str) -> None:
        self._api = api
        self._clock = clock
        self._own_server = server_of(own_user_id)
        self._rooms = {
            room: _Named(room, _as_text([name for name, its in groups.items() if its == room]))
            for room in groups.values()
        }

    async def enter(self) -> None:
        """One look at all of them: aliases are resolved anew, and what lets the bot in is joined.

        A room that cannot be entered, or not be looked for now, is in `missing`; it hinders no other.

        Raises:
            TokenRejectedError: The session is over.
            UnreachableError: The server does not say where the bot is, so that nothing is known.
            RateLimitedError: The same.
            RefusedError: The same.
        """
        if not self._rooms:
            return
        joined = frozenset(await self._api.joined_rooms())
        for room in self._rooms.values():
            before = room.lack
            room.lack = await self._look(room, joined)
            if room.lack is None and before is not None:
                _log.info("in %s (%s): who is there counts for %s", room.room, room.room_id, room.groups)
            elif room.lack != before:
                _log.warning("%s", room.complaint)

    def room_id(self, named: str) -> str | None:
        """The id of a room, named as the configuration names it; None while the bot is not in it."""
        room = self._rooms.get(named)
        return None if room is None else room.entered

    def entered(self) -> dict[str, str]:
        """The ids of those that the bot is in, by what the configuration calls them."""
        return {room.room: room.entered for room in self._rooms.values() if room.entered is not None}

    async def is_named(self, room_id: str) -> bool:
        """Whether the configuration names this room, to which the bot is invited; the next look may join it at once.

        Aliases are resolved anew: the room may be younger than the last look.

        Raises:
            TokenRejectedError: The session is over.
            UnreachableError: The server cannot say now.
            RateLimitedError: The same.
            RefusedError: The same.
        """
        unknown: Exception | None = None
        for room in self._rooms.values():
            found = room.room_id
            try:
                found = await self._resolve(room.room)
            except TokenRejectedError:
                raise
            except _PASSING as error:
                if not self._is_elsewhere(room):  # else strangers would wait for a server that may be gone
                    unknown = error
            if found == room_id:
                room.knock_at = -math.inf
                return True
        if unknown is not None:
            raise unknown
        return False

    def watches(self, room_id: str) -> bool:
        """Whether it matters who comes into this room and goes."""
        return any(room.room_id == room_id for room in self._rooms.values())

    def missing(self) -> list[str]:
        """A sentence for each room that the bot is not in, with the mend."""
        return [room.complaint for room in self._rooms.values() if room.complaint is not None]

    async def _look(self, room: _Named, joined: frozenset[str]) -> str | None:
        """What is lacking."""
        try:
            found = await self._resolve(room.room)
        except TokenRejectedError:
            raise
        except _PASSING as error:
            _log.debug("looking for %s: %s", room.room, error)
            return None if room.room_id in joined else _NOT_LOOKED
        if found != room.room_id:
            room.room_id, room.lack, room.knock_at = found, _NOT_IN, -math.inf
        if found is None:
            return _NO_ROOM
        return None if found in joined or await self._join(room, found) else _NOT_IN

    async def _join(self, room: _Named, room_id: str) -> bool:
        if self._clock.monotonic() < room.knock_at:
            return False
        via = room.room.partition(":")[2]
        try:
            await self._api.join(room_id, via=[via] if via else [])
        except TokenRejectedError:
            raise
        except _PASSING as error:
            _log.debug("joining %s: %s", room.room, error)
            if isinstance(error, RefusedError):
                room.knock_at = self._clock.monotonic() + _KNOCK_AGAIN_AFTER
            return False
        return True

    async def _resolve(self, named: str) -> str | None:
        """The id; None where there is no such room, for all that our server can find out."""
        if not named.startswith("#"):
            return named
        try:
            async with asyncio.timeout(_LONGEST_LOOKUP):
                return await self._api.resolve_alias(named)
        except TimeoutError:
            raise UnreachableError("an alias that takes long to look up") from None
        except TokenRejectedError:
            raise
        except RefusedError as error:
            if error.is_definite:
                return None
            raise

    def _is_elsewhere(self, room: _Named) -> bool:
        return room.room.partition(":")[2] != self._own_server


def _as_text(groups: Sequence[str]) -> str:
    if len(groups) == 1:
        return f"the group {groups[0]}"
    return f"the groups {', '.join(groups[:-1])} and {groups[-1]}"
