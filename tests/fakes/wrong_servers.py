"""What stands at the homeserver's address when something is wrong: a proxy before the real one that can play each case.

Everything that is not part of a case passes through to the real server, so that a check is right for the right reason.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

_PAGE = "<!doctype html><title>nginx</title><h1>{status}</h1>"
_DROPPED = {"host", "connection", "transfer-encoding", "content-length", "content-encoding", "server", "date"}


@dataclass(frozen=True)
class Wrong:
    """One way to be wrong.

    Args:
        paths: It shows where a path begins like this.
        status: What is answered there.
        body: What is answered there; None stands for a web page.
        skip: So many requests to these paths pass before it shows.
        cut: The connection is closed instead of answered.
    """

    paths: str
    status: int = 200
    body: str | None = None
    skip: int = 0
    cut: bool = False


EVERYWHERE = "/"
ENDPOINT = "/_synapse/"

BAD_GATEWAY = Wrong(EVERYWHERE, 502)
UNAVAILABLE = Wrong(EVERYWHERE, 503)
GATEWAY_TIMEOUT = Wrong(EVERYWHERE, 504)
WEB_SITE = Wrong(EVERYWHERE, 200)
REDIRECT = Wrong(EVERYWHERE, 301)
FEDERATION_ONLY = Wrong(EVERYWHERE, 404, '{"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}')
CUTS_EVERYTHING = Wrong(EVERYWHERE, cut=True)
HIDES_WITH_404 = Wrong(ENDPOINT, 404)
HIDES_WITH_403 = Wrong(ENDPOINT, 403)
HIDES_WITH_PAGE = Wrong(ENDPOINT, 200)
ENDPOINT_UNAVAILABLE = Wrong(ENDPOINT, 503)
HIDES_WITH_JSON = Wrong(ENDPOINT, 404, '{"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}')
MAS = Wrong(f"{ENDPOINT}admin/v1/register", 404, '{"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}')
ENDPOINT_LIMITED = Wrong(ENDPOINT, 429, '{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 7000}')


class WrongServer:
    """`async with wrong_server(real, wrong) as server:` answers at `server.url`; `asked` are the paths it saw."""

    def __init__(self, upstream: str, wrong: Wrong, http: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._wrong = wrong
        self._http = http
        self._skipped = 0
        self.asked: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        wrong = self._wrong
        if request.path.startswith(wrong.paths):
            self._skipped += 1
            if self._skipped > wrong.skip:
                return self._misbehave(request)
        return await self._pass_on(request)

    def _misbehave(self, request: web.Request) -> web.Response:
        wrong = self._wrong
        if wrong.cut:
            assert request.transport is not None
            request.transport.close()
        if wrong.body is not None:
            return web.Response(status=wrong.status, text=wrong.body, content_type="application/json")
        headers = {"Location": "/elsewhere"} if 300 <= wrong.status < 400 else {}
        text = _PAGE.format(status=wrong.status)
        return web.Response(status=wrong.status, text=text, content_type="text/html", headers=headers)

    async def _pass_on(self, request: web.Request) -> web.Response:
        async with self._http.request(
            request.method,
            self._upstream + request.raw_path,
            data=await request.read(),
            headers={name: value for name, value in request.headers.items() if name.lower() not in _DROPPED},
        ) as answer:
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in _DROPPED}
            return web.Response(status=answer.status, body=await answer.read(), headers=headers)


@asynccontextmanager
async def wrong_server(upstream: str, wrong: Wrong) -> AsyncIterator[WrongServer]:
    """A server that is wrong in one way."""
    async with aiohttp.ClientSession() as http:
        server = WrongServer(upstream, wrong, http)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield server
        finally:
            await runner.cleanup()


def nobody_listens() -> str:
    """An address at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@asynccontextmanager
async def speaks(first_words: bytes) -> AsyncIterator[str]:
    """The address of something that is no HTTP server: it says these words, and hangs up."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(first_words)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
