"""Owns the audit log's rows: appended in the transaction of what they record, each chained to the one before.

`meta` keeps the head, place and hash of the last row, written together with that row. So rows that somebody takes off
the end are missed, also later: the next one goes on from the head and not from what is left. What that does not stop:
whoever may write the database can write the head as well. See `domain.audit`.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from sqlalchemy import Row as AnyRow
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Timestamp
from onboard_bot.domain.audit import (
    CHAIN_START,
    SALT_BYTES,
    Chain,
    Entry,
    Head,
    Recorded,
    Row,
    encode,
    link,
    personal_digest,
)
from onboard_bot.store.meta import AUDIT_HEAD, Meta
from onboard_bot.store.tables import audit, meta

_AT_ONCE = 500


class Audit:
    """The log, within one transaction.

    Args:
        connection: To append, it must hold the write lock, or two rows would take the same place.
        entropy: Gives random bytes for the salts.
    """

    def __init__(self, connection: AsyncConnection, entropy: Callable[[int], bytes]) -> None:
        self._connection = connection
        self._entropy = entropy
        self._appended: Head | None = None

    async def append(self, entry: Entry, *, now: Timestamp) -> None:
        """Adds a row at the end of the chain."""
        seq, previous = await self._end() if self._appended is None else (self._appended.seq + 1, self._appended.hash)
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
        await Meta(self._connection).set(AUDIT_HEAD, f"{seq} {chained}")
        self._appended = Head(seq, chained)

    async def _end(self) -> tuple[int, str]:
        """The next free place, and the hash that its row goes on from: the head's, whatever stands in the log."""
        last = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1).subquery()
        kept = select(meta.c.value).where(meta.c.key == AUDIT_HEAD).scalar_subquery()
        query = select(select(last.c.seq).scalar_subquery(), select(last.c.hash).scalar_subquery(), kept)
        seq, previous, head = (await self._connection.execute(query)).one()
        known = _head(head) or Head(seq or 0, previous or CHAIN_START)
        return max(seq or 0, known.seq) + 1, known.hash

    async def head(self) -> Head | None:
        """The place and hash of the last row; None where nobody kept them."""
        return _head(await Meta(self._connection).get(AUDIT_HEAD))

    async def rows(self, *, after: int | None = None, at_most: int = _AT_ONCE) -> list[Row]:
        """Rows as they stand there, by their places.

        Args:
            after: Begin behind this place; None at the first.
            at_most: So many.
        """
        query = select(audit).order_by(audit.c.seq).limit(at_most)
        if after is not None:
            query = query.where(audit.c.seq > after)
        return [_row(row) for row in await self._connection.execute(query)]

    async def of_request(self, request_id: str) -> list[Recorded]:
        """What was recorded about a request, oldest first."""
        query = select(audit).where(audit.c.request_id == request_id).order_by(audit.c.seq)
        return [_row(row).read() for row in await self._connection.execute(query)]

    async def verify(self) -> int | None:
        """The place of the first row that does not fit the chain, or is missing; None where all is well."""
        chain = Chain()
        async for row in self._all():
            chain = chain.then(row)
        broken = chain.ended(await self.head()).broken
        return None if broken is None else broken.place

    async def _all(self) -> AsyncIterator[Row]:
        rows = await self.rows()
        while rows:
            for row in rows:
                yield row
            rows = await self.rows(after=rows[-1].seq)


def _head(value: str | None) -> Head | None:
    """The head that a text names; None where `append` never wrote that."""
    seq, _, hash_ = (value or "").partition(" ")
    return Head(int(seq), hash_) if seq.isascii() and seq.isdecimal() else None


def _row(row: AnyRow[Any]) -> Row:
    """SQLite keeps any kind of value in any column; what the bot never wrote must not fit, and stop nobody."""
    return Row(
        seq=row.seq,
        at=row.at,
        verb=str(row.verb),
        request_id=None if row.request_id is None else str(row.request_id),
        facts=str(row.facts),
        personal=None if row.personal is None else str(row.personal),
        salt=row.salt if row.salt is None or isinstance(row.salt, bytes) else str(row.salt).encode(),
        personal_digest=str(row.personal_digest),
        hash=str(row.hash),
    )
