"""Owns the bot's own cross-signing identity: made once, on the disk before the server hears of it, never forced.

Where the server has an identity that is not ours, nothing is replaced: the bot goes on with an unsigned device, and
says so. A reset, from here or from elsewhere, is met by looking again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import SecretStr

from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import (
    ForeignDeviceError,
    ForeignIdentityError,
    Identity,
    NotKeptError,
    Shown,
    look_at_own,
    sign_own_device,
)
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.own_seeds import OwnSeeds
from onboard_bot.onboarding.ports import RefusedError, TokenRejectedError


@dataclass(frozen=True, slots=True)
class OwnStanding:
    """How the bot's identity and its device stand.

    Args:
        master_key: The bot's own, unpadded base64; None where its seeds are gone.
        trouble: Why the device is not signed; None where it is.
        about: What the trouble is about, the same for the same trouble.
    """

    master_key: str | None
    trouble: OnboardError | None = None
    about: str = ""


class OwnIdentity:
    """Makes the identity, and signs the device with it.

    Args:
        api: With the bot's token.
        machine: Of the bot's device.
        seeds: Where they lie.
        password: The account's, if it is known.
        on_reset: Told that a pending identity counts from now on, before it does so here; perhaps more than once.
    """

    def __init__(
        self,
        api: ClientApi,
        machine: Machine,
        seeds: OwnSeeds,
        password: Callable[[], SecretStr | None],
        on_reset: Callable[[Identity], Awaitable[None]],
    ) -> None:
        self._api = api
        self._machine = machine
        self._seeds = seeds
        self._password = password
        self._on_reset = on_reset

    async def look(self) -> OwnStanding:
        """Does what there is to do, and says how it stands.

        Raises what `Transport.call` raises, besides:

        Raises:
            OnboardError: `state_in_use`: a reset is under way beside us; `state_unusable`: the seeds are damaged.
            StoreUnavailableError: What has to be on the disk first cannot be.
        """
        async with self._seeds.held():
            shown = await look_at_own(self._api, self._machine.user_id, self._machine.device_id)
            identity = await self._that_counts(shown)
            if identity is None:
                master_key = str(shown.master_key)
                return OwnStanding(None, seeds_are_gone(self._machine.user_id, master_key), master_key)
            return await self._sign(identity, shown)

    async def _that_counts(self, shown: Shown) -> Identity | None:
        # First of all: where it counts already, it takes the place of whatever became of the other file.
        pending = self._seeds.pending()
        if pending is not None and shown.master_key == pending.public("master"):
            await self._on_reset(pending)
            self._seeds.let_pending_count()
            return pending
        current = self._seeds.current()
        if current is not None or shown.master_key is not None:
            return current
        if pending is None:
            return self._seeds.make()
        self._seeds.let_pending_count()
        return pending

    async def _sign(self, identity: Identity, shown: Shown) -> OwnStanding:
        user_id, device_id, ours = self._machine.user_id, self._machine.device_id, identity.public("master")
        try:
            await sign_own_device(self._api, self._machine, identity, shown=shown, password=self._password())
        except ForeignIdentityError as error:
            return OwnStanding(ours, foreign_identity(user_id, error.master_key), error.master_key)
        except ForeignDeviceError:
            return OwnStanding(ours, foreign_device(device_id), device_id)
        except NotKeptError:
            return OwnStanding(ours, not_taken("it does not show what it took"), "refused")
        except TokenRejectedError:
            raise
        except RefusedError as error:
            return OwnStanding(ours, not_taken(f"{error.status} {error.errcode}"), "refused")
        return OwnStanding(ours)


def foreign_identity(user_id: str, master_key: str) -> OnboardError:
    """The server has another identity than we made."""
    return OnboardError(
        ErrorCode.IDENTITY_MISMATCH,
        f"The homeserver has another cross-signing identity of {user_id} than the bot made (master key {master_key})."
        " Nothing was replaced; the bot's device is not signed, and clients that leave such devices out do not show its"
        " messages. Find out who did that, then run “onboard-bot reset-identity”, which makes a new one.",
    )


def seeds_are_gone(user_id: str, master_key: str) -> OnboardError:
    """The server has an identity, and we have no seeds."""
    return OnboardError(
        ErrorCode.IDENTITY_MISMATCH,
        f"The homeserver has a cross-signing identity of {user_id} (master key {master_key}), and its seeds are not in"
        " the state directory. Nothing was replaced; the bot cannot sign a device any more, and clients that leave"
        " unsigned devices out may not show its messages. Put cross_signing.json back from a backup, or run"
        " “onboard-bot reset-identity”, which makes a new one.",
    )


def foreign_device(device_id: str) -> OnboardError:
    """The server shows keys for our device that are not its own."""
    return OnboardError(
        ErrorCode.IDENTITY_MISMATCH,
        f"The homeserver shows other keys for the bot's device {device_id} than that device has. Nothing was signed."
        " Look after the homeserver: somebody may be listening. For a new device, stop the bot, delete the folder"
        " crypto/ in its state directory and start it again.",
    )


def not_taken(why: str) -> OnboardError:
    """The server does not take our identity or our signature."""
    return OnboardError(
        ErrorCode.HOMESERVER_REFUSED,
        f"The homeserver does not take the bot's cross-signing identity ({why}). Its device is not signed, and clients"
        " that leave such devices out do not show its messages. The bot tries again at its next start.",
    )
