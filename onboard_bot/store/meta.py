"""Owns the few single values that belong to the whole database."""

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.store.tables import meta

EPOCH = "epoch"
"""Goes into every transaction id, so that a restored copy of the state never repeats one."""
EPOCH_BYTES = 16
SAVED_AT = "saved_at"
"""Of a restored state: when its backup was taken, as text. What the bot did from then on is not in it."""
RESTORED_AT = "restored_at"
"""Of a restored state: when that was, as text."""
AUDIT_HEAD = "audit_head"
"""Place and hash of the audit log's last row, as text; `store.audit` says what for."""


class Meta:
    """Named values, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, key: str) -> str | None:
        """The value, None where none was set."""
        value: str | None = await self._connection.scalar(select(meta.c.value).where(meta.c.key == key))
        return value

    async def set(self, key: str, value: str) -> None:
        """Sets or replaces the value."""
        row = insert(meta).values(key=key, value=value)
        await self._connection.execute(row.on_conflict_do_update(index_elements=["key"], set_={"value": value}))
