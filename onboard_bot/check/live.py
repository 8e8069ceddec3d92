"""Owns the order of the checks that talk to the homeserver, and what becomes of one that gets no answer."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import aiohttp

from onboard_bot.check.account import check_session, first_start_makes_account
from onboard_bot.check.admin_room import (
    approvers,
    check_admin_room,
    first_start_enters_room,
    look_at_admin_room,
)
from onboard_bot.check.findings import Finding, Level, failed, failed_with, warn
from onboard_bot.check.identity import check_identity, first_start_makes_identity
from onboard_bot.check.limits import judge_limits
from onboard_bot.check.remembered import (
    Remembered,
    refuse_another_accounts_state,
    remembered,
    remembered_session,
)
from onboard_bot.check.server import check_reachable, check_secret_accepted
from onboard_bot.check.voters import check_group, first_start_enters_group_rooms
from onboard_bot.clock import Clock
from onboard_bot.config import Config
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.own_seeds import OwnSeeds
from onboard_bot.matrix.session import Session
from onboard_bot.matrix.transport import Transport
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, UnreachableError
from onboard_bot.state_dir import StateDir

Tell = Callable[[Sequence[Finding]], None]


async def check_live(config: Config, clock: Clock, tell: Tell, *, secret_is_usable: bool) -> None:
    """Makes every live check that can be made.

    Args:
        config: Checked already.
        clock: For the rate limits of the last day.
        tell: Gets the findings as they come.
        secret_is_usable: Whether there is a secret that the homeserver could be asked about.
    """
    state = StateDir(config.bot.state_dir)
    memory = await _recall(state, clock, tell)
    session, may_be_used = _session(state, config.bot.username, tell)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        reachable = await check_reachable(http, config.homeserver.url)
        tell([reachable])
        if reachable.level is Level.OK:
            if secret_is_usable:
                secret = SecretFile(config.homeserver.shared_secret_file)
                tell([await check_secret_accepted(SharedSecretBackend(http, config.homeserver.url, secret))])
            else:
                tell([_not_looked_at("whether the homeserver accepts the shared secret")])
            if may_be_used:
                api = ClientApi(Transport(http, config.homeserver.url))
                await _check_account_and_rooms(api, config, session, memory, tell)
        else:
            tell([_not_looked_at("the shared secret, the bot's account, the admin room and its encryption")])
    if memory is not None:
        bot = session.user_id if session is not None else f"@{config.bot.username}:…"
        tell(judge_limits(memory.limits, bot=bot))


async def asked(question: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """The findings of a check that asks the server; where it gets no proper answer, that is the finding."""
    try:
        return await question()
    except RateLimitedError as error:
        wait = f"{error.wait:.0f} s"
        return [failed(ErrorCode.RATE_LIMITED, f"The homeserver limits {error.route}; check again in {wait}.")]
    except UnreachableError as error:
        return [
            failed(
                ErrorCode.HOMESERVER_UNREACHABLE,
                f"The homeserver answered before, but not now ({error}). Look at it and at the proxy before it, then"
                " try again.",
            )
        ]
    except RefusedError as error:
        words = f"{error.status} {error.errcode} {error.error[:200]}".rstrip(" .")
        return [
            failed(
                ErrorCode.HOMESERVER_REFUSED,
                f"The homeserver refuses what the bot asks it ({words}). Look into its log for the reason.",
            )
        ]
    except (KeyError, ValueError, TypeError, AttributeError) as error:  # JSON of another shape than Matrix's
        return [
            failed(
                ErrorCode.HOMESERVER_UNREACHABLE,
                f"The homeserver gives an answer that makes no sense ({type(error).__name__}). Let homeserver.url name"
                " its own listener.",
            )
        ]


async def _check_account_and_rooms(
    api: ClientApi, config: Config, session: Session | None, memory: Remembered | None, tell: Tell
) -> None:
    state_dir, username = config.bot.state_dir, config.bot.username
    if session is None:
        account, room = first_start_makes_account(username, state_dir), first_start_enters_room(config)
        tell([account, first_start_makes_identity(), room, *first_start_enters_group_rooms(config)])
        return
    api.transport.token = session.token
    findings = await asked(lambda: check_session(api, session, username=username, state_dir=state_dir))
    tell(findings)
    if any(finding.level is Level.FAILED for finding in findings):
        tell([_not_looked_at("the bot's identity, the admin room and its encryption")])
        return
    seeds = OwnSeeds(StateDir(state_dir), session.user_id, secrets.token_bytes)
    tell(await asked(lambda: check_identity(api, seeds, session)))
    await _check_rooms(api, config, session.user_id, memory, tell)


async def _check_rooms(api: ClientApi, config: Config, bot: str, memory: Remembered | None, tell: Tell) -> None:
    voters: list[str] | None = None

    async def admin_room(memory: Remembered) -> list[Finding]:
        nonlocal voters
        seen = await look_at_admin_room(api, config, memory.admin_room, bot=bot)
        if isinstance(seen, Finding):
            return [seen]
        voters = approvers(seen, config, bot)
        return await check_admin_room(api, seen, config, bot=bot, not_accepted=memory.not_accepted)

    if memory is not None:
        tell(await asked(partial(admin_room, memory)))
    for group in config.approval.groups:
        tell(await asked(partial(check_group, api, config, group, bot=bot, voters=voters)))


async def _recall(state: StateDir, clock: Clock, tell: Tell) -> Remembered | None:
    try:
        return await remembered(state, clock)
    except OnboardError as error:
        tell([failed_with(error)])
        return None


def _session(state: StateDir, username: str, tell: Tell) -> tuple[Session | None, bool]:
    """The session, None before the first start, and whether the bot could start with what is remembered."""
    session = None
    try:
        session = remembered_session(state)
        refuse_another_accounts_state(state, username)
    except OnboardError as error:
        tell([failed_with(error)])
        return session, False
    return session, True


def _not_looked_at(what: str) -> Finding:
    return warn("check", f"not looked at, since it could not be asked for: {what}.")
