"""Owns what is known at any moment of how the bot is doing: `/readyz`, `!status` and the log read it from here."""

from dataclasses import dataclass

from onboard_bot.clock import Timestamp

FRESH_SYNC = 90.0
"""Seconds for which a good sync counts (design, section 3, "Operation")."""


@dataclass(slots=True)
class Health:
    """How the parts stand; each part writes its own field.

    `waiting_for` is a sentence about what the bot cannot mend itself, an invitation or the homeserver; `storage` says
    why nothing can be stored, None while it can; `identity` says why the bot's device is not signed, None while it is;
    `admin_room` is the room's id once the bot is in it.
    """

    running_since: Timestamp
    database: bool = False
    storage: str | None = None
    identity: str | None = None
    session: bool = False
    admin_room: str | None = None
    waits_for_invitation: bool = False
    waiting_for: str | None = None
    last_sync: Timestamp | None = None
    stopping: bool = False

    def missing(self, now: Timestamp) -> list[str]:
        """Why the bot is not ready; empty when it is."""
        reasons = []
        if self.stopping:
            reasons.append("stopping")
        if not self.database:
            reasons.append("the database is not open")
        if self.storage is not None:
            reasons.append(f"nothing can be stored: {self.storage}")
        if not self.session:
            reasons.append(self.waiting_for or "no session with the homeserver yet")
        elif self.last_sync is None:
            reasons.append("no answer to a sync yet")
        elif not 0 <= now - self.last_sync <= FRESH_SYNC:  # also where the clock was set back since
            reasons.append(f"the last good sync was {now - self.last_sync:.0f} s ago")
        if self.session and self.admin_room is None and not self.waits_for_invitation:
            reasons.append(self.waiting_for or "no admin room yet")
        return reasons
