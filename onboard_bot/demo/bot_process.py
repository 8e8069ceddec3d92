"""Owns the demo's bot: its configuration, and the process that an operator would run."""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import Process
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import yaml

_STOP_TIMEOUT = 2.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class BotEndedError(Exception):
    """The bot's process ended although nobody asked it to."""


class BotProcess:
    """One bot with its folder.

    Args:
        folder: Where its configuration, its log and its state lie.
        homeserver: The URL.
        secret_file: With the shared secret.
        admin: The user id that it shall invite.
    """

    def __init__(self, folder: Path, homeserver: str, secret_file: Path, admin: str) -> None:
        self.log_file = folder / "bot.log"
        self._config_file = folder / "config.yaml"
        # What an operator writes, and two lines for the demo: no state in the working directory, no fixed port.
        self._config = {
            "homeserver": {"url": homeserver, "shared_secret_file": str(secret_file)},
            "admin_room": {"admins": [admin]},
            "bot": {"state_dir": str(folder / "state")},
            "ops": {"listen": "127.0.0.1:0"},
        }
        self.shown_configuration = _shown(homeserver, secret_file, admin)
        self._process: Process | None = None

    async def start(self) -> None:
        """Starts it; it needs a moment until it does anything."""
        await asyncio.to_thread(self._config_file.write_text, yaml.safe_dump(self._config, sort_keys=False))
        with await asyncio.to_thread(self.log_file.open, "ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "onboard_bot", "run", "--config", str(self._config_file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_without_configuration(),
                start_new_session=True,  # Ctrl-C in the terminal is for the demo, which then stops the bot itself
                preexec_fn=_end_with_parent,
            )

    async def watch(self) -> NoReturn:
        """Waits for what must not happen.

        Raises:
            BotEndedError: It ended.
        """
        assert self._process is not None
        raise BotEndedError(f"The bot ended with status {await self._process.wait()}.")

    async def stop(self) -> None:
        """Asks it to end, and ends it if it takes its time."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            with suppress(ProcessLookupError):
                process.terminate()
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            pass
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _shown(homeserver: str, secret_file: Path, admin: str) -> str:
    """What an operator writes; where the demo's files lie is nobody's business."""
    return (
        f"homeserver:\n  url: {homeserver}\n  shared_secret_file: …/{secret_file.name}\n"
        f'admin_room:\n  admins: ["{admin}"]\n'
    ).rstrip()


def _without_configuration() -> dict[str, str]:
    """The environment without what would configure the visitor's own bot."""
    foreign = ("STATE_DIRECTORY", "CREDENTIALS_DIRECTORY")
    return {
        name: value for name, value in os.environ.items() if name not in foreign and not name.startswith("ONBOARD_BOT_")
    }


def _end_with_parent() -> None:
    """Runs in the child: it does not outlive a demo that was killed, where the kernel offers that."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
