"""Owns what follows from what cannot be read: it is kept, its sender's sessions are looked after, they are asked.

What is said here of withheld keys came in clear text from anybody (specification, "m.room_key.withheld").
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from onboard_bot.clock import Timestamp
from onboard_bot.domain.identifiers import is_user_id
from onboard_bot.domain.withheld import WAITED_FOR, Withheld
from onboard_bot.matrix.device_keys import Device
from onboard_bot.matrix.json_text import is_id
from onboard_bot.matrix.room_keys import MEGOLM
from onboard_bot.matrix.sync_body import to_device_events
from onboard_bot.store.jobs import NewJob
from onboard_bot.store.transaction import Transaction
from onboard_bot.store.undecrypted import KeptEvent
from onboard_bot.store.withheld import WithheldKey

_log = logging.getLogger(__name__)

HEAL_AFTER = 10.0
ASK_WITHHELD_AFTER = 3.0
# An event whose key did not come within a week is not waited for any longer, nor one whose sender knows for three days.
_DAY = 24 * 3600.0
_KEPT_FOR = 7 * _DAY
_KEPT_WHEN_ASKED = 3 * _DAY
_HOUR = 3600.0
_TOLD_AT_MOST = 5

Json = dict[str, Any]


class Unread:
    """The events that cannot be read, within one transaction.

    Args:
        tx: The transaction.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._opened: list[KeptEvent] = []

    async def waiting(self) -> list[KeptEvent]:
        """What is still worth trying, oldest first."""
        now = self._tx.now
        await self._tx.undecrypted.forget_before(now - _KEPT_FOR, asked_before=now - _KEPT_WHEN_ASKED)
        return await self._tx.undecrypted.all()

    async def keep(self, room_id: str, event: Json) -> bool:
        """Keeps an event whose key has not arrived; False where it cannot be waited for."""
        tx, kept = self._tx, KeptEvent(room_id, event["sender"], event)
        if not await tx.undecrypted.keep(kept, now=tx.now):
            return False
        await tx.intend(_look_after_sender(kept, now=tx.now))
        await tx.intend(_ask(kept))
        if await tx.withheld.reason(kept.sender, kept.session_id, room_id) is not None:
            await self._ask_soon(kept)
        return True

    async def _ask_soon(self, kept: KeptEvent) -> None:
        """The key will not come."""
        await self._tx.jobs.hasten(_ask(kept).key, until=self._tx.now + ASK_WITHHELD_AFTER)

    async def opened(self, kept: KeptEvent) -> None:
        """A kept event could be read, and is to have its effect."""
        for job in (_look_after_sender(kept, now=kept.received_at), _ask(kept)):
            await self._tx.jobs.withdraw(job.key, now=self._tx.now)
        await self.said(kept.room_id, kept.sender, at=kept.received_at)
        if kept.asked_at is not None:
            self._opened.append(kept)

    async def said(self, room_id: str, sender: str, *, at: Timestamp) -> None:
        """Somebody said something readable: what they were asked to type again before has no effect any more."""
        await self._tx.undecrypted.typed_again(room_id, sender, at=at)
        for kept in self._opened:
            if kept.room_id == room_id and kept.sender == sender and kept.asked_at is not None and kept.asked_at < at:
                await self._tx.inbox.close(kept.event_id)

    async def note_withheld(self, sync: Json) -> None:
        """Takes what a sync body says of keys that are kept from us, and asks those who wait for such a key at once."""
        notices = list(withheld_in(sync))
        if not notices:
            return
        tx = self._tx
        await tx.withheld.forget_before(tx.now - _KEPT_FOR)
        news = [notice for notice in notices if await tx.withheld.note(notice, now=tx.now)]
        for notice in news:
            of_all = notice.session_id == ""
            about = await (
                tx.undecrypted.of_person(notice.sender)
                if of_all
                else tx.undecrypted.of_session(notice.sender, notice.session_id)
            )
            for kept in about:
                if of_all or kept.room_id == notice.room_id:
                    await self._ask_soon(kept)
        _tell_of_withheld(Counter((notice.sender, notice.reason) for notice in news))

    async def note_broken(self, devices: frozenset[Device]) -> None:
        """Looks after devices of which something could not be opened."""
        for user_id, device_id in sorted(devices):
            await self._tx.intend(_look_after_device(user_id, device_id, now=self._tx.now))


def withheld_in(sync: Json) -> Iterator[WithheldKey]:
    """What a sync body says of keys that are kept from us; malformed notices are passed over."""
    for event in to_device_events(sync):
        if event.get("type") == "m.room_key.withheld":
            notice = _read_withheld(event.get("sender"), event.get("content"))
            if notice is not None:
                yield notice


def _read_withheld(sender: object, content: object) -> WithheldKey | None:
    if not isinstance(sender, str) or not is_id(sender) or not is_user_id(sender) or not isinstance(content, Mapping):
        return None
    code, room_id, session_id = (content.get(key) for key in ("code", "room_id", "session_id"))
    if content.get("algorithm") != MEGOLM or not isinstance(code, str):
        return None
    reason = Withheld.read(code)
    if reason is Withheld.NO_OLM and room_id is None and session_id is None:
        return WithheldKey(sender, "", "", reason)
    if not is_id(room_id) or not is_id(session_id):
        return None
    return WithheldKey(sender, str(room_id), str(session_id), reason)


def _tell_of_withheld(news: Mapping[tuple[str, Withheld], int]) -> None:
    for told, ((sender, reason), count) in enumerate(news.items()):
        if told == _TOLD_AT_MOST:
            _log.warning("devices of more people keep keys from us")
            break
        _log.warning("a device of %s keeps %s from us: %s", sender, "a key" if count == 1 else f"{count} keys", reason)


# The kinds are `onboarding.effects.JobKind`'s; a test holds them to it.


def _look_after_sender(kept: KeptEvent, *, now: Timestamp) -> NewJob:
    """If the key does not come soon, something is wrong between the sender's device and ours."""
    return NewJob(
        kind="heal_person",
        key=f"heal:{kept.sender}:{kept.session_id}:{int(now // _HOUR)}",
        lane=f"heal:{kept.sender}",
        payload={"user_id": kept.sender, "session_id": kept.session_id},
        delay=HEAL_AFTER,
    )


def _look_after_device(user_id: str, device_id: str, *, now: Timestamp) -> NewJob:
    return NewJob(
        kind="heal_person",
        key=f"heal:{user_id}:device {device_id}:{int(now // _HOUR)}",
        lane=f"heal:{user_id}",
        payload={"user_id": user_id, "device_id": device_id},
    )


def _ask(kept: KeptEvent) -> NewJob:
    return NewJob(
        kind="ask_again",
        key=f"ask:{kept.sender}:{kept.session_id}",
        lane=f"ask:{kept.sender}",
        payload={"sender": kept.sender, "session_id": kept.session_id},
        delay=WAITED_FOR,
    )
