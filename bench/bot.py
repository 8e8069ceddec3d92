"""Owns the bot's process under measurement: the program as an operator runs it, its readiness and its memory."""

import asyncio
import sys
import time
from pathlib import Path

import aiohttp
import yaml

from onboard_bot.demo.ports import free_port

_PATIENCE = 30.0
_POLL_EVERY = 0.005
_LOG_TAIL = 2000


class BotProcess:
    """`onboard-bot run` with a state of its own; it can be started again on the same state.

    Args:
        folder: For its configuration, state and log.
        homeserver: Its URL.
        secret_file: The shared secret's.
        admin: Who is invited into the admin room.
    """

    def __init__(self, folder: Path, homeserver: str, secret_file: Path, admin: str) -> None:
        port = free_port()
        self.state = folder / "state"
        self._config = folder / "bot.yaml"
        self._log = folder / "bot.log"
        self._ready_url = f"http://127.0.0.1:{port}/readyz"
        self._process: asyncio.subprocess.Process | None = None
        config = {
            "homeserver": {"url": homeserver, "shared_secret_file": str(secret_file)},
            "bot": {"state_dir": str(self.state)},
            "admin_room": {"admins": [admin]},
            "accounts": {"delivery": "dm"},
            "ops": {"listen": f"127.0.0.1:{port}"},
        }
        self._config.write_text(yaml.safe_dump(config))

    async def start(self) -> float:
        """Starts it and waits until it is ready; the seconds from the start of the process to the first 200."""
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "onboard_bot", "run", "--config", str(self._config), stdout=log, stderr=log
            )
        async with aiohttp.ClientSession() as http:
            while not await self._is_ready(http):
                if self._process.returncode is not None or time.perf_counter() - began > _PATIENCE:
                    tail = self._log.read_text(errors="replace")[-_LOG_TAIL:]
                    raise RuntimeError(f"the bot did not become ready; the end of its log:\n{tail}")
                await asyncio.sleep(_POLL_EVERY)
        return time.perf_counter() - began

    async def stop(self) -> None:
        """Ends it as a service manager would."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(_PATIENCE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def resident_mib(self) -> float:
        """Its resident memory now, as Linux counts it."""
        assert self._process is not None, "nothing runs"
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(kib) / 1024

    async def _is_ready(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(self._ready_url) as answer:
                return answer.status == 200
        except aiohttp.ClientConnectorError:
            return False
