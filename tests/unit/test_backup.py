"""A backup: one private file, whole or not there, of one moment, and nothing in it that must not leave the machine."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.safekeeping import archive
from onboard_bot.safekeeping.archive import MEMBERS, Manifest, read
from onboard_bot.safekeeping.backup import backup
from onboard_bot.state_dir import StateDir
from tests.fakes.clock import FakeClock
from tests.fakes.wrong_servers import nobody_listens
from tests.unit.saved_state import make_state


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return make_state(tmp_path / "state")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "today.tar"


@pytest.fixture(autouse=True)
def folder_of_backups(target: Path) -> Iterator[None]:
    """At the end nothing but the backup is left there, however it went."""
    target.parent.mkdir()
    yield
    assert {path.name for path in target.parent.iterdir()} <= {target.name, "keep"}


def refusal(state: StateDir, target: Path, code: ErrorCode = ErrorCode.BAD_ARGUMENT) -> str:
    with pytest.raises(OnboardError) as caught:
        backup(state, target, FakeClock())
    assert caught.value.code is code
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def names(target: Path) -> list[str]:
    with tarfile.open(target) as tar:
        return tar.getnames()


def onboard_bot(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A verb, as typed by an operator whose shared secret cannot be read just now."""
    config = {
        "homeserver": {"url": nobody_listens(), "shared_secret_file": str(folder / "nowhere")},
        "bot": {"state_dir": str(folder / "state")},
        "admin_room": {"admins": ["@ada:example.org"]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return subprocess.run(
        [sys.executable, "-m", "onboard_bot", *arguments, "--config", str(folder / "config.yaml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=os.environ | environ,
    )


def test_everything_is_in_it_but_the_encryption_store(state: StateDir, target: Path) -> None:
    (state.crypto / "olm.db").write_bytes(b"keys")
    state.key("crypto.key")
    with state.held():
        manifest = backup(state, target, FakeClock(5000.0))
    assert names(target) == ["manifest.json", *MEMBERS]
    assert manifest == read(target)
    assert (manifest.saved_at, manifest.user_id) == (5000.0, "@onboard:example.org")
    with tarfile.open(target) as tar:
        for name in set(MEMBERS) - {"onboard.db"}:
            member = tar.extractfile(name)
            assert member is not None
            assert member.read() == (state.path / name).read_bytes()


def test_a_bot_that_never_signed_in_can_be_saved_too(state: StateDir, target: Path) -> None:
    for name in ("session.json", "cross_signing.json", "cross_signing.pending.json", "secrets.key"):
        (state.path / name).unlink()
    assert backup(state, target, FakeClock()).user_id is None
    assert names(target) == ["manifest.json", "onboard.db", "account.json"]


def test_it_is_private_from_its_first_byte_on_and_appears_only_whole(
    state: StateDir, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.write_bytes(b"yesterday's")
    target.chmod(0o644)
    opened: set[int] = set()

    def watching(path: str | Path, flags: int, mode: int = 0o777, **more: int) -> int:
        descriptor = open_(path, flags, mode, **more)
        if flags & os.O_CREAT:
            opened.add(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    def packing(path: Path, manifest: Manifest, folder: Path) -> None:
        pack(path, manifest, folder)
        assert target.read_bytes() == b"yesterday's"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}

    open_, pack = os.open, archive.pack
    old_umask = os.umask(0o022)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", watching)
            patched.setattr("onboard_bot.safekeeping.backup.pack", packing)
            backup(state, target, FakeClock())
    finally:
        os.umask(old_umask)
    assert opened == {0o600}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert read(target).members.keys() == set(MEMBERS)


def test_a_database_in_the_middle_of_writing_is_saved_as_of_one_moment_and_nobody_waits(
    state: StateDir, target: Path
) -> None:
    """A writer that never rests, and would complain if it had to wait; half a transaction of its would show."""
    with closing(sqlite3.connect(state.database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE ballast AS SELECT randomblob(24000000) AS weight")
        connection.execute("INSERT INTO meta VALUES ('left', '0'), ('right', '0')")
        connection.commit()
    stop, written = threading.Event(), [0]

    complaints: list[sqlite3.Error] = []

    def write() -> None:
        try:
            keep_writing()
        except sqlite3.Error as error:
            complaints.append(error)

    def keep_writing() -> None:
        with closing(sqlite3.connect(state.database, isolation_level=None, timeout=0.5)) as connection:
            connection.execute("PRAGMA synchronous=OFF")  # more often than any real bot
            while not stop.is_set():
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'left'")
                connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'right'")
                connection.execute("COMMIT")
                written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while written[0] < 10:
            time.sleep(0.001)
        backup(state, target, FakeClock())
    finally:
        stop.set()
        writer.join()
    assert not complaints
    assert written[0] > 20
    with tarfile.open(target) as tar:
        member = tar.extractfile("onboard.db")
        assert member is not None
        (target.parent / "keep").write_bytes(member.read())
    with closing(sqlite3.connect(target.parent / "keep")) as copy:
        values = dict(copy.execute("SELECT key, value FROM meta"))
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert int(values["left"]) >= 10
    assert values["left"] == values["right"]


@pytest.mark.parametrize(
    "name",
    [
        *MEMBERS,
        *("lock", "crypto.key", "onboard.db-wal", ".session.json.new", ".restoring"),
        *("crypto/backup.tar", "crypto", "crypto/../account.json"),
    ],
)
def test_it_is_never_written_over_the_state_nor_into_the_encryption_store(state: StateDir, name: str) -> None:
    before = {path: path.read_bytes() for path in state.path.rglob("*") if path.is_file()}
    assert str(state.path / name) in refusal(state, state.path / name)
    assert {path: path.read_bytes() for path in state.path.rglob("*") if path.is_file()} == before


def test_a_link_to_the_state_is_seen_through(state: StateDir, target: Path) -> None:
    target.symlink_to(state.path / "account.json")
    assert "the bot's own state" in refusal(state, target)
    target.unlink()
    target.symlink_to("/dev/null")
    assert "no file" in refusal(state, target)
    assert Path("/dev/null").is_char_device()


def test_a_target_that_cannot_be_written_is_refused_with_a_sentence(state: StateDir, target: Path) -> None:
    assert "no file" in refusal(state, target.parent)
    assert "folder is not there" in refusal(state, target.parent / "missing" / "file")
    assert "folder is not there" in refusal(state, state.database / "file")


def test_a_full_disk_leaves_yesterdays_backup(state: StateDir, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.write_bytes(b"yesterday's")

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        assert "No space left on device" in refusal(state, target)
    assert target.read_bytes() == b"yesterday's"


def test_a_disk_that_is_full_for_the_database_is_the_targets_fault(
    tmp_path: Path, state: StateDir, target: Path
) -> None:
    with closing(sqlite3.connect(state.database)) as connection:
        connection.execute("CREATE TABLE ballast AS SELECT zeroblob(1000000) AS weight")
        connection.commit()
    onboard_bot(tmp_path, "config")  # writes the configuration
    command = f'ulimit -f 500; exec {sys.executable} -m onboard_bot backup "{target}" --config "{tmp_path}/config.yaml"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith(f"FAIL bad_argument: {target} cannot be written: ")


def test_what_a_killed_backup_left_goes_with_the_next_one(state: StateDir, target: Path) -> None:
    left = target.with_name(f".{target.name}.part")
    (left / "state").mkdir(parents=True)
    left.chmod(0o700)
    (left / "state" / "onboard.db").write_bytes(b"half")
    (left / "backup").write_bytes(b"half")
    backup(state, target, FakeClock())
    assert read(target).members.keys() == set(MEMBERS)


def test_a_folder_of_somebody_else_is_not_worked_in(state: StateDir, target: Path) -> None:
    left = target.with_name(f".{target.name}.part")
    left.mkdir()
    left.chmod(0o777)
    assert "not for you alone" in refusal(state, target)
    left.rmdir()


def test_where_no_bot_ran_there_is_nothing_to_save(tmp_path: Path, target: Path) -> None:
    empty = StateDir(tmp_path / "elsewhere")
    assert "nothing to back up" in refusal(empty, target, ErrorCode.STATE_UNUSABLE)
    assert not empty.path.exists()
    empty.prepare()
    empty.database.touch()
    assert "nothing to back up" in refusal(empty, target, ErrorCode.STATE_UNUSABLE)


def change(state: StateDir, statement: str) -> None:
    with closing(sqlite3.connect(state.database)) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_state_that_could_not_be_restored_is_no_backup(state: StateDir, target: Path) -> None:
    """Yesterday's, which can, is not overwritten by one."""
    target.write_bytes(b"yesterday's")
    whole = state.database.read_bytes()

    change(state, "UPDATE audit SET verb = 'account:found' WHERE seq = 2")
    assert "row 2 does not fit" in refusal(state, target, ErrorCode.STATE_UNUSABLE)
    state.database.write_bytes(whole[:8192] + bytes(len(whole) - 8192))
    assert "damaged" in refusal(state, target, ErrorCode.STATE_UNUSABLE)
    state.database.write_bytes(b"no database at all " * 500)
    assert "cannot be read" in refusal(state, target, ErrorCode.STATE_UNUSABLE)
    state.database.write_bytes(whole)
    change(state, "UPDATE alembic_version SET version_num = '0999'")
    assert "newer onboard-bot (schema 0999" in refusal(state, target, ErrorCode.STATE_UNUSABLE)
    state.database.write_bytes(whole)
    account = (state.path / "account.json").read_text()
    (state.path / "account.json").write_text(account[:20])
    sentence = refusal(state, target, ErrorCode.STATE_UNUSABLE)
    assert "account.json" in sentence
    assert json.loads(account)["password"] not in sentence
    (state.path / "account.json").write_text(account)
    state.unfinished.mkdir()
    assert "cut off" in refusal(state, target, ErrorCode.STATE_UNUSABLE)
    assert target.read_bytes() == b"yesterday's"


def test_an_older_schema_is_saved_as_it_is(state: StateDir, target: Path) -> None:
    """The program may have been replaced under a bot that runs; and this is the backup from before the upgrade."""
    state.database.unlink()
    dump = Path(__file__).parents[1] / "schemas" / "0001.sql"
    with closing(sqlite3.connect(state.database)) as connection:
        connection.executescript(dump.read_text())
    assert backup(state, target, FakeClock()).schema_revision == "0001"


def test_the_verb_ends_with_0_1_or_2(tmp_path: Path, state: StateDir, target: Path) -> None:
    done = onboard_bot(tmp_path, "backup", str(target))
    assert (done.returncode, done.stderr) == (0, "")
    assert "@onboard:example.org" in done.stdout
    failed = onboard_bot(tmp_path, "backup", str(state.crypto / "x"))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("FAIL bad_argument: ")
    assert len(failed.stderr.splitlines()) == 1
    broken = onboard_bot(tmp_path, "backup", str(target), ONBOARD_BOT_BOT__USERNAME="Not A Name")
    assert broken.returncode == 2
    assert broken.stderr.startswith("FAIL bot.username: ")
