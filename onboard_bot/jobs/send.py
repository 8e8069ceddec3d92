"""Owns saying what was written down word for word and is no answer: warnings, reactions."""

from collections import deque

from onboard_bot.clock import Clock, Timestamp
from onboard_bot.jobs.effect import OfJobAlone, Record
from onboard_bot.jobs.outgoing import Naming
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, Sender, UnreachableError
from onboard_bot.store.jobs import Job

# What is worth something only at once must not use up what the server lets the bot say: the answers need it.
_AT_ONCE_AT_MOST = 3
_WITHIN = 60.0


class Send(OfJobAlone):
    """Sends the job's content into its room."""

    at_once = 10

    def __init__(self, sender: Sender, naming: Naming, clock: Clock) -> None:
        self._sender = sender
        self._naming = naming
        self._clock = clock
        self._sent_at_once: deque[Timestamp] = deque(maxlen=_AT_ONCE_AT_MOST)

    async def perform(self, job: Job, prepared: Job) -> Record | None:
        """Sends. What is worth something only at once is dropped when it cannot go out at once."""
        what = prepared.payload
        only_now = what.get("only_now", False)
        if only_now and not self._may_send_at_once():
            return None
        try:
            outgoing, in_clear = self._naming.of(job), what.get("in_clear", False)
            await self._sender.send(what["room_id"], what["type"], what["content"], outgoing, in_clear=in_clear)
        except (RateLimitedError, UnreachableError):
            if not only_now:
                raise
        except RefusedError as error:
            if error.errcode != "M_DUPLICATE_ANNOTATION":  # an earlier try of the same reaction went through
                raise
        return None

    def _may_send_at_once(self) -> bool:
        now, sent = self._clock.now(), self._sent_at_once
        if len(sent) == _AT_ONCE_AT_MOST and 0 <= now - sent[0] < _WITHIN:
            return False
        sent.append(now)
        return True
