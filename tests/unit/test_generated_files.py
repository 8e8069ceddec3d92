"""What is derived from the code is what the code says now."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from onboard_bot.chat.commands import COMMANDS
from onboard_bot.chat.grammar import CommandSpec
from onboard_bot.errors import ErrorCode

ROOT = Path(__file__).resolve().parents[2]
GENERATE = ROOT / "docs" / "generate.py"


def test_every_generated_file_is_current() -> None:
    done = subprocess.run([sys.executable, GENERATE, "--check"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_a_stale_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for script in GENERATE.parent.glob("*.py"):
        shutil.copy(script, tmp_path / "docs")
    command = [sys.executable, str(tmp_path / "docs" / GENERATE.name)]

    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (tmp_path / "docs" / "errors.md").write_text("old", encoding="utf-8")
    (tmp_path / "config.example.yaml").unlink()
    stale = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)

    assert stale.returncode == 1
    assert "docs/errors.md" in stale.stdout
    assert "config.example.yaml" in stale.stdout
    assert "docs/configuration.md" not in stale.stdout
    assert (tmp_path / "docs" / "errors.md").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_error_code_is_in_the_list(code: ErrorCode) -> None:
    assert f"| `{code}` |" in (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec.name)
def test_every_command_has_a_section_that_says_all_of_it(spec: CommandSpec) -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    _, found, section = page.partition(f"\n## !{spec.name}\n")
    section = section.partition("\n## ")[0]

    assert found
    assert f"\n{spec.usage('!')}\n" in section
    assert "\nWho: " in section
    for shown in (*(param.shown for param in spec.params), *(option.shown for option in spec.options)):
        assert f"\n- `{shown}`: " in section
    assert f"\n!{spec.example}\n" in section
