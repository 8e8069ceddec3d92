"""Owns what a signature covers, and whether it is good (specification, "Canonical JSON" and "Signing JSON")."""

import json
from collections.abc import Mapping
from typing import Any

import vodozemac

from onboard_bot.matrix.device_keys import MALFORMED


def canonical(thing: Mapping[str, Any]) -> bytes:
    """What a signature covers."""
    covered = {key: value for key, value in thing.items() if key not in ("signatures", "unsigned")}
    return json.dumps(covered, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def is_signed_by(thing: object, user_id: str, public_key: str, *, key_id: str | None = None) -> bool:
    """Whether an object carries a person's good signature with a key; nothing malformed does.

    Args:
        thing: The object, of any shape.
        user_id: Whose signature.
        public_key: Ed25519, unpadded base64.
        key_id: What stands behind `ed25519:`, a device id; that of a cross-signing key is the key itself.
    """
    if not isinstance(thing, Mapping):
        return False
    try:
        signature = vodozemac.Ed25519Signature.from_base64(
            thing["signatures"][user_id][f"ed25519:{key_id or public_key}"]
        )
        vodozemac.Ed25519PublicKey.from_base64(public_key).verify_signature(canonical(thing), signature)
    except MALFORMED:
        return False
    return True
