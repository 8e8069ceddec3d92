"""Owns the benchmark as a command: one run on this machine, printed as two tables. Nothing is left behind.

See docs/performance.md for what is measured and how to read it.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from bench.figures import Footprint, Latencies, footprint_table, latency_table
from bench.measure import footprint, latencies, stage

_LONGEST = 300.0
_LEAST_SAMPLES = 30
_STARTS = 5


async def _run(samples: int, accounts: int) -> tuple[list[Latencies], Footprint]:
    async with asyncio.timeout(_LONGEST):
        _say(f"bcrypt 12: {samples} registrations by the bot and by the floor, in turn …")
        with _scratch() as folder:
            async with stage(Path(folder), 12) as dear:
                measured = [await latencies(dear, samples)]
        _say(f"bcrypt 4: {samples} registrations by the bot and by the floor, in turn …")
        with _scratch() as folder:
            async with stage(Path(folder), 4) as cheap:
                measured.append(await latencies(cheap, samples))
                _say(f"bcrypt 4: {accounts} accounts, then {_STARTS} starts …")
                return measured, await footprint(cheap, accounts, _STARTS)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="onboard-bench-")


def _say(progress: str) -> None:
    print(progress, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures the bot beside the floor.")
    parser.add_argument("--samples", type=int, default=40, help=f"of each series, at least {_LEAST_SAMPLES}")
    parser.add_argument("--accounts", type=int, default=500, help="made before memory is looked at again")
    options = parser.parse_args()
    try:
        measured, taken = asyncio.run(_run(max(_LEAST_SAMPLES, options.samples), max(1, options.accounts)))
    except TimeoutError:
        sys.exit(f"Not done within {_LONGEST:.0f} s: this machine is too busy for figures that mean anything.")
    print("Command typed → answer readable at the admin's client\n")
    print(latency_table(measured))
    print("\nThe bot's process\n")
    print(footprint_table(taken))


if __name__ == "__main__":
    main()
