"""Owns the jobs' rows: durable intents to do something outside the database."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, exists, func, select, update
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
        turn: Jobs of one turn are carried out in the order in which they were added, whatever their lanes; a held one
            keeps those behind it waiting.
        held: Not to be carried out until the same intent is added without this.
    """

    kind: str
    key: str
    lane: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    turn: str | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """An intent that is not carried out yet.

    `attempts` counts the tries that began, this one included; `first_attempt_at` is when the first of them did, and
    `first_attempt_by` on which device. `faults` counts the tries that ended in a fault of ours.
    """

    id: int
    kind: str
    key: str
    lane: str
    payload: Mapping[str, Any]
    run_after: Timestamp
    attempts: int
    first_attempt_at: Timestamp | None
    first_attempt_by: str | None
    turn: str | None
    created_at: Timestamp
    faults: int


class Jobs:
    """The jobs, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.added = False

    async def add(self, job: NewJob, *, now: Timestamp) -> None:
        """Adds an intent, once; one that was held so far is released by its like that is not."""
        row = insert(jobs).values(
            kind=job.kind,
            key=job.key,
            lane=job.lane,
            payload=dict(job.payload),
            state="held" if job.held else "open",
            run_after=now + job.delay,
            attempts=0,
            created_at=now,
            turn=job.turn,
        )
        released = {"state": row.excluded.state, "run_after": row.excluded.run_after}
        await self._connection.execute(
            row.on_conflict_do_update(index_elements=["key"], set_=released, where=jobs.c.state == "held")
        )
        self.added = True

    async def exists(self, key: str) -> bool:
        """Whether this was intended before, done or not."""
        return await self._connection.scalar(select(jobs.c.id).where(jobs.c.key == key)) is not None

    async def is_open(self, key: str) -> bool:
        """Whether this was intended and is still to be done."""
        query = select(jobs.c.id).where(jobs.c.key == key, jobs.c.finished_at.is_(None))
        return await self._connection.scalar(query) is not None

    async def is_under_way(self, kind: str, lane: str) -> bool:
        """Whether a job of this kind in this lane was tried and has not come to its end."""
        tried = (jobs.c.kind == kind) & (jobs.c.lane == lane) & (jobs.c.attempts > 0)
        return await self._connection.scalar(select(jobs.c.id).where(tried, jobs.c.finished_at.is_(None))) is not None

    async def first_of_lanes(
        self, *, now: Timestamp, without: Collection[str] = (), unknown: Collection[str] = ()
    ) -> list[Job]:
        """The next job of each lane where it is due and not of the kinds to leave out, oldest first.

        A job that waits for another try holds its lane; one that was never tried and is not due does not, nor does one
        whose turn has not come, nor one of an unknown kind.
        """
        other = jobs.alias()
        before = (other.c.turn == jobs.c.turn) & (other.c.id < jobs.c.id) & other.c.finished_at.is_(None)
        before &= other.c.kind.not_in(unknown)
        tried_or_due = (jobs.c.run_after <= now) | (jobs.c.attempts > 0)
        workable = (jobs.c.state == "open") & jobs.c.kind.not_in(unknown) & tried_or_due & ~exists().where(before)
        firsts = select(func.min(jobs.c.id)).where(workable).group_by(jobs.c.lane)
        due = jobs.c.id.in_(firsts) & (jobs.c.run_after <= now) & jobs.c.kind.not_in(without)
        query = select(jobs).where(due).order_by(jobs.c.id).limit(_AT_A_LOOK)
        return [_job(row) for row in await self._connection.execute(query)]

    async def other_kinds(self, known: Collection[str]) -> list[str]:
        """The kinds beside these of which something is still to do."""
        query = select(jobs.c.kind).where(jobs.c.finished_at.is_(None), jobs.c.kind.not_in(known)).distinct()
        return list(await self._connection.scalars(query.order_by(jobs.c.kind)))

    async def next_due(self, *, now: Timestamp) -> Timestamp | None:
        """When the next open job becomes due."""
        query = select(func.min(jobs.c.run_after)).where(jobs.c.state == "open", jobs.c.run_after > now)
        due: Timestamp | None = await self._connection.scalar(query)
        return due

    async def begin(self, job: Job, *, now: Timestamp, by: str) -> Job | None:
        """Notes that a try begins, before anything goes out; None where the job came to its end meanwhile.

        Args:
            job: Which.
            now: When.
            by: The device that makes it.
        """
        query = (
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.state == "open")
            .values(
                attempts=jobs.c.attempts + 1,
                first_attempt_at=func.coalesce(jobs.c.first_attempt_at, now),
                first_attempt_by=func.coalesce(jobs.c.first_attempt_by, by),
            )
            .returning(*jobs.c)
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _job(row)

    async def postpone(self, job: Job, *, until: Timestamp, error: str, fault: bool = False) -> None:
        """The try came to nothing; another follows. It counts also where its own transaction was rolled back."""
        await self._connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id)
            .values(
                run_after=until,
                last_error=error[:500],
                attempts=job.attempts,
                first_attempt_at=job.first_attempt_at,
                first_attempt_by=job.first_attempt_by,
                faults=job.faults + int(fault),
            )
        )
        self.added = True

    async def remember(self, job: Job, **facts: Any) -> None:
        """Adds to what the handler will know at its next try."""
        await self._connection.execute(
            update(jobs).where(jobs.c.id == job.id).values(payload=dict(job.payload) | facts)
        )

    async def waiting_behind(self, job: Job, *, at_most: int) -> list[Job]:
        """Those of its lane and kind that were never tried and may go out together with it.

        In the order in which they were added; whoever's turn is behind another one's, earlier or later, is left out.
        """
        unfinished = (jobs.c.lane == job.lane) & (jobs.c.kind == job.kind) & jobs.c.finished_at.is_(None)
        query = select(jobs).where(unfinished, jobs.c.id != job.id).order_by(jobs.c.id).limit(_AT_A_LOOK)
        found: list[Job] = []
        waiting: set[str | None] = set()
        for row in await self._connection.execute(query):
            may_follow = row.id > job.id and row.state == "open" and row.attempts == 0
            if may_follow and (row.turn is None or row.turn not in waiting):
                found.append(_job(row))
            else:
                waiting.add(row.turn)
        return found[:at_most]

    async def attach(self, job: Job, to: Job) -> None:
        """From now on it goes out with another one, and only so."""
        await self._connection.execute(
            update(jobs).where(jobs.c.id == job.id).values(state="attached", lane=f"with:{to.id}")
        )

    async def attached(self, to: Job) -> list[Job]:
        """What goes out with a job, in order."""
        query = select(jobs).where(jobs.c.lane == f"with:{to.id}", jobs.c.finished_at.is_(None)).order_by(jobs.c.id)
        return [_job(row) for row in await self._connection.execute(query)]

    async def let_pass(self, key: str) -> None:
        """Those behind a job in its turn need not wait for it any longer."""
        await self._connection.execute(update(jobs).where(jobs.c.key == key).values(turn=None))
        self.added = True

    async def finish(self, job: Job, *, now: Timestamp, error: str | None = None) -> None:
        """Carried out, or (with an error) given up."""
        state = "done" if error is None else "failed"
        await self._connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id)
            .values(state=state, finished_at=now, last_error=error and error[:500], payload={})
        )

    async def bring_back(self, *, now: Timestamp, longest_wait: float, without: Collection[str] = ()) -> None:
        """The clock was set back: what it wrote while it was ahead is not to wait until it is there again.

        Args:
            now: What it shows now.
            longest_wait: Seconds for which a job is put off at most when a try has come to nothing.
            without: The kinds that are due at a moment, whatever was done to the clock.
        """
        later = (jobs.c.state == "open") & (jobs.c.run_after > now) & jobs.c.kind.not_in(without)
        delay = jobs.c.run_after - jobs.c.created_at
        await self._connection.execute(
            update(jobs).where(later, jobs.c.created_at > now).values(run_after=now + delay, created_at=now)
        )
        put_off_too_long = (jobs.c.attempts > 0) & (jobs.c.run_after > now + longest_wait)
        await self._connection.execute(update(jobs).where(later, put_off_too_long).values(run_after=now))

    async def hasten(self, key: str, *, until: Timestamp) -> None:
        """An intent that no try has begun for is due at this moment, if it was due later."""
        await self._connection.execute(
            update(jobs)
            .where(jobs.c.key == key, jobs.c.state == "open", jobs.c.attempts == 0, jobs.c.run_after > until)
            .values(run_after=until)
        )
        self.added = True

    async def withdraw(self, key: str, *, now: Timestamp) -> None:
        """Takes an intent back that no try has begun for."""
        await self._connection.execute(
            update(jobs)
            .where(jobs.c.key == key, jobs.c.state == "open", jobs.c.attempts == 0)
            .values(state="done", finished_at=now, payload={})
        )

    async def withdraw_others(self, job: Job, *, now: Timestamp) -> None:
        """Takes back those of its kind that no try has begun for: what it does now does for them."""
        others = (jobs.c.kind == job.kind) & (jobs.c.id != job.id) & (jobs.c.state == "open") & (jobs.c.attempts == 0)
        await self._connection.execute(update(jobs).where(others).values(state="done", finished_at=now, payload={}))

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
        first_attempt_by=row.first_attempt_by,
        turn=row.turn,
        created_at=row.created_at,
        faults=row.faults,
    )
