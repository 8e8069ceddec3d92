"""Owns where a new account's password comes from, and that it is encrypted before it is kept."""

from pydantic import SecretStr

from onboard_bot.domain.passwords import Choose, generate_password
from onboard_bot.store.sealing import Sealer


def password_label(request_id: str) -> str:
    """What a sealed password is bound to."""
    return f"request:{request_id}:password"


class NewPasswords:
    """Makes them.

    Args:
        sealer: Encrypts.
        choose: Where the characters come from.
    """

    def __init__(self, sealer: Sealer, choose: Choose) -> None:
        self._sealer = sealer
        self._choose = choose

    def sealed(self, request_id: str) -> bytes:
        """A new one, for this request alone."""
        return self._sealer.seal(SecretStr(generate_password(self._choose)), belongs_to=password_label(request_id))
