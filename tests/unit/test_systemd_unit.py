"""The systemd unit is one that systemd accepts, and hands the secret over without anybody else seeing it."""

import os
import shutil
import subprocess
import sys
from configparser import RawConfigParser, SectionProxy
from pathlib import Path

import pytest

from onboard_bot import cli

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "onboard-bot.service"


def test_systemd_accepts_the_unit_with_its_program_put_in_place(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("ONBOARD_CI"):
            pytest.fail("systemd-analyze is missing; .ci/run installs the package systemd")
        pytest.skip("systemd-analyze is missing: install the Debian package systemd to run this test")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/onboard-bot", sys.executable))
    result = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.fixture
def service() -> SectionProxy:
    unit = RawConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text())
    return unit["Service"]


def test_only_an_unusable_configuration_is_not_tried_again(service: SectionProxy) -> None:
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"].split() == [str(cli.UNUSABLE)]
    assert int(service["RestartSec"]) >= 30


def test_the_secret_comes_as_a_credential_and_the_state_in_a_private_folder(service: SectionProxy) -> None:
    assert service["LoadCredential"].startswith("shared_secret:")
    assert service["Environment"] == "ONBOARD_BOT_HOMESERVER__SHARED_SECRET_FILE=%d/shared_secret"
    assert service["StateDirectoryMode"] == "0700"
    assert service["NoNewPrivileges"] == "yes"
