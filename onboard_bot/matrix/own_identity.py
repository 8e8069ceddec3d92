"""Owns the bot's own cross-signing identity: made once, on the disk before the server hears of it."""

import logging
import secrets

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import SEED_BYTES, USAGES, ForeignIdentityError, Identity, sign_own_device
from onboard_bot.matrix.machine import Machine
from onboard_bot.state_dir import StateDir

_log = logging.getLogger(__name__)

_SEEDS = "cross_signing.json"


async def sign_in_public(api: ClientApi, machine: Machine, state: StateDir) -> None:
    """Signs the bot's device with its identity, so that clients which leave unsigned devices out do not leave it out.

    An identity that is not ours is left alone.
    """
    stored = state.read_json(_SEEDS, "user_id", *USAGES)
    if stored is None:
        identity = Identity(machine.user_id, {usage: secrets.token_bytes(SEED_BYTES) for usage in USAGES})
        state.write_json(_SEEDS, identity.to_stored())
    else:
        identity = Identity.from_stored(stored)
    try:
        await sign_own_device(api, machine, identity)
    except ForeignIdentityError:
        _log.error("the account has a cross-signing identity that is not the bot's; its device stays unsigned")
