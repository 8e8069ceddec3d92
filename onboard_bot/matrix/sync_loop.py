"""Owns asking the server what is new, for ever: body and token are ours before anything is done with them."""

import json
import logging
from collections import Counter
from collections.abc import Callable

from onboard_bot.backoff import Backoff
from onboard_bot.clock import Clock, Timestamp
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.intake import Intake
from onboard_bot.matrix.sync_body import SyncBody
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.store.journal import JournalledSync
from onboard_bot.store.transaction import Store
from onboard_bot.store.trouble import LOOK_AGAIN_AFTER, StoreUnavailableError

_log = logging.getLogger(__name__)

_LONG_POLL_MS = 30_000
_LONGEST_WAIT = 30.0
"""Seconds for which a limit may hold the loop up; it is the server's, but people wait."""
_LONGEST_PAUSE = 10.0
"""Of the waits between tries that fail: one look in ten seconds finds the server again soon, and is nothing to it."""
_TRIES = 3
# Without lazy loading of members: with it Synapse repeats our own membership after each of our messages, and counts us
# among the changed device lists, which would make us fetch both anew for every reply.
_FILTER = json.dumps(
    {
        "room": {
            "timeline": {"limit": 100},
            "ephemeral": {"types": []},
            "account_data": {"types": []},
        },
        "presence": {"types": []},
        "account_data": {"types": []},
    }
)


class SyncLoop:
    """Runs until it is cancelled; the server's failures only make it wait.

    Args:
        api: Whose sync is asked.
        intake: Applies the bodies.
        store: Keeps the journal.
        clock: For waiting.
        on_synced: Told after every good sync, once its content has its place.
    """

    def __init__(
        self,
        api: ClientApi,
        intake: Intake,
        store: Store,
        *,
        clock: Clock,
        on_synced: Callable[[], None],
    ) -> None:
        self._api = api
        self._intake = intake
        self._store = store
        self._clock = clock
        self._on_synced = on_synced
        self._pause = 0.0
        self._indigestible: Counter[int] = Counter()

    async def run(self) -> None:
        """Goes on for ever.

        Raises:
            TokenRejectedError: The session is over.
        """
        backoff = Backoff(cap=_LONGEST_PAUSE)
        while True:
            try:
                await self.once(timeout_ms=_LONG_POLL_MS)
                backoff.succeeded()
                await self._clock.sleep(self._pause)
            except TokenRejectedError:
                raise
            except RateLimitedError as error:
                wait = min(error.wait, _LONGEST_WAIT)
                _log.warning("sync is held up (%s); again in %.1f s", error, wait)
                await self._clock.sleep(wait)
            except StoreUnavailableError:  # the storage watch says so, once
                await self._clock.sleep(LOOK_AGAIN_AFTER)
            except Exception as error:  # noqa: BLE001 - the loop outlives whatever a server or a stranger sends
                wait = backoff.after_failure()
                expected = isinstance(error, UnreachableError | RefusedError | ValueError)
                _log.warning("sync failed (%s); again in %.1f s", error, wait, exc_info=not expected)
                await self._clock.sleep(wait)

    async def look_for_invitations(self) -> None:
        """What still waits for an answer, as seen at a start: a sync tells of an invitation only once."""
        text = await self._api.sync(since=None, filter_json=_invitations_only(self._clock.now()), timeout_ms=0)
        await self._intake.note_invitations(SyncBody(text))

    async def once(self, *, timeout_ms: int) -> None:
        """What a stop left behind, then one sync.

        Args:
            timeout_ms: How long the server may wait for news; 0 for the base line before the bot joins anything.
        """
        async with self._store.reading() as tx:
            since = await tx.journal.token()
            pending = await tx.journal.pending()
        for journalled in pending:
            await self._apply(journalled)
        asked_at = self._clock.now()
        text = await self._api.sync(since=since, filter_json=_FILTER, timeout_ms=timeout_ms)
        body = SyncBody(text)
        # A server (or a cache before it) that says “nothing”, or the same again, without waiting for news must not make
        # us ask in a circle.
        is_news = body.holds_anything and body.next_batch != since
        self._pause = 0.0 if is_news or self._clock.now() - asked_at > 1.0 else 1.0
        if body.holds_anything:
            async with self._store.transaction() as tx:
                seq = await tx.journal.add(since=since, body=text, next_batch=body.next_batch)
            await self._apply(JournalledSync(seq, since, text))
        else:
            async with self._store.transaction() as tx:
                await tx.journal.skip_to(body.next_batch)
            self._intake.note_keys(body)
        self._on_synced()

    async def _apply(self, journalled: JournalledSync) -> None:
        """Applies a body; one that our own code cannot digest is given up in the end, or nothing would follow it."""
        try:
            await self._intake.apply(journalled)
        except (UnreachableError, RateLimitedError, RefusedError, StoreUnavailableError):
            raise
        except Exception:
            self._indigestible[journalled.seq] += 1
            if self._indigestible[journalled.seq] < _TRIES:
                raise
            _log.exception("what came after the sync token %s is lost: it cannot be digested", journalled.since)
            async with self._store.transaction() as tx:
                await tx.journal.drop(journalled.seq)


def _invitations_only(now: Timestamp) -> str:
    """A list of rooms without a room of this world leaves the invitations, which no list filters.

    Another one each time: Synapse remembers the answer to the same question for two minutes.
    """
    nowhere = f"!{now}:nowhere.invalid"
    return json.dumps({"room": {"rooms": [nowhere]}, "presence": {"types": []}, "account_data": {"types": []}})
