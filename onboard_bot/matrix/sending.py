"""Owns putting an event into a room: one at a time per room, encrypted where the room is, never torn in the middle."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.encryption import Encryption
from onboard_bot.matrix.own_events import OwnEvents, labelled
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.onboarding.ports import NotReadableError, Outgoing

# Never encrypted: reactions, so that servers can count them (specification, "Encrypting relations", and what every
# client does).
_IN_CLEAR = frozenset({"m.reaction"})
_LAST_MOMENTS = 1.0

T = TypeVar("T")


class Sending:
    """Sends into rooms; raises what `Transport.call` raises.

    A caller's cancellation does not stop what is half way between keys and event.
    """

    def __init__(self, api: ClientApi, rooms: Rooms, encryption: Encryption, own_events: OwnEvents) -> None:
        self._api = api
        self._rooms = rooms
        self._encryption = encryption
        self._own_events = own_events
        self._under_way: set[asyncio.Task[Any]] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def send(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        outgoing: Outgoing,
        *,
        only_for: str | None = None,
        in_clear: bool = False,
    ) -> str:
        """The event's id.

        Raises:
            NotReadableError: Nobody could read it; or it is `only_for` somebody who could not, or the room is not
                encrypted.
        """
        in_clear = in_clear or event_type in _IN_CLEAR
        return await self._to_its_end(self._send(room_id, event_type, content, outgoing, only_for, in_clear))

    async def redact(self, room_id: str, event_id: str, outgoing: Outgoing, *, reason: str) -> None:
        """Takes an event's content away; one that is gone already stays so."""
        await self._to_its_end(self._redact(room_id, event_id, outgoing, reason))

    async def finish(self) -> None:
        """Waits for what is under way, before the connections are closed; what a server holds up is cut off."""
        if not self._under_way:
            return
        _, late = await asyncio.wait(self._under_way, timeout=_LAST_MOMENTS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.shield(self._begin(work))

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # where the caller has gone nobody else would ask for it, and asyncio would complain

    async def _send(
        self,
        room_id: str,
        event_type: str,
        content: Mapping[str, Any],
        outgoing: Outgoing,
        only_for: str | None,
        in_clear: bool,  # noqa: FBT001 - as `send`
    ) -> str:
        encrypted = False
        async with self._locks[room_id]:
            if outgoing.tried_since is not None:
                sent = await self._own_events.find(room_id, outgoing.label, since=outgoing.tried_since)
                if sent is not None:
                    return sent
            if not in_clear and await self._rooms.encryption_known(room_id):
                readers = await self._rooms.readers(room_id)
                content = await self._encryption.encrypt(room_id, readers, event_type, content, only_for=only_for)
                event_type = "m.room.encrypted"
                encrypted = True
            elif only_for is not None:
                raise NotReadableError(f"{room_id} is not encrypted")
            event_id = await self._api.send(
                room_id, event_type, labelled(content, outgoing), transaction_id=outgoing.transaction_id
            )
            if encrypted:
                self._begin(self._encryption.say_withheld(room_id))
            return event_id

    async def _redact(self, room_id: str, event_id: str, outgoing: Outgoing, reason: str) -> None:
        async with self._locks[room_id]:
            if outgoing.tried_since is not None:
                unsigned = (await self._api.event(room_id, event_id)).get("unsigned")
                if isinstance(unsigned, Mapping) and "redacted_because" in unsigned:
                    return
            body = labelled({"reason": reason}, outgoing)  # what is redacted loses its own label
            await self._api.redact(room_id, event_id, body, transaction_id=outgoing.transaction_id)
