"""Owns the connections of this process: nothing is remembered on them, and no request goes out unasked."""

import aiohttp


class CutOffError(aiohttp.ClientConnectionError):
    """The connection ended without a whole answer."""


def connections() -> aiohttp.ClientSession:
    """Connections that send what they are given once.

    Left to itself aiohttp sends a request again whose connection ends, and nobody who counts (onboard_bot.pace) or
    writes down what may have taken effect hears of it.
    """
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), middlewares=(_once,))


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise  # never repeated, and nothing was sent
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise CutOffError(type(error).__name__) from error
