"""`reset-identity` asks before it does anything, and takes nothing but a yes for one."""

import sys
from pathlib import Path

import pytest
import yaml

import onboard_bot.identities.reset as verb
from onboard_bot.cli import main
from onboard_bot.config import Config
from tests.fakes.wrong_servers import nobody_listens
from tests.unit.saved_state import make_state


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """A bot that has worked, and the resets that were begun."""
    begun: list[Config] = []

    async def begin(config: Config) -> str:
        begun.append(config)
        return "Done."

    monkeypatch.setattr(verb, "reset_identity", begin)
    make_state(tmp_path / "state")
    written(tmp_path)
    return begun


def written(folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("s3cret")
    tree = {
        "homeserver": {"url": nobody_listens(), "shared_secret_file": str(secret)},
        "bot": {"state_dir": str(folder / "state")},
        "admin_room": {"admins": ["@ada:example.org"]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))


def reset(folder: Path, *options: str) -> int:
    return main(["reset-identity", "--config", str(folder / "config.yaml"), *options])


@pytest.mark.parametrize(("answer", "status"), [("yes", 0), (" YES ", 0), ("y", 1), ("", 1), ("no", 1), (None, 1)])
def test_at_a_terminal_it_explains_and_asks(
    tmp_path: Path,
    asked: list[Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str | None,
    status: int,
) -> None:
    def typed(question: str) -> str:
        assert question == "Type yes to go on: "
        assert asked == []
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", typed)
    assert reset(tmp_path) == status
    out, err = capsys.readouterr()
    assert "@onboard:example.org" in out
    assert "has to verify it anew" in out
    assert len(asked) == (1 if status == 0 else 0)
    assert err == ("" if status == 0 else "Nothing was changed.\n")


def test_without_a_terminal_it_wants_an_explicit_word(
    tmp_path: Path, asked: list[Config], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert reset(tmp_path) == 1
    assert "FAIL bad_argument: " in capsys.readouterr().err
    assert asked == []
    assert reset(tmp_path, "--yes") == 0
    assert len(asked) == 1


def test_where_no_bot_ever_ran_nothing_is_asked_and_nothing_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path)
    assert reset(tmp_path, "--yes") == 1
    err = capsys.readouterr().err
    assert err.startswith("FAIL state_unusable: There is no session of the bot in ")
    assert not (tmp_path / "state").exists()


def test_a_server_that_is_away_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_state(tmp_path / "state")
    written(tmp_path)
    (tmp_path / "state" / "cross_signing.pending.json").unlink()
    before = (tmp_path / "state" / "cross_signing.json").read_bytes()
    assert reset(tmp_path, "--yes") == 1
    err = capsys.readouterr().err
    assert err.startswith("FAIL homeserver_unreachable: ")
    assert "Nothing is lost" in err
    assert "the bot's password" not in err
    assert (tmp_path / "state" / "cross_signing.json").read_bytes() == before
    assert not (tmp_path / "state" / "cross_signing.pending.json").exists()


def test_a_damaged_session_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_state(tmp_path / "state")
    written(tmp_path)
    (tmp_path / "state" / "session.json").write_text('{"access_token": "hunter2"')
    assert reset(tmp_path, "--yes") == 1
    err = capsys.readouterr().err
    assert err.startswith("FAIL state_unusable: ")
    assert "hunter2" not in err
