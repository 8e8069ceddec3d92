"""Owns how a journalled sync body becomes inbox rows: keys first, then gaps, then every wanted event once."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.payload import UndecryptableError
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.matrix.sync_body import Invitation, SyncBody, Timeline, earlier_events
from onboard_bot.onboarding.ports import RefusedError, TokenRejectedError
from onboard_bot.store.inbox import RoomEvent
from onboard_bot.store.jobs import NewJob
from onboard_bot.store.journal import JournalledSync
from onboard_bot.store.transaction import Store, Transaction
from onboard_bot.store.undecrypted import KeptEvent

_log = logging.getLogger(__name__)

ENCRYPTED = "m.room.encrypted"
# An event whose key did not come within a week is not waited for any longer.
_KEPT_FOR = 7 * 24 * 3600.0
WANTED = frozenset({"m.room.message", "m.reaction", "m.room.redaction"})

Json = dict[str, Any]


class Intake:
    """Applies journalled bodies, in order.

    Args:
        api: For the events that a limited timeline leaves out.
        machine: Gets the keys, and opens what is encrypted.
        rooms: Is told what may have changed.
        store: Gets the events.
    """

    def __init__(self, api: ClientApi, machine: Machine, rooms: Rooms, store: Store) -> None:
        self._api = api
        self._machine = machine
        self._rooms = rooms
        self._store = store

    async def apply(self, journalled: JournalledSync) -> None:
        """Gives everything in the body its place and drops it; repeatable at any point before that."""
        body = SyncBody(journalled.body)
        keys_arrived = self._machine.receive(body.raw)
        async with self._store.reading() as tx:
            ours = {t.room_id for t in body.timelines() if await tx.rooms.of_room(t.room_id) is not None}
            new = {room_id for room_id in ours if await tx.rooms.first_join(room_id) is None}
        timelines = [
            await self._whole(timeline, journalled.since, is_new=timeline.room_id in new)
            if timeline.room_id in ours
            else timeline
            for timeline in body.timelines()
        ]
        for room_id in body.left():
            self._rooms.forget(room_id)
        async with self._store.transaction() as tx:
            if keys_arrived:
                await self._open_kept(tx)
            for timeline in timelines:
                await self._take(tx, timeline, first_sync=journalled.since is None)
            for invitation in body.invitations(self._machine.user_id):
                await tx.intend(answer_invitation(invitation, seen_in=body.next_batch))
            await tx.journal.drop(journalled.seq)

    def note_keys(self, body: SyncBody) -> None:
        """Takes the key counts and device changes of a body that holds no events."""
        self._machine.receive(body.raw)

    async def _whole(self, timeline: Timeline, since: str | None, *, is_new: bool) -> Timeline:
        """The timeline with what was left out of it, back to the last sync; of a new room, back to our first join."""
        if timeline.state_changed or timeline.limited:
            self._rooms.forget(timeline.room_id)
        if not timeline.limited or since is None or timeline.prev_batch is None:
            return timeline
        events = list(timeline.events)
        start: str | None = timeline.prev_batch
        while start is not None and not (is_new and any(map(self._is_own_join, events))):
            try:
                page = await self._api.messages_before(timeline.room_id, start=start, end=since)
            except TokenRejectedError:
                raise
            except RefusedError as error:  # it will not be different next time, and the rest must not wait for it
                _log.error("events of %s are missing: %s", timeline.room_id, error)
                break
            older, following = earlier_events(page)
            events = [*older, *events]
            start = following if older and following != start else None
        return Timeline(timeline.room_id, tuple(events), limited=False, prev_batch=None, state_changed=False)

    async def _take(self, tx: Transaction, timeline: Timeline, *, first_sync: bool) -> None:
        events: Sequence[Json] = timeline.events
        for event in events:
            self._rooms.note(timeline.room_id, event)
        if await tx.rooms.first_join(timeline.room_id) is None:
            if first_sync:  # we were in before we knew anything
                events = events[-1:]
            joined = next((event for event in events if first_sync or self._is_own_join(event)), None)
            if joined is None:
                return
            await tx.rooms.joined(timeline.room_id, joined["event_id"])
            if first_sync:
                return
        planned = await tx.rooms.of_room(timeline.room_id)
        if planned is None:
            return
        for event in self._while_we_were_in(events):
            if not await self._take_event(tx, timeline.room_id, event):
                await tx.undecrypted.keep(KeptEvent(timeline.room_id, event), now=tx.now)

    def _while_we_were_in(self, events: Sequence[Json]) -> Iterator[Json]:
        """What was said in our presence: nothing from before a join of ours, or between a leave and the next join."""
        first = next((event for event in events if self._is_own_membership(event)), None)
        present = first is None or _were_in_before(first)
        for event in events:
            if self._is_own_membership(event):
                present = event["content"]["membership"] == "join"
            elif present:
                yield event

    def _is_own_join(self, event: Json) -> bool:
        """Whether we came by it; a change of our name or picture is a membership event too."""
        if not self._is_own_membership(event) or event["content"]["membership"] != "join":
            return False
        return not _were_in_before(event)

    def _is_own_membership(self, event: Json) -> bool:
        content = event.get("content")
        return (
            event.get("type") == "m.room.member"
            and event.get("state_key") == self._machine.user_id
            and isinstance(content, Mapping)
            and isinstance(content.get("membership"), str)
        )

    async def _take_event(self, tx: Transaction, room_id: str, event: Json) -> bool:
        """Puts a wanted event into the inbox; False where its key has not arrived."""
        sender, event_type, content = event.get("sender"), event.get("type"), event.get("content")
        if (
            not isinstance(sender, str)
            or not isinstance(content, dict)
            or "state_key" in event
            or sender == self._machine.user_id
        ):
            return True
        encrypted = event_type == ENCRYPTED
        if encrypted:
            try:
                opened = self._machine.decrypt(room_id, event)
            except UndecryptableError as error:
                _log.warning("event %s of %s cannot be read: %s", event["event_id"], sender, error)
                return not error.missing_key
            event_type, content = opened.type, opened.content
        if event_type in WANTED:
            redacts = event.get("redacts")
            if event_type == "m.room.redaction" and isinstance(redacts, str):
                content = {"redacts": redacts, **content}  # outside the content before room version 11
            wanted = RoomEvent(event["event_id"], room_id, sender, event_type, content, encrypted)
            await tx.inbox.accept(wanted, now=tx.now)
        return True

    async def _open_kept(self, tx: Transaction) -> None:
        await tx.undecrypted.forget_before(tx.now - _KEPT_FOR)
        for kept in await tx.undecrypted.all():
            if await self._take_event(tx, kept.room_id, kept.event):
                await tx.undecrypted.drop(kept.event["event_id"])


def _were_in_before(event: Json) -> bool:
    """Whether we were in the room before this membership event of ours."""
    unsigned = event.get("unsigned")
    before = unsigned.get("prev_content") if isinstance(unsigned, Mapping) else None
    if isinstance(before, Mapping):
        return before.get("membership") == "join"
    return event["content"]["membership"] in ("leave", "ban")


def answer_invitation(invitation: Invitation, *, seen_in: str) -> NewJob:
    """The intent to accept or decline; the server tells of an invitation only once."""
    return NewJob(
        kind="answer_invitation",
        key=f"invitation:{invitation.room_id}:{seen_in}",
        lane=f"invitation:{invitation.room_id}",
        payload={
            "room_id": invitation.room_id,
            "inviter": invitation.inviter,
            "is_direct": invitation.is_direct,
        },
    )
