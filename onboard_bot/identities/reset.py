"""Owns the verb `reset-identity`: a new cross-signing identity for the bot, on the operator's word.

It works beside a running bot and without one. The new seeds are on the disk before the server hears of them, and count
once the server has them (`matrix/own_seeds`); whoever is killed on the way, the next to come goes on from the server's
answer. Signing the device is the bot's: it alone knows the device's keys.
"""

import secrets

from pydantic import SecretStr

from onboard_bot.chat.messages import Key
from onboard_bot.check.remembered import refuse_another_accounts_state, remembered_session
from onboard_bot.config import Config
from onboard_bot.connections import connections
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.identities.beside import store_beside
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import Identity, look_at_own, upload_identity
from onboard_bot.matrix.own_seeds import OwnSeeds
from onboard_bot.matrix.session import Session, stored_password
from onboard_bot.matrix.transport import Transport
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.state_dir import StateDir
from onboard_bot.upkeep.identity import record_reset

_GO_ON = "Nothing is lost: run reset-identity again, or start the bot; either goes on from here."


def explained(user_id: str) -> str:
    """What is about to happen."""
    return (
        f"This makes a new cross-signing identity for {user_id}.\n"
        "- Whoever verified the bot has to verify it anew; clients show that its identity changed.\n"
        "- Until then, strict clients may warn about its messages.\n"
        "- Its account, rooms, requests and device stay, and so does what it said."
    )


def refuse_without_session(config: Config) -> str:
    """The bot's user id.

    Raises:
        OnboardError: `state_unusable`: it has never run on this state, or the state cannot be used.
    """
    return _remembered(config)[0].user_id


async def reset_identity(config: Config) -> str:
    """Makes the new identity, or brings a reset that was cut off to its end; what was done, for the operator.

    Raises:
        OnboardError: It could not be done, or not to its end.
    """
    session, password = _remembered(config)
    state = StateDir(config.bot.state_dir)
    seeds = OwnSeeds(state, session.user_id, secrets.token_bytes)
    async with store_beside(state) as store, connections() as http, seeds.held():
        api = ClientApi(Transport(http, config.homeserver.url))
        api.transport.token = session.token
        identity, finished = await _on_the_server(api, session, seeds, password)
        await record_reset(store, identity)
        seeds.let_pending_count()
    begun = "The reset that was cut off is at its end" if finished else "Done"
    return (
        f"{begun}: {session.user_id} has a new identity. Its master key is\n{Key(identity.public('master')).grouped}\nA"
        " running bot signs its device within seconds, else it does so at its next start."
    )


async def _on_the_server(
    api: ClientApi, session: Session, seeds: OwnSeeds, password: SecretStr
) -> tuple[Identity, bool]:
    """The new identity, once the server has it, and whether it had it before we came."""
    try:
        there = (await look_at_own(api, session.user_id, session.device_id)).master_key
        identity = seeds.pending()
        if identity is not None and identity.public("master") == there:
            return identity, True
        identity = identity or seeds.make_pending()
        await upload_identity(api, identity, session.device_id, password, replacing=True)
    except RateLimitedError as error:
        raise OnboardError(
            ErrorCode.RATE_LIMITED, f"The homeserver limits the bot. Try again in {error.wait:.0f} s."
        ) from error
    except UnreachableError as error:
        raise OnboardError(ErrorCode.HOMESERVER_UNREACHABLE, f"No good answer came ({error}). {_GO_ON}") from error
    except TokenRejectedError as error:
        raise OnboardError(
            ErrorCode.SESSION_REVOKED,
            "The homeserver does not know the bot's session any more. Start the bot: it renews the session, or says"
            " what to do. Then run reset-identity again.",
        ) from error
    except RefusedError as error:
        raise OnboardError(
            ErrorCode.HOMESERVER_REFUSED,
            f"The homeserver does not take a new identity ({error.status} {error.errcode} {error.error[:200]}). The old"
            " one stays.",
        ) from error
    return identity, False


def _remembered(config: Config) -> tuple[Session, SecretStr]:
    state = StateDir(config.bot.state_dir)
    refuse_another_accounts_state(state, config.bot.username)
    session, password = remembered_session(state), stored_password(state)
    if session is None or password is None:
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE,
            f"There is no session of the bot in {state.path}, so there is nothing to reset: it makes its identity at"
            " its first start. bot.state_dir says where to look.",
        )
    return session, password
