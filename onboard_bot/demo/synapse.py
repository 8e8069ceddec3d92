"""Owns a real Synapse in a scratch folder: its configuration, its process, its end.

For the demo, the tests and the benchmark. One process on a loopback port that we choose, SQLite, no federation, no key
servers; nothing but loopback is ever asked. It must not know the bot: what it gives is a URL and a secret file.
"""

import asyncio
import base64
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import yaml

from onboard_bot.demo.ports import free_port

START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0
POLL_EVERY = 0.1
WATCH_EVERY = 0.5
LOG_TAIL_LINES = 25

# Our end of this pipe closes when we end, however we end, and then Synapse ends: it never outlives who started it.
_BOOTSTRAP = """
import os, sys, threading

def end_with_parent():
    while os.read(0, 1):
        pass
    os._exit(0)

threading.Thread(target=end_with_parent, daemon=True).start()
from synapse.app.homeserver import main
sys.argv = ["synapse", "-c", "homeserver.yaml"]
main()
"""

_UNLIMITED = {"per_second": 1_000_000, "burst_count": 1_000_000}
_LIMITS = (
    "rc_message",
    "rc_registration",
    "rc_registration_token_validity",
    "rc_admin_redaction",
    "rc_joins_per_room",
    "rc_key_requests",
    "rc_3pid_validation",
    "rc_third_party_invite",
    "rc_media_create",
    "rc_delayed_event_mgmt",
    "rc_room_creation",
    "rc_reports",
    "rc_user_directory",
    "rc_profile",
)
NO_RATE_LIMITS: dict[str, Any] = {
    **dict.fromkeys(_LIMITS, _UNLIMITED),
    "rc_login": {"address": _UNLIMITED, "account": _UNLIMITED, "failed_attempts": _UNLIMITED},
    "rc_joins": {"local": _UNLIMITED, "remote": _UNLIMITED},
    "rc_invites": {"per_room": _UNLIMITED, "per_user": _UNLIMITED, "per_issuer": _UNLIMITED},
    "rc_presence": {"per_user": _UNLIMITED},
}


class SynapseDidNotStart(RuntimeError):  # noqa: N818 - reads as what happened
    """Synapse ended, or did not answer in time; the message holds the end of its log."""


class SynapseEnded(RuntimeError):  # noqa: N818 - reads as what happened
    """Synapse ended by itself; the message holds the end of its log."""


@dataclass(frozen=True)
class SynapseSettings:
    """What kind of Synapse is wanted.

    Args:
        server_name: The part of user ids behind the colon.
        default_room_version: Of rooms that are made without naming one; None leaves it to Synapse.
        bcrypt_rounds: What a password costs; None leaves Synapse's 12 (about a quarter of a second each).
        rate_limits: Synapse's own, or none at all.
        shared_secret: What goes into the secret file; None configures no shared-secret registration.
        extra: Top-level keys of `homeserver.yaml`, laid over everything else.
    """

    server_name: str = "localhost"
    default_room_version: str | None = None
    bcrypt_rounds: int | None = None
    rate_limits: bool = True
    shared_secret: str | None = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict)


class RunningSynapse:
    """One Synapse with its folder; the port stays the same from start to start.

    Args:
        folder: Where everything of it lies; made if it is not there.
        settings: What kind it is.
        python: The interpreter that has matrix-synapse installed.
    """

    def __init__(self, folder: Path, settings: SynapseSettings, python: str) -> None:
        self.settings = settings
        self.server_name = settings.server_name
        self.folder = folder.absolute()
        self.secret_file = self.folder / "shared_secret"
        self.log_file = self.folder / "synapse.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self._write_configuration()

    @property
    def pid(self) -> int | None:
        """The process, None while it is stopped."""
        return None if self._process is None else self._process.pid

    async def start(self) -> float:
        """Start it and wait until it answers; the seconds that it took.

        Raises:
            SynapseDidNotStart: With the end of the log.
        """
        if self._process is not None and self._process.poll() is None:
            raise RuntimeError("this Synapse runs already")
        await self.kill()  # clears away one that ended by itself
        began = time.monotonic()
        self._process = self._spawn()
        try:
            await self._until_it_answers(self._process, began + START_TIMEOUT)
        except BaseException:
            await self.kill()
            raise
        return time.monotonic() - began

    async def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> float:
        """Stop and start; the seconds that the start took. Everything it kept in memory (nonces, say) is gone."""
        await self.stop()
        return await self.start()

    async def watch(self) -> NoReturn:
        """Waits for what must not happen.

        Raises:
            SynapseEnded: It ended although nobody asked it to.
        """
        while self._process is None or self._process.poll() is None:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(WATCH_EVERY)
        raise SynapseEnded(f"Synapse ended with status {self._process.returncode}:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines of the log."""
        if not self.log_file.exists():
            return "(no log)"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    async def _until_it_answers(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    raise SynapseDidNotStart(f"Synapse ended with status {process.returncode}:\n{self.log_tail()}")
                try:
                    async with session.get(f"{self.url}/_matrix/client/versions") as answer:
                        if answer.ok:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(POLL_EVERY)
        raise SynapseDidNotStart(f"Synapse did not answer within {START_TIMEOUT:.0f} s:\n{self.log_tail()}")

    async def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.send_signal(with_signal)
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, STOP_TIMEOUT)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [self._python, "-c", _BOOTSTRAP],
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the demo, which then stops Synapse itself
            )

    def _write_configuration(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # What `--generate-config` would do in a process of its own, a second slower.
        if not (key := self.folder / "signing.key").exists():
            seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
            _write_private(key, f"ed25519 a_demo {seed}\n")
        if self.settings.shared_secret is not None:
            _write_private(self.secret_file, self.settings.shared_secret + "\n")
        _write_private(self.folder / "homeserver.yaml", yaml.safe_dump(self._configuration(), sort_keys=False))

    def _configuration(self) -> dict[str, Any]:
        settings = self.settings
        configuration: dict[str, Any] = {
            "server_name": settings.server_name,
            "public_baseurl": f"{self.url}/",
            "pid_file": str(self.folder / "synapse.pid"),
            "listeners": [
                {
                    "port": self.port,
                    "tls": False,
                    "type": "http",
                    "x_forwarded": True,
                    "bind_addresses": ["127.0.0.1"],
                    "resources": [{"names": ["client"], "compress": False}],
                }
            ],
            "database": {"name": "sqlite3", "args": {"database": str(self.folder / "homeserver.db")}},
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "macaroon_secret_key": secrets.token_urlsafe(32),
            "form_secret": secrets.token_urlsafe(32),
            "enable_registration": False,
            "report_stats": False,
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "federation_domain_whitelist": [],
            "url_preview_enabled": False,
        }
        if settings.shared_secret is not None:
            configuration["registration_shared_secret_path"] = str(self.secret_file)
        if settings.default_room_version is not None:
            configuration["default_room_version"] = settings.default_room_version
        if settings.bcrypt_rounds is not None:
            configuration["bcrypt_rounds"] = settings.bcrypt_rounds
        if not settings.rate_limits:
            configuration |= NO_RATE_LIMITS
        return configuration | dict(settings.extra)


@asynccontextmanager
async def running_synapse(
    folder: Path, settings: SynapseSettings | None = None, python: str = sys.executable
) -> AsyncIterator[RunningSynapse]:
    """A Synapse that answers, and is gone afterwards; the folder stays.

    Raises:
        SynapseDidNotStart: With the end of the log.
    """
    synapse = RunningSynapse(folder, settings or SynapseSettings(), python)
    try:
        await synapse.start()
        yield synapse
    finally:
        await synapse.stop()


def _write_private(path: Path, text: str) -> None:
    """A file that its owner alone may read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
