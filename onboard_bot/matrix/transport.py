"""Owns one HTTP exchange with the homeserver, and what its failure means.

nio's own client takes any status for success, loses its token over a cut body and sleeps through rate limits without a
cap; so nothing here goes through it (docs/decisions/0001). One call is one try: whether and when to try again is the
caller's knowledge, never the transport's.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from pydantic import SecretStr
from yarl import URL

from onboard_bot.matrix.json_text import read_json
from onboard_bot.onboarding.ports import (
    RateLimitedError,
    RefusedError,
    TokenRejectedError,
    TooLargeError,
    UnreachableError,
)
from onboard_bot.pace import LONGEST_WAIT, NoPace, NotYetError, Pace, Thing, Turn
from onboard_bot.retry_after import asked_wait

CLIENT = "/_matrix/client/v3"
SMALL = 1024 * 1024
"""Bytes that an answer may have, unpacked: of most calls."""
LARGE = 64 * 1024 * 1024
"""Of those that grow with a room, or with the people in it."""
HUGE = 256 * 1024 * 1024
"""Of a sync after a long absence."""
_LONGEST_SYNC_WAIT = 30.0
_SUCCESS = range(200, 300)
_CLIENT_ERROR = range(400, 500)
_TOO_MANY = 429
_UNAUTHORIZED = 401
# Synapse counts these together (rc_message). createRoom has a count of its own beside it, which may last a minute: the
# bot must not fall silent over it.
_MESSAGES = frozenset({"send", "redact", "state"})
# Counted for each room or person by itself.
_BY_TARGET = frozenset({"invite", "join", "leave", "kick", "ban"})

Json = dict[str, Any]


class Transport:
    """Calls to one homeserver.

    Args:
        http: Whose connections are used; the caller closes it.
        base_url: Without a path.
        on_limited: Told of every 429, with the route and the wait.
        pace: Says when a request may go.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        base_url: str,
        on_limited: Callable[[str, float], None] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._on_limited = on_limited
        self._pace = pace or NoPace()
        self.token: SecretStr | None = None

    async def call(
        self,
        method: str,
        *segments: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        wait: float = 60.0,
        at_most: int = SMALL,
    ) -> Json:
        """One exchange; the parsed answer.

        Args:
            method: The HTTP method.
            segments: The path behind `/_matrix/client/v3`, unescaped.
            body: Sent as JSON.
            query: The query string.
            wait: Seconds for the whole exchange, once it has begun.
            at_most: Bytes of the answer.

        Raises:
            UnreachableError: See there.
            RateLimitedError: See there; also at once, and nothing is sent, while an earlier limit lasts.
            TokenRejectedError: The token is not good.
            RefusedError: Any other 4xx.
        """
        return _object(await self.call_raw(method, *segments, body=body, query=query, wait=wait, at_most=at_most))

    async def call_raw(
        self,
        method: str,
        *segments: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        wait: float = 60.0,
        at_most: int = SMALL,
        is_sync: bool = False,
    ) -> str:
        """As `call`, but a success as text of which nobody looked at more than the beginning.

        `is_sync` says that it goes before all others, and that no limit holds it up for more than half a minute.
        """
        route = f"{method} {route_of(segments)}"
        url = self._base_url + "/".join([CLIENT, *(quote(segment, safe="") for segment in segments)])
        if query:
            url += "?" + urlencode(query)
        longest = _LONGEST_SYNC_WAIT if is_sync else LONGEST_WAIT
        thing = Thing(_limited_together(method, segments), ahead=is_sync, longest=longest)
        try:
            async with self._pace.turn(thing) as turn:
                headers = {"Content-Type": "application/json"} if body is not None else {}
                if self.token is not None:
                    headers["Authorization"] = f"Bearer {self.token.get_secret_value()}"
                async with self._http.request(
                    method,
                    URL(url, encoded=True),
                    data=None if body is None else json.dumps(body).encode(),
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=wait, connect=10),
                    allow_redirects=False,
                ) as response:
                    text = await _read(response, at_most)
                failure = self._failure(response.status, text, response.headers, route, turn)
        except NotYetError as error:
            raise RateLimitedError(route, error.wait) from None
        except _EndlessError as error:
            raise TooLargeError(f"{route}: more than {at_most} bytes") from error
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, UnicodeDecodeError, OSError) as error:
            raise UnreachableError(f"{route}: {type(error).__name__}") from error
        if failure is not None:
            raise failure
        return text

    def _failure(self, status: int, text: str, headers: Mapping[str, str], route: str, turn: Turn) -> Exception | None:
        if status in _SUCCESS and text[:9].lstrip()[:1] + text[-9:].rstrip()[-1:] in ("{}", "[]"):
            return None
        answer = _object_or_none(text)
        if status == _TOO_MANY:
            wait = turn.limited(asked_wait(answer, headers.get("Retry-After"), headers.get("Date")))
            if self._on_limited is not None:
                self._on_limited(route, wait)
            return RateLimitedError(route, wait)
        if status not in _CLIENT_ERROR or answer is None or not _is_matrix(answer):
            turn.failed()
            return UnreachableError(f"{route}: status {status} without a Matrix answer")
        if status == _UNAUTHORIZED and answer.get("errcode") in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"):
            return TokenRejectedError(status, answer)
        return RefusedError(status, answer)


def route_of(segments: tuple[str, ...]) -> str:
    """The path with everything that looks like an id taken out, for logs and counts."""
    return "/".join(
        segment if segment.isascii() and segment.replace("_", "").isalpha() else "…" for segment in segments
    )


def _limited_together(method: str, segments: tuple[str, ...]) -> str:
    """A name for everything that the server would limit together with this call."""
    in_room = segments[2:3] if segments[:1] == ("rooms",) else ()
    if method == "PUT" and in_room and in_room[0] in _MESSAGES:
        return "messages"
    if (in_room and in_room[0] in _BY_TARGET) or segments[:1] == ("join",):
        return f"{method} {'/'.join(segments)}"
    return f"{method} {route_of(segments)}"


class _EndlessError(Exception):
    """An answer goes on and on."""


async def _read(response: aiohttp.ClientResponse, at_most: int) -> str:
    pieces = []
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > at_most:
            raise _EndlessError
        pieces.append(piece)
    return b"".join(pieces).decode()


def _object(text: str) -> Json:
    value = _object_or_none(text)
    if value is None:
        raise UnreachableError("an answer that is no JSON object")
    return value


def _object_or_none(text: str) -> Json | None:
    try:
        value = read_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_matrix(answer: Json) -> bool:
    """Whether a refusal is the homeserver's own; those that ask for authentication have no code."""
    return isinstance(answer.get("errcode"), str) or "flows" in answer
