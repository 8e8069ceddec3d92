"""Owns the check of the bot's own account: whether the session that it remembers is still good."""

from pathlib import Path

from onboard_bot.check.findings import Finding, failed, ok, warn
from onboard_bot.errors import ErrorCode
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.session import Session
from onboard_bot.onboarding.ports import TokenRejectedError

_KEY = "bot.username"


def first_start_makes_account(username: str, state_dir: Path) -> Finding:
    """There is no session yet."""
    return ok(_KEY, f"{state_dir} knows no session of {username} yet; it will be made at the first start.")


async def check_session(api: ClientApi, session: Session, *, username: str, state_dir: Path) -> list[Finding]:
    """Whether the server knows the session; raises what `Transport.call` raises.

    Args:
        api: With the session's token.
        session: As remembered.
        username: What the configuration calls the bot.
        state_dir: Where it was remembered.
    """
    try:
        user_id = str((await api.whoami())["user_id"])
    except TokenRejectedError as error:
        if error.soft:
            return [ok(_KEY, f"the session of {session.user_id} ran out; it will be renewed at the next start.")]
        return [
            failed(
                ErrorCode.SESSION_REVOKED,
                f"Somebody signed out the session of {session.user_id}. Stop the bot, delete session.json and the"
                f" folder crypto/ in {state_dir}, and start it again: it signs in as a new device.",
            )
        ]
    findings = [ok(_KEY, f"the bot is signed in as {user_id}.")]
    if not user_id.startswith(f"@{username}:"):
        findings.append(
            warn(
                _KEY,
                f"{username} is not used, since {state_dir} belongs to {user_id}. Write its name there, or set"
                " another bot.state_dir for a new account.",
            )
        )
    return findings
