"""A restore: everything or nothing, never over a state nor beside a bot, and nothing of the first life used again."""

import asyncio
import fcntl
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onboard_bot.errors import ErrorCode, FatalError, OnboardError
from onboard_bot.safekeeping.archive import MEMBERS, Manifest
from onboard_bot.safekeeping.backup import backup
from onboard_bot.safekeeping.restore import restore
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.schema import LATEST, revision_of
from onboard_bot.store.transaction import Store
from tests.fakes.clock import FakeClock
from tests.unit.saved_state import OLD_EPOCH, make_state
from tests.unit.test_backup import onboard_bot

SAVED_AT, RESTORED_AT = 1_800_000_000.0, 1_800_500_000.0
NEW_EPOCH = "abab" * 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup."""
    folder = tmp_path_factory.mktemp("whole")
    backup(make_state(folder / "first"), folder / "backup.tar", FakeClock(SAVED_AT))
    return folder / "backup.tar"


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "deep" / "state")


def restored(state: StateDir, source: Path) -> Manifest:
    return restore(state, source, FakeClock(RESTORED_AT), lambda size: b"\xab" * size)


def refusal(state: StateDir, source: Path, code: ErrorCode = ErrorCode.STATE_UNUSABLE) -> str:
    """Why nothing was restored; the directory is as it was."""
    before = everything(state.path.parent)
    with pytest.raises(OnboardError) as caught:
        restored(state, source)
    assert caught.value.code is code
    assert "\n" not in caught.value.sentence
    assert everything(state.path.parent) == before
    return caught.value.sentence


def everything(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def meta(state: StateDir) -> dict[str, str]:
    with closing(sqlite3.connect(state.database)) as connection:
        return dict(connection.execute("SELECT key, value FROM meta WHERE key != 'audit_head'"))


def remake(source: Path, target: Path, change: Callable[[dict[str, bytes], dict[str, Any]], None]) -> Path:
    """A backup that says of itself that it is whole, with something in it changed."""
    with tarfile.open(source) as tar:
        files = {name: member.read() for name in tar.getnames() if (member := tar.extractfile(name)) is not None}
    manifest = json.loads(files.pop("manifest.json"))
    change(files, manifest)
    manifest["members"] = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    with tarfile.open(target, "w") as tar:
        for name, content in {"manifest.json": json.dumps(manifest).encode(), **files}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return target


def in_database(*statements: str) -> Callable[[dict[str, bytes], dict[str, Any]], None]:
    """A change of the database in a backup."""

    def change(files: dict[str, bytes], _manifest: dict[str, Any]) -> None:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(files["onboard.db"])
            for statement in statements:
                connection.execute(statement)
            connection.commit()
            files["onboard.db"] = connection.serialize()

    return change


def test_everything_is_as_it_was_but_the_device_and_the_epoch(whole: Path, state: StateDir) -> None:
    restored(state, whole)
    first = whole.parent / "first"
    assert {path.name for path in state.path.iterdir()} == {*MEMBERS, "lock"}
    assert {path.stat().st_mode & 0o777 for path in state.path.iterdir()} == {0o600}
    assert state.path.stat().st_mode & 0o777 == 0o700
    for name in ("account.json", "cross_signing.json", "secrets.key", "session.json"):
        assert (state.path / name).read_bytes() == (first / name).read_bytes()
    assert meta(StateDir(first)) == {"epoch": OLD_EPOCH}
    assert meta(state) == {"epoch": NEW_EPOCH, "saved_at": str(SAVED_AT), "restored_at": str(RESTORED_AT)}
    with state.held():
        pass


def test_the_audit_log_tells_of_the_restore(whole: Path, state: StateDir) -> None:
    restored(state, whole)
    with closing(sqlite3.connect(state.database)) as connection:
        told = connection.execute("SELECT facts FROM audit WHERE verb = 'state:restored'").fetchall()
    assert [json.loads(facts) for (facts,) in told] == [{"saved_at": SAVED_AT}]


def test_what_root_restores_belongs_to_the_owner_of_the_directory(
    whole: Path, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, tuple[int, int]] = {}
    state.prepare()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.update({path.name: (uid, gid)}))
    restored(state, whole)
    owner = state.path.stat()
    assert given == dict.fromkeys((*MEMBERS, "lock"), (owner.st_uid, owner.st_gid))


async def test_an_account_that_was_about_to_be_made_may_have_been_made_since(whole: Path, state: StateDir) -> None:
    """Under `creating`, “already taken” is not believed before one sign-in has told whose it is."""
    await asyncio.to_thread(restored, state, whole)
    store = Store(Database(sqlite_url(state.database)), FakeClock())
    async with store.reading() as tx:
        request = await tx.requests.get("aaaaa")
        assert request is not None
        assert request.state == "creating"
        assert await tx.requests.sealed_password("aaaaa") is not None
        assert await tx.audit.verify() is None
    await store.close()


def test_a_backup_of_an_older_schema_is_brought_up_to_date(whole: Path, state: StateDir, tmp_path: Path) -> None:
    def older(files: dict[str, bytes], manifest: dict[str, Any]) -> None:
        dump = Path(__file__).parents[1] / "schemas" / "0001.sql"
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.executescript(dump.read_text())
            files["onboard.db"] = connection.serialize()
        manifest["schema_revision"] = "0001"

    restored(state, remake(whole, tmp_path / "older.tar", older))
    assert revision_of(state.database) == LATEST
    assert meta(state)["epoch"] == NEW_EPOCH


@pytest.mark.parametrize("stored", [{"keys_stored": True}, {}], ids=["keys stored", "keys not stored yet"])
def test_the_old_device_is_always_left(whole: Path, state: StateDir, tmp_path: Path, stored: dict[str, bool]) -> None:
    """Also where the backup was taken before its keys were stored: they may have been since."""
    session = {"device_id": "OLDDEVICE", "user_id": "@onboard:example.org", "access_token": "syt_old"} | stored

    def change(files: dict[str, bytes], _manifest: dict[str, Any]) -> None:
        files["session.json"] = json.dumps(session).encode()

    restored(state, remake(whole, tmp_path / "early.tar", change))
    assert state.read_json("session.json") == session | {"keys_stored": True}


def test_a_device_that_was_about_to_sign_in_is_forgotten(whole: Path, state: StateDir, tmp_path: Path) -> None:
    def change(files: dict[str, bytes], _manifest: dict[str, Any]) -> None:
        files["session.json"] = b'{"device_id": "OLDDEVICE"}'

    restored(state, remake(whole, tmp_path / "early.tar", change))
    assert state.read_json("session.json") is None


@pytest.mark.parametrize(("between", "since"), [(3600.0, SAVED_AT), (8 * 86400.0, None)])
def test_a_gap_of_an_earlier_restore_is_part_of_the_next_one_while_it_is_looked_into(
    whole: Path, state: StateDir, tmp_path: Path, between: float, since: float | None
) -> None:
    restored(state, whole)
    second = RESTORED_AT + between
    backup(state, tmp_path / "second.tar", FakeClock(second))
    shutil.rmtree(state.path)
    restored(state, tmp_path / "second.tar")
    assert meta(state)["saved_at"] == str(since or second)


# Where there is something already


def test_nothing_is_restored_over_a_state(whole: Path, state: StateDir) -> None:
    restored(state, whole)
    sentence = refusal(state, whole)
    assert "is not empty: it holds account.json, cross_signing.json, cross_signing.pending.json, onboard.db" in sentence


@pytest.mark.parametrize("name", ["notes.txt", "onboard.db", "crypto/olm.db", ".session.json.new"])
def test_whatever_is_there_is_named_and_stays(whole: Path, state: StateDir, name: str) -> None:
    (state.path / name).parent.mkdir(parents=True)
    (state.path / name).write_text("mine")
    before = state.path.stat().st_mtime_ns
    assert name.partition("/")[0] in refusal(state, whole)
    assert state.path.stat().st_mtime_ns == before


def test_a_folder_in_which_no_state_was_yet_counts_as_empty(whole: Path, state: StateDir) -> None:
    state.prepare()
    (state.path / "lost+found").mkdir()
    with state.held():
        pass
    restored(state, whole)
    assert state.database.exists()


def test_beside_a_bot_its_process_is_named_whatever_is_in_the_folder(whole: Path, state: StateDir) -> None:
    state.prepare()
    with state.held():
        assert f"process {os.getpid()}" in refusal(state, whole, ErrorCode.STATE_IN_USE)
        state.write_json("account.json", {})
        assert f"process {os.getpid()}" in refusal(state, whole, ErrorCode.STATE_IN_USE)


def test_a_lock_file_that_a_failed_restore_took_away_holds_nobody(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opened it before that and locked it afterwards would hold a file that nobody else can see."""
    state.prepare()
    flock = fcntl.flock
    taken_away: list[int] = []

    def late(descriptor: int, how: int) -> None:
        if not taken_away:
            state.lock_file.unlink()
            taken_away.append(descriptor)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with state.held(), pytest.raises(FatalError, match="held by another"), StateDir(state.path).held():
        pytest.fail("held twice")
    assert taken_away


# What is not a backup


@pytest.mark.parametrize(
    "content",
    [b"", b"text\n" * 1000, bytes(10240), bytes(range(256)) * 100],
    ids=["empty", "text", "zeros", "noise"],
)
def test_a_foreign_file_is_refused(state: StateDir, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "foreign").write_bytes(content)
    assert "no backup of onboard-bot" in refusal(state, tmp_path / "foreign", ErrorCode.BAD_ARGUMENT)


def test_what_is_not_even_a_file_is_refused(state: StateDir, tmp_path: Path) -> None:
    assert "No such file" in refusal(state, tmp_path / "missing", ErrorCode.BAD_ARGUMENT)
    assert "Is a directory" in refusal(state, tmp_path, ErrorCode.BAD_ARGUMENT)


def test_a_backup_that_was_cut_off_anywhere_is_refused(whole: Path, state: StateDir, tmp_path: Path) -> None:
    content = whole.read_bytes()
    with tarfile.open(whole) as tar:
        ends = [512 * -(-(entry.offset_data + entry.size) // 512) for entry in tar]
    assert len(ends) == 7
    for cut in [*ends[:-1], *(end - 512 for end in ends), *range(1, ends[-1], 9973)]:
        (tmp_path / "cut").write_bytes(content[:cut])
        refusal(state, tmp_path / "cut", ErrorCode.BAD_ARGUMENT)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_changed_in_a_backup_it_is_refused_or_the_same(
    whole: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        # Headers are where a reader of archives can be led astray; most of the rest is covered by digests.
        block = 512 * data.draw(st.sampled_from([0, 1, 2, *range(0, len(content) // 512, 7)]))
        content[min(block + data.draw(st.integers(0, 511)), len(content) - 1)] = data.draw(st.integers(0, 255))
    (tmp_path / "changed").write_bytes(content)
    state = StateDir(tmp_path / "changed-state")
    try:
        restored(state, tmp_path / "changed")
    except OnboardError as error:
        assert error.code in (ErrorCode.BAD_ARGUMENT, ErrorCode.STATE_UNUSABLE)  # noqa: PT017 - or it is the same
        assert not state.path.exists()
    else:
        assert (state.path / "secrets.key").read_bytes() == (whole.parent / "first" / "secrets.key").read_bytes()
        shutil.rmtree(state.path)


def entry_of(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        entry_of("crypto/olm.db"),
        entry_of("../escaped"),
        entry_of("/escaped"),
        entry_of("account.json"),
        entry_of("account.json", tarfile.SYMTYPE, "/etc/passwd"),
        entry_of("account.json", tarfile.LNKTYPE, "secrets.key"),
        entry_of("account.json", tarfile.DIRTYPE),
        entry_of("account.json", tarfile.FIFOTYPE),
        entry_of("account.json", tarfile.CHRTYPE),
    ],
    ids=lambda entry: f"{entry.name} {entry.type.decode()}",
)
@pytest.mark.parametrize("instead", [True, False])
def test_nothing_but_the_known_names_as_plain_files_is_taken(
    whole: Path, state: StateDir, tmp_path: Path, entry: tarfile.TarInfo, *, instead: bool
) -> None:
    """Neither beside the member that bears the name, nor in its place."""
    with tarfile.open(whole) as old, tarfile.open(tmp_path / "odd.tar", "w") as new:
        for member in old:
            if not (instead and member.name == entry.name):
                new.addfile(member, old.extractfile(member))
            if member.name == "onboard.db":
                new.addfile(entry)
    sentence = refusal(state, tmp_path / "odd.tar", ErrorCode.BAD_ARGUMENT)
    assert "not ours" in sentence
    assert not (tmp_path / "escaped").exists()


ODD: dict[str, tuple[Callable[[Any, Any], object], str]] = {
    "no database": (lambda files, _: files.pop("onboard.db"), "no backup"),
    "an account that is a list": (lambda files, _: files.update({"account.json": b"[]"}), "account.json does not hold"),
    "an account without end": (lambda files, _: files.update({"account.json": b"{"}), "account.json does not hold"),
    "a deep session": (lambda files, _: files.update({"session.json": b"[" * 100_000}), "session.json does not hold"),
    "half an identity": (
        lambda files, _: files.update({"cross_signing.json": b'{"master": ""}'}),
        "cross_signing.json",
    ),
    "a short key": (lambda files, _: files.update({"secrets.key": b"short"}), "secrets.key does not hold"),
    "a database of text": (lambda files, _: files.update({"onboard.db": b"no database"}), "damaged"),
    "an empty database": (lambda files, _: files.update({"onboard.db": b""}), "holds nothing of onboard-bot"),
    "half a database": (lambda files, _: files.update({"onboard.db": files["onboard.db"][:8192]}), "damaged"),
    "a newer form": (lambda _, manifest: manifest.update(format=2), "newer onboard-bot (format 2"),
    "a newer schema": (lambda _, manifest: manifest.update(schema_revision="0999"), "newer onboard-bot (schema 0999"),
    "no moment": (lambda _, manifest: manifest.update(saved_at="yesterday"), "no backup"),
    "more in the manifest": (lambda _, manifest: manifest.update(more=1), "no backup"),
    "a newer database": (in_database("UPDATE alembic_version SET version_num = '0999'"), "(schema 0999"),
    "a gap in the audit log": (in_database("DELETE FROM audit WHERE seq = 2"), "row 2 does not fit"),
    "a missing table": (in_database("DROP TABLE jobs", "DROP TABLE audit"), "cannot be used: no such table"),
    "another program's database": (in_database("DROP TABLE alembic_version"), "holds nothing of onboard-bot"),
}


@pytest.mark.parametrize(("change", "sentence"), ODD.values(), ids=ODD)
def test_what_makes_no_state_is_refused_by_name(
    whole: Path, state: StateDir, tmp_path: Path, change: Callable[[Any, Any], None], sentence: str
) -> None:
    source = remake(whole, tmp_path / "odd.tar", change)
    before = everything(tmp_path)
    with pytest.raises(OnboardError) as caught:
        restored(state, source)
    assert sentence in caught.value.sentence
    assert "\n" not in caught.value.sentence
    assert everything(tmp_path) == before


# Cut off


@contextmanager
def dying_at(call: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """From the n-th change of the directory on nothing happens any more, as after a kill."""
    calls: list[str] = []

    class KilledError(BaseException):
        pass

    def dies(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def maybe(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) >= call:
                raise KilledError
            return real(*args, **kwargs)

        return maybe

    with monkeypatch.context() as patched:
        for place, name in ((Path, "mkdir"), (Path, "rename"), (Path, "rmdir"), (Path, "unlink"), (os, "fsync")):
            patched.setattr(place, name, dies(name, getattr(place, name)))
        patched.setattr(shutil, "rmtree", dies("rmtree", shutil.rmtree))
        with suppress(KilledError):
            yield calls


def test_killed_at_any_moment_it_never_looks_like_a_state_and_can_begin_anew(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half, number = 0, 0
    while True:
        number += 1
        state = StateDir(tmp_path / f"killed{number}")
        with dying_at(number, monkeypatch) as calls:
            restored(state, whole)
        if len(calls) < number:
            break
        if state.path.exists() and any(path.name in MEMBERS for path in state.path.iterdir()):
            half += not state.unfinished.exists()
            if state.unfinished.exists():
                with pytest.raises(FatalError, match="cut off before its end"), state.held():
                    pytest.fail("half a state was taken for one")
            else:
                assert calls[number - 2 : number] == ["rmdir", "fsync"]  # all of it is there
                continue
        restored(state, whole)
        with state.held():
            assert meta(state)["epoch"] == NEW_EPOCH
    assert number > 15
    assert half == 1


def test_a_real_kill_in_the_middle_leaves_what_run_refuses_and_restore_mends(whole: Path, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from onboard_bot.cli import main;"
        "rename = Path.rename;"
        "Path.rename = lambda a, b: (rename(a, b), os.kill(os.getpid(), signal.SIGKILL));"
        "main(sys.argv[1:])"
    )
    onboard_bot(tmp_path, "config")  # writes the configuration
    config = str(tmp_path / "config.yaml")
    killed = subprocess.run([sys.executable, "-c", program, "restore", str(whole), "--config", config], check=False)
    assert killed.returncode == -9
    state = StateDir(tmp_path / "state")
    assert state.database.exists()
    (tmp_path / "nowhere").write_text("s3cret")
    refused = onboard_bot(tmp_path, "run")
    assert (refused.returncode, refused.stderr.count("FAIL state_unusable: ")) == (1, 1)
    assert "Run onboard-bot restore again" in refused.stderr
    done = onboard_bot(tmp_path, "restore", str(whole))
    assert (done.returncode, done.stderr) == (0, "")
    assert not state.unfinished.exists()


def test_a_full_disk_leaves_the_directory_as_it_was(
    whole: Path, state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        assert "No space left on device" in refusal(state, whole)
    assert not state.path.parent.exists()


def test_the_verb_ends_with_0_1_or_2(whole: Path, tmp_path: Path) -> None:
    done = onboard_bot(tmp_path, "restore", str(whole))
    assert (done.returncode, done.stderr) == (0, "")
    assert "@onboard:example.org as of 2027-01-15 08:00:00+00:00" in done.stdout
    again = onboard_bot(tmp_path, "restore", str(whole))
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("FAIL state_unusable: ")
    broken = onboard_bot(tmp_path, "restore", str(whole), ONBOARD_BOT_BOT__USERNAME="Not A Name")
    assert broken.returncode == 2
