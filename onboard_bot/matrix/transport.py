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

from onboard_bot.onboarding.ports import (
    RateLimitedError,
    RefusedError,
    TokenRejectedError,
    UnreachableError,
)

CLIENT = "/_matrix/client/v3"
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_LONGEST_LIMIT = 600.0
_DEFAULT_LIMIT = 5.0
_SERVER_FAULT = 500
_TOO_MANY = 429
_UNAUTHORIZED = 401

Json = dict[str, Any]


class Transport:
    """Calls to one homeserver.

    Args:
        http: Whose connections are used; the caller closes it.
        base_url: Without a path.
        on_limited: Told of every 429, with the route and the wait.
    """

    def __init__(
        self, http: aiohttp.ClientSession, base_url: str, on_limited: Callable[[str, float], None] | None = None
    ) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._on_limited = on_limited
        self.token: SecretStr | None = None

    async def call(
        self,
        method: str,
        *segments: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        wait: float = 60.0,
        prefix: str = CLIENT,
    ) -> Json:
        """One exchange; the parsed answer.

        Args:
            method: The HTTP method.
            segments: The path behind the prefix, unescaped.
            body: Sent as JSON.
            query: The query string.
            wait: Seconds for the whole exchange.
            prefix: The path's beginning.

        Raises:
            UnreachableError: See there.
            RateLimitedError: See there.
            TokenRejectedError: The token is not good.
            RefusedError: Any other 4xx.
        """
        return _object(await self.call_raw(method, *segments, body=body, query=query, wait=wait, prefix=prefix))

    async def call_raw(
        self,
        method: str,
        *segments: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        wait: float = 60.0,
        prefix: str = CLIENT,
    ) -> str:
        """As `call`, but a success as text that nobody looked at yet."""
        url = self._base_url + "/".join([prefix, *(quote(segment, safe="") for segment in segments)])
        if query:
            url += "?" + urlencode(query)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token.get_secret_value()}"
        try:
            async with self._http.request(
                method,
                URL(url, encoded=True),
                data=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=wait, connect=10),
                allow_redirects=False,
            ) as response:
                status, hint = response.status, response.headers.get("Retry-After")
                text = await _read(response)
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, UnicodeDecodeError, OSError) as error:
            raise UnreachableError(f"{method} {route_of(segments)}: {type(error).__name__}") from error
        if status < 300:  # noqa: PLR2004 - success
            return text
        raise self._failure(status, text, hint, method, segments)

    def _failure(self, status: int, text: str, hint: str | None, method: str, segments: tuple[str, ...]) -> Exception:
        route = f"{method} {route_of(segments)}"
        if status == _TOO_MANY:
            wait = _limit(text, hint)
            if self._on_limited is not None:
                self._on_limited(route, wait)
            return RateLimitedError(route, wait)
        if status >= _SERVER_FAULT:
            return UnreachableError(f"{route}: status {status}")
        try:
            answer = _object(text)
        except UnreachableError:
            return UnreachableError(f"{route}: status {status} without a Matrix answer")
        if status == _UNAUTHORIZED and answer.get("errcode") in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"):
            return TokenRejectedError(status, answer)
        return RefusedError(status, answer)


def route_of(segments: tuple[str, ...]) -> str:
    """The path with everything that looks like an id taken out, for logs and counts."""
    return "/".join(
        segment if segment.isascii() and segment.replace("_", "").isalpha() else "…" for segment in segments
    )


async def _read(response: aiohttp.ClientResponse) -> str:
    pieces = []
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > _MAX_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError("the answer does not end")
        pieces.append(piece)
    return b"".join(pieces).decode()


def _object(text: str) -> Json:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreachableError("an answer that is no JSON") from error
    if not isinstance(value, dict):
        raise UnreachableError("an answer that is no JSON object")
    return value


def _limit(text: str, hint: str | None) -> float:
    """Seconds that a 429 asks for: the body's `retry_after_ms`, else the header, else a guess."""
    try:
        wait = float(_object(text)["retry_after_ms"]) / 1000
    except (UnreachableError, KeyError, TypeError, ValueError, OverflowError):
        try:
            wait = float(hint or "")
        except ValueError:
            wait = _DEFAULT_LIMIT
    return min(max(wait, 0.05), _LONGEST_LIMIT) if wait == wait else _DEFAULT_LIMIT  # noqa: PLR0124 - not NaN
