"""Owns the audit log's rows: appended in the transaction of what they record, each chained to the one before."""

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Timestamp
from onboard_bot.domain.audit import CHAIN_START, SALT_BYTES, Entry, encode, link, personal_digest
from onboard_bot.store.tables import audit


class Audit:
    """The log, within one transaction.

    Args:
        connection: Must hold the write lock, or two rows would take the same place.
        entropy: Gives random bytes for the salts.
    """

    def __init__(self, connection: AsyncConnection, entropy: Callable[[int], bytes]) -> None:
        self._connection = connection
        self._entropy = entropy

    async def append(self, entry: Entry, *, now: Timestamp) -> None:
        """Adds a row at the end of the chain."""
        last = (
            await self._connection.execute(select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1))
        ).first()
        seq, previous = (1, CHAIN_START) if last is None else (last.seq + 1, last.hash)
        salt = self._entropy(SALT_BYTES)
        facts = encode(entry.facts)
        personal = dict(entry.personal or {})
        digest = personal_digest(salt, personal)
        chained = link(
            previous,
            seq=seq,
            at=now,
            verb=entry.verb,
            request_id=entry.request_id,
            facts=facts,
            personal_digest=digest,
        )
        await self._connection.execute(
            insert(audit).values(
                seq=seq,
                at=now,
                verb=entry.verb,
                request_id=entry.request_id,
                facts=facts,
                personal=encode(personal),
                salt=salt,
                personal_digest=digest,
                hash=chained,
            )
        )

    async def verify(self) -> int | None:
        """The place of the first row that does not fit the chain; None where all is well."""
        previous = CHAIN_START
        rows = await self._connection.stream(select(audit).order_by(audit.c.seq))
        expected = 0
        async for row in rows:
            expected += 1
            if row.seq != expected or not _personal_fits(row):
                return expected
            chained = link(
                previous,
                seq=row.seq,
                at=row.at,
                verb=row.verb,
                request_id=row.request_id,
                facts=row.facts,
                personal_digest=row.personal_digest,
            )
            if chained != row.hash:
                return expected
            previous = row.hash
        return None


def _personal_fits(row: Row[Any]) -> bool:
    """Whether the erasable columns are as they were written, or erased together."""
    if row.salt is None or row.personal is None:
        return row.salt is None and row.personal is None
    try:
        return bool(personal_digest(row.salt, json.loads(row.personal)) == row.personal_digest)
    except ValueError:
        return False
