"""Owns how people write a length of time: `5s`, `10m`, `24h`, `7d`, `1y`, or a number of seconds."""

import re

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "y": 31_536_000}
# Longer than anybody waits, and short enough that "now plus this" stays a date.
_LONGEST = 100 * UNITS["y"]
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdy]?)", re.ASCII)


def parse_duration(written: object) -> float:
    """The seconds that somebody meant; zero is a duration.

    Raises:
        ValueError: With a sentence that says how durations are written.
    """
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        raise ValueError("must be a duration such as 5s, 10m, 24h, 7d or 1y.")  # noqa: TRY004 - pydantic wants this one
    if isinstance(written, str):
        match = _DURATION.fullmatch(written.strip())
        if match is None:
            raise ValueError("must be a duration: a number and one of s, m, h, d, y (5s, 10m, 24h, 7d, 1y).")
        seconds = float(match[1]) * UNITS[match[2] or "s"]
    else:
        seconds = written
    if not 0 <= seconds <= _LONGEST:  # Also false for a NaN.
        raise ValueError("must be a duration between 0s and 100y.")
    return abs(float(seconds))  # There is a minus zero.
