"""Owns how a journalled sync body becomes inbox rows: keys first, then gaps, then every wanted event once."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.json_text import is_id
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.payload import UndecryptableError
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.matrix.sync_body import Invitation, SyncBody, Timeline, earlier_events
from onboard_bot.matrix.unread import Unread
from onboard_bot.matrix.weighing import cause_to_weigh, weigh
from onboard_bot.onboarding.ports import RefusedError, TokenRejectedError
from onboard_bot.store.inbox import Arrival, RoomEvent
from onboard_bot.store.jobs import NewJob
from onboard_bot.store.journal import JournalledSync
from onboard_bot.store.rooms import Purpose
from onboard_bot.store.transaction import Store, Transaction

_log = logging.getLogger(__name__)

ENCRYPTED = "m.room.encrypted"
# A gap longer than this is no absence of ours but a server that makes history up as we ask for it.
_MOST_PAGES = 1000
_MOST_EVENTS = 200_000
_EMPTY_PAGES = 10
_REFUSALS_AT_MOST = 5
_TOLD_AT_MOST = 5
WANTED = frozenset({"m.room.message", "m.reaction", "m.room.redaction"})

Json = dict[str, Any]


@dataclass(slots=True)
class _Walk:
    """How far back a gap was walked.

    `newest` is what the last step brought; `following` is where the next one begins.
    """

    following: str | None
    newest: Sequence[Json]
    pages: list[list[Json]] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    count: int = 0
    empty: int = 0
    refusals: int = 0

    @property
    def is_endless(self) -> bool:
        """Whether no honest history would be like this."""
        too_long = len(self.pages) >= _MOST_PAGES or self.count >= _MOST_EVENTS or self.empty >= _EMPTY_PAGES
        return too_long or self.following in self.asked

    def take(self, page: Json) -> None:
        """A step further; a page of which nothing can be used is no end, somebody may have filled it for that."""
        self.asked.add(self.following or "")
        older, self.following = earlier_events(page)
        self.newest = older
        self.pages.append(older)
        self.count += len(older)
        self.empty = 0 if page.get("chunk") else self.empty + 1


class Intake:
    """Applies journalled bodies, in order.

    Args:
        api: For the events that a limited timeline leaves out.
        machine: Gets the keys, and opens what is encrypted.
        rooms: Is told what may have changed.
        store: Gets the events.
        watches: Tells the rooms beside the admin room where it matters who comes and goes.
    """

    def __init__(
        self,
        api: ClientApi,
        machine: Machine,
        rooms: Rooms,
        store: Store,
        *,
        watches: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._api = api
        self._machine = machine
        self._rooms = rooms
        self._store = store
        self._watches = watches
        self._unread: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._walks: dict[tuple[str, str | None], _Walk] = {}

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
        self._unread.clear()
        broken = frozenset(self._machine.broken.devices)
        async with self._store.transaction() as tx:
            unread = Unread(tx)
            await unread.note_withheld(body.raw)
            await unread.note_broken(broken)
            if keys_arrived:
                await self._open_kept(tx, unread)
            for timeline in timelines:
                await self._take(tx, timeline, unread, first_sync=journalled.since is None)
            await self._take_invitations(tx, body)
            await self._have_votes_weighed(tx, body)
            await tx.journal.drop(journalled.seq)
        self._machine.broken.devices -= broken
        self._tell_of_unread()

    async def note_invitations(self, body: SyncBody) -> None:
        """Takes the invitations of a body that is none of the journal's."""
        async with self._store.transaction() as tx:
            await self._take_invitations(tx, body)

    async def _take_invitations(self, tx: Transaction, body: SyncBody) -> None:
        for invitation in body.invitations(self._machine.user_id):
            await tx.intend(answer_invitation(invitation, seen_in=body.next_batch))

    async def _have_votes_weighed(self, tx: Transaction, body: SyncBody) -> None:
        """Once for each room in which somebody may have come, gone, or got another level."""
        admin_room = await tx.rooms.find(Purpose.ADMIN)
        for timeline in body.timelines():
            if self._watches(timeline.room_id) or (admin_room and timeline.room_id == admin_room.room_id):
                cause = cause_to_weigh(timeline, self._machine.user_id, seen_in=body.next_batch)
                if cause is not None:
                    await tx.intend(weigh(cause))

    def note_keys(self, body: SyncBody) -> None:
        """Takes the key counts and device changes of a body that holds no events."""
        self._machine.receive(body.raw)

    async def _whole(self, timeline: Timeline, since: str | None, *, is_new: bool) -> Timeline:
        """The timeline with what was left out of it, back to the last sync; of a new room, back to our first join."""
        if timeline.state_changed or timeline.limited:
            self._rooms.forget(timeline.room_id)
        if not timeline.limited or since is None or timeline.prev_batch is None:
            return timeline
        older = await self._left_out(timeline, since, until_join=is_new)
        return replace(timeline, events=(*older, *timeline.events), limited=False)

    async def _left_out(self, timeline: Timeline, since: str, *, until_join: bool) -> Iterator[Json]:
        """What happened between the last sync and the timeline, oldest first."""
        room_id = timeline.room_id
        # What was fetched before a try failed is not fetched again: a server that limits us would never let us arrive.
        walk = self._walks.setdefault((room_id, timeline.prev_batch), _Walk(timeline.prev_batch, timeline.events))
        while walk.following is not None and not (until_join and any(map(self._is_own_join, walk.newest))):
            if walk.is_endless:
                _log.error("the history of %s does not end; what is before %d events is lost", room_id, walk.count)
                break
            try:
                page = await self._api.messages_before(room_id, start=walk.following, end=since)
            except TokenRejectedError:
                raise
            except RefusedError as error:
                walk.refusals += 1
                if not error.is_definite and walk.refusals < _REFUSALS_AT_MOST:
                    raise
                # It will not be different next time, and the rest must not wait for it.
                _log.error("events of %s are missing: %s", room_id, error)
                break
            walk.take(page)
        del self._walks[room_id, timeline.prev_batch]
        return (event for page in reversed(walk.pages) for event in page)

    async def _take(self, tx: Transaction, timeline: Timeline, unread: Unread, *, first_sync: bool) -> None:
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
            try:
                if await self._take_event(tx, timeline.room_id, event):
                    await unread.said(timeline.room_id, event["sender"], at=tx.now)
            except UndecryptableError as error:
                waits = error.missing_key and await unread.keep(timeline.room_id, event)
                reason = f"{error}, and too many wait already" if error.missing_key and not waits else str(error)
                self._unread[event["sender"], reason].append(event["event_id"])

    def _tell_of_unread(self) -> None:
        """A line for each person and reason: a flood of events must not become a flood of lines."""
        for told, ((sender, reason), event_ids) in enumerate(self._unread.items()):
            if told == _TOLD_AT_MOST:
                _log.warning("events of %d more people cannot be read", len(self._unread) - told)
                break
            more = f" (and {len(event_ids) - 1} more)" if len(event_ids) > 1 else ""
            _log.warning("event %s of %s%s cannot be read: %s", event_ids[0], sender, more, reason)

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
        """Puts a wanted event into the inbox; whether somebody said something with it.

        Raises:
            UndecryptableError: See there.
        """
        sender, event_type, content = event.get("sender"), event.get("type"), event.get("content")
        if (
            not is_id(sender)
            or not isinstance(content, dict)
            or "state_key" in event
            or sender == self._machine.user_id
        ):
            return False
        envelope = None
        if event_type == ENCRYPTED:
            opened = self._machine.decrypt(room_id, event)
            event_type, content, envelope = opened.type, opened.content, opened.envelope
        if event_type not in WANTED:
            return False
        if event_type == "m.room.redaction":
            redacts = event.get("redacts", content.get("redacts"))  # outside the content before room version 11
            content = {**content, "redacts": redacts}
            await self._withdraw(tx, redacts)
        arrived = await tx.inbox.accept(
            RoomEvent(event["event_id"], room_id, str(sender), event_type, content, envelope), now=tx.now
        )
        if arrived is Arrival.REPLAY:
            raise UndecryptableError("a replayed message index")
        return arrived is Arrival.NEW and event_type == "m.room.message"

    @staticmethod
    async def _withdraw(tx: Transaction, event_id: object) -> None:
        """What was redacted before it was obeyed is not obeyed any more; that they may, the server has seen to."""
        if is_id(event_id):
            await tx.inbox.withdraw(str(event_id))
            await tx.undecrypted.drop(str(event_id))

    async def _open_kept(self, tx: Transaction, unread: Unread) -> None:
        for kept in await unread.waiting():
            try:
                if await self._take_event(tx, kept.room_id, kept.event):
                    await unread.opened(kept)
            except UndecryptableError as error:
                if error.missing_key:
                    continue
                self._unread[kept.sender, str(error)].append(kept.event["event_id"])
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
