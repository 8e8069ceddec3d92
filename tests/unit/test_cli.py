"""A stop is a clean end from the first moment on, and a setting that cannot be used ends with 2 and one line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.fakes.wrong_servers import nobody_listens

# Stands before the real library, so that the program is caught while it imports.
SLOW_LIBRARY = """
import time
print("importing", flush=True)
try:
    time.sleep(30)
except BaseException:
    pass
raise ImportError("cut off")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_the_program_still_imports_is_a_clean_end(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "aiohttp.py").write_text(SLOW_LIBRARY)
    with subprocess.Popen(
        [sys.executable, "-m", "onboard_bot", "run", "--config", str(tmp_path / "config.yaml")],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as bot:
        assert bot.stdout is not None
        assert bot.stdout.readline() == "importing\n"
        bot.send_signal(number)
        rest, complaints = bot.communicate(timeout=10)
    assert (bot.returncode, rest, complaints) == (0, "", "")


def test_a_password_file_that_cannot_be_read_is_an_unusable_setting(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("s3cret")
    config = tmp_path / "config.yaml"
    tree = {
        "homeserver": {"url": nobody_listens(), "shared_secret_file": str(secret)},
        "bot": {"state_dir": str(tmp_path / "state"), "password_file": str(tmp_path / "nowhere")},
        "admin_room": {"admins": ["@ada:example.org"]},
        "ops": {"listen": nobody_listens().removeprefix("http://")},
    }
    config.write_text(yaml.safe_dump(tree))
    ended = subprocess.run(
        [sys.executable, "-m", "onboard_bot", "run", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"FAIL bot.password_file: {tmp_path / 'nowhere'} cannot be read: ")
    assert len(ended.stderr.splitlines()) == 1
