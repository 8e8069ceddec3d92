"""A reverse proxy between the bot and Synapse: it counts, and a test may step in before or after the server.

Exactly so: what is cut before the server has not been seen by it, what is cut afterwards has had its effect.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

REGISTER = "/_synapse/admin/v1/register"
_CLIENT = "/_matrix/client/v3/"
_ID = re.compile(r"[@!$#%].*|[0-9a-f]{32,}")
_NOT_PASSED_ON = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True)
class Passing:
    """One request on its way."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    with_token: bool = True

    @property
    def route(self) -> str:
        """Method and path, without what differs from one run to the next."""
        segments = ["…" if _ID.fullmatch(part) else part for part in self.path.removeprefix(_CLIENT).split("/")]
        while segments[-1] == "…":
            segments.pop()
        return f"{self.method} {'/'.join(segments)}"

    def is_a(self, method: str, ending: str) -> bool:
        """Whether it is this call."""
        return self.method == method and self.path.endswith(ending)


class Cut(Exception):  # noqa: N818 - reads as what happens
    """Raised by who steps in: the connection ends without an answer.

    Args:
        sent: What goes out all the same.
    """

    def __init__(self, sent: bytes = b"") -> None:
        super().__init__()
        self.sent = sent


Before = Callable[[Passing], Awaitable[web.Response | None]]
"""Sees a request before the server; an answer from here means that the server never sees it."""
After = Callable[[Passing], Awaitable[None]]
"""Sees a request that the server has answered, before the answer goes out."""
Halfway = Callable[[Passing], Awaitable[None]]
"""Sees a request whose answer is out to its middle: status line, headers (with the true length), half of the body."""
Alter = Callable[[Passing, bytes], bytes]
"""Makes another body of the one that the server answered with."""


async def _nothing_before(_: Passing) -> None:
    return None


async def _nothing_after(_: Passing) -> None:
    return None


def _as_it_is(_: Passing, body: bytes) -> bytes:
    return body


class Between:
    """`async with Between(url) as between:` forwards `between.url` to `url`."""

    def __init__(self, url: str) -> None:
        self._upstream = url
        self.url = ""
        self.passed: list[Passing] = []
        self.before: Before = _nothing_before
        self.after: After = _nothing_after
        self.halfway: Halfway = _nothing_after
        self.alter: Alter = _as_it_is
        self.rewrite: Callable[[str], str] = str
        """Makes another path and query of what is asked."""

    def count(self, method: str, ending: str) -> int:
        """How many such calls came by."""
        return sum(passing.is_a(method, ending) for passing in self.passed)

    def leave_alone(self) -> None:
        """Nobody steps in any more."""
        self.before, self.after, self.halfway = _nothing_before, _nothing_after, _nothing_after
        self.alter = _as_it_is

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=120),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._runner = web.ServerRunner(web.Server(self._pass, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()
        await asyncio.sleep(0)

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except Cut as cut:
            if request.transport is not None:  # else who asked is gone already
                request.transport.write(cut.sent)
                request.transport.close()
            return web.Response()
        except ConnectionResetError:  # who asked is gone
            return web.Response()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        target = urlsplit(request.raw_path)
        passing = Passing(
            request.method, target.path, target.query, await request.read(), "Authorization" in request.headers
        )
        self.passed.append(passing)
        instead = await self.before(passing)
        if instead is not None:
            return instead
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_PASSED_ON}
        url = URL(self._upstream + self.rewrite(request.raw_path), encoded=True)
        try:
            async with self._session.request(passing.method, url, data=passing.body, headers=headers) as answer:
                content = await answer.read()
        except aiohttp.ClientConnectionError:
            return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        await self.after(passing)
        content = self.alter(passing, content)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED_ON}
        if self.halfway is _nothing_after:
            return web.Response(status=answer.status, body=content, headers=kept)
        return await self._in_two_halves(
            request, passing, web.StreamResponse(status=answer.status, headers=kept), content
        )

    async def _in_two_halves(
        self, request: web.BaseRequest, passing: Passing, answer: web.StreamResponse, content: bytes
    ) -> web.StreamResponse:
        middle = len(content) // 2
        answer.content_length = len(content)
        await answer.prepare(request)
        await answer.write(content[:middle])
        await self.halfway(passing)
        await answer.write(content[middle:])
        await answer.write_eof()
        return answer
