"""Owns how lengths of time are written in the configuration: `5s`, `10m`, `24h`, `7d`, `1y`, and rates such as `3/1d`.

Inside the program a duration is a number of seconds; `forever`, where a key allows it, is None.
"""

import re
from dataclasses import dataclass

FOREVER = "forever"
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "y": 31_536_000}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)([smhdy]?)", re.ASCII)
_RATE = re.compile(r"(\d{1,9})/(\S+)", re.ASCII)
# Longer than any operator waits, and short enough that "now plus this" stays a date.
_LONGEST = 100 * _UNITS["y"]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` in any `seconds`."""

    count: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.count}/{format_duration(self.seconds)}"


def parse_duration(written: object) -> float:
    """The seconds that an operator meant; zero is a duration.

    Raises:
        ValueError: With a sentence that says how durations are written.
    """
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        raise ValueError("must be a duration such as 5s, 10m, 24h, 7d or 1y.")  # noqa: TRY004 - pydantic wants this one
    if isinstance(written, str):
        match = _WRITTEN.fullmatch(written.strip())
        if match is None:
            raise ValueError("must be a duration: a number and one of s, m, h, d, y (5s, 10m, 24h, 7d, 1y).")
        seconds = float(match[1]) * _UNITS[match[2] or "s"]
    else:
        seconds = written
    if not 0 <= seconds <= _LONGEST:  # Also false for a NaN.
        raise ValueError("must be a duration between 0s and 100y.")
    return abs(float(seconds))  # There is a minus zero.


def parse_retention(written: object) -> float | None:
    """Like `parse_duration`, and None for `forever`.

    Raises:
        ValueError: With a sentence that says how durations are written.
    """
    if isinstance(written, str) and written.strip() == FOREVER:
        return None
    try:
        return parse_duration(written)
    except ValueError as error:
        raise ValueError(f"{str(error).removesuffix('.')}, or {FOREVER}.") from None


def parse_rate(written: object) -> Rate:
    """What an operator meant by `3/1d`: three a day.

    Raises:
        ValueError: With a sentence that says how rates are written.
    """
    if isinstance(written, Rate):
        return written
    match = _RATE.fullmatch(written.strip()) if isinstance(written, str) else None
    if match is None:
        raise ValueError("must be a number, a slash and a duration: 3/1d allows three a day.")
    seconds = parse_duration(match[2])
    if int(match[1]) == 0 or seconds == 0:
        raise ValueError("must allow at least one in more than no time: 3/1d allows three a day.")
    return Rate(int(match[1]), seconds)


def format_duration(seconds: float | None) -> str:
    """The shortest way to write it; what `parse_retention` reads back as the same number."""
    if seconds is None:
        return FOREVER
    for unit, length in reversed(_UNITS.items()):
        if seconds and seconds % length == 0:
            return f"{int(seconds // length)}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
