"""Owns how a secret lies in the database: encrypted with the key file, bound to the row that it belongs to."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from onboard_bot.errors import ErrorCode, FatalError

_NONCE_BYTES = 12


class Sealer:
    """Encrypts with AES-256-GCM.

    Args:
        key: 32 bytes, from the key file in the state directory.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, secret: SecretStr, *, belongs_to: str) -> bytes:
        """The encrypted form, which opens only under the same name."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.get_secret_value().encode(), belongs_to.encode())

    def open(self, sealed: bytes, *, belongs_to: str) -> SecretStr:
        """The secret again.

        Raises:
            FatalError: `state_unusable`, when the key file is not the one that it was sealed with.
        """
        nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return SecretStr(self._cipher.decrypt(nonce, encrypted, belongs_to.encode()).decode())
        except InvalidTag as error:
            raise FatalError(
                ErrorCode.STATE_UNUSABLE,
                "A stored password does not open: the key file in the state directory is not the one that belongs to"
                " this database. Restore both from the same backup.",
            ) from error
