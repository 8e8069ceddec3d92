"""Owns the reasons for which somebody's device keeps a room's key from us (specification, "m.room_key.withheld").

What it says stands in clear and is signed by nobody. It may explain what cannot be read, and decides nothing.
"""

from enum import StrEnum

WAITED_FOR = 60.0
"""Seconds for which a key is waited for, if it is not known to be withheld; then its sender is asked to type again."""


class Withheld(StrEnum):
    """Why; the values are those of the specification."""

    BLACKLISTED = "m.blacklisted"
    UNVERIFIED = "m.unverified"
    UNAUTHORISED = "m.unauthorised"
    UNAVAILABLE = "m.unavailable"
    NO_OLM = "m.no_olm"
    """No secure channel to us could be made; it is about all keys of that device."""
    OTHER = "other"
    """Something that the specification does not know. Nobody repeats a stranger's words."""

    @classmethod
    def read(cls, code: str) -> "Withheld":
        """The reason of a code."""
        known = (reason for reason in cls if reason == code and reason is not cls.OTHER)
        return next(known, cls.OTHER)
