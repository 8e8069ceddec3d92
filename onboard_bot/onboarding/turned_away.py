"""Owns how often somebody is told that their command is not obeyed because of the device that it came from.

Devices cost nothing, and what the bot says is counted by the server: so it is once for each device, and no more than
some for one person and for all of them together.
"""

from collections.abc import Mapping
from typing import Any

from onboard_bot.domain.allowance import Allowance
from onboard_bot.domain.devices import Standing
from onboard_bot.onboarding import effects
from onboard_bot.onboarding.spending import spend
from onboard_bot.store.inbox import RoomEvent
from onboard_bot.store.transaction import Transaction

NOTICES = Allowance(period=3600.0, of_one=10, altogether=30)
_DAY = 24 * 3600
_MINUTES = 300


async def tell_why_turned_away(
    tx: Transaction, event: RoomEvent, standing: Standing, content: Mapping[str, Any]
) -> None:
    """Intends it, if it was not said of this device; where that is unknown, once a day.

    Args:
        tx: The transaction that closes the event.
        event: The command.
        standing: Of the device that it came from.
        content: What its sender is told.
    """
    about = str(int(tx.now // _DAY))
    if standing is Standing.UNKNOWN:
        about = str(int(tx.now // _MINUTES))  # it is worth another try soon
    elif standing in (Standing.UNSIGNED, Standing.CHANGED) and event.envelope is not None:
        about = event.envelope.sender_key
    key = f"{standing}:{event.sender}:{about}"
    if not await tx.jobs.exists(key) and await spend(tx, "notices", NOTICES, event.sender, key):
        await tx.intend(effects.say(about=key, room_id=event.room_id, content=content, in_clear=True))
