"""Owns what the server says about a room at this moment: levels, members, encryption.

Authority is always fetched, never taken from events that passed by: nio merges levels instead of replacing them, and
believes encrypted state. Only what cannot change (the create event) or what merely decides who gets a key (the members,
forgotten at every membership event) is remembered.
"""

from collections.abc import Mapping
from typing import Any

from onboard_bot.domain.roles import PowerLevels, read_power_levels
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.transport import Json
from onboard_bot.onboarding.ports import UnreachableError
from onboard_bot.store.transaction import Store

_READERS = frozenset({"join", "invite"})


class Rooms:
    """Looks at rooms through the client-server API; raises what `Transport.call` raises.

    Args:
        api: Where it looks.
        store: Remembers which of our rooms are encrypted. None for who only looks: what the server says is so.
    """

    def __init__(self, api: ClientApi, store: Store | None = None) -> None:
        self._api = api
        self._store = store
        self._creates: dict[str, Json] = {}
        self._readers: dict[str, frozenset[str]] = {}
        self._encrypted: dict[str, bool] = {}
        self._changes = 0

    async def create_event(self, room_id: str) -> Json:
        """The whole `m.room.create` event."""
        if room_id not in self._creates:
            found = [event for event in await self._api.state(room_id) if _is_create_event(event)]
            if not found:
                raise UnreachableError("a room's state without its creation")
            self._creates[room_id] = found[0]
        return self._creates[room_id]

    async def power_levels(self, room_id: str) -> PowerLevels:
        """The levels now."""
        create = await self.create_event(room_id)
        return read_power_levels(create, await self._api.state_event(room_id, "m.room.power_levels"))

    async def membership(self, room_id: str, user_id: str) -> str:
        """`join`, `invite`, `leave`, `ban` or `knock`; `leave` for somebody who never was there."""
        return await self.last_membership(room_id, user_id) or "leave"

    async def last_membership(self, room_id: str, user_id: str) -> str | None:
        """As `membership`; None for somebody who never was there."""
        content = await self._api.state_event(room_id, "m.room.member", user_id)
        if content is None:
            return None
        membership = content.get("membership")
        if not isinstance(membership, str):
            raise UnreachableError("a member without a membership")
        return membership

    async def joined(self, room_id: str) -> frozenset[str]:
        """Everybody in the room now."""
        members = await self._api.members(room_id)
        return frozenset(user for user, membership in members.items() if membership == "join")

    async def readers(self, room_id: str) -> frozenset[str]:
        """Who gets the keys of what we send: joined and invited people (they may read it once they join)."""
        if room_id in self._readers:
            return self._readers[room_id]
        changes = self._changes
        members = await self._api.members(room_id)
        readers = frozenset(user for user, state in members.items() if state in _READERS)
        if not readers:
            raise UnreachableError("a room without members, though we are in it")
        if changes == self._changes:  # else somebody came or went while the answer was on its way
            self._readers[room_id] = readers
        return readers

    async def is_encrypted(self, room_id: str) -> bool:
        """Whether the room is encrypted; once it is, it stays so, also if the server takes that back after a restart.

        Raises:
            StoreUnavailableError: It cannot be looked up, or not be kept.
        """
        if room_id not in self._encrypted and await self._was_encrypted(room_id):
            self._encrypted[room_id] = True
        if not self._encrypted.get(room_id):
            changes = self._changes
            content = await self._api.state_event(room_id, "m.room.encryption")
            if content is not None and not isinstance(content.get("algorithm"), str):
                raise UnreachableError("a room's encryption without an algorithm")
            if content is None and changes != self._changes:
                return await self.is_encrypted(room_id)  # it may have been turned on while the answer was on its way
            if content is not None and self._store is not None:
                async with self._store.transaction() as tx:
                    await tx.rooms.encrypted(room_id)
            self._encrypted[room_id] = content is not None
        return self._encrypted[room_id]

    async def _was_encrypted(self, room_id: str) -> bool:
        if self._store is None:
            return False
        async with self._store.reading() as tx:
            return await tx.rooms.was_encrypted(room_id)

    async def encryption_known(self, room_id: str) -> bool:
        """As `is_encrypted`, but a “no” is remembered until the room's state changes."""
        known = self._encrypted.get(room_id)
        return await self.is_encrypted(room_id) if known is None else known

    def note(self, room_id: str, event: Mapping[str, Any]) -> None:
        """An event passed by in the room's timeline: what it may have changed is fetched anew."""
        if event.get("type") == "m.room.member":
            self._forget_readers(room_id)
        elif event.get("type") == "m.room.encryption" and not self._encrypted.get(room_id):
            self._changes += 1
            self._encrypted.pop(room_id, None)

    def forget(self, room_id: str) -> None:
        """Events were missed: everything that can change is fetched anew."""
        self._forget_readers(room_id)
        if not self._encrypted.get(room_id):
            self._encrypted.pop(room_id, None)

    def _forget_readers(self, room_id: str) -> None:
        self._changes += 1
        self._readers.pop(room_id, None)


def _is_create_event(event: Json) -> bool:
    named = event.get("type") == "m.room.create" and event.get("state_key") == ""
    return named and isinstance(event.get("sender"), str) and isinstance(event.get("content"), dict)
