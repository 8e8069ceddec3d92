"""The demo as a visitor sees it: without a terminal, at one, when it is stopped, and when something is broken."""

import os
import pty
import re
import secrets
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "onboard_bot", "demo"]
MARK = "MARK_OF_THE_DEMO_TEST"
CLEARED_ROW = re.compile(r"[^\n]*\r\x1b\[K")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[@-~]")


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment that every process of the demo inherits; who still carries its mark afterwards is an orphan."""
    mark = secrets.token_hex(16)
    (tmp_path / "scratch").mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
    yield kept | {MARK: mark, "TMPDIR": str(tmp_path / "scratch"), "COLUMNS": "120", "TERM": "xterm"}
    until(lambda: not carriers(mark), "every process to be gone", within=2)


def carriers(mark: str) -> list[str]:
    """The command lines of the running processes that inherited the mark."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text().replace("\0", " ")[:100])
        except OSError:  # ended, or not ours, or no process
            continue
    return found


def until(true: Callable[[], bool], what: str, *, within: float) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"waited {within} s in vain for {what}"
        time.sleep(0.05)


def left_over(surroundings: dict[str, str]) -> list[str]:
    return [path.name for path in Path(surroundings["TMPDIR"]).iterdir()]


def in_order(text: str, *expected: str) -> None:
    """Every one of these is there, each behind the one before it."""
    position = 0
    for piece in expected:
        found = text.find(piece, position)
        assert found >= 0, f"{piece!r} is not, or too early, in:\n{text}"
        position = found + len(piece)


def test_without_a_terminal_it_shows_the_whole_way_and_ends(surroundings: dict[str, str]) -> None:
    done = subprocess.run(
        COMMAND, env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    in_order(
        done.stdout,
        "Synapse is starting",
        "runs at http://127.0.0.1:",
        'admins: ["@admin:localhost"]',
        "The room “Onboarding” · encrypted",
        "Onboarding invites admin",
        "admin 🔒\n         !help",
        "┃ admin: !help",
        "`!register <username>",
        "┃ admin: !register ada Ada Lovelace",
        "✅ @ada:localhost (Ada Lovelace) is ready.",
        "┃ admin: !register ada\n           The username ada is taken",
        "┃ admin: !register admin\n           The name admin is reserved.",
        "The proof",
        "signed in on the device",
        "whoami: @ada:localhost",
        "signed out",
        "Approval: grace asks, the room decides",
        "admin invites grace",
        'grace 🔒\n         !register bob Bob --note="plays the bassoon"',
        '┃ grace: !register bob Bob --note="plays the bassoon"\n           🗳️ Request ',
        "0 of 1 approval",
        "Onboarding puts ✅ and ❌ under request ",
        "admin taps ✅ under request ",
        "Onboarding edits the card: ✅ Request ",
        "A direct message to grace · encrypted",
        "Onboarding invites grace to a direct message; grace accepts.",
        "The account @bob:localhost is ready",
        "Password: `",
        "That was all",
    )
    in_order(done.stdout, "admin taps", "(Bob) is created: @bob:localhost", "A direct message to grace")
    in_order(
        done.stdout, "admin taps", "┃ grace: !register bob", "✅ @bob:localhost (Bob) is ready.", "A direct message to"
    )
    assert done.stdout.count("🗳️ Request") == 1, "an edit shows a card again"
    assert done.stdout.count("Onboarding puts") == 1, "each sign is a line"
    in_order(done.stdout, "A direct message · encrypted", "Onboarding 🔒", "Password: `", "The proof")
    assert "🔓" not in done.stdout
    assert "\x1b" not in done.stdout
    assert surroundings["TMPDIR"] not in done.stdout
    assert left_over(surroundings) == []


def test_narrow_and_in_ascii_nothing_is_lost(surroundings: dict[str, str]) -> None:
    done = subprocess.run(
        COMMAND,
        env=surroundings | {"COLUMNS": "40", "PYTHONIOENCODING": "ascii"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert max(len(line) for line in done.stdout.splitlines()) <= 40
    in_order(done.stdout, "Onboarding [encrypted]\n  | admin: !register ada", "[ok] @ada:localhost", "* POST /logout")
    in_order(done.stdout, "Onboarding puts [ok] and [no]", "admin taps [ok] under request", "edits the card:")
    assert done.stdout.isascii()


class Terminal:
    """The demo at a terminal, and somebody before it."""

    def __init__(self, surroundings: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 100))
        self.modes = termios.tcgetattr(theirs)
        self._theirs = theirs
        environment = {name: value for name, value in surroundings.items() if name != "COLUMNS"}
        self.process = subprocess.Popen(
            COMMAND, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        self.raw = ""

    @property
    def text(self) -> str:
        """What stands on it: rows that were drawn over are gone."""
        return ESCAPE.sub("", CLEARED_ROW.sub("", self.raw)).replace("\r\n", "\n")

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def shows(self, *expected: str, within: float = 30) -> None:
        """Waits until all of this has come, in this order."""
        deadline = time.monotonic() + within
        while not re.search(".*".join(map(re.escape, expected)), self.text, re.DOTALL):
            assert time.monotonic() < deadline, f"no {expected} in:\n{self.text}"
            self._take(0.1)

    def ends(self) -> int:
        deadline = time.monotonic() + 5
        while self.process.poll() is None and time.monotonic() < deadline:
            self._take(0.05)
        self._take(0)
        return self.process.wait(0)

    def has_its_modes_back(self) -> bool:
        return termios.tcgetattr(self._theirs)[:4] == self.modes[:4]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        os.close(self._ours)
        os.close(self._theirs)

    def _take(self, wait: float) -> None:
        if select.select([self._ours], [], [], wait)[0]:
            self.raw += os.read(self._ours, 65536).decode(errors="ignore")


@pytest.fixture
def terminal(surroundings: dict[str, str]) -> Iterator[Terminal]:
    at = Terminal(surroundings)
    yield at
    at.close()


def test_at_a_terminal_one_goes_on_as_the_admin_and_as_grace(terminal: Terminal, surroundings: dict[str, str]) -> None:
    terminal.shows("Homeserver", "http://127.0.0.1:", "Username", "admin", "Password", "admin> ")
    terminal.type("!statsu\x7f\x7f")
    terminal.type("us\r!help regi")  # the next line is begun before the answer comes
    terminal.shows("admin 🔒\n         !status", "┃ admin: !status", "onboard-bot 0.", "admin> !help regi")
    terminal.type("ster\r")
    terminal.shows("┃ admin: !help register")
    terminal.type("grace: !register eve Eve\r")
    terminal.shows("grace 🔒\n         !register eve Eve\n", "puts ✅ and ❌ under request ")
    terminal.type("❌\r")
    terminal.shows("!register eve Eve", "taps ❌ under request ", "edits the card: ❌ Request ", "denied by @admin")
    terminal.shows("!register eve Eve", "┃ grace: !register eve Eve\n           ❌ eve ", " was denied")
    terminal.type("\x04")

    assert terminal.ends() == 0, terminal.text
    assert terminal.has_its_modes_back()
    assert left_over(surroundings) == []


@pytest.mark.parametrize(
    ("at_the_moment_of", "number"),
    [("Synapse is starting", signal.SIGINT), ("setting itself up", signal.SIGTERM), ("!help", signal.SIGHUP)],
)
def test_a_signal_ends_everything_at_once(
    surroundings: dict[str, str], at_the_moment_of: str, number: signal.Signals
) -> None:
    environment = surroundings | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        COMMAND, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if at_the_moment_of in line:
                break
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=5)

    assert demo.returncode == 128 + number, output
    assert "Stopped" in output
    assert left_over(surroundings) == []


def test_when_the_demo_is_killed_nothing_runs_on(surroundings: dict[str, str]) -> None:
    environment = surroundings | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        COMMAND, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "setting itself up" in line:
                break
        assert len(carriers(surroundings[MARK])) == 3  # the demo, Synapse, the bot; the fixture waits for their end
        demo.kill()


def test_a_bot_that_does_not_start_is_told_with_its_last_words(surroundings: dict[str, str], tmp_path: Path) -> None:
    # Python imports this before anything else, and only the bot has this verb.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'run' in sys.orig_argv:\n    print('a broken bot', flush=True)\n    os._exit(3)\n"
    )
    done = subprocess.run(
        COMMAND,
        env=surroundings | {"PYTHONPATH": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (1, "")
    in_order(
        done.stdout, "The bot ended with status 3.", "The end of the bot's log:\n  a broken bot", "All logs are kept"
    )
    (kept,) = Path(surroundings["TMPDIR"]).iterdir()
    assert str(kept) in done.stdout.replace("\n", "")
    assert sorted(path.name for path in kept.iterdir()) == ["bot.log", "demo.log", "synapse.log"]
    assert (kept / "bot.log").read_text() == "a broken bot\n"
