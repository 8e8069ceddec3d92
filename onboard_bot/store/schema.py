"""Owns bringing the database to the shape that this program knows, before anything else opens it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.store.engine import apply_recipe, sqlite_url

LATEST = "0004"
_KNOWN = frozenset({"0001", "0002", "0003", "0004"})


def bring_up_to_date(path: Path) -> None:
    """Creates the database or takes it forward; never back.

    Alembic is imported only when there is something to do: a warm start does not pay for it.

    Raises:
        FatalError: `state_unusable`, when a newer or another program wrote the database, or it cannot be read or
            written.
    """
    try:
        revision = revision_of(path)
        if revision == LATEST:
            return
        if revision is not None:
            refuse_newer(revision, f"The database {path}")
        if revision is None and _is_of_others(path):
            raise FatalError(
                ErrorCode.STATE_UNUSABLE,
                f"The database {path} was written by another program. Move it away, or choose another bot.state_dir.",
            )
        _migrate(path)
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise FatalError(ErrorCode.STATE_UNUSABLE, f"The database {path} cannot be used: {error}.") from error


def refuse_newer(revision: str, what: str) -> None:
    """Refuses what this program is too old for.

    Args:
        revision: The schema's.
        what: Has it, for the sentence.

    Raises:
        FatalError: `state_unusable`.
    """
    if revision not in _KNOWN:
        raise FatalError(
            ErrorCode.STATE_UNUSABLE,
            f"{what} was written by a newer onboard-bot (schema {revision}; this program knows {LATEST}). Use that"
            " newer version again, or restore a backup from before the upgrade.",
        )


def revision_of(path: Path) -> str | None:
    """The last step that the database was taken through; None where there is no database of ours."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as connection:
        has_table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if has_table else None
    return None if row is None else str(row[0])


def _is_of_others(path: Path) -> bool:
    """Whether it holds tables although none of our steps was ever completed."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return bool(tables - {"alembic_version", "sqlite_sequence"})


def _migrate(path: Path) -> None:
    from alembic import command  # noqa: PLC0415 - see bring_up_to_date
    from alembic.config import Config  # noqa: PLC0415 - the same
    from sqlalchemy import create_engine  # noqa: PLC0415 - the same

    engine = create_engine(sqlite_url(path, driver="pysqlite"))
    apply_recipe(engine)
    config = Config()
    config.set_main_option("script_location", "onboard_bot.store:migrations")
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()
