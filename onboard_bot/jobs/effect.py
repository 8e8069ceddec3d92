"""Owns the shape of every effect: written down, done, recorded."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from onboard_bot.store.jobs import Job
from onboard_bot.store.transaction import Transaction

T = TypeVar("T")

Record = Callable[[Transaction], Awaitable[None]]
"""What is to be written in the transaction that closes the job."""


class PostponedError(Exception):
    """Not now.

    Args:
        reason: For the log.
        wait: Seconds; None for the usual growing wait.
        record: What people should know meanwhile.
    """

    def __init__(self, reason: str, *, wait: float | None = None, record: Record | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        self.record = record


class Effect(ABC, Generic[T]):
    """One kind of effect.

    Raised by `perform`: `PostponedError`, or what the transport and the backend raise for a server that cannot be
    reached or limits us, is tried again. A refusal of the server closes the job.
    """

    at_once = 1
    """How many jobs of this kind may run at the same time."""

    by_the_clock = False
    """Whether it is due when the wall clock shows a moment, and not so many seconds after something."""

    @abstractmethod
    async def prepare(self, tx: Transaction, job: Job) -> T | None:
        """Reads what is needed and writes down that it begins, in one transaction; None where nothing is to be done."""

    @abstractmethod
    async def perform(self, job: Job, prepared: T) -> Record | None:
        """Does it, outside any transaction; gives what is to be recorded."""

    async def postponed(self, tx: Transaction, job: Job, wait: float) -> None:
        """This try came to nothing, and another follows after so many seconds; for who waits for this effect."""

    async def give_up(self, tx: Transaction, job: Job, error: str) -> None:
        """No further try follows, and what depends on this effect has to know; nothing does, for most."""


class OfJobAlone(Effect[Job]):
    """An effect of which the job says all that there is to know."""

    async def prepare(self, tx: Transaction, job: Job) -> Job:  # noqa: ARG002 - see above
        """The job itself."""
        return job
