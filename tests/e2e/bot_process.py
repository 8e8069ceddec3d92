"""The bot as an operator runs it: a process, its configuration in a file, its log, its health pages, its end."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import yaml

from onboard_bot.demo.ports import free_port
from onboard_bot.demo.synapse import RunningSynapse

READY_WITHIN = 30.0
POLL_EVERY = 0.03
STOP_WITHIN = 10.0
"""Design, section 3: SIGTERM drains within 10 s."""

# The same program, forked from a process that has imported it: a start costs a twentieth of a second instead of one.
# How a fork ended is left in a file that bears its number.
_FORKS = """
import ctypes, os, signal, sys
import aiosqlite, alembic.command, alembic.config
import onboard_bot.app, onboard_bot.config.load, onboard_bot.homeserver.secret, onboard_bot.log
from onboard_bot.cli import main

def note_ends(*_):
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with open(f"{sys.argv[1]}/.{ended[0]}", "w") as file:
                file.write(str(os.waitstatus_to_exitcode(ended[1])))
            os.rename(file.name, f"{sys.argv[1]}/{ended[0]}")
    except ChildProcessError:
        pass

signal.signal(signal.SIGCHLD, note_ends)
for line in sys.stdin:
    config, log = line.rstrip("\\n").split("\\t")
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with its parent
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        status = main(["run", "--config", config])
        sys.stdout.flush()
        os._exit(status)
    print(pid, flush=True)
"""


class Running(Protocol):
    """A process that was started."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None:
        """Its status, None while it runs."""
        ...


Launch = Callable[[Path, Path], Running]
"""Starts `run` with this configuration, writing to this log."""


def as_operator(config: Path, log: Path) -> Running:
    """`python -m onboard_bot run --config …`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ONBOARD_BOT_")}
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "onboard_bot", "run", "--config", str(config)],
            cwd=config.parent,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
        )


@dataclass(frozen=True)
class Forked:
    """A fork."""

    pid: int
    ends: Path

    def poll(self) -> int | None:
        end = self.ends / str(self.pid)
        return int(end.read_text()) if end.exists() else None


@contextmanager
def forking(ends: Path) -> Iterator[Launch]:
    """Quick starts, for tests that start the bot again and again.

    Args:
        ends: An empty folder.
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", _FORKS, str(ends)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    orders, pids, one_at_a_time = parent.stdin, parent.stdout, threading.Lock()

    def launch(config: Path, log: Path) -> Running:
        with one_at_a_time:
            orders.write(f"{config}\t{log}\n")
            orders.flush()
            return Forked(int(pids.readline()), ends)

    try:
        yield launch
    finally:
        parent.kill()
        parent.wait()
        for stream in (orders, pids):
            stream.close()


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    seconds: float


@dataclass(frozen=True)
class Page:
    """An answer of a health page."""

    status: int
    body: dict[str, Any]


class BotProcess:
    """One bot with its folder; it can be started again and again.

    Args:
        folder: Holds the configuration, the log and the state.
        config: Without what every bot here has: a state folder and a port for its health pages.
        launch: How it is started.
    """

    def __init__(self, folder: Path, config: dict[str, Any], launch: Launch) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.state = folder / "state"
        self.config = config
        self._launch = launch
        self._log_file = folder / "log"
        self._process: Running | None = None
        self.health_url = f"http://127.0.0.1:{free_port()}"
        bot = {"state_dir": str(self.state)} | config.get("bot", {})
        ops = {"listen": self.health_url.removeprefix("http://")} | config.get("ops", {})
        self.config_file = folder / "config.yaml"
        self.config_file.write_text(yaml.safe_dump(config | {"bot": bot, "ops": ops}))

    @property
    def username(self) -> str:
        return str(self.config.get("bot", {}).get("username", "onboard"))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Starts it, and does not wait for anything."""
        assert not self.is_running
        self._process = await asyncio.to_thread(self._launch, self.config_file, self._log_file)

    async def kill(self) -> None:
        """Ends it as a power cut would."""
        await self._end(signal.SIGKILL, within=STOP_WITHIN)

    async def stop(self) -> Ended:
        """Ends it as systemd would."""
        return await self._end(signal.SIGTERM, within=2 * STOP_WITHIN)

    async def ended(self, *, within: float = READY_WITHIN) -> Ended:
        """Waits until it has ended by itself."""
        process, began = self._process, time.monotonic()
        assert process is not None
        while (status := process.poll()) is None:
            if time.monotonic() - began > within:
                raise AssertionError(f"the bot still runs after {within} s; its log:\n{self.log()}")
            await asyncio.sleep(POLL_EVERY)
        return Ended(status, time.monotonic() - began)

    async def _end(self, number: signal.Signals, *, within: float) -> Ended:
        if self.is_running:
            os.kill(self.pid, number)
        return await self.ended(within=within)

    def log(self) -> str:
        """What it wrote so far, on both its outputs."""
        return self._log_file.read_text() if self._log_file.exists() else ""

    async def comes_due(self, *kinds: str) -> None:
        """What waits for its time is due, once there is some; nobody wants to wait a minute in a test."""
        wanted = f"kind IN ({', '.join('?' * len(kinds))})"
        query = f"UPDATE jobs SET run_after = 0 WHERE state = 'open' AND attempts = 0 AND {wanted}"  # noqa: S608 - question marks
        async with asyncio.timeout(READY_WITHIN):
            while True:
                with closing(sqlite3.connect(self.state / "onboard.db", timeout=5)) as database, database:
                    if database.execute(query, kinds).rowcount:
                        return
                await asyncio.sleep(POLL_EVERY)

    async def has_logged(self, words: str) -> None:
        """Waits until it has."""
        async with asyncio.timeout(READY_WITHIN):
            while words not in self.log():  # noqa: ASYNC110 - a file rings no bell
                await asyncio.sleep(POLL_EVERY)

    def remembered(self, name: str) -> dict[str, Any]:
        """A JSON file of the state folder."""
        values: dict[str, Any] = json.loads((self.state / name).read_text())
        return values

    async def healthz(self) -> Page | None:
        """Whether the process lives; None while nothing listens."""
        return await self._page("/healthz")

    async def readyz(self) -> Page | None:
        """Whether it can work; None while nothing listens."""
        return await self._page("/readyz")

    async def _page(self, path: str) -> Page | None:
        async with aiohttp.ClientSession() as http:
            try:
                async with http.get(self.health_url + path) as answer:
                    return Page(answer.status, await answer.json())
            except aiohttp.ClientConnectionError:
                return None

    async def wait_ready(self, *, within: float = READY_WITHIN) -> Page:
        """Waits for a 200 of `/readyz`."""
        return await self.wait_page(lambda page: page.status == 200, within=within)

    async def wait_page(self, fits: Callable[[Page], bool], *, within: float = READY_WITHIN) -> Page:
        """Waits until `/readyz` says what is wanted."""
        deadline, page = time.monotonic() + within, None
        while time.monotonic() < deadline:
            page = await self.readyz()
            if page is not None and fits(page):
                return page
            if not self.is_running:
                raise AssertionError(f"the bot has ended; its log:\n{self.log()}")
            await asyncio.sleep(POLL_EVERY)
        raise AssertionError(f"/readyz still says {page} after {within} s; the bot's log:\n{self.log()}")


@asynccontextmanager
async def running_bot(
    folder: Path,
    synapse: RunningSynapse,
    *,
    url: str | None = None,
    start: bool = True,
    faults: bool = False,
    launch: Launch = as_operator,
    **config: Any,
) -> AsyncIterator[BotProcess]:
    """A bot for this Synapse, gone afterwards. It must not have been surprised, nor have told the secret.

    Args:
        folder: Its own.
        synapse: Whose secret file it gets.
        url: Where it finds Synapse, if not directly.
        start: Whether it is started at once.
        faults: Whether a trace in the log is part of the test.
        launch: How it is started.
        config: Sections of the configuration.
    """
    homeserver = {"url": url or synapse.url, "shared_secret_file": str(synapse.secret_file)}
    sections = config | {"homeserver": homeserver | config.get("homeserver", {})}
    bot = BotProcess(folder, sections, launch)
    try:
        if start:
            await bot.start()
        yield bot
    finally:
        if bot.is_running:
            await bot.kill()
    assert faults or "Traceback" not in bot.log(), bot.log()
    assert (synapse.settings.shared_secret or "no secret") not in bot.log()
