"""Owns what nio's Olm machine has no name for."""

from typing import Any

from nio.crypto import Olm


def forget_empty_sessions(olm: Olm) -> None:
    """Takes away the room that nio makes for sessions with every key that a stranger names."""
    sessions = olm.session_store._entries  # noqa: SLF001 - see above
    for sender_key in [key for key, held in sessions.items() if not held]:
        del sessions[sender_key]


def newest_session(olm: Olm, sender_key: str) -> Any:
    """The Olm session to send with; None where there is none.

    nio goes by when they were used, in whichever direction. A session that the other side has lost may be used still,
    for what was on its way, so that the newest is the one that both surely have.
    """
    return max(olm.session_store[sender_key], key=lambda session: session.creation_time, default=None)


def new_fallback_key(olm: Olm, user_id: str, device_id: str) -> dict[str, Any]:
    """A key for whoever finds all one-time keys used, signed, as `keys/upload` wants it."""
    account = olm.account._account  # noqa: SLF001 - see above
    account.generate_fallback_key()
    keys = {}
    for key_id, key in account.fallback_key.items():
        signed: dict[str, Any] = {"key": key.to_base64(), "fallback": True}
        signature = olm.sign_json(dict(signed))
        keys[f"signed_curve25519:{key_id}"] = signed | {"signatures": {user_id: {f"ed25519:{device_id}": signature}}}
    return keys
