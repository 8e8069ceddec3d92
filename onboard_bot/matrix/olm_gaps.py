"""Owns what nio's Olm machine has no name for."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from nio.crypto import Olm, OlmDevice
from nio.responses import KeysClaimResponse

from onboard_bot.matrix.device_keys import MALFORMED, Device

_LEAST = timedelta(microseconds=1)


def forget_empty_sessions(olm: Olm) -> None:
    """Takes away the room that nio makes for sessions with every key that a stranger names."""
    sessions = olm.session_store._entries  # noqa: SLF001 - see above
    for sender_key in [key for key, held in sessions.items() if not held]:
        del sessions[sender_key]


def session_with(olm: Olm, device: OlmDevice) -> Any:
    """The Olm session to send to a device with; None where there is none.

    nio goes by when they were used, in whichever direction. A session that the other side has lost may be used still,
    for what was on its way, so that the newest is the one that both surely have. And nio goes by the Curve25519 key
    alone, which another device can name as its own: a session that we made counts only for the device that it was made
    with. Whoever makes one with us has shown that the key is theirs.
    """
    usable = (None, (device.user_id, device.id))
    sessions = [s for s in olm.session_store[device.curve25519] if getattr(s, "made_with", None) in usable]
    return max(sessions, key=lambda session: session.creation_time, default=None)


def claimed_key(answer: Mapping[str, Any], device: Device) -> object:
    """What the answer of a `keys/claim` holds for a device, of any shape; None where it holds nothing."""
    held: object = answer.get("one_time_keys")
    for name in device:
        held = held.get(name) if isinstance(held, Mapping) else None
    return held


def start_session(olm: Olm, device: OlmDevice, one_time_key: object) -> Any:
    """A new Olm session with a device, saved; None where the key that was claimed is no good one of this device."""
    before = list(olm.session_store[device.curve25519])
    try:
        olm.handle_response(KeysClaimResponse({device.user_id: {device.id: one_time_key}}, {}))
    except MALFORMED:
        return None
    made = [session for session in olm.session_store[device.curve25519] if session not in before]
    if not made:
        return None
    (session,) = made
    # The newest is used from now on, also where the machine's clock was set back.
    session.creation_time = max([session.creation_time, *(old.creation_time + _LEAST for old in before)])
    olm.store.note_made(session, (device.user_id, device.id))
    return session


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
