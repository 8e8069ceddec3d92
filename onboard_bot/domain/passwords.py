"""Owns how a password is made."""

import string
from collections.abc import Callable, Sequence

LENGTH = 24
# ASCII, because Synapse normalises others; no backtick and no white space, because a message frames the password with
# them; no 0O1lI, because somebody may have to type it from a screen. 57 symbols: 24 of them hold 139 bits.
ALPHABET = "".join(c for c in string.ascii_letters + string.digits if c not in "0O1lI")

Choose = Callable[[Sequence[str]], str]
"""Picks one of several, unpredictably: `secrets.choice`, but in tests."""


def generate_password(choose: Choose) -> str:
    """A password of 24 characters; bcrypt sees all of them (it uses the first 72 bytes)."""
    return "".join(choose(ALPHABET) for _ in range(LENGTH))
