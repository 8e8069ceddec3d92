"""Owns what a use case holds in its hand: every table within one transaction, and one moment in time."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from onboard_bot.clock import Clock, Timestamp
from onboard_bot.domain.audit import Entry
from onboard_bot.store.audit import Audit
from onboard_bot.store.engine import Database
from onboard_bot.store.identities import Identities
from onboard_bot.store.inbox import Inbox
from onboard_bot.store.jobs import Jobs, NewJob
from onboard_bot.store.journal import Journal
from onboard_bot.store.meta import Meta
from onboard_bot.store.rate_limits import RateLimits
from onboard_bot.store.requests import Requests
from onboard_bot.store.rooms import Rooms
from onboard_bot.store.trouble import StoreUnavailableError
from onboard_bot.store.undecrypted import Undecrypted
from onboard_bot.store.votes import Votes
from onboard_bot.store.withheld import WithheldKeys


class Transaction:
    """The tables. `now` is the moment of the whole transaction."""

    def __init__(self, connection: AsyncConnection, now: Timestamp, entropy: Callable[[int], bytes]) -> None:
        self.now = now
        self.meta = Meta(connection)
        self.journal = Journal(connection)
        self.inbox = Inbox(connection)
        self.rooms = Rooms(connection)
        self.undecrypted = Undecrypted(connection)
        self.withheld = WithheldKeys(connection)
        self.identities = Identities(connection)
        self.requests = Requests(connection)
        self.votes = Votes(connection)
        self.jobs = Jobs(connection)
        self.audit = Audit(connection, entropy)
        self.rate_limits = RateLimits(connection)

    async def intend(self, *new_jobs: NewJob) -> None:
        """What is to be done outside, once this transaction is committed."""
        for job in new_jobs:
            await self.jobs.add(job, now=self.now)

    async def record(self, entry: Entry) -> None:
        """What happened, for the audit log."""
        await self.audit.append(entry, now=self.now)


class Store:
    """Opens transactions, and tells who waits for jobs or events that there are some.

    Args:
        database: The engine.
        clock: Where `now` comes from.
        entropy: Gives random bytes for the audit log's salts.
        on_trouble: Told whenever nothing can be stored, or read.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        on_trouble: Callable[[StoreUnavailableError], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._entropy = entropy
        self._on_trouble = on_trouble
        self.jobs_added = asyncio.Event()
        self.inbox_filled = asyncio.Event()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that may write; committed at the end, rolled back on any exception.

        Raises:
            StoreUnavailableError: Nothing can be stored now.
        """
        with self._telling():
            async with self._database.writing() as connection:
                transaction = Transaction(connection, self._clock.now(), self._entropy)
                yield transaction
        if transaction.jobs.added:
            self.jobs_added.set()
        if transaction.inbox.filled:
            self.inbox_filled.set()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """A look at the database that holds no writer up.

        Raises:
            StoreUnavailableError: The database cannot be read now.
        """
        with self._telling():
            async with self._database.reading() as connection:
                yield Transaction(connection, self._clock.now(), self._entropy)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except StoreUnavailableError as error:
            self._on_trouble(error)
            raise

    async def close(self) -> None:
        """Closes the database."""
        await self._database.close()
