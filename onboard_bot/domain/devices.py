"""Owns what can be said of the device that a message came from, and which messages are obeyed.

MSC4153, and what current clients do: a device that its owner did not sign is left out.
"""

from enum import StrEnum


class Standing(StrEnum):
    """How the device behind a message stands to the message's sender."""

    SIGNED = "signed"
    """The sender's own, signed by the identity that we accepted."""
    UNSIGNED = "unsigned"
    """The sender's own, and not signed by them."""
    CHANGED = "changed"
    """Signed by an identity that took the place of the one that we accepted."""
    FOREIGN = "foreign"
    """None of the sender's devices: somebody else's, or one that is gone."""
    UNKNOWN = "unknown"
    """The sender's homeserver does not tell about their devices now."""
    CLEAR = "clear"
    """Nobody knows: the message stands in clear text in an encrypted room."""
    PLAIN = "plain"
    """Nobody knows, and nobody can: the room is not encrypted."""


def is_obeyed(standing: Standing, *, only_signed: bool) -> bool:
    """Whether a command from such a device counts.

    Args:
        standing: Of the device.
        only_signed: What the configuration says; otherwise it has to be the sender's own, no more.
    """
    if only_signed:
        return standing in (Standing.SIGNED, Standing.PLAIN)
    return standing not in (Standing.FOREIGN, Standing.UNKNOWN)
