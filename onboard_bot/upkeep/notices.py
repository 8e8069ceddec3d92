"""Owns what the admin room is told unasked, once, whatever is restarted: what its people cannot see for themselves."""

from collections.abc import Awaitable, Callable, Iterator

from onboard_bot.chat.messages import Message, render
from onboard_bot.chat.replies import failure, not_encrypted
from onboard_bot.errors import ErrorCode
from onboard_bot.onboarding import effects
from onboard_bot.store.jobs import NewJob
from onboard_bot.store.transaction import Store
from onboard_bot.upkeep.identity import IdentityWatch


class AdminRoomNotices:
    """Tells; the jobs' keys see to it that nothing is told twice.

    Args:
        store: Takes the jobs.
        is_encrypted: Of a room.
        identity: The bot's own.
    """

    def __init__(self, store: Store, is_encrypted: Callable[[str], Awaitable[bool]], identity: IdentityWatch) -> None:
        self._store = store
        self._is_encrypted = is_encrypted
        self._identity = identity
        self._looked_at: dict[str, bool] = {}
        self._intended: set[str] = set()

    async def bring_up_to_date(self, room_id: str) -> None:
        """Tells what there is to tell in a room that the bot is in; often, for what is told already costs nothing."""
        if room_id not in self._looked_at:
            self._looked_at[room_id] = await self._is_encrypted(room_id)
        new = [job for job in self._due(room_id) if job.key not in self._intended]
        if new:
            async with self._store.transaction() as tx:
                await tx.intend(*new)
            self._intended |= {job.key for job in new}

    def _due(self, room_id: str) -> Iterator[NewJob]:
        if not self._looked_at[room_id]:
            yield _say(f"not_encrypted:{room_id}", room_id, not_encrypted())
        standing = self._identity.standing
        if standing.trouble is not None and standing.trouble.code is ErrorCode.IDENTITY_MISMATCH:
            yield _say(f"own_identity:{standing.about}", room_id, failure(standing.trouble))


def _say(about: str, room_id: str, message: Message) -> NewJob:
    """In clear: clients that leave unsigned devices out could not read our encrypted words, and it is no secret."""
    return effects.say(about=about, room_id=room_id, content=render(message), in_clear=True)
