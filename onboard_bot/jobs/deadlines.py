"""Owns what time does to a pending request: one reminder, and its end."""

from abc import abstractmethod

from onboard_bot.domain.requests import Request, State
from onboard_bot.jobs.effect import Effect, PostponedError, Record
from onboard_bot.onboarding import decision, effects
from onboard_bot.store.jobs import Job
from onboard_bot.store.transaction import Transaction

# A second each: what is said all the time does not keep a request open (design, section 3, `approval.expires_after`).
_LOOKS_AT_THE_INBOX = 4


class _Deadline(Effect[None]):
    """Something that happens within the database at a moment, if the request still waits for it.

    Whether the moment can be believed is for the runner to know: after a jump of the clock it lets none of them begin.
    """

    by_the_clock = True

    async def prepare(self, tx: Transaction, job: Job) -> None:
        """Does it."""
        request = await tx.requests.get(job.payload["request_id"])
        ends = job.payload["expires_at"]
        if request is not None and request.state is State.PENDING and request.expires_at == ends:
            await self.come(tx, request, ends, job)

    @abstractmethod
    async def come(self, tx: Transaction, request: Request, ends: float, job: Job) -> None:
        """The moment has come for a request that ends, undecided, at a time."""

    async def perform(self, job: Job, prepared: None) -> Record | None:  # noqa: ARG002 - all was done in one transaction
        """Nothing is left to do."""
        return None


class Expire(_Deadline):
    """Ends a request that nobody decided."""

    async def come(self, tx: Transaction, request: Request, ends: float, job: Job) -> None:
        """Ends it, unless the clock was set back since, or votes may lie in the inbox: after a start, most of all."""
        if tx.now < ends:
            raise PostponedError("not yet", wait=ends - tx.now)
        if job.attempts <= _LOOKS_AT_THE_INBOX and await tx.inbox.next_open() is not None:
            raise PostponedError("somebody may have voted", wait=1)
        await decision.expire(tx, request)


class Remind(_Deadline):
    """Has those reminded who have not voted."""

    async def come(self, tx: Transaction, request: Request, ends: float, job: Job) -> None:  # noqa: ARG002 - as `Expire`
        """Once, and not at its end."""
        if tx.now < ends:
            await tx.intend(effects.post_reminder(request))
