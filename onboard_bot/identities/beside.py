"""Owns opening the database beside a running bot, for verbs that change something in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from onboard_bot.clock import SystemClock
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.schema import LATEST, revision_of
from onboard_bot.store.transaction import Store
from onboard_bot.store.trouble import StoreUnavailableError


@asynccontextmanager
async def store_beside(state: StateDir) -> AsyncIterator[Store]:
    """The database of a bot that has run; it may be running.

    Raises:
        OnboardError: `state_unusable`: no bot has run there, another version did, or nothing can be stored.
    """
    if not state.database.exists():
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE, f"No bot has run in {state.path}. bot.state_dir says where to look."
        )
    if revision_of(state.database) != LATEST:
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE,
            f"The database {state.database} is not that of this version of onboard-bot. Start this version of the bot"
            " once, or use the version that runs.",
        )
    store = Store(Database(sqlite_url(state.database)), SystemClock())
    try:
        yield store
    except StoreUnavailableError as error:
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE, f"Nothing can be stored: {error}. Mend that, and try again."
        ) from error
    finally:
        await store.close()
