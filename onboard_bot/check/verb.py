"""Owns the verb itself: which checks are made, that each line is out as soon as it is known, and the exit status."""

import asyncio
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from onboard_bot.check.findings import Finding, Level, exit_status, render
from onboard_bot.check.offline import SECRET_KEY, check_configuration, check_unsigned_devices
from onboard_bot.clock import SystemClock


def check(config_path: Path | None, *, offline: bool, environ: Mapping[str, str]) -> int:
    """Prints one line for each finding; the exit status.

    Args:
        config_path: What `--config` names; None looks at the usual places.
        offline: Whether the homeserver is left alone.
        environ: The environment.
    """
    told: list[Finding] = []

    def tell(findings: Sequence[Finding]) -> None:
        for finding in findings:
            told.append(finding)
            print(render(finding), flush=True)  # noqa: T201 - a command line prints

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without UTF-8 gets question marks, not a trace
    config, findings = check_configuration(config_path, environ)
    tell(findings)
    if config is None:
        return exit_status(told)
    tell([check_unsigned_devices(config)])
    if not offline:
        from onboard_bot.check.live import check_live  # noqa: PLC0415 - offline needs none of it

        secret_is_usable = not any(f.key == SECRET_KEY and f.level is Level.UNUSABLE for f in findings)
        asyncio.run(check_live(config, SystemClock(), tell, secret_is_usable=secret_is_usable))
    return exit_status(told)
