"""Owns the jobs' rows: durable intents to do something outside the database."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Timestamp
from onboard_bot.store.tables import jobs

_AT_A_LOOK = 500


@dataclass(frozen=True, slots=True)
class NewJob:
    """An intent.

    Args:
        kind: Which handler carries it out.
        key: Names the intent; a second job of the same key is the same job.
        lane: Jobs of one lane run one after the other, in the order in which they were added.
        payload: What the handler must know; never a secret.
        delay: Seconds until it is due.
    """

    kind: str
    key: str
    lane: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Job:
    """An intent that is not carried out yet.

    `attempts` counts the tries that began, this one included; `first_attempt_at` is when the first of them did.
    """

    id: int
    kind: str
    key: str
    lane: str
    payload: Mapping[str, Any]
    run_after: Timestamp
    attempts: int
    first_attempt_at: Timestamp | None
    created_at: Timestamp


class Jobs:
    """The jobs, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.added = False

    async def add(self, job: NewJob, *, now: Timestamp) -> None:
        """Adds an intent, once."""
        row = insert(jobs).values(
            kind=job.kind,
            key=job.key,
            lane=job.lane,
            payload=dict(job.payload),
            state="open",
            run_after=now + job.delay,
            attempts=0,
            created_at=now,
        )
        await self._connection.execute(row.on_conflict_do_nothing(index_elements=["key"]))
        self.added = True

    async def first_of_lanes(self, *, now: Timestamp, without: Collection[str] = ()) -> list[Job]:
        """The next job of each lane where it is due and not of the kinds to leave out, oldest first.

        A job that waits for another try holds its lane; one that was never tried and is not due does not.
        """
        workable = (jobs.c.state == "open") & ((jobs.c.run_after <= now) | (jobs.c.attempts > 0))
        firsts = select(func.min(jobs.c.id)).where(workable).group_by(jobs.c.lane)
        due = jobs.c.id.in_(firsts) & (jobs.c.run_after <= now) & jobs.c.kind.not_in(without)
        query = select(jobs).where(due).order_by(jobs.c.id).limit(_AT_A_LOOK)
        return [_job(row) for row in await self._connection.execute(query)]

    async def next_due(self, *, now: Timestamp) -> Timestamp | None:
        """When the next open job becomes due."""
        query = select(func.min(jobs.c.run_after)).where(jobs.c.state == "open", jobs.c.run_after > now)
        due: Timestamp | None = await self._connection.scalar(query)
        return due

    async def begin(self, job: Job, *, now: Timestamp) -> Job | None:
        """Notes that a try begins, before anything goes out; None where the job came to its end meanwhile."""
        query = (
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.state == "open")
            .values(attempts=jobs.c.attempts + 1, first_attempt_at=func.coalesce(jobs.c.first_attempt_at, now))
            .returning(*jobs.c)
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _job(row)

    async def postpone(self, job: Job, *, until: Timestamp, error: str) -> None:
        """The try came to nothing; another follows. It counts also where its own transaction was rolled back."""
        await self._connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id)
            .values(
                run_after=until, last_error=error[:500], attempts=job.attempts, first_attempt_at=job.first_attempt_at
            )
        )
        self.added = True

    async def finish(self, job: Job, *, now: Timestamp, error: str | None = None) -> None:
        """Carried out, or (with an error) given up."""
        state = "done" if error is None else "failed"
        await self._connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id)
            .values(state=state, finished_at=now, last_error=error and error[:500], payload={})
        )

    async def withdraw(self, key: str, *, now: Timestamp) -> None:
        """Takes an intent back that no try has begun for."""
        await self._connection.execute(
            update(jobs)
            .where(jobs.c.key == key, jobs.c.state == "open", jobs.c.attempts == 0)
            .values(state="done", finished_at=now, payload={})
        )

    async def count_open(self, *, now: Timestamp) -> int:
        """How many intents are due and not carried out."""
        query = select(func.count()).select_from(jobs).where(jobs.c.state == "open", jobs.c.run_after <= now)
        count: int = (await self._connection.execute(query)).scalar_one()
        return count


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        kind=row.kind,
        key=row.key,
        lane=row.lane,
        payload=row.payload,
        run_after=row.run_after,
        attempts=row.attempts,
        first_attempt_at=row.first_attempt_at,
        created_at=row.created_at,
    )
