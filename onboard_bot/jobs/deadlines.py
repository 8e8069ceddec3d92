"""Owns what time does to a pending request: one reminder, and its end."""

from abc import abstractmethod

from onboard_bot.domain.requests import Request, State
from onboard_bot.jobs.effect import Effect, PostponedError, Record
from onboard_bot.onboarding import decision, effects
from onboard_bot.store.jobs import Job
from onboard_bot.store.transaction import Transaction


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
            await self.come(tx, request, ends)

    @abstractmethod
    async def come(self, tx: Transaction, request: Request, ends: float) -> None:
        """The moment has come for a request that ends, undecided, at a time."""

    async def perform(self, job: Job, prepared: None) -> Record | None:  # noqa: ARG002 - all was done in one transaction
        """Nothing is left to do."""
        return None


class Expire(_Deadline):
    """Ends a request that nobody decided."""

    async def come(self, tx: Transaction, request: Request, ends: float) -> None:
        """Ends it; the clock may have been set back since."""
        if tx.now < ends:
            raise PostponedError("not yet", wait=ends - tx.now)
        await decision.expire(tx, request)


class Remind(_Deadline):
    """Has those reminded who have not voted."""

    async def come(self, tx: Transaction, request: Request, ends: float) -> None:
        """Once, and not at its end."""
        if tx.now < ends:
            await tx.intend(effects.post_reminder(request))
