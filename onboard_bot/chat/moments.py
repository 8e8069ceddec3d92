"""Owns how a message tells a time: always UTC, and lengths of time as people say them."""

from datetime import UTC, datetime

from onboard_bot.clock import Timestamp

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def to_the_minute(at: Timestamp) -> str:
    """Such as `2026-01-08 12:00 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def to_the_second(at: Timestamp) -> str:
    """Such as `2026-01-08 12:00:05 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """A length of time as people say it: its largest unit, after what is more than a minute became whole minutes."""
    whole = max(0, int(seconds))
    if whole >= _MINUTE:
        whole = round(seconds / _MINUTE) * _MINUTE
    for unit, size in (("day", _DAY), ("hour", _HOUR), ("minute", _MINUTE)):
        if whole >= size:
            count = whole // size
            return f"{count} {unit}" + ("" if count == 1 else "s")
    return f"{whole} s"
