"""Owns the checks of the homeserver itself: whether it is there, and whether it would make accounts for us."""

import aiohttp

from onboard_bot.check.findings import Finding, failed, failed_with, ok
from onboard_bot.check.offline import SECRET_KEY
from onboard_bot.errors import OnboardError
from onboard_bot.homeserver.greeting import greet
from onboard_bot.homeserver.port import AccountBackend, TryLater


async def check_reachable(http: aiohttp.ClientSession, url: str) -> Finding:
    """Whether a Matrix homeserver answers at the URL."""
    try:
        await greet(http, url)
    except OnboardError as error:
        return failed_with(error)
    return ok("homeserver.url", f"a Matrix homeserver answers at {url}.")


async def check_secret_accepted(backend: AccountBackend) -> Finding:
    """Whether the endpoint is there and takes the secret."""
    try:
        await backend.prove_secret()
    except TryLater as error:
        if error.after is not None:
            return failed(error.code, f"{error.sentence} Check again in {error.after:.0f} s.")
        return failed(error.code, f"{error.sentence} Look at the homeserver and the proxy before it, then try again.")
    except OnboardError as error:
        return failed_with(error)
    return ok(SECRET_KEY, "the homeserver accepts the secret; this was proved, and nobody was created.")
