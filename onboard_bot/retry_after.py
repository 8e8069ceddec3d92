"""Owns how long an answer asks us to wait: in its body, or in a header of two forms, and much of it nonsense."""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

_NO_LIMIT_IS_LONGER = 1e9


def asked_wait(body: Mapping[str, Any] | None, header: str | None, date: str | None) -> float | None:
    """Seconds that an answer asks us to wait: the body's `retry_after_ms`, else the header; None where neither says.

    Args:
        body: The answer's JSON object, where it has one.
        header: `Retry-After`: seconds, or a date.
        date: `Date`: the server's clock, which such a date goes by; ours may be another.
    """
    wanted = None if body is None else body.get("retry_after_ms")
    if isinstance(wanted, int | float) and not isinstance(wanted, bool) and wanted >= 0:  # NaN is not
        return min(wanted, _NO_LIMIT_IS_LONGER * 1000) / 1000
    return None if header is None else _header_wait(header, date)


def _header_wait(header: str, date: str | None) -> float | None:
    try:
        seconds = float(header)
    except ValueError:
        until, since = _moment(header), _moment(date or "")
        if until is None or since is None:
            return None
        seconds = max(until - since, 0.0)
    return min(seconds, _NO_LIMIT_IS_LONGER) if seconds >= 0 else None


def _moment(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError, TypeError, IndexError):  # what the parser makes of garbage
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
