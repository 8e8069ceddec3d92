"""Owns opening what the state directory holds, and saying what is wrong with it in words that a person can use."""

import asyncio
import secrets
from collections.abc import Callable

from onboard_bot.clock import Clock
from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.errors import ErrorCode, FatalError
from onboard_bot.jobs.outgoing import Naming, Restoration
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.session import Session
from onboard_bot.onboarding import effects
from onboard_bot.state_dir import StateDir
from onboard_bot.store.meta import EPOCH, EPOCH_BYTES, RESTORED_AT, SAVED_AT
from onboard_bot.store.transaction import Store
from onboard_bot.store.trouble import StoreUnavailableError

_PROVED_AT = "storage_proved_at"

OnTrouble = Callable[[StoreUnavailableError], None]


async def prove_storage(state: StateDir, store: Store) -> None:
    """Stores something in both ways that the bot has.

    Raises:
        StoreUnavailableError: It cannot be.
    """
    await asyncio.to_thread(state.prove_room)
    async with store.transaction() as tx:
        await tx.meta.set(_PROVED_AT, str(tx.now))


def open_machine(state: StateDir, session: Session, on_trouble: OnTrouble) -> Machine:
    """The encryption state of the session's device.

    Raises:
        FatalError: `state_unusable`.
    """
    store_key = state.key("crypto.key")
    try:
        return Machine(session.user_id, session.device_id, state.crypto, store_key, on_trouble=on_trouble)
    except StoreUnavailableError as error:
        raise FatalError(
            ErrorCode.STATE_UNUSABLE,
            f"The encryption store {state.crypto} cannot be opened: {error}. Mend that, and start again.",
        ) from error
    except Exception as error:  # peewee's, vodozemac's: none of them is a person's business
        raise FatalError(
            ErrorCode.STATE_UNUSABLE,
            f"The encryption store {state.crypto} cannot be opened ({type(error).__name__}). Delete that folder and"
            " start again: the bot signs in as a new device, signed by its old identity.",
        ) from error


async def open_naming(store: Store, session: Session, clock: Clock) -> Naming:
    """With the epoch of this state, made at the first start.

    Raises:
        StoreUnavailableError: It cannot be stored now.
    """
    async with store.transaction() as tx:
        epoch = await tx.meta.get(EPOCH)
        if epoch is None:
            epoch = secrets.token_hex(EPOCH_BYTES)
            await tx.meta.set(EPOCH, epoch)
            await tx.record(Entry(Verb.BOT_REGISTERED, personal={"user_id": session.user_id}))
        saved_at, restored_at = await tx.meta.get(SAVED_AT), await tx.meta.get(RESTORED_AT)
        restoration = None
        if saved_at is not None and restored_at is not None:
            restoration = Restoration(float(saved_at), float(restored_at))
        return Naming(epoch, session.device_id, clock, restoration)


async def look_at_votes(store: Store) -> None:
    """Others may count now: people came and went while nobody looked, or the rules are other ones.

    Raises:
        StoreUnavailableError: It cannot be stored now.
    """
    async with store.transaction() as tx:
        await tx.intend(effects.weigh(secrets.token_hex(EPOCH_BYTES)))
