"""Owns that every intent is carried out: which job runs when, how often it is tried, and that none is lost."""

import asyncio
import itertools
import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from onboard_bot.backoff import wait_before_try
from onboard_bot.clock import Clock
from onboard_bot.homeserver.port import TryLater
from onboard_bot.jobs.effect import Effect, PostponedError, Record
from onboard_bot.onboarding.ports import (
    NotReadableError,
    RateLimitedError,
    RefusedError,
    TokenRejectedError,
    UnreachableError,
)
from onboard_bot.store.jobs import Job
from onboard_bot.store.requests import StateMovedError
from onboard_bot.store.transaction import Store
from onboard_bot.store.trouble import LOOK_AGAIN_AFTER, StoreUnavailableError

_log = logging.getLogger(__name__)

_FAULTS_ALLOWED = 10
# A worker behind the proxy that does not know the path, say: for so long an unclear “no” is asked about again.
_REFUSALS_ALLOWED_FOR = 24 * 3600.0
# What is due goes by the wall clock, which may be set while we sleep: look often enough to act within ten seconds
# (design, section 3, `approval.expires_after`).
_LONGEST_SLEEP = 5.0
_LONGEST_WAIT = 30.0
# By what asks for it: a limit of the server's, a refusal.
_LONGEST_ASKED_WAIT = 600.0
_LAST_MOMENTS = 5.0
_UNTIL_SIGNED_IN = 5.0
_AFTER_STORE_FAULT = 1.0
# Those who wait for the same limit of the server's are due together, and so can take turns.
_TOGETHER = 0.25

_NOT_NOW = (PostponedError, RateLimitedError, TryLater, UnreachableError, TokenRejectedError, NotReadableError)


class Runner:
    """Runs jobs until it is cancelled.

    Args:
        store: Where the jobs are.
        effects: By kind.
        clock: For what is due.
        device_id: Of the session that the jobs are carried out with.
        resting: Names the kinds of which none may begin now.
    """

    def __init__(
        self,
        store: Store,
        effects: Mapping[str, Effect[Any]],
        clock: Clock,
        *,
        device_id: str,
        resting: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._store = store
        self._effects = effects
        self._clock = clock
        self._device_id = device_id
        self._resting = resting
        self._running: dict[int, asyncio.Task[None]] = {}
        self._lanes: set[str] = set()
        self._kinds: Counter[str] = Counter()
        self._unknown: list[str] | None = None
        self._served: Counter[str] = Counter()
        self._successes = itertools.count(1)
        self._by_the_clock = [kind for kind, effect in effects.items() if effect.by_the_clock]
        self._looked_at = math.inf

    async def run(self) -> None:
        """Goes on for ever; a cancellation lets what is running come to its end first."""
        try:
            while True:
                self._store.jobs_added.clear()
                try:
                    # Until nothing starts: a thousand jobs of a kind that is full now must not hide the others.
                    while await self._start_workable():
                        pass
                    await self._wait()
                except StoreUnavailableError:
                    await self._clock.sleep(LOOK_AGAIN_AFTER)
                except Exception:  # noqa: BLE001 - a fault of ours; no job is lost by looking again
                    _log.exception("could not look for jobs")
                    await self._clock.sleep(_AFTER_STORE_FAULT)
        finally:
            await self._come_to_an_end()

    async def drain(self) -> None:
        """Waits for what is running."""
        if self._running:
            await asyncio.wait(self._running.values())

    async def _come_to_an_end(self) -> None:
        """Lets what is running finish; what does not in time is cut off, and done again after the next start."""
        if not self._running:
            return
        _, late = await asyncio.wait(self._running.values(), timeout=_LAST_MOMENTS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def run_due(self) -> None:
        """Runs what is due, and what follows from it, until nothing is; for tests."""
        while await self._start_workable() or self._running:
            await self.drain()

    async def _wait(self) -> None:
        now = self._clock.now()
        async with self._store.reading() as tx:
            due = await tx.jobs.next_due(now=now)
        sleep = _LONGEST_SLEEP if due is None else min(_LONGEST_SLEEP, max(0.0, due - now))
        try:
            async with asyncio.timeout(sleep):
                await self._store.jobs_added.wait()
        except TimeoutError:
            pass

    def _left_out(self) -> list[str]:
        """The kinds of which no more may run now."""
        full = [kind for kind, running in self._kinds.items() if running >= self._effects[kind].at_once]
        return [*full, *self._resting()]

    async def _start_workable(self) -> int:
        """Starts what may start now; how many jobs that were."""
        started = 0
        now = self._clock.now()
        if now < self._looked_at:  # the clock was set back, perhaps before this start
            async with self._store.transaction() as tx:
                await tx.jobs.bring_back(now=now, longest_wait=_LONGEST_ASKED_WAIT, without=self._by_the_clock)
        self._looked_at = now
        # As they were before the look: a job that comes to its end during it may still be among what was seen.
        busy = set(self._lanes)
        async with self._store.reading() as tx:
            if self._unknown is None:
                self._unknown = await tx.jobs.other_kinds(self._effects)
                for kind in self._unknown:  # a newer version intended it, and will carry it out
                    _log.warning("jobs of the kind %s are for a newer version of this program; they wait", kind)
            firsts = await tx.jobs.first_of_lanes(now=now, without=self._left_out(), unknown=self._unknown)
        # Where the server lets us say little, no kind gets it all: an answer does not wait for a hundred passwords.
        for job in sorted(firsts, key=lambda job: self._served[job.kind]):
            if job.lane in busy:
                continue
            if self._kinds[job.kind] >= self._effects[job.kind].at_once:
                continue
            started += 1
            self._lanes.add(job.lane)
            self._kinds[job.kind] += 1
            self._running[job.id] = asyncio.create_task(self._run(job), name=job.key)
        return started

    async def _run(self, job: Job) -> None:
        try:
            await self._try(job)
        except StoreUnavailableError:
            await self._clock.sleep(LOOK_AGAIN_AFTER)
        except Exception:  # noqa: BLE001 - a fault of ours; the job is still open and comes again
            _log.exception("%s: its outcome could not be stored", job.key)
            await self._clock.sleep(_AFTER_STORE_FAULT)
        finally:
            self._lanes.discard(job.lane)
            self._kinds[job.kind] -= 1
            del self._running[job.id]
            self._store.jobs_added.set()

    async def _try(self, job: Job) -> None:
        effect = self._effects[job.kind]
        try:
            async with self._store.transaction() as tx:
                rests = job.kind in self._resting()  # since it was looked for; what it is due at stays as it was
                begun = None if rests else await tx.jobs.begin(job, now=tx.now, by=self._device_id)
                if begun is None:
                    return
                job = begun
                prepared = await effect.prepare(tx, job)
                if prepared is None:
                    await tx.jobs.finish(job, now=tx.now)
                    return
            record = await effect.perform(job, prepared)
        except _NOT_NOW as error:
            record = error.record if isinstance(error, PostponedError) else None
            await self._postpone(job, str(error), wait=_asked_wait(error), record=record)
        except StoreUnavailableError:  # no try of the job's; it is still open and comes again
            raise
        except RefusedError as error:
            _log.warning("%s: the homeserver refused (%s)", job.key, error)
            if error.is_definite or self._clock.now() - job.created_at > _REFUSALS_ALLOWED_FOR:
                await self._give_up(job, str(error))
            else:
                await self._postpone(job, str(error))
        except Exception as error:  # noqa: BLE001 - one job's fault must not end the others
            await self._after_fault(job, error)
        else:
            self._served[job.kind] = next(self._successes)
            try:
                await self._finish(job, record)
            except StateMovedError as error:  # the world went on without this job; trying again would not help
                await self._after_fault(job, error, final=True)

    async def _after_fault(self, job: Job, error: Exception, *, final: bool = False) -> None:
        _log.error("%s failed at try %d", job.key, job.attempts, exc_info=error)
        if final or job.faults + 1 >= _FAULTS_ALLOWED:
            await self._give_up(job, repr(error))
        else:
            await self._postpone(job, repr(error), fault=True)

    async def _postpone(
        self, job: Job, reason: str, *, wait: float | None = None, record: Record | None = None, fault: bool = False
    ) -> None:
        if wait is None:
            wait = wait_before_try(max(0, job.attempts - 1), cap=_LONGEST_WAIT)
        _log.info("%s: %s; again in %.1f s", job.key, reason, wait)
        async with self._store.transaction() as tx:
            if record is not None:
                await record(tx)
            await self._effects[job.kind].postponed(tx, job, wait)
            until = math.ceil((tx.now + wait) / _TOGETHER) * _TOGETHER
            await tx.jobs.postpone(job, until=until, error=reason, fault=fault)

    async def _give_up(self, job: Job, error: str) -> None:
        async with self._store.transaction() as tx:
            await self._effects[job.kind].give_up(tx, job, error)
            await tx.jobs.finish(job, now=tx.now, error=error)

    async def _finish(self, job: Job, record: Record | None) -> None:
        async with self._store.transaction() as tx:
            if record is not None:
                await record(tx)
            await tx.jobs.finish(job, now=tx.now)


def _asked_wait(error: Exception) -> float | None:
    """The wait that a failure asks for; None for the usual growing one."""
    match error:
        case PostponedError() | RateLimitedError():
            return error.wait
        case TryLater():
            return error.after
        case TokenRejectedError():
            return _UNTIL_SIGNED_IN
        case _:
            return None
