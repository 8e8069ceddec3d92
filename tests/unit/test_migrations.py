"""The database: the migrations give exactly the tables that the program knows, and nothing of others is touched."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.store import schema
from onboard_bot.store.engine import sqlite_url
from onboard_bot.store.schema import LATEST, bring_up_to_date
from onboard_bot.store.tables import metadata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "onboard.db"


def shape(path: Path) -> set[tuple[str, str, str | None]]:
    """Every table and index with its SQL, but for Alembic's own table."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE tbl_name != 'alembic_version'")
        return {(kind, name, sql and " ".join(sql.split())) for kind, name, sql in rows}


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def refusal(path: Path) -> FatalError:
    before = path.read_bytes()
    with pytest.raises(FatalError) as caught:
        bring_up_to_date(path)
    assert caught.value.code is ErrorCode.STATE_UNUSABLE
    assert path.read_bytes() == before
    assert str(path) in caught.value.sentence
    return caught.value


def test_the_migrations_give_exactly_the_tables_that_the_program_knows(path: Path, tmp_path: Path) -> None:
    bring_up_to_date(path)
    engine = create_engine(sqlite_url(path, driver="pysqlite"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    direct = create_engine(sqlite_url(tmp_path / "direct.db", driver="pysqlite"))
    metadata.create_all(direct)
    direct.dispose()
    assert shape(path) == shape(tmp_path / "direct.db")


def test_the_latest_step_is_the_one_that_the_program_names() -> None:
    script = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
    assert script.get_current_head() == LATEST
    assert {revision.revision for revision in script.walk_revisions()} == schema._KNOWN


def test_a_second_start_changes_nothing(path: Path) -> None:
    bring_up_to_date(path)
    run(path, "INSERT INTO meta VALUES ('epoch', 'kept')")
    before = path.read_bytes()
    bring_up_to_date(path)
    assert path.read_bytes() == before


def test_a_newer_database_is_refused_by_name(path: Path) -> None:
    bring_up_to_date(path)
    run(path, "UPDATE alembic_version SET version_num = '0999'")
    sentence = refusal(path).sentence
    assert "0999" in sentence
    assert "newer onboard-bot" in sentence


@pytest.mark.parametrize("content", [b"this is no database\n" * 100, bytes(range(256)) * 64], ids=["text", "noise"])
def test_a_file_that_is_no_database_is_refused_with_a_sentence(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "cannot be used" in refusal(path).sentence


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE users (name TEXT)",),
        ("CREATE TABLE requests (id TEXT)", "INSERT INTO requests VALUES ('x')"),
    ],
    ids=["other tables", "a table of one of our names"],
)
def test_the_database_of_another_program_is_refused_with_a_sentence(path: Path, statements: tuple[str, ...]) -> None:
    run(path, *statements)
    assert "another program" in refusal(path).sentence


def test_a_damaged_database_is_refused_with_a_sentence(path: Path) -> None:
    bring_up_to_date(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(len(whole) - 100))
    assert "cannot be used" in refusal(path).sentence


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    bring_up_to_date(path)
    assert ("table", "requests") in {(kind, name) for kind, name, _ in shape(path)}


def test_a_first_start_that_was_stopped_half_way_is_gone_on_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op  # noqa: PLC0415 - patched below

    def stopped(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(op, "create_index", stopped)
        with pytest.raises(KeyboardInterrupt):
            bring_up_to_date(path)
    bring_up_to_date(path)
    assert "requests" in {name for _, name, _ in shape(path)}
