"""Owns saying what was written down word for word: answers to commands, reactions."""

from onboard_bot.jobs.effect import Effect, Record
from onboard_bot.jobs.transaction_ids import TransactionIds
from onboard_bot.onboarding.ports import RateLimitedError, Sender, UnreachableError
from onboard_bot.store.jobs import Job
from onboard_bot.store.transaction import Transaction


class Send(Effect[Job]):
    """Sends the job's content into its room."""

    at_once = 10

    def __init__(self, sender: Sender, ids: TransactionIds) -> None:
        self._sender = sender
        self._ids = ids

    async def prepare(self, tx: Transaction, job: Job) -> Job:  # noqa: ARG002 - the job says all
        """Nothing more is needed than the job itself."""
        return job

    async def perform(self, job: Job, prepared: Job) -> Record | None:
        """Sends. What is worth something only at once is dropped when it cannot go out at once."""
        what = prepared.payload
        try:
            await self._sender.send(
                what["room_id"], what["type"], what["content"], transaction_id=self._ids.about(job.key)
            )
        except (RateLimitedError, UnreachableError):
            if not what.get("only_now"):
                raise
        return None
