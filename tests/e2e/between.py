"""A reverse proxy between the bot and Synapse: it counts, and a test may step in before or after the server.

Whole requests, unlike `tests/fakes/cutting_proxy.py`, which cuts bytes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

REGISTER = "/_synapse/admin/v1/register"
_NOT_PASSED_ON = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True)
class Passing:
    """One request on its way."""

    method: str
    path: str

    def is_a(self, method: str, ending: str) -> bool:
        """Whether it is this call."""
        return self.method == method and self.path.endswith(ending)


class Cut(Exception):  # noqa: N818 - reads as what happens
    """Raised by who steps in: the connection ends without an answer."""


Before = Callable[[Passing], Awaitable[web.Response | None]]
"""Sees a request before the server; an answer from here means that the server never sees it."""
After = Callable[[Passing], Awaitable[None]]
"""Sees a request that the server has answered, before the answer goes out."""


async def _nothing_before(_: Passing) -> None:
    return None


async def _nothing_after(_: Passing) -> None:
    return None


class Between:
    """`async with Between(url) as between:` forwards `between.url` to `url`."""

    def __init__(self, url: str) -> None:
        self._upstream = url
        self.url = ""
        self.passed: list[Passing] = []
        self.before: Before = _nothing_before
        self.after: After = _nothing_after
        self.rewrite: Callable[[str], str] = str
        """Makes another path and query of what is asked."""

    def count(self, method: str, ending: str) -> int:
        """How many such calls came by."""
        return sum(passing.is_a(method, ending) for passing in self.passed)

    def leave_alone(self) -> None:
        """Nobody steps in any more."""
        self.before, self.after = _nothing_before, _nothing_after

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
        except Cut:
            assert request.transport is not None
            request.transport.close()
            return web.Response()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        passing = Passing(request.method, urlsplit(request.raw_path).path)
        self.passed.append(passing)
        body = await request.read()
        instead = await self.before(passing)
        if instead is not None:
            return instead
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_PASSED_ON}
        url = URL(self._upstream + self.rewrite(request.raw_path), encoded=True)
        try:
            async with self._session.request(request.method, url, data=body, headers=headers) as answer:
                content = await answer.read()
        except aiohttp.ClientConnectionError:
            return web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")
        await self.after(passing)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED_ON}
        return web.Response(status=answer.status, body=content, headers=kept)
