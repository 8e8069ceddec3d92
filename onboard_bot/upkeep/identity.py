"""Owns when the bot's own identity is looked at: at the start, and whenever the server tells of a change to it."""

import logging
import secrets
from collections.abc import Awaitable, Callable

from onboard_bot.clock import Clock
from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.health import Health
from onboard_bot.matrix.beside_sync import BesideSync
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import Identity
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.own_identity import OwnIdentity, OwnStanding
from onboard_bot.matrix.own_seeds import OwnSeeds
from onboard_bot.matrix.session import stored_password
from onboard_bot.state_dir import StateDir
from onboard_bot.store.transaction import Store

_log = logging.getLogger(__name__)

_RESET_RECORDED = "identity_reset_recorded"


class IdentityWatch:
    """Keeps `standing` and `health.identity` true.

    Args:
        look: Does what there is to do, and says how it stands.
        health: Where trouble is told.
        clock: For waiting.
    """

    def __init__(self, look: Callable[[], Awaitable[OwnStanding]], health: Health, clock: Clock) -> None:
        self._look = look
        self._health = health
        self._beside_sync = BesideSync(self.look, clock, "no look at the own identity")
        self.standing = OwnStanding(None)
        self.on_change: Callable[[], None] = lambda: None
        """Told when it stands differently than before."""

    async def look(self) -> None:
        """One look; raises what `OwnIdentity.look` raises."""
        before, self.standing = self.standing, await self._look()
        trouble = self.standing.trouble
        self._health.identity = None if trouble is None else trouble.sentence
        if trouble is not None and self.standing.about != before.about:
            _log.error("%s", trouble.sentence)
        elif trouble is None and before.trouble is not None:
            _log.info("the bot's device is signed by its identity again")
        if self.standing.about != before.about:
            self.on_change()

    def look_again(self) -> None:
        """The server told of a change."""
        self._beside_sync.look_now()

    async def run(self) -> None:
        """Looks again whenever it was told to, until cancelled.

        Raises:
            TokenRejectedError: The session is over.
        """
        await self._beside_sync.run()


def watch_identity(
    api: ClientApi, machine: Machine, state: StateDir, store: Store, health: Health, clock: Clock
) -> IdentityWatch:
    """The watch of this bot's identity."""
    identity = OwnIdentity(
        api,
        machine,
        OwnSeeds(state, machine.user_id, secrets.token_bytes),
        lambda: stored_password(state),
        lambda reset: record_reset(store, reset),
    )
    return IdentityWatch(identity.look, health, clock)


async def record_reset(store: Store, identity: Identity) -> None:
    """Writes into the audit log that from now on this is the bot's identity; once, whoever of us comes to it first.

    Raises:
        StoreUnavailableError: It cannot be stored now.
    """
    master_key = identity.public("master")
    async with store.transaction() as tx:
        if await tx.meta.get(_RESET_RECORDED) != master_key:
            await tx.meta.set(_RESET_RECORDED, master_key)
            await tx.record(Entry(Verb.IDENTITY_RESET, facts={"master_key": master_key}))
