"""Owns what is said about the homeserver's rate limits. Pure: it judges what the bot met and remembered."""

from collections.abc import Sequence

from onboard_bot.check.findings import Finding, ok, warn
from onboard_bot.store.rate_limits import MetLimit

_KEY = "rate_limits"
# These come before anybody is known, so that no override of a user helps.
_LOGIN = "POST login"
_OF_NOBODY = "/register"


def judge_limits(limits: Sequence[MetLimit], *, bot: str) -> list[Finding]:
    """One warning for each kind of call that was limited in the last day.

    Args:
        limits: Of the last day.
        bot: The bot's user id, or a word for it where it has none yet.
    """
    if not limits:
        return [ok(_KEY, "the homeserver did not limit the bot in the last day.")]
    return [warn(_KEY, _sentence(limit, bot)) for limit in limits]


def _sentence(limit: MetLimit, bot: str) -> str:
    often = "once" if limit.times == 1 else f"{limit.times} times"
    met = f"{limit.route} was limited {often} in the last day, the longest wait was {_seconds(limit.longest_wait)}."
    if limit.route == _LOGIN:
        return f"{met} Raise rc_login in homeserver.yaml if this goes on."
    if limit.route.endswith(_OF_NOBODY):
        return (
            f"{met} Synapse itself sets no limit there: raise that of the proxy before it, or let homeserver.url name"
            " Synapse's own listener."
        )
    return (
        f"{met} A server admin lifts it for the bot alone: POST /_synapse/admin/v1/users/{bot}/override_ratelimit with"
        ' {"messages_per_second": 0, "burst_count": 0}.'
    )


def _seconds(wait: float) -> str:
    return f"{wait:.1f} s" if wait < 10 else f"{wait:.0f} s"  # noqa: PLR2004 - tenths of a long wait say nothing
