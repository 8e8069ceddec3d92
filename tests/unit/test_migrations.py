"""The database: the migrations give exactly the tables that the program knows, and nothing of others is touched.

`tests/schemas` has a database of every schema that was ever released, as SQL, with rows in every table. Whoever adds a
step makes the dump of the one before first: `.dump` of a state that a bot of that version was at work on.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event

from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.store import schema
from onboard_bot.store.engine import sqlite_url
from onboard_bot.store.schema import LATEST, bring_up_to_date
from onboard_bot.store.tables import metadata

RELEASED = sorted((Path(__file__).parents[1] / "schemas").glob("*.sql"))
each_released_schema = pytest.mark.parametrize("dump", RELEASED, ids=lambda dump: dump.stem)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "onboard.db"


def shape(path: Path) -> set[tuple[str, str, str | None]]:
    """Every table and index with its SQL, but for Alembic's own table."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE tbl_name != 'alembic_version'")
        return {(kind, name, sql and " ".join(sql.split())) for kind, name, sql in rows}


def columns_and_indexes(path: Path) -> set[tuple[Any, ...]]:
    """What the tables and indexes are made of, in whatever words and order."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            *connection.execute(
                "SELECT t.name, c.name, c.type, c.[notnull], c.dflt_value, c.pk"
                " FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table'"
            ),
            *connection.execute("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index'"),
        }


def made(revision: str, folder: Path) -> Path:
    """A database as the steps up to this one give it."""
    from alembic import command  # noqa: PLC0415 - patched here

    upgrade = command.upgrade
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(command, "upgrade", lambda config, _to: upgrade(config, revision))
        bring_up_to_date(folder / f"{revision}.db")
    return folder / f"{revision}.db"


@contextmanager
def pictures_of(path: Path, folder: Path) -> Iterator[list[Path]]:
    """What a kill would leave: a copy of the database's files before each statement and each commit."""
    pictures: list[Path] = []

    def take(*_args: object) -> None:
        picture = folder / f"{len(pictures):03}"
        picture.mkdir(parents=True)
        for file in path.parent.glob(f"{path.name}*"):
            if not file.name.endswith("-shm"):  # SQLite makes it anew
                shutil.copy(file, picture)
        pictures.append(picture / path.name)

    event.listen(Engine, "before_cursor_execute", take)
    event.listen(Engine, "commit", take)
    try:
        yield pictures
    finally:
        event.remove(Engine, "before_cursor_execute", take)
        event.remove(Engine, "commit", take)


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def load(dump: Path, path: Path) -> None:
    """Makes the database of a released version."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text())


def content(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, but for Alembic's own."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]  # noqa: S608
            for table in tables
            if table not in ("alembic_version", "sqlite_sequence")
        }


def survived(old: dict[str, list[dict[str, Any]]], new: dict[str, list[dict[str, Any]]]) -> bool:
    """Whether every row is there with every value that it had; new columns, and single values, may have been added."""
    return all(
        (len(rows) == len(new[table]) or (table == "meta" and len(rows) < len(new[table])))
        and all(before.items() <= after.items() for before, after in zip(rows, new[table], strict=table != "meta"))
        for table, rows in old.items()
    )


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


def test_every_schema_before_the_latest_has_its_dump_with_rows_in_every_table(tmp_path: Path) -> None:
    assert {dump.stem for dump in RELEASED} >= schema._KNOWN - {LATEST}
    for dump in RELEASED:
        load(dump, tmp_path / dump.stem)
        assert schema.revision_of(tmp_path / dump.stem) == dump.stem
        assert all(content(tmp_path / dump.stem).values())


@each_released_schema
def test_a_dump_has_the_shape_that_its_version_gave(dump: Path, path: Path, tmp_path: Path) -> None:
    """Steps that were released are never edited."""
    load(dump, path)
    assert shape(path) == shape(made(dump.stem, tmp_path))


@each_released_schema
def test_every_released_schema_becomes_the_latest_and_every_row_survives(
    dump: Path, path: Path, tmp_path: Path
) -> None:
    load(dump, path)
    old = content(path)
    bring_up_to_date(path)
    bring_up_to_date(tmp_path / "fresh.db")
    assert columns_and_indexes(path) == columns_and_indexes(tmp_path / "fresh.db")
    assert survived(old, content(path))
    engine = create_engine(sqlite_url(path, driver="pysqlite"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


@pytest.mark.parametrize("dump", [None, *RELEASED], ids=lambda dump: dump.stem if dump else "nothing")
def test_killed_at_any_statement_of_a_migration_the_next_start_completes_it(
    dump: Path | None, path: Path, tmp_path: Path
) -> None:
    old: dict[str, list[dict[str, Any]]] = {}
    if dump is not None:
        load(dump, path)
        old = content(path)
    whole = {revision: columns_and_indexes(made(revision, tmp_path)) for revision in schema._KNOWN}
    with pictures_of(path, tmp_path / "pictures") as pictures:
        bring_up_to_date(path)
    assert len(pictures) > 5
    for picture in pictures:
        revision = schema.revision_of(picture)
        if revision is None:
            assert content(picture) == {}, f"half a migration in {picture}"
        else:
            assert columns_and_indexes(picture) == whole[revision], f"half a migration in {picture}"
        assert survived(old, content(picture))
        bring_up_to_date(picture)
        assert columns_and_indexes(picture) == whole[LATEST]
        assert survived(old, content(picture))


def test_there_is_no_way_back() -> None:
    script = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
    assert not any(hasattr(revision.module, "downgrade") for revision in script.walk_revisions())


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
