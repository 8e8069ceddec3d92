"""Owns the first question to a homeserver: is anybody there, and is it Matrix that they speak."""

import json
import os
import ssl
from dataclasses import dataclass

import aiohttp

from onboard_bot.errors import ErrorCode, OnboardError

VERSIONS_PATH = "/_matrix/client/versions"
SECONDS = 10.0
CONNECT_SECONDS = 5.0
MAX_BYTES = 64 * 1024

_GATEWAY = (502, 503, 504)
_REDIRECTS = range(300, 400)
_SERVER_FAULTS = range(500, 600)
_OK = 200


@dataclass(frozen=True, slots=True)
class Greeted:
    """What came back.

    Args:
        status: Of HTTP.
        content: The body, or its beginning.
    """

    status: int
    content: bytes

    @property
    def speaks_matrix(self) -> bool:
        """Whether this is the answer of a homeserver's client-server API."""
        body = self._json()
        return self.status == _OK and isinstance(body, dict) and isinstance(body.get("versions"), list)

    def what_else(self) -> str:
        """What this is, if it is no homeserver that could be used, and the mend."""
        if self.status in _GATEWAY:
            return (
                f"a proxy answers with status {self.status}: it does not reach the homeserver behind it. Start the"
                " homeserver, or let homeserver.url name its own listener"
            )
        if self.status in _REDIRECTS:
            return (
                f"it only redirects elsewhere (status {self.status}), which the bot does not follow with a secret in"
                " its hand. Let homeserver.url name the place where that leads"
            )
        if self.status in _SERVER_FAULTS:
            return f"it fails with status {self.status}. Look into the homeserver's log"
        if self.content.lstrip()[:1] == b"<":
            return (
                f"a web page answers (status {self.status}) and no Matrix homeserver. Let homeserver.url name the"
                " internal listener, usually http://127.0.0.1:8008"
            )
        if isinstance(body := self._json(), dict) and "errcode" in body:
            return (
                f"something of Matrix answers (status {self.status}), but not the client-server API. Let homeserver.url"
                " name a listener with the resource “client”"
            )
        return (
            f"what answers (status {self.status}) is no Matrix homeserver. Let homeserver.url name the internal"
            " listener, usually http://127.0.0.1:8008"
        )

    def _json(self) -> object:
        try:
            value: object = json.loads(self.content)
        except (ValueError, RecursionError):
            return None
        return value


async def greet(http: aiohttp.ClientSession, base_url: str) -> None:
    """Asks for the versions of Matrix that the server speaks; returns if it speaks any.

    Args:
        http: Whose connections are used.
        base_url: Without a path.

    Raises:
        OnboardError: `homeserver_unreachable`, saying who answered instead, or nobody.
    """
    try:
        async with http.get(
            base_url + VERSIONS_PATH,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=SECONDS, connect=CONNECT_SECONDS),
        ) as response:
            content = bytearray()
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > MAX_BYTES:
                    break
            greeted = Greeted(response.status, bytes(content))
    except (aiohttp.ClientError, OSError, ValueError) as error:  # OSError: TimeoutError is one
        raise _unreachable(base_url, _why(error)) from error
    if not greeted.speaks_matrix:
        raise _unreachable(base_url, greeted.what_else())


def _why(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the name of the host is not known here. Correct homeserver.url"
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return (
                "TLS does not come about: the certificate is not accepted here, or the port does not speak TLS."
                " Correct the certificate, or write http:// for an internal listener"
            )
        case TimeoutError():
            return f"no answer within {SECONDS:.0f} s. Look whether the homeserver runs and a firewall lets us through"
        case aiohttp.ClientConnectorError(os_error=os_error):
            why = os.strerror(os_error.errno) if os_error.errno else type(os_error).__name__
            return f"nothing listens there ({why}). Start the homeserver, or correct homeserver.url"
        case aiohttp.ClientResponseError():
            return "what answers does not speak HTTP. If it speaks TLS, homeserver.url begins with https://"
        case _:
            return (
                f"the connection broke off ({type(error).__name__}). If TLS is spoken there, homeserver.url begins with"
                " https://"
            )


def _unreachable(base_url: str, why: str) -> OnboardError:
    return OnboardError(ErrorCode.HOMESERVER_UNREACHABLE, f"No homeserver can be used at {base_url}: {why}.")
