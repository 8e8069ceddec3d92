"""Bad weather between the bot and Synapse: a proxy that spoils answers, and counts what is asked meanwhile."""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.e2e.between import REGISTER, Between, Cut, Passing

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Arrival:
    """A request that came by."""

    at: float
    passing: Passing
    spoilt: bool


def everything(_: Passing) -> bool:
    return True


Spoil = Callable[["Weather", web.BaseRequest], Awaitable[web.StreamResponse]]
"""Answers in the server's place."""
Hits = Callable[[Passing], bool]
"""Which requests are spoilt."""


class Weather(Between):
    """Fine until it `begin`s, and again after it `clear`s."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.arrivals: list[Arrival] = []
        self.cleared = asyncio.Event()
        self.began_at = self.cleared_at = 0.0
        self.last_good_sync = math.inf
        self._spoil: Spoil | None = None
        self._hits: Hits = everything

    def begin(self, spoil: Spoil, hits: Hits = everything) -> None:
        """From now on."""
        self.clear()
        self._spoil, self._hits = spoil, hits
        self.cleared = asyncio.Event()
        self.began_at, self.cleared_at = time.monotonic(), math.inf

    def clear(self) -> None:
        """The server is itself again; what hangs is cut."""
        self.cleared_at = time.monotonic()
        self.cleared.set()

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        passing = Passing(request.method, request.path)
        spoilt = self._spoil is not None and not self.cleared.is_set() and self._hits(passing)
        self.arrivals.append(Arrival(time.monotonic(), passing, spoilt))
        if not spoilt:
            return await self.pass_on(request)
        assert self._spoil is not None
        await request.read()
        try:
            return await self._spoil(self, request)
        except (Cut, ConnectionError, RuntimeError):  # aiohttp's, for a session that the end of a test has closed
            if request.transport is not None:
                request.transport.close()
            return web.Response()

    async def pass_on(self, request: web.BaseRequest) -> web.StreamResponse:
        """What the server says."""
        answer = await super()._pass(request)
        if request.path.endswith("/sync") and answer.status == HTTPStatus.OK:
            self.last_good_sync = time.monotonic()
        return answer

    def in_vain(self) -> list[float]:
        """When requests came that were spoilt; where only some are, the others are good work."""
        return [arrival.at for arrival in self.arrivals if arrival.spoilt and arrival.at >= self.began_at]


def sends(passing: Passing) -> bool:
    return "/send/" in passing.path or "/redact/" in passing.path


def registrations(passing: Passing) -> bool:
    return passing.path == REGISTER


def all_but_registrations(passing: Passing) -> bool:
    return not registrations(passing)


def syncs(passing: Passing) -> bool:
    return passing.path.endswith("/sync")


def most_in_a_second(moments: Sequence[float]) -> int:
    """How many fall into the fullest second."""
    return max((sum(first <= one < first + 1 for one in moments) for first in moments), default=0)


# Ways to be bad.


def answers(status: int, text: str = "", **headers: str) -> Spoil:
    """Always the same."""

    async def spoil(_: Weather, __: web.BaseRequest) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=named)

    return spoil


def limits(retry_after_ms: object = None, **headers: str) -> Spoil:
    """A 429 as Synapse sends it."""
    hint = "" if retry_after_ms is None else f', "retry_after_ms": {retry_after_ms}'
    return answers(429, '{"errcode": "M_LIMIT_EXCEEDED", "error": "Too Many Requests"' + hint + "}", **headers)


async def cuts(_: Weather, __: web.BaseRequest) -> web.StreamResponse:
    """The connection ends without a word."""
    raise Cut


async def cuts_in_the_body(_: Weather, request: web.BaseRequest) -> web.StreamResponse:
    """Half of an answer."""
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"event_id": "$')
    raise Cut


async def says_nothing(weather: Weather, _: web.BaseRequest) -> web.StreamResponse:
    """A server that took the connection and hangs."""
    await weather.cleared.wait()
    raise Cut


async def drips(weather: Weather, request: web.BaseRequest) -> web.StreamResponse:
    """Headers, then white space without an end."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    over = weather.cleared
    while not over.is_set():
        await response.write(b" ")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await over.wait()
    raise Cut


async def pours(weather: Weather, request: web.BaseRequest) -> web.StreamResponse:
    """As fast as it goes, without an end."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    over = weather.cleared
    while not over.is_set():
        await response.write(b"[" * 65536)
        await asyncio.sleep(0)
    raise Cut


async def dawdles(weather: Weather, request: web.BaseRequest) -> web.StreamResponse:
    """Good answers, each of them seconds late."""
    with suppress(TimeoutError):
        async with asyncio.timeout(3):
            await weather.cleared.wait()
    return await weather.pass_on(request)


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processor."""
    fields: Sequence[Any] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
