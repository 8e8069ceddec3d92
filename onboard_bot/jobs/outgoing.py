"""Owns how an outgoing event is named, so that it is one event however often it is tried, and on whichever device."""

import hashlib
from dataclasses import dataclass

from onboard_bot.clock import Clock, Timestamp
from onboard_bot.onboarding.ports import Outgoing
from onboard_bot.onboarding.restoration import LOOKED_FOR
from onboard_bot.store.jobs import Job

# Synapse knows a transaction id for 24 hours, and only from the device that used it
# (specification, "Transaction identifiers").
_SURELY_KNOWN_FOR = 20 * 3600.0


@dataclass(frozen=True, slots=True)
class Restoration:
    """This state was restored: of what the bot did between `saved_at` and `restored_at` it knows nothing."""

    saved_at: Timestamp
    restored_at: Timestamp


class Naming:
    """Names what jobs send.

    Args:
        epoch: Random, of this state; a restored copy gets a new one and so never repeats a transaction id.
        device_id: Ours.
        clock: Tells how long ago an earlier try was.
        restoration: The last one, if there was one.
    """

    def __init__(self, epoch: str, device_id: str, clock: Clock, restoration: Restoration | None = None) -> None:
        self._epoch = epoch
        self._device_id = device_id
        self._clock = clock
        self._restoration = restoration

    def of(self, job: Job, *also: str) -> Outgoing:
        """The name of what this job sends at this try, and speaks for other jobs' keys."""
        return Outgoing(
            transaction_id=_digest(f"{self._epoch}\0{job.key}"),
            label=_digest(job.key),
            also=tuple(_digest(key) for key in also),
            tried_since=self._tried_since(job),
        )

    def _tried_since(self, job: Job) -> Timestamp | None:
        if self._restoration is not None and job.created_at < self._restoration.restored_at + LOOKED_FOR:
            return min(job.created_at, self._restoration.saved_at)
        if job.attempts <= 1 or job.first_attempt_at is None:
            return None
        ago = self._clock.now() - job.first_attempt_at
        if 0 <= ago < _SURELY_KNOWN_FOR and job.first_attempt_by == self._device_id:
            return None
        return min(job.created_at, job.first_attempt_at)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]
