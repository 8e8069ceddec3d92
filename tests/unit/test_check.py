"""What `check` says and how it ends: the lines, the exit status, the files, and the judgement of what was asked."""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from onboard_bot.check import check
from onboard_bot.check.account import check_session
from onboard_bot.check.admin_room import RoomFacts, judge_room
from onboard_bot.check.findings import Finding, Level, exit_status, render
from onboard_bot.check.limits import judge_limits
from onboard_bot.check.live import asked
from onboard_bot.check.remembered import (
    Remembered,
    refuse_another_accounts_state,
    remembered,
    remembered_session,
)
from onboard_bot.check.voters import check_group, first_start_enters_group_rooms
from onboard_bot.clock import SystemClock
from onboard_bot.config import Config, load_config
from onboard_bot.domain.roles import PowerLevels
from onboard_bot.errors import ErrorCode, FatalError, OnboardError
from onboard_bot.homeserver.greeting import Greeted
from onboard_bot.matrix.session import BotWish, OwnAccount, Session
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.state_dir import StateDir
from onboard_bot.store.engine import Database, sqlite_url
from onboard_bot.store.rate_limits import MetLimit
from onboard_bot.store.rooms import PlannedRoom, Purpose
from onboard_bot.store.schema import bring_up_to_date
from onboard_bot.store.transaction import Store

BOT, ADA, BOB, CAT = "@onboard:example.org", "@ada:example.org", "@bob:example.org", "@cat:example.org"
ROOM = "!room:example.org"
LEVELS = PowerLevels(
    users={BOT: 100, ADA: 100},
    users_default=0,
    creators=frozenset(),
    events={},
    events_default=0,
    state_default=50,
    invite=0,
)
FACTS = RoomFacts(ROOM, LEVELS, {BOT: "join", ADA: "join"}, encrypted=True)


# The line and the exit status.


@pytest.mark.parametrize(
    ("levels", "status"),
    [
        ([], 0),
        ([Level.OK, Level.WARN], 0),
        ([Level.WARN, Level.FAILED, Level.OK], 1),
        ([Level.UNUSABLE, Level.FAILED], 2),
        ([Level.FAILED, Level.UNUSABLE], 2),
    ],
)
def test_the_worst_finding_decides_and_two_wins(levels: Sequence[Level], status: int) -> None:
    assert exit_status(Finding(level, "key", "text") for level in levels) == status


def test_a_line_begins_with_how_it_is_and_what_it_is_about() -> None:
    assert render(Finding(Level.OK, "config", "fine.")) == "OK config: fine."
    assert render(Finding(Level.WARN, "encryption", "no.")) == "WARN encryption: no."
    assert render(Finding(Level.FAILED, "secret_rejected", "no.")) == "FAIL secret_rejected: no."
    assert render(Finding(Level.UNUSABLE, "bot.username", "no.")) == "FAIL bot.username: no."


@given(text=st.text())
def test_a_finding_is_one_line_whatever_a_server_says(text: str) -> None:
    line = render(Finding(Level.FAILED, "homeserver_refused", text))
    assert line.isprintable()
    assert len(line.splitlines()) == 1


# Without the server: the configuration and the secret file.


class Desk:
    """A folder with a configuration, and what `check --offline` says of it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.config = folder / "config.yaml"
        self.secret = folder / "secret"
        self.secret.write_text("s3cret")
        self.secret.chmod(0o600)
        self.tree: dict[str, dict[str, Any]] = {
            "homeserver": {"url": "http://127.0.0.1:1", "shared_secret_file": str(self.secret)},
            "bot": {"state_dir": str(folder / "state")},
            "admin_room": {"admins": [ADA]},
        }

    def check(self, environ: dict[str, str] | None = None) -> tuple[int, list[str]]:
        self.config.write_text(yaml.safe_dump(self.tree))
        status = check(self.config, offline=True, environ=environ or {})
        out, err = self._capsys.readouterr()
        assert err == ""
        return status, out.splitlines()

    def fails(self, environ: dict[str, str] | None = None) -> tuple[int, list[str]]:
        status, lines = self.check(environ)
        return status, [line.removeprefix("FAIL ") for line in lines if line.startswith("FAIL ")]


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


@pytest.mark.parametrize("content", ["s3cret", "  s3cret\n\n", "registration_shared_secret: s3cret\n"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o440])
def test_a_good_configuration_is_ok_in_both_forms_of_the_secret_and_with_a_group(
    desk: Desk, content: str, mode: int
) -> None:
    desk.secret.write_text(content)
    desk.secret.chmod(mode)
    status, lines = desk.check()
    assert status == 0
    assert [line.split(":")[0] for line in lines] == [
        "OK config",
        "OK homeserver.shared_secret_file",
        "OK encryption.unsigned_devices",
    ]


def test_offline_the_homeserver_is_left_alone_and_nothing_is_made(desk: Desk, tmp_path: Path) -> None:
    assert desk.check()[0] == 0  # nothing listens at port 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "secret"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"registration_shared_secret: 12345\n", "has a number behind"),
        (b"registration_shared_secret: [hunter2]\n", "has a list behind"),
        (b"registration_shared_secret:\n", "nothing behind it"),
        (b"registration_shared_secret: 'hunter2\n", "is not valid YAML"),
    ],
)
def test_each_unusable_secret_file_ends_with_two_and_shows_nothing_of_it(
    desk: Desk, content: bytes | None, why: str
) -> None:
    desk.secret.unlink()
    if content is not None:
        desk.secret.touch(mode=0o600)
        desk.secret.write_bytes(content)
    status, lines = desk.fails()
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith("homeserver.shared_secret_file: ")
    assert why in lines[0]
    assert "hunter2" not in lines[0]


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666])
def test_a_secret_that_everybody_can_read_ends_with_one_and_the_mend(desk: Desk, mode: int) -> None:
    desk.secret.chmod(mode)
    status, lines = desk.fails()
    assert status == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"homeserver.shared_secret_file: {desk.secret} can be read by everybody")
    assert lines[0].endswith(f"chmod o-r {desk.secret}")


def test_two_wins_over_one(desk: Desk) -> None:
    desk.secret.write_text("")
    desk.secret.chmod(0o644)
    status, lines = desk.fails()
    assert status == 2
    assert len(lines) == 2


def test_problems_of_configuration_and_secret_are_told_together(desk: Desk) -> None:
    desk.secret.write_text("")
    desk.tree["homeserver"]["url"] = "http://user:hunter2@127.0.0.1:8008"
    desk.tree["bot"]["usernam"] = "x"
    desk.tree["admin_room"] = {}
    status, lines = desk.fails()
    assert status == 2
    assert {line.split(":")[0] for line in lines} == {
        "homeserver.url",
        "bot.usernam",
        "admin_room.admins",
        "homeserver.shared_secret_file",
    }
    assert not any("hunter2" in line for line in lines)


def test_a_secret_for_everybody_is_told_beside_a_broken_configuration(desk: Desk) -> None:
    desk.secret.chmod(0o644)
    desk.tree["approval"] = {"power_level": "high"}
    status, lines = desk.fails()
    assert status == 2
    assert [line.split(":")[0] for line in lines] == ["approval.power_level", "homeserver.shared_secret_file"]


def test_the_secret_file_of_a_configuration_that_is_no_yaml_is_known_from_elsewhere(desk: Desk) -> None:
    desk.config.write_text("a: [\n")
    desk.secret.write_text("")
    environ = {"ONBOARD_BOT_HOMESERVER__SHARED_SECRET_FILE": str(desk.secret)}
    status = check(desk.config, offline=True, environ=environ)
    lines = desk._capsys.readouterr().out.splitlines()
    assert status == 2
    assert [line.split(":")[0] for line in lines] == ["FAIL config", "FAIL homeserver.shared_secret_file"]


@pytest.mark.parametrize("written", [5, "", None, ["x"]])
def test_a_path_that_is_none_is_told_once(desk: Desk, written: object) -> None:
    desk.tree["homeserver"]["shared_secret_file"] = written
    status, lines = desk.fails()
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith("homeserver.shared_secret_file: ")


def test_a_missing_configuration_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path / "nowhere.yaml", offline=True, environ={}) == 2
    assert capsys.readouterr().out.startswith("FAIL config: there is no file ")


def test_the_password_file_is_looked_at_where_one_is_named(desk: Desk, tmp_path: Path) -> None:
    password = tmp_path / "password"
    desk.tree["bot"]["password_file"] = str(password)
    assert desk.fails()[0] == 2
    password.write_text("hunter2")
    password.chmod(0o604)
    status, lines = desk.fails()
    assert (status, lines[0].split(" ")[0]) == (1, "bot.password_file:")
    password.chmod(0o600)
    assert desk.fails() == (0, [])
    password.write_bytes(b"\xff")
    assert desk.fails()[0] == 2
    password.write_bytes(b" \n")
    assert desk.fails()[0] == 2


@pytest.mark.parametrize(
    ("content", "why"), [(None, "cannot be read"), (b"\xff", "is not UTF-8 text"), (b" \n", "is empty")]
)
def test_a_password_file_that_nobody_reads_any_more_is_only_a_warning(
    desk: Desk, tmp_path: Path, content: bytes | None, why: str
) -> None:
    password = tmp_path / "password"
    desk.tree["bot"]["password_file"] = str(password)
    if content is not None:
        password.touch(mode=0o600)
        password.write_bytes(content)
    state = StateDir(tmp_path / "state")
    state.prepare()
    state.write_json("session.json", {"device_id": "D"})  # a session in the making is none
    assert desk.fails()[0] == 2
    state.write_json("session.json", {"device_id": "D", "user_id": BOT, "access_token": "hunter2"})
    status, lines = desk.check()
    assert status == 0
    (line,) = [line for line in lines if line.startswith("WARN bot.password_file: ")]
    assert why in line


def test_a_password_that_everybody_can_read_fails_also_when_it_is_not_used(desk: Desk, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2")
    password.chmod(0o604)
    desk.tree["bot"]["password_file"] = str(password)
    state = StateDir(tmp_path / "state")
    state.prepare()
    state.write_json("session.json", {"device_id": "D", "user_id": BOT, "access_token": "hunter2"})
    assert desk.fails()[0] == 1


def test_obeying_everybodys_devices_is_a_warning_also_offline(desk: Desk) -> None:
    desk.tree["encryption"] = {"unsigned_devices": "allow"}
    status, lines = desk.check()
    assert status == 0
    assert lines[-1].startswith("WARN encryption.unsigned_devices: allow: everybody's devices are served and obeyed")


def test_a_terminal_without_utf_8_gets_the_line_all_the_same(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.config.write_text(yaml.safe_dump(desk.tree))
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert check(tmp_path / "nöwhere", offline=True, environ={}) == 2
    assert "n?where" in (tmp_path / "out").read_text()


# The state, looked at and not touched.


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path / "a state%41 of #mine?")
    state.prepare()
    return state


async def keep_something(state: StateDir, folder: Path) -> None:
    """A database as a bot leaves it. Made elsewhere: what is under test is the reading."""
    database = folder / "made.db"
    await asyncio.to_thread(bring_up_to_date, database)
    store = Store(Database(sqlite_url(database)), SystemClock())
    async with store.transaction() as tx:
        await tx.rooms.plan(PlannedRoom("marker", Purpose.ADMIN, "", ROOM, made_by_bot=True))
        await tx.rate_limits.met("PUT rooms/…/send", 3.5, now=tx.now)
    for suffix in ("", "-wal", "-shm"):
        if (part := Path(f"{database}{suffix}")).exists():
            shutil.copy(part, f"{state.database}{suffix}")
    await store.close()


def content_of(folder: Path) -> dict[str, bytes]:
    """All files; SQLite's index of its log is rebuilt by every process and holds nothing."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".db-shm"}


async def test_before_the_first_start_nothing_is_remembered_and_nothing_is_made(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "state")
    assert await remembered(state, SystemClock()) == Remembered()
    assert remembered_session(state) is None
    assert not state.path.exists()


@pytest.mark.parametrize("beside_a_log", [True, False])
async def test_the_database_is_read_without_a_change_beside_a_running_bot_and_without_one(
    state: StateDir, tmp_path: Path, *, beside_a_log: bool
) -> None:
    await keep_something(state, tmp_path)
    if not beside_a_log:
        whole = Store(Database(sqlite_url(tmp_path / "made.db")), SystemClock())
        await whole.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{state.database}{suffix}").unlink()  # noqa: ASYNC240 - small local files
        shutil.copy(tmp_path / "made.db", state.database)
    before = content_of(state.path)
    memory = await remembered(state, SystemClock())
    assert memory.admin_room == PlannedRoom("marker", Purpose.ADMIN, "", ROOM, made_by_bot=True)
    assert memory.limits == (MetLimit("PUT rooms/…/send", 1, 3.5),)
    assert content_of(state.path) == before


async def test_a_database_that_was_only_begun_holds_nothing(state: StateDir) -> None:
    state.database.touch()
    assert await remembered(state, SystemClock()) == Remembered()


async def test_a_damaged_database_is_unusable_state(state: StateDir) -> None:
    state.database.write_bytes(content := b"no database")
    with pytest.raises(OnboardError, match=r"cannot be read: .*restore a backup") as damaged:
        await remembered(state, SystemClock())
    assert damaged.value.code is ErrorCode.STATE_UNUSABLE
    assert state.database.read_bytes() == content


@pytest.mark.parametrize("content", ["[]", '{"access_token": "hunter2"}', '{"access_token": "hunter2'])
def test_a_damaged_session_is_unusable_state_and_shows_no_token(state: StateDir, content: str) -> None:
    (state.path / "session.json").write_text(content)
    with pytest.raises(OnboardError) as damaged:
        remembered_session(state)
    assert damaged.value.code is ErrorCode.STATE_UNUSABLE
    assert "hunter2" not in str(damaged.value)


def test_a_session_in_the_making_is_none(state: StateDir) -> None:
    state.write_json("session.json", {"device_id": "D"})
    assert remembered_session(state) is None


async def test_the_state_of_another_account_is_refused_in_the_words_of_run(state: StateDir) -> None:
    state.write_json("account.json", {"username": "old-name", "password": "hunter2", "registered": True})
    nobody: Any = None
    account = OwnAccount(state, BotWish("new-name", "Onboarding", None), nobody, nobody, nobody)
    with pytest.raises(FatalError) as run:
        await account.open()
    with pytest.raises(OnboardError) as check:
        refuse_another_accounts_state(state, "new-name")
    assert (check.value.code, str(check.value)) == (ErrorCode.STATE_UNUSABLE, str(run.value))
    refuse_another_accounts_state(state, "old-name")


def test_a_name_that_was_never_the_bots_own_is_no_other_account(state: StateDir) -> None:
    refuse_another_accounts_state(state, "new-name")
    state.write_json("account.json", {"username": "old-name", "password": "hunter2", "registered": False})
    refuse_another_accounts_state(state, "new-name")


@pytest.mark.parametrize("content", ["[]", '{"registered": true, "password": "hunter2"}', '{"password": "hunter2'])
def test_a_damaged_account_is_unusable_state_and_shows_no_password(state: StateDir, content: str) -> None:
    (state.path / "account.json").write_text(content)
    with pytest.raises(OnboardError) as damaged:
        refuse_another_accounts_state(state, "onboard")
    assert damaged.value.code is ErrorCode.STATE_UNUSABLE
    assert "hunter2" not in str(damaged.value)


async def test_state_that_this_user_may_not_read_is_unusable(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:  # who runs the tests as root may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    monkeypatch.setattr("pathlib.Path.exists", refuse)
    with pytest.raises(OnboardError, match="Run check as the user that the bot runs as"):
        remembered_session(state)
    with pytest.raises(OnboardError, match="Permission denied"):
        await remembered(state, SystemClock())


# What is made of the server's answers.


def configured(desk: Desk, **sections: dict[str, Any]) -> Config:
    desk.config.write_text(yaml.safe_dump(desk.tree | sections))
    return load_config(desk.config, {})


def words(findings: Sequence[Finding]) -> list[str]:
    return [render(finding).partition(": ")[0] for finding in findings]


def test_a_room_in_order_is_ok(desk: Desk) -> None:
    findings = judge_room(FACTS, configured(desk), bot=BOT, made_by_bot=True)
    assert words(findings) == ["OK admin_room", "OK encryption"]


@pytest.mark.parametrize(
    ("encrypted", "events", "usable"),
    [
        (True, {"m.room.encrypted": 101}, False),
        (True, {"m.room.message": 101}, True),
        (False, {"m.room.encrypted": 101}, True),
        (False, {"m.room.message": 101}, False),
    ],
)
def test_a_bot_that_cannot_speak_makes_the_room_unusable(
    desk: Desk, *, encrypted: bool, events: dict[str, float], usable: bool
) -> None:
    facts = replace(FACTS, levels=replace(LEVELS, events=events), encrypted=encrypted)
    findings = judge_room(facts, configured(desk), bot=BOT, made_by_bot=False)
    assert ("FAIL room_unusable" not in words(findings)) == usable


def test_a_right_that_only_some_work_needs_is_a_warning(desk: Desk) -> None:
    for event_type in ("m.room.redaction", "m.reaction"):
        not_allowed = replace(FACTS, levels=replace(LEVELS, events={event_type: 101}))
        assert words(judge_room(not_allowed, configured(desk), bot=BOT, made_by_bot=True))[0] == "WARN admin_room"
    no_invitations = replace(FACTS, levels=replace(LEVELS, invite=101))
    assert words(judge_room(no_invitations, configured(desk), bot=BOT, made_by_bot=True))[0] == "WARN admin_room"
    assert words(judge_room(no_invitations, configured(desk), bot=BOT, made_by_bot=False))[0] == "OK admin_room"


@pytest.mark.parametrize(
    ("members", "level", "creators", "somebody"),
    [
        ({BOT: "join", ADA: "join"}, 50, frozenset(), True),
        ({BOT: "join", ADA: "invite"}, 50, frozenset(), False),
        ({BOT: "join", BOB: "join"}, 50, frozenset(), False),
        ({BOT: "join", BOB: "join"}, 0, frozenset(), True),
        ({BOT: "join"}, 0, frozenset(), False),
        ({BOT: "join", BOB: "join"}, 1000, frozenset({BOB}), True),
        ({BOT: "join", BOB: "join"}, 1000, frozenset({BOT}), False),
    ],
)
def test_a_room_without_anybody_who_may_approve_is_a_warning(
    desk: Desk, *, members: dict[str, str], level: int, creators: frozenset[str], somebody: bool
) -> None:
    facts = replace(FACTS, members=members, levels=replace(LEVELS, creators=creators))
    config = configured(desk, approval={"power_level": level})
    assert ("WARN approval.power_level" not in words(judge_room(facts, config, bot=BOT, made_by_bot=True))) == somebody


def room_with(*voters: str) -> RoomFacts:
    """The admin room, where these people may vote and another one may not."""
    users = {BOT: 100, **dict.fromkeys(voters, 50)}
    joined = dict.fromkeys((BOT, *voters, "@guest:example.org"), "join")
    return replace(FACTS, levels=replace(LEVELS, users=users), members=joined)


@pytest.mark.parametrize(
    ("voters", "approval", "allow_admin", "warned"),
    [
        ((ADA,), {}, False, []),
        ((ADA, BOB), {"required": 2}, False, []),
        ((ADA,), {"required": 2}, False, ["approval.required"]),
        ((), {"required": 2}, True, ["approval.power_level"]),
        # Nobody decides on their own request, which they only make where one is needed.
        ((ADA,), {"always": True}, False, ["approval.required"]),
        ((ADA, BOB), {"always": True}, False, []),
        ((ADA,), {"always": True, "self_approval": True}, False, []),
        ((ADA, BOB), {"always": True, "required": 3, "self_approval": True}, False, ["approval.required"]),
        # Accounts with server-admin rights are voted on, whoever asks.
        ((ADA,), {}, True, ["approval.required_for_admin"]),
        ((ADA, BOB), {}, True, ["approval.required_for_admin"]),
        ((ADA, BOB), {"self_approval": True}, True, []),
        ((ADA, BOB, CAT), {}, True, []),
        ((ADA, BOB, CAT), {"required_for_admin": 4}, False, []),
        ((ADA,), {"required": 2}, True, ["approval.required", "approval.required_for_admin"]),
    ],
)
def test_a_number_of_approvals_that_the_room_cannot_reach_is_a_warning(
    desk: Desk, *, voters: tuple[str, ...], approval: dict[str, Any], allow_admin: bool, warned: list[str]
) -> None:
    config = configured(desk, approval=approval, accounts={"allow_admin": allow_admin}, admin_room={"room": ROOM})
    lines = words(judge_room(room_with(*voters), config, bot=BOT, made_by_bot=False))
    assert [line for line in lines if line.startswith("WARN")] == [f"WARN {key}" for key in warned]
    assert ("OK admin_room" in lines) == (not warned)


def test_the_warning_says_how_many_there_are_and_what_mends_it(desk: Desk) -> None:
    config = configured(desk, approval={"required": 2}, accounts={"allow_admin": True})
    too_few, *_ = judge_room(room_with(ADA), config, bot=BOT, made_by_bot=True)
    assert render(too_few) == (
        f"WARN approval.required: a request takes 2 approvals, and only 1 person in {ROOM} may vote, so that it is"
        " never approved. Give more people there power level 50, or lower this number."
    )
    own, *_ = judge_room(room_with(ADA, BOB), config, bot=BOT, made_by_bot=True)
    assert render(own) == (
        "WARN approval.required_for_admin: an account with server-admin rights takes 2 approvals, and nobody decides"
        f" on their own: what is asked for by somebody who may vote in {ROOM} is never approved. Give one more there"
        " power level 50, or lower this number."
    )


class Groups:
    """A server with two rooms, of which the bot is in one."""

    async def resolve_alias(self, alias: str) -> str | None:
        return {"#teachers:example.org": "!teachers", "#closed:example.org": "!closed"}.get(alias)

    async def joined_rooms(self) -> list[str]:
        return ["!teachers"]

    async def members(self, room_id: str) -> dict[str, str]:
        assert room_id == "!teachers"
        return {BOT: "join", ADA: "join", BOB: "invite", CAT: "ban"}


@pytest.mark.parametrize(
    ("group", "voters", "line"),
    [
        ({"room": "#teachers:example.org"}, [ADA, BOB], "OK approval.groups"),
        ({"room": "!teachers"}, [ADA], "OK approval.groups"),
        ({"room": "!teachers"}, None, "OK approval.groups"),
        ({"room": "!teachers"}, [BOB, CAT], "WARN approval.groups"),
        ({"room": "!teachers"}, [], "WARN approval.groups"),
        ({"room": "!teachers", "required": 2}, [ADA, BOB], "WARN approval.groups"),
        ({"room": "#closed:example.org"}, [ADA], "FAIL room_unusable"),
        ({"room": "!closed"}, None, "FAIL room_unusable"),
        ({"room": "#nowhere:example.org"}, [ADA], "FAIL room_unusable"),
        ({"members": [ADA, CAT]}, [ADA, BOB], None),
        ({"members": ["@ADA:example.org"]}, [ADA, BOB], None),
        ({"members": [ADA]}, None, None),
        ({"members": [CAT]}, [ADA, BOB], "WARN approval.groups"),
        ({"members": [ADA, CAT], "required": 2}, [ADA, BOB], "WARN approval.groups"),
    ],
)
async def test_a_group_that_cannot_be_represented_is_told(
    desk: Desk, group: dict[str, Any], voters: list[str] | None, line: str | None
) -> None:
    config = configured(desk, approval={"groups": [{"name": "teachers", **group}]})
    api: Any = Groups()
    findings = await check_group(api, config, config.approval.groups[0], bot=BOT, voters=voters)
    assert words(findings) == ([] if line is None else [line])
    assert all("the group teachers" in finding.text for finding in findings)


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ({"approval": {"always": True}}, True),
        ({"approval": {"always": True, "self_approval": True}}, False),
        ({"accounts": {"allow_admin": True}}, True),
        ({}, False),
    ],
)
async def test_a_group_of_one_cannot_approve_what_that_one_asks_for(
    desk: Desk, *, more: dict[str, dict[str, Any]], warned: bool
) -> None:
    approval = {"groups": [{"name": "head", "members": [ADA]}]} | more.get("approval", {})
    config = configured(desk, **more | {"approval": approval})
    api: Any = Groups()
    findings = await check_group(api, config, config.approval.groups[0], bot=BOT, voters=[ADA, BOB])
    assert words(findings) == (["WARN approval.groups"] if warned else [])


async def test_a_room_of_a_group_that_is_missing_says_whom_to_invite_or_what_to_correct(desk: Desk) -> None:
    rooms = ["#closed:example.org", "#nowhere:example.org"]
    groups = [{"name": f"group{n}", "room": room} for n, room in enumerate(rooms)]
    config = configured(desk, approval={"groups": groups})
    api: Any = Groups()
    lines = [
        render(finding)
        for group in config.approval.groups
        for finding in await check_group(api, config, group, bot=BOT, voters=[ADA])
    ]
    closed, nowhere = lines
    assert closed == (
        "FAIL room_unusable: The bot is not in #closed:example.org, so that nobody counts for the group group0. Invite"
        f" {BOT} there while it runs."
    )
    assert nowhere == (
        "FAIL room_unusable: There is no room #nowhere:example.org, so that nobody counts for the group group1. Correct"
        " approval.groups, or give a room this address."
    )


def test_before_the_first_start_each_room_of_a_group_is_said_to_be_entered(desk: Desk) -> None:
    groups = [{"name": "teachers", "room": "#teachers:example.org"}, {"name": "head", "members": [ADA]}]
    (finding,) = first_start_enters_group_rooms(configured(desk, approval={"groups": groups}))
    assert render(finding) == (
        "OK approval.groups: #teachers:example.org of the group teachers will be entered at the first start, or once"
        " the bot is invited."
    )


def test_offline_nothing_is_said_of_groups(desk: Desk) -> None:
    desk.tree["approval"] = {"groups": [{"name": "teachers", "room": "#teachers:example.org"}]}
    status, lines = desk.check()
    assert status == 0
    assert "teachers" not in "".join(lines)


def test_an_admin_who_has_not_joined_is_named(desk: Desk) -> None:
    config = configured(desk, admin_room={"admins": [ADA, BOB]})
    invited = replace(FACTS, members={BOT: "join", ADA: "join", BOB: "invite"})
    lines = [render(finding) for finding in judge_room(invited, config, bot=BOT, made_by_bot=True)]
    assert lines[0] == f"WARN admin_room.admins: {BOB} is invited to {ROOM} and has not joined yet."
    lines = [render(finding) for finding in judge_room(FACTS, config, bot=BOT, made_by_bot=False)]
    assert lines[0] == f"WARN admin_room.admins: {BOB} is not in {ROOM}; invite them there, or take the name out."
    lines = [render(finding) for finding in judge_room(FACTS, config, bot=BOT, made_by_bot=True)]
    assert lines[0] == f"WARN admin_room.admins: {BOB} is not in {ROOM} and is invited again at the bot's next start."


@pytest.mark.parametrize("made_by_bot", [True, False])
def test_an_admin_who_is_banned_is_not_said_to_be_invited(desk: Desk, *, made_by_bot: bool) -> None:
    config = configured(desk, admin_room={"admins": [ADA, BOB]})
    banned = replace(FACTS, members={BOT: "join", ADA: "join", BOB: "ban"})
    lines = [render(finding) for finding in judge_room(banned, config, bot=BOT, made_by_bot=made_by_bot)]
    assert lines[0] == f"WARN admin_room.admins: {BOB} is banned from {ROOM}; lift the ban, or take the name out."


@pytest.mark.parametrize(("delivery", "status"), [("dm", 0), ("auto", 0), ("room", 2)])
def test_passwords_in_clear_text_are_refused_and_a_plain_room_is_a_warning(
    desk: Desk, delivery: str, status: int
) -> None:
    config = configured(desk, accounts={"delivery": delivery})
    findings = judge_room(replace(FACTS, encrypted=False), config, bot=BOT, made_by_bot=False)
    assert "WARN encryption" in words(findings)
    assert exit_status(findings) == status
    assert ("FAIL accounts.delivery" in words(findings)) == (status == 2)


def test_each_limit_is_a_warning_with_how_often_how_long_and_the_way_out() -> None:
    register = MetLimit("POST /_synapse/admin/v1/register", 2, 5.0)
    limits = [MetLimit("PUT rooms/…/send", 12, 48.2), MetLimit("POST login", 1, 3.25), register]
    sending, login, registering = (render(finding) for finding in judge_limits(limits, bot=BOT))
    assert sending.startswith("WARN rate_limits: PUT rooms/…/send was limited 12 times in the last day")
    assert "the longest wait was 48 s" in sending
    assert f"/_synapse/admin/v1/users/{BOT}/override_ratelimit" in sending
    assert "POST login was limited once" in login
    assert "rc_login" in login
    assert "raise that of the proxy" in registering
    assert "override_ratelimit" not in registering
    assert words(judge_limits([], bot=BOT)) == ["OK rate_limits"]


class Whoami:
    """A server that answers one question."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer

    async def whoami(self) -> dict[str, Any]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ({"user_id": BOT}, "OK bot.username"),
        (TokenRejectedError(401, {"errcode": "M_UNKNOWN_TOKEN", "soft_logout": True}), "OK bot.username"),
        (TokenRejectedError(401, {"errcode": "M_UNKNOWN_TOKEN"}), "FAIL session_revoked"),
        (UnreachableError("GET account/whoami: status 502"), "FAIL homeserver_unreachable"),
        (RateLimitedError("GET account/whoami", 5), "FAIL rate_limited"),
        (RefusedError(403, {"errcode": "M_FORBIDDEN", "error": "no"}), "FAIL homeserver_refused"),
        ({}, "FAIL homeserver_unreachable"),
    ],
)
async def test_whatever_becomes_of_the_question_for_the_session_is_one_finding(
    state: StateDir, answer: dict[str, Any] | Exception, line: str
) -> None:
    state.write_json("session.json", {"device_id": "D", "user_id": BOT, "access_token": "hunter2"})
    session = remembered_session(state)
    assert session is not None
    api: Any = Whoami(answer)
    findings = await asked(lambda: check_session(api, session, username="onboard", state_dir=state.path))
    assert words(findings) == [line]
    assert "hunter2" not in render(findings[0])


async def test_a_session_without_its_account_tells_whose_it_is(state: StateDir) -> None:
    session = Session(BOT, "D", SecretStr("hunter2"))
    api: Any = Whoami({"user_id": BOT})
    findings = await check_session(api, session, username="other", state_dir=state.path)
    assert words(findings) == ["OK bot.username", "WARN bot.username"]


@pytest.mark.parametrize(
    ("status", "content", "what"),
    [
        (502, b"", "a proxy answers with status 502"),
        (503, b'{"errcode": "M_UNKNOWN"}', "a proxy answers with status 503"),
        (504, b"<html>", "a proxy answers with status 504"),
        (500, b"", "it fails with status 500"),
        (302, b"<html>", "it only redirects"),
        (200, b" \n<!doctype html>", "a web page answers (status 200)"),
        (404, b"<html>", "a web page answers (status 404)"),
        (404, b'{"errcode": "M_UNRECOGNIZED"}', "not the client-server API"),
        (200, b"{}", "is no Matrix homeserver"),
        (200, b"[" * 100_000, "is no Matrix homeserver"),
        (200, b"\xff", "is no Matrix homeserver"),
    ],
)
def test_what_answers_instead_of_a_homeserver_is_told_apart(status: int, content: bytes, what: str) -> None:
    greeted = Greeted(status, content)
    assert not greeted.speaks_matrix
    assert what in greeted.what_else()


def test_a_homeserver_names_its_versions() -> None:
    assert Greeted(200, b'{"versions": ["v1.11"], "unstable_features": {}}').speaks_matrix
