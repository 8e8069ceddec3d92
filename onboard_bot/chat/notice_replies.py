"""Owns the words about the machine that the bot runs on: what its people have to know, and what there is to do."""

import math

from onboard_bot.chat.messages import About, Kind, Message, Paragraph
from onboard_bot.chat.moments import to_the_minute
from onboard_bot.clock_jump import Jump

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))
_MINUTE = 60


def clock_jumped(jump: Jump) -> Message:
    """What the admin room is told, once, when the clock jumped.

    Args:
        jump: By how much, and to what time.
    """
    soon = "early" if jump.seconds > 0 else "late"
    what = f"⚠️ {_what_happened(jump)} For ten minutes no request expires, so that nothing is lost by a wrong clock."
    mend = (
        "If that time is right (the machine may have slept, or its clock was wrong before), there is nothing to do. If"
        " it is wrong, please have the clock set right within these ten minutes: after them I go by what it shows, and"
        f" requests expire too {soon}."
    )
    return Message((Paragraph((what,)), Paragraph((mend,))), About(Kind.STATUS))


def expiry_pauses(jump: Jump, left: float) -> str:
    """What `!status` notes as long as nothing expires.

    Args:
        jump: The latest one.
        left: Seconds for which that lasts.
    """
    minutes = _counted(math.ceil(left / _MINUTE), "minute")
    return (
        f"{_what_happened(jump)} No request expires for another {minutes}; if that time is wrong, please set it right."
    )


def _what_happened(jump: Jump) -> str:
    way = "forward" if jump.seconds > 0 else "back"
    by = _amount(abs(jump.seconds))
    return f"The clock of my machine jumped {way} by {by}, to {to_the_minute(jump.to)}."


def _amount(seconds: float) -> str:
    """A length of time by its two largest units: enough to recognize a time zone, a sleep or a dead battery by."""
    left, said = round(seconds / _MINUTE) * _MINUTE, []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            said.append(_counted(count, unit))
    return " and ".join(said[:2])


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" + ("" if count == 1 else "s")
