"""Owns looking into the state of the bot without touching it: no lock is taken and nothing is written.

A running bot holds the same files; SQLite's write-ahead log lets us read beside it. Without a log next to it the
database is opened as something that cannot change, since SQLite would otherwise leave files of its own behind.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from onboard_bot.clock import Clock
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.matrix.session import SESSION_FILE, Session
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database
from onboard_bot.store.rate_limits import MetLimit
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.transaction import Store

_ACCOUNT_FILE = "account.json"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the database says.

    Args:
        admin_room: The room that the bot has, or is about to have; None before the first start.
        limits: The rate limits met in the last day.
        not_accepted: People whose identity changed, and was not accepted since.
    """

    admin_room: PlannedRoom | None = None
    limits: tuple[MetLimit, ...] = ()
    not_accepted: frozenset[str] = frozenset()


def remembered_session(state: StateDir) -> Session | None:
    """The bot's session, None before the first start.

    Raises:
        OnboardError: `state_unusable`.
    """
    try:
        values = state.read_json(SESSION_FILE)
        if values is None or "access_token" not in values:
            return None
        return Session(str(values["user_id"]), str(values["device_id"]), SecretStr(values["access_token"]))
    except OSError as error:
        raise _unusable(f"{state.path / SESSION_FILE} cannot be read: {error.strerror}") from error
    except (KeyError, ValueError):
        # Without the cause: a JSON error carries the whole text, and with it the access token.
        raise _unusable(f"{state.path / SESSION_FILE} does not hold what the bot wrote there") from None


def refuse_another_accounts_state(state: StateDir, username: str) -> None:
    """What `run` does at its start.

    Raises:
        OnboardError: `state_unusable`.
    """
    state.refuse_unfinished()
    try:
        account = state.read_json(_ACCOUNT_FILE)
        if account is None or not account["registered"] or account["username"] == username:
            return
        owner = str(account["username"])
    except OSError as error:
        raise _unusable(f"{state.path / _ACCOUNT_FILE} cannot be read: {error.strerror}") from error
    except (KeyError, ValueError):
        # Without the cause: a JSON error carries the whole text, and with it the password.
        raise _unusable(f"{state.path / _ACCOUNT_FILE} does not hold what the bot wrote there") from None
    raise OnboardError(
        ErrorCode.STATE_UNUSABLE,
        f"The state directory {state.path} belongs to the account {owner}, but bot.username is {username}. Change one"
        " of them: another state_dir, or the old name.",
    )


async def remembered(state: StateDir, clock: Clock) -> Remembered:
    """What the database says.

    Raises:
        OnboardError: `state_unusable`.
    """
    try:
        if not state.database.exists() or state.database.stat().st_size == 0:  # empty: its first start was cut off
            return Remembered()
        store = Store(Database(read_only_url(state.database)), clock)
        try:
            async with store.reading() as tx:
                plan = await tx.rooms.find(Purpose.ADMIN)
                limits = await tx.rate_limits.of_the_last_day(now=tx.now)
                not_accepted = await tx.identities.not_accepted()
        finally:
            await store.close()
    except OSError as error:
        raise _unusable(f"{state.database} cannot be read: {error.strerror}") from error
    except Exception as error:  # what a damaged or a newer database raises is store/'s own business
        why = str(error.__cause__ or error)
        raise _unusable(f"The database {state.database} cannot be read: {why}") from error
    return Remembered(plan, tuple(limits), frozenset(not_accepted))


def read_only_url(path: Path) -> str:
    """The SQLAlchemy address by which a SQLite file is read and never written."""
    log = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if log.exists() else "immutable=1"
    escaped = quote(quote(str(path.absolute())))  # SQLAlchemy takes one layer off, SQLite the other
    return f"sqlite+aiosqlite:///file:{escaped}?{how}&uri=true"


def _unusable(why: str) -> OnboardError:
    return OnboardError(
        ErrorCode.STATE_UNUSABLE,
        f"{why}. Run check as the user that the bot runs as; if the file is damaged, restore a backup.",
    )
