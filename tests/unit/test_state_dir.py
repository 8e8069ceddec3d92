"""The state directory: private, whole at every moment, and one process's alone."""

import json
import os
import stat
from pathlib import Path

import pytest

from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.state_dir import KEY_BYTES, StateDir
from onboard_bot.store.trouble import StoreUnavailableError


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    state = StateDir(tmp_path / "deep" / "state")
    state.prepare()
    return state


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_for_us_alone_and_files_too(state: StateDir) -> None:
    old_umask = os.umask(0)
    try:
        state.write_json("session.json", {"access_token": "x"})
        state.key("secrets.key")
        with state.held():
            pass
    finally:
        os.umask(old_umask)
    assert (mode(state.path), mode(state.crypto)) == (0o700, 0o700)
    assert {file.name: mode(file) for file in state.path.iterdir() if file.is_file()} == {
        "session.json": 0o600,
        "secrets.key": 0o600,
        "lock": 0o600,
    }


def test_rights_that_others_had_are_taken_away_at_the_start(state: StateDir) -> None:
    state.path.chmod(0o755)
    state.crypto.chmod(0o777)
    state.prepare()
    assert (mode(state.path), mode(state.crypto)) == (0o700, 0o700)


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FatalError) as caught:
        StateDir(tmp_path / "file" / "state").prepare()
    assert caught.value.code is ErrorCode.STATE_UNUSABLE
    assert str(tmp_path / "file" / "state") in caught.value.sentence
    assert "bot.state_dir" in caught.value.sentence


def test_a_second_holder_is_told_who_holds_it(state: StateDir) -> None:
    with state.held(), pytest.raises(FatalError) as caught, StateDir(state.path).held():
        pytest.fail("held twice")
    assert caught.value.code is ErrorCode.STATE_IN_USE
    assert f"process {os.getpid()}" in caught.value.sentence
    with StateDir(state.path).held():
        pass


def test_what_was_written_is_read_again(state: StateDir) -> None:
    assert state.read_json("session.json") is None
    state.write_json("session.json", {"device_id": "ÄÖ"})
    assert StateDir(state.path).read_json("session.json") == {"device_id": "ÄÖ"}


def test_a_write_that_is_stopped_leaves_the_old_file_whole(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write_json("session.json", {"device_id": "OLD"})

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(StoreUnavailableError, match="full"):
            state.write_json("session.json", {"device_id": "NEW"})
    assert json.loads((state.path / "session.json").read_text()) == {"device_id": "OLD"}
    state.write_json("session.json", {"device_id": "NEW"})
    assert state.read_json("session.json") == {"device_id": "NEW"}


def test_a_file_that_does_not_hold_what_the_bot_wrote_is_refused(state: StateDir) -> None:
    (state.path / "session.json").write_text("[]")
    with pytest.raises(FatalError) as caught:
        state.read_json("session.json")
    assert caught.value.code is ErrorCode.STATE_UNUSABLE


def test_a_key_is_made_once_and_differs_from_every_other(state: StateDir) -> None:
    key = state.key("secrets.key")
    assert len(key) == KEY_BYTES
    assert StateDir(state.path).key("secrets.key") == key
    assert state.key("crypto.key") != key


@pytest.mark.parametrize("content", [b"", b"short", bytes(KEY_BYTES + 1)])
def test_a_damaged_key_is_refused_and_never_replaced(state: StateDir, content: bytes) -> None:
    (state.path / "secrets.key").write_bytes(content)
    with pytest.raises(FatalError) as caught:
        state.key("secrets.key")
    assert caught.value.code is ErrorCode.STATE_UNUSABLE
    assert (state.path / "secrets.key").read_bytes() == content
