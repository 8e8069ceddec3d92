"""`onboard-bot audit`: whatever was done to the log behind the bot's back shows, and others can find it without us."""

import asyncio
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboard_bot.domain.audit import CHAIN_START, Entry, Verb, encode, link, personal_digest
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.safekeeping.audit_log import export, verify
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.transaction import Store
from tests.fakes.clock import FakeClock
from tests.fakes.wrong_servers import nobody_listens

ROOT = Path(__file__).parents[2]
ENTRIES = [
    Entry(Verb.BOT_REGISTERED, personal={"user_id": "@onboard:example.org"}),
    Entry(
        Verb.REQUEST_MADE, "a6x3m", facts={"admin": False}, personal={"username": "bob", "note": 'ü\x1b[2J\u202e"\n'}
    ),
    Entry(Verb.REQUEST_APPROVED, "a6x3m", facts={"rule": "power_level"}, personal={"by": "@ada:example.org"}),
    Entry(Verb.ACCOUNT_CREATED, "a6x3m", personal={"user_id": "@bob:example.org"}),
    Entry(Verb.REQUEST_MADE, "h7x3m", personal={"username": "carol"}),
    Entry(Verb.STATE_RESTORED, facts={"saved_at": 1_800_000_000.25}),
]


@pytest.fixture
def state(tmp_path: Path, fresh_database: Path) -> StateDir:
    """Of a bot that wrote six entries and was stopped."""
    state = StateDir(tmp_path / "state")
    state.prepare()
    shutil.copy(fresh_database, state.database)
    go_on(state, *ENTRIES)
    return state


def go_on(state: StateDir, *entries: Entry) -> None:
    """The bot records something."""

    async def recording() -> None:
        store = Store(Database(sqlite_url(state.database)), FakeClock())
        async with store.transaction() as tx:
            for entry in entries:
                await tx.record(entry)
        await store.close()

    asyncio.run(recording())


def tamper(state: StateDir, *statements: str) -> None:
    with closing(sqlite3.connect(state.database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def complaint(state: StateDir) -> str:
    """What `verify` finds wrong."""
    with pytest.raises(OnboardError) as caught:
        asyncio.run(verify(state, FakeClock()))
    assert caught.value.code is ErrorCode.STATE_UNUSABLE
    assert "\n" not in caught.value.sentence
    return caught.value.sentence


def first_misfit(state: StateDir) -> int | None:
    """What the bot itself, a backup and a restore would find."""

    async def looking() -> int | None:
        store = Store(Database(sqlite_url(state.database)), FakeClock())
        async with store.reading() as tx:
            place = await tx.audit.verify()
        await store.close()
        return place

    return asyncio.run(looking())


def exported(state: StateDir) -> list[bytes]:
    """The lines of an export, also of a log that is not whole."""
    lines: list[bytes] = []
    with suppress(OnboardError):
        asyncio.run(export(state, FakeClock(), lines.append))
    return lines


def recomputed(lines: list[bytes]) -> str:
    """What the program in docs/security.md says of an export; it runs alone."""
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "security.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], input=b"".join(lines), capture_output=True, check=False
    )
    return (done.stdout + done.stderr).decode().strip()


def row_by_hand(state: StateDir, place: int) -> str:
    """A row with hashes as the bot would make them, for who knows how."""
    with closing(sqlite3.connect(state.database)) as connection:
        found = connection.execute("SELECT hash FROM audit WHERE seq = ?", (place - 1,)).fetchone()
    digest = personal_digest(b"", {})
    values: dict[str, Any] = {"seq": place, "at": 1_800_000_000.0, "verb": "account:created", "request_id": None}
    hashed = link(found[0] if found else CHAIN_START, **values, facts="{}", personal_digest=digest)
    return (
        "INSERT OR REPLACE INTO audit VALUES"  # noqa: S608 - all of it stands above
        f" ({place}, 1800000000.0, 'account:created', NULL, '{{}}', '{{}}', x'', '{digest}', '{hashed}')"
    )


def test_a_log_that_is_whole_is_said_to_be_in_one_line(state: StateDir) -> None:
    line = asyncio.run(verify(state, FakeClock()))
    last = json.loads(exported(state)[-1])["hash"]
    assert line == f"The audit log is whole: 6 entries since 2027-01-15 08:00:00+00:00, the last one is {last}."


def test_a_log_in_which_nothing_stands_is_whole(state: StateDir, fresh_database: Path) -> None:
    shutil.copy(fresh_database, state.database)
    assert asyncio.run(verify(state, FakeClock())) == "The audit log is whole: nothing was recorded yet."
    assert exported(state) == []
    assert recomputed([]) == f"0 {CHAIN_START}"


@pytest.mark.parametrize(
    ("statements", "place", "meaning"),
    [
        (['UPDATE audit SET facts = \'{"rule":"always"}\' WHERE seq = 3'], 3, "is not what was written"),
        (["UPDATE audit SET facts = 'no JSON' WHERE seq = 3"], 3, "is not what was written"),
        (["UPDATE audit SET facts = x'7b7d' WHERE seq = 4"], 4, "is not what was written"),
        (["UPDATE audit SET at = at + 1 WHERE seq = 1"], 1, "is not what was written"),
        (["UPDATE audit SET at = 'noon' WHERE seq = 1"], 1, "is not what was written"),
        (["UPDATE audit SET verb = 'account:failed' WHERE seq = 4"], 4, "is not what was written"),
        (["UPDATE audit SET request_id = NULL WHERE seq = 5"], 5, "is not what was written"),
        (['UPDATE audit SET personal = \'{"username":"mallory"}\' WHERE seq = 2'], 2, "about people"),
        (["UPDATE audit SET personal = personal || ' ' WHERE seq = 2"], 2, "about people"),
        (["UPDATE audit SET personal = x'00', salt = 'salt' WHERE seq = 2"], 2, "about people"),
        (["UPDATE audit SET salt = NULL WHERE seq = 2"], 2, "about people"),
        (["UPDATE audit SET personal = NULL WHERE seq = 6"], 6, "about people"),
        (
            [
                "UPDATE audit SET seq = 0 WHERE seq = 4",
                "UPDATE audit SET seq = 4 WHERE seq = 5",
                "UPDATE audit SET seq = 5 WHERE seq = 0",
            ],
            4,
            "is not what was written",
        ),
        (["UPDATE audit SET seq = 0 WHERE seq = 1"], 1, "no bot wrote it"),
        (["DELETE FROM audit WHERE seq = 3"], 3, "is missing, though there are later ones"),
        (["DELETE FROM audit WHERE seq = 1"], 1, "is missing, though there are later ones"),
        (["DELETE FROM audit WHERE seq IN (3, 6)"], 3, "is missing, though there are later ones"),
        (
            [
                "DELETE FROM audit WHERE seq = 3",
                "UPDATE audit SET seq = -seq WHERE seq > 3",
                "UPDATE audit SET seq = -seq - 1 WHERE seq < 0",
            ],
            3,
            "is not what was written",
        ),
        (["DELETE FROM audit WHERE seq = 6"], 6, "the end was cut off"),
        (["DELETE FROM audit WHERE seq > 2"], 3, "the end was cut off"),
        (["DELETE FROM audit"], 1, "the end was cut off"),
        (["DELETE FROM audit WHERE seq = 6", "DELETE FROM meta WHERE key = 'audit_head'"], 6, "where the log ends"),
        (["DELETE FROM audit WHERE seq = 6", "UPDATE meta SET value = 'x'"], 6, "where the log ends"),
    ],
)
def test_what_was_changed_is_named_and_others_find_it_too(
    state: StateDir, statements: list[str], place: int, meaning: str
) -> None:
    written = exported(state)
    tamper(state, *statements)
    said = complaint(state)
    assert f"The first entry that does not fit is {place}: " in said
    assert meaning in said
    assert first_misfit(state) == place
    found = recomputed(exported(state))
    assert found.startswith(f"entry {place}: ") or found != recomputed(written)


def test_a_row_that_somebody_adds_is_found_whatever_its_hash(state: StateDir) -> None:
    columns = "at, verb, request_id, facts, personal, salt, personal_digest, hash"
    tamper(state, f"INSERT INTO audit SELECT 7, {columns} FROM audit WHERE seq = 6")  # noqa: S608 - all of it is ours
    assert "is 7: it, or what stands before it, is not what" in complaint(state)
    tamper(state, row_by_hand(state, 7))
    assert "is 7: no bot wrote it" in complaint(state)
    assert first_misfit(state) == 7


def test_a_last_row_that_somebody_writes_anew_is_found(state: StateDir) -> None:
    tamper(state, row_by_hand(state, 6))
    assert "is 6: it, or all that stands before it, was written anew" in complaint(state)
    assert first_misfit(state) == 6


@pytest.mark.parametrize("kept", [5, 2, 0])
def test_what_was_cut_off_is_missed_also_after_the_bot_went_on(state: StateDir, kept: int) -> None:
    tamper(state, f"DELETE FROM audit WHERE seq > {kept}")  # noqa: S608 - a number of ours
    go_on(state, *ENTRIES[:2])
    assert f"is {kept + 1}: it is missing, though there are later ones" in complaint(state)
    assert [json.loads(line)["seq"] for line in exported(state)] == [*range(1, kept + 1), 7, 8]


def test_what_was_added_is_found_also_after_the_bot_went_on(state: StateDir) -> None:
    tamper(state, row_by_hand(state, 7))
    go_on(state, *ENTRIES[:2])
    assert "is 8: it, or what stands before it, is not what was written" in complaint(state)
    assert recomputed(exported(state)) == "entry 8: does not fit"


def test_an_erased_person_leaves_the_log_whole(state: StateDir) -> None:
    whole = asyncio.run(verify(state, FakeClock()))
    tamper(state, "UPDATE audit SET personal = NULL, salt = NULL WHERE request_id = 'a6x3m'")
    assert asyncio.run(verify(state, FakeClock())) == whole
    lines = exported(state)
    assert b"bob" not in b"".join(lines)
    assert recomputed(lines) == f"6 {json.loads(lines[-1])['hash']}"


def test_a_log_that_was_written_anew_as_a_whole_fits_and_an_earlier_export_shows_it(state: StateDir) -> None:
    """What no chain can find; docs/security.md says so."""
    before = exported(state)
    tamper(state, "DELETE FROM audit", "DELETE FROM meta")
    go_on(state, *ENTRIES[:3], *ENTRIES[:3])
    assert asyncio.run(verify(state, FakeClock())).startswith("The audit log is whole: 6 entries")
    after = exported(state)
    assert recomputed(before).split()[0] == recomputed(after).split()[0] == "6"
    assert recomputed(before) != recomputed(after)


def test_an_export_holds_everything_that_stands_in_the_log(state: StateDir) -> None:
    lines = exported(state)
    assert all(line.endswith(b"\n") and line.isascii() and line.strip().decode().isprintable() for line in lines)
    entries = [json.loads(line) for line in lines]
    assert [entry["seq"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    for entry, recorded in zip(entries, ENTRIES, strict=True):
        assert (entry["verb"], entry["request_id"]) == (recorded.verb, recorded.request_id)
        assert (entry["facts"], entry["personal"]) == (recorded.facts or {}, recorded.personal or {})
        assert (entry["at"], entry["time"]) == ("1800000000.0", "2027-01-15T08:00:00.000000+00:00")
        assert len(bytes.fromhex(entry["salt"])) == 16


def test_the_chain_can_be_computed_from_an_export_without_us(state: StateDir) -> None:
    go_on(state, *(Entry(Verb.REQUEST_MADE, f"r{n}", personal={"n": n, "username": "é" * n}) for n in range(40)))
    previous = "0" * 64
    for line in exported(state):
        entry = json.loads(line)
        personal = json.dumps(entry["personal"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        digest = hashlib.sha256(bytes.fromhex(entry["salt"]) + personal).hexdigest()
        assert digest == entry["personal_digest"]
        facts = json.dumps(entry["facts"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        covered = [previous, entry["seq"], entry["at"], entry["verb"], entry["request_id"], facts, digest]
        text = json.dumps(covered, separators=(",", ":"), ensure_ascii=False).encode()
        assert hashlib.sha256(text).hexdigest() == entry["hash"]
        previous = entry["hash"]
    assert recomputed(exported(state)) == f"46 {previous}"


def test_a_long_log_is_read_in_pieces_to_its_end(state: StateDir) -> None:
    go_on(state, *(Entry(Verb.REQUEST_MADE, f"r{n}") for n in range(1001)))
    assert asyncio.run(verify(state, FakeClock())).startswith("The audit log is whole: 1007 entries")
    assert [json.loads(line)["seq"] for line in exported(state)] == list(range(1, 1008))
    tamper(state, "DELETE FROM audit WHERE seq IN (500, 1000)")
    assert "is 500: " in complaint(state)
    assert len(exported(state)) == 1005


async def test_what_was_recorded_about_a_request_is_read_oldest_first(state: StateDir) -> None:
    tamper(state, "UPDATE audit SET personal = NULL, salt = NULL WHERE seq = 4")
    store = Store(Database(sqlite_url(state.database)), FakeClock())
    async with store.reading() as tx:
        recorded = await tx.audit.of_request("a6x3m")
        assert await tx.audit.of_request("zzzzz") == []
    await store.close()
    assert [(one.seq, one.verb, one.at) for one in recorded] == [
        (2, "request:made", 1_800_000_000.0),
        (3, "request:approved", 1_800_000_000.0),
        (4, "account:created", 1_800_000_000.0),
    ]
    assert recorded[0].personal == ENTRIES[1].personal
    assert [one.facts for one in recorded] == [{"admin": False}, {"rule": "power_level"}, {}]
    assert recorded[2].personal is None


async def test_beside_a_bot_at_work_every_look_finds_the_log_whole(state: StateDir) -> None:
    store = Store(Database(sqlite_url(state.database)), FakeClock())

    async def record_two() -> None:
        async with store.transaction() as tx:
            await tx.record(Entry(Verb.REQUEST_MADE))
            await tx.record(Entry(Verb.REQUEST_APPROVED))

    async def work() -> None:
        for _ in range(100):
            await record_two()

    await record_two()
    lengths, writing = [], True
    working = asyncio.create_task(work())
    while writing:
        writing = not working.done()
        lines: list[bytes] = []
        await export(state, FakeClock(), lines.append)
        lengths.append(len(lines))
        assert (await verify(state, FakeClock())).startswith("The audit log is whole: ")
    await working
    await store.close()
    assert lengths[-1] == 208
    assert not [length for length in lengths if length % 2], "half a transaction was read"
    assert len(set(lengths)) > 2, "nothing was written between two looks"


def files(state: StateDir) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in state.path.iterdir() if path.is_file()}


def test_nothing_is_changed_and_nothing_left_behind(state: StateDir) -> None:
    before = files(state)
    assert asyncio.run(verify(state, FakeClock())).startswith("The audit log is whole")
    assert len(exported(state)) == 6
    assert files(state) == before


@pytest.mark.parametrize("dump", ["0001", "0002", "0003"])
def test_a_state_of_an_older_version_is_read_as_it_is(state: StateDir, dump: str) -> None:
    """It has no head yet: what it has lost at its end cannot be known."""
    state.database.unlink()
    with closing(sqlite3.connect(state.database)) as connection:
        connection.executescript((ROOT / "tests" / "schemas" / f"{dump}.sql").read_text())
    before = files(state)
    line = asyncio.run(verify(state, FakeClock()))
    assert line.endswith("This state is of an older version: an end that is cut off does not show.")
    lines = exported(state)
    assert recomputed(lines).split() == [str(len(lines)), *re.findall("[0-9a-f]{64}", line)]
    assert files(state) == before
    tamper(state, "DELETE FROM audit WHERE seq = 2")
    assert "is 2: it is missing" in complaint(state)


def gone(state: StateDir) -> None:
    shutil.rmtree(state.path)


def empty(state: StateDir) -> None:
    state.database.write_bytes(b"")


def noise(state: StateDir) -> None:
    state.database.write_bytes(b"no database" * 1000)


def of_others(state: StateDir) -> None:
    tamper(state, "DROP TABLE alembic_version")


def newer(state: StateDir) -> None:
    tamper(state, "UPDATE alembic_version SET version_num = '0999'")


def half_restored(state: StateDir) -> None:
    state.unfinished.touch()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (gone, "no bot has run there. bot.state_dir says where to look."),
        (empty, "no bot has run there. bot.state_dir says where to look."),
        (noise, "cannot be read: "),
        (of_others, "holds nothing of onboard-bot."),
        (newer, "was written by a newer onboard-bot (schema 0999"),
        (half_restored, "was cut off before its end"),
    ],
)
def test_where_there_is_no_log_to_read_a_sentence_says_so(
    state: StateDir, harm: Callable[[StateDir], None], words: str
) -> None:
    harm(state)
    assert words in complaint(state)
    assert exported(state) == []


def test_a_bot_that_starts_in_the_middle_of_it_makes_the_look_worthless(state: StateDir) -> None:
    def start(_line: bytes) -> None:
        state.database.with_name(f"{state.database.name}-wal").touch()

    with pytest.raises(OnboardError, match=r"came into use while it was read\. Please run it again"):
        asyncio.run(export(state, FakeClock(), start))


# The verb, as somebody types it.

# Without a buffer nothing is held back, and nothing can complain of it at the end.
ENVIRON = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


def command(state: StateDir, *arguments: str) -> list[str]:
    config = {
        "homeserver": {"url": nobody_listens(), "shared_secret_file": str(state.path.parent / "nowhere")},
        "bot": {"state_dir": str(state.path)},
        "admin_room": {"admins": ["@ada:example.org"]},
    }
    file = state.path.parent / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    return [sys.executable, "-m", "onboard_bot", "audit", *arguments, "--config", str(file)]


def typed(state: StateDir, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    chosen: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRON} | more
    return subprocess.run(command(state, *arguments), text=True, check=False, timeout=30, **chosen)


def test_the_verb_ends_with_0_1_or_2(state: StateDir) -> None:
    bare, spelled, lines = typed(state), typed(state, "verify"), typed(state, "export")
    assert [done.returncode for done in (bare, spelled, lines)] == [0, 0, 0]
    assert bare.stdout == spelled.stdout == asyncio.run(verify(state, FakeClock())) + "\n"
    assert lines.stdout.encode() == b"".join(exported(state))
    assert bare.stderr == spelled.stderr == lines.stderr == ""
    tamper(state, "DELETE FROM audit WHERE seq = 6")
    broken, rest = typed(state), typed(state, "export")
    assert broken.returncode == rest.returncode == 1
    assert broken.stderr == rest.stderr == f"FAIL state_unusable: {complaint(state)}\n"
    assert (broken.stdout, len(rest.stdout.splitlines())) == ("", 5)
    unusable = typed(state, env=ENVIRON | {"ONBOARD_BOT_BOT__USERNAME": "Not A Name"})
    assert (unusable.returncode, unusable.stdout) == (2, "")
    assert unusable.stderr.startswith("FAIL bot.username: ")


@pytest.mark.parametrize("lines", [0, 1])
def test_who_has_read_enough_of_an_export_hears_no_complaint(state: StateDir, lines: int) -> None:
    go_on(state, *(Entry(Verb.REQUEST_MADE, f"r{n}", personal={"note": "x" * 200}) for n in range(600 * lines)))
    typed_line = command(state, "export")
    with subprocess.Popen(typed_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRON) as exporting:
        assert exporting.stdout is not None
        assert exporting.stderr is not None
        assert [json.loads(exporting.stdout.readline())["seq"] for _ in range(lines)] == [1] * lines
        exporting.stdout.close()
        complaints = exporting.stderr.read()
        assert (exporting.wait(timeout=30), complaints) == (0, b"")


def test_an_export_that_cannot_be_written_ends_with_a_sentence(state: StateDir) -> None:
    with Path("/dev/full").open("w") as full:
        done = typed(state, "export", stdout=full)
    assert done.returncode == 1
    assert (
        done.stderr
        == "FAIL bad_argument: The export cannot be written: No space left on device. Write it somewhere else.\n"
    )


def test_the_text_that_is_hashed_is_the_one_that_the_export_can_give_back() -> None:
    for entry in ENTRIES:
        for values in (entry.facts, entry.personal):
            line = json.loads(json.dumps(values or {}))
            assert json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False) == encode(values)
