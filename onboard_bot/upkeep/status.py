"""Owns what `!status` tells of the bot, gathered at the moment of the question."""

from collections.abc import Callable, Sequence

from onboard_bot import __version__
from onboard_bot.chat.notice_replies import expiry_pauses
from onboard_bot.chat.replies import OwnKeys, StatusReport
from onboard_bot.clock_jump import ClockJumps
from onboard_bot.config import Config
from onboard_bot.domain.identifiers import server_of
from onboard_bot.health import Health
from onboard_bot.matrix.machine import Machine
from onboard_bot.store.transaction import Transaction
from onboard_bot.upkeep.identity import IdentityWatch

ALLOW_NOTE = (
    "encryption.unsigned_devices is allow: everybody's devices are served and obeyed, also those that their owner never"
    " verified."
)


class Status:
    """Answers with a report.

    Args:
        config: What the bot runs with.
        health: How its parts stand.
        machine: Of its device.
        identity: Its own.
        jumps: Of the machine's clock.
        missing_rooms: Sentences about rooms that the bot should be in.
    """

    def __init__(
        self,
        config: Config,
        health: Health,
        machine: Machine,
        identity: IdentityWatch,
        jumps: ClockJumps,
        missing_rooms: Callable[[], Sequence[str]],
    ) -> None:
        self._config = config
        self._health = health
        self._machine = machine
        self._identity = identity
        self._jumps = jumps
        self._missing_rooms = missing_rooms

    async def report(self, tx: Transaction) -> StatusReport:
        """How the bot is doing now."""
        notes = [self._health.identity] if self._health.identity is not None else []
        if self._config.encryption.unsigned_devices == "allow":
            notes.append(ALLOW_NOTE)
        notes += self._missing_rooms()
        if (left := self._jumps.pause_left()) and self._jumps.last is not None:
            notes.append(expiry_pauses(self._jumps.last, left))
        return StatusReport(
            at=tx.now,
            version=__version__,
            homeserver_url=self._config.homeserver.url,
            server_name=server_of(self._machine.user_id),
            running_since=self._health.running_since,
            last_sync=self._health.last_sync,
            open_jobs=await tx.jobs.count_open(now=tx.now),
            keys=OwnKeys(self._machine.device_id, self._machine.fingerprint, self._identity.standing.master_key),
            notes=tuple(notes),
        )
