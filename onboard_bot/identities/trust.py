"""Owns the verb `trust`: the operator accepts somebody's changed cross-signing identity, also beside a running bot."""

from onboard_bot.chat.messages import Key
from onboard_bot.check.remembered import refuse_another_accounts_state, remembered_session
from onboard_bot.config import Config
from onboard_bot.domain.identifiers import parse_user_id, server_of
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.identities.beside import store_beside
from onboard_bot.onboarding.identities import accept_identity
from onboard_bot.state_dir import StateDir


async def trust(config: Config, user: str) -> str:
    """What was accepted, for the operator; also what the admin room was not told yet, for there may be none.

    Args:
        config: Where the state is.
        user: A user id, or the localpart of somebody of the bot's own server.

    Raises:
        OnboardError: `not_found`: the bot knows of no change; `bad_argument`; `state_unusable`.
    """
    state = StateDir(config.bot.state_dir)
    refuse_another_accounts_state(state, config.bot.username)
    session = remembered_session(state)
    if session is None:
        raise OnboardError(
            ErrorCode.STATE_UNUSABLE, f"No bot has signed in from {state.path} yet, so it knows nobody's identity."
        )
    user_id = parse_user_id(user, server_name=server_of(session.user_id))
    async with store_beside(state) as store, store.transaction() as tx:
        master_key = await accept_identity(tx, user_id, by=None)
    return (
        f"This identity of {user_id} counts from now on, also for a running bot. Its master key is\n"
        f"{Key(master_key).grouped}"
    )
