"""One exchange with the homeserver, against a server on a real port: what each failure means."""

import asyncio
import gzip
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import SecretStr

from onboard_bot.clock import SystemClock
from onboard_bot.connections import connections
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.transport import SMALL, Transport, route_of
from onboard_bot.onboarding.ports import (
    RateLimitedError,
    RefusedError,
    TokenRejectedError,
    TooLargeError,
    UnreachableError,
)
from onboard_bot.pace import PLACES, SharedPace

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """A homeserver that answers everything alike."""

    transport: Transport
    answer: Handler | None = None
    seen: list[web.Request] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    limited: list[tuple[str, float]] = field(default_factory=list)

    def answers(
        self, status: int = 200, body: object = None, text: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        """From now on it answers thus."""

        async def answer(_request: web.Request) -> web.Response:
            content = json.dumps({} if body is None else body) if text is None else text
            return web.Response(status=status, text=content, headers=headers)

        self.answer = answer


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    async def handle(request: web.Request) -> web.StreamResponse:
        here.seen.append(request)
        here.bodies.append(await request.text())
        assert here.answer is not None
        return await here.answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        here = Server(Transport(http, url, lambda route, wait: here.limited.append((route, wait))))
        here.answers()
        yield here
    await runner.cleanup()


async def test_an_answer_is_the_parsed_object(server: Server) -> None:
    server.answers(body={"room_id": "!room"})
    assert await server.transport.call("POST", "createRoom", body={"name": "ü"}) == {"room_id": "!room"}
    (request,) = server.seen
    assert (request.method, request.path) == ("POST", "/_matrix/client/v3/createRoom")
    assert json.loads(server.bodies[0]) == {"name": "ü"}
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "room_id", ["!a/b:example.org", "!a?b#c", "!a%2Fb", "#über:example.org", "!../../admin", "!a b", "!x&y=z+w;"]
)
async def test_ids_are_escaped_in_the_path(server: Server, room_id: str) -> None:
    await server.transport.call("GET", "rooms", room_id, "state")
    parts = server.seen[0].raw_path.split("/")
    assert len(parts) == 7
    assert server.seen[0].path == f"/_matrix/client/v3/rooms/{room_id}/state"
    assert server.seen[0].query_string == ""


async def test_query_values_arrive_as_they_are(server: Server) -> None:
    await server.transport.call("GET", "sync", query={"since": "s1&x=ü +/", "filter": '{"a": 1}'})
    assert dict(server.seen[0].query) == {"since": "s1&x=ü +/", "filter": '{"a": 1}'}


async def test_the_token_goes_with_every_call_once_there_is_one_and_into_no_error(server: Server) -> None:
    await server.transport.call("GET", "versions")
    server.transport.token = SecretStr("syt_hidden")
    server.answers(502)
    with pytest.raises(UnreachableError) as caught:
        await server.transport.call("GET", "sync")
    assert [request.headers.get("Authorization") for request in server.seen] == [None, "Bearer syt_hidden"]
    assert "syt_hidden" not in repr(caught.value) + repr(vars(server.transport))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("text", ['{"errcode": "M_UNKNOWN"}', "<html>Bad Gateway</html>", ""])
async def test_a_fault_of_the_server_is_unreachable(server: Server, status: int, text: str) -> None:
    server.answers(status, text=text)
    with pytest.raises(UnreachableError, match=str(status)):
        await server.transport.call("GET", "account", "whoami")


@pytest.mark.parametrize("status", [200, 302, 403, 404])
@pytest.mark.parametrize("text", ["<html>Welcome</html>", "", '{"cut": ', "[" * 100_000, "null", '"text"', "[]"])
async def test_a_page_that_is_no_matrix_answer_is_unreachable(server: Server, status: int, text: str) -> None:
    server.answers(status, text=text, headers={"Location": "http://127.0.0.1:1/"} if status == 302 else None)
    with pytest.raises(UnreachableError):
        await server.transport.call("GET", "account", "whoami")
    assert len(server.seen) == 1


async def test_bytes_that_are_no_text_are_unreachable(server: Server) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=b'{"a": "\xff"}')

    server.answer = answer
    with pytest.raises(UnreachableError):
        await server.transport.call("GET", "sync")


async def test_a_body_that_is_cut_off_is_unreachable(server: Server) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"next_batch": "s1"}')
        assert request.transport is not None
        request.transport.abort()
        return response

    server.answer = answer
    with pytest.raises(UnreachableError):
        await server.transport.call("GET", "sync")


async def test_a_request_whose_connection_ends_was_sent_once(server: Server) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with connections() as http:
        transport = Transport(http, server.transport._base_url)
        server.answers()
        await transport.call("GET", "versions")  # a connection that is kept
        server.answer = answer
        for method in ("GET", "PUT", "POST"):
            with pytest.raises(UnreachableError, match="CutOffError"):
                await transport.call(method, "versions")
    assert [request.method for request in server.seen] == ["GET", "GET", "PUT", "POST"]


async def test_an_answer_that_does_not_come_in_time_is_unreachable(server: Server) -> None:
    async def answer(_request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    server.answer = answer
    with pytest.raises(UnreachableError, match="GET sync"):
        await server.transport.call("GET", "sync", wait=0.05)


async def test_where_nothing_listens_it_is_unreachable() -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(UnreachableError):
            await Transport(http, "http://127.0.0.1:1").call("GET", "versions")


@pytest.mark.parametrize(
    ("text", "header", "wait"),
    [
        ('{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}', None, 2.5),
        ('{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}', "9", 2.5),
        ('{"errcode": "M_LIMIT_EXCEEDED"}', "9", 9.0),
        ("<html>slow down</html>", "7", 7.0),
        ("", None, 5.0),
        ('{"retry_after_ms": "soon"}', "in a minute", 5.0),
        ("", "Wed, 21 Oct 2099 07:28:00 GMT", 600.0),
        ("", "Wed, 21 Oct 2015 07:28:00 GMT", 0.25),
        ('{"retry_after_ms": 86400000}', None, 600.0),
        ("{}", "1e9", 600.0),
        ("{}", "inf", 600.0),
        ("{}", "nan", 5.0),
        ('{"retry_after_ms": NaN}', None, 5.0),
        ('{"retry_after_ms": 1' + "0" * 400 + "}", None, 600.0),
        ('{"retry_after_ms": -5}', None, 5.0),
        ('{"retry_after_ms": 0}', None, 0.25),
        ('{"retry_after_ms": null}', "3", 3.0),
    ],
)
async def test_a_limit_says_how_long_to_wait_between_a_moment_and_ten_minutes(
    server: Server, text: str, header: str | None, wait: float
) -> None:
    server.answers(429, text=text, headers={"Retry-After": header} if header else None)
    with pytest.raises(RateLimitedError) as caught:
        await server.transport.call("PUT", "rooms", "!a:example.org", "send", "m.room.message", "t1", body={})
    assert caught.value.wait == pytest.approx(wait)
    assert server.limited == [(caught.value.route, caught.value.wait)]
    assert "!a" not in caught.value.route


@pytest.mark.parametrize("errcode", ["M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"])
@pytest.mark.parametrize(("soft_logout", "soft"), [(True, True), (False, False), (None, False)])
async def test_a_token_that_is_no_longer_good_says_whether_it_only_expired(
    server: Server, errcode: str, *, soft_logout: bool | None, soft: bool
) -> None:
    server.answers(401, {"errcode": errcode, "error": "Unknown", "soft_logout": soft_logout})
    with pytest.raises(TokenRejectedError) as caught:
        await server.transport.call("GET", "account", "whoami")
    assert caught.value.soft is soft


async def test_another_401_says_nothing_about_the_token(server: Server) -> None:
    server.answers(401, {"flows": [{"stages": ["m.login.password"]}], "session": "x"})
    with pytest.raises(RefusedError) as caught:
        await server.transport.call("POST", "keys", "device_signing", "upload", body={})
    assert not isinstance(caught.value, TokenRejectedError)
    assert caught.value.body["session"] == "x"


async def test_a_refusal_has_the_servers_code_and_words(server: Server) -> None:
    server.answers(403, {"errcode": "M_FORBIDDEN", "error": "You are not in this room. " * 50})
    with pytest.raises(RefusedError) as caught:
        await server.transport.call("POST", "rooms", "!a:example.org", "invite", body={})
    assert (caught.value.status, caught.value.errcode) == (403, "M_FORBIDDEN")
    assert len(str(caught.value)) < 300


def test_a_route_names_no_ids() -> None:
    assert route_of(("rooms", "!a:example.org", "send", "m.room.message", "t1")) == "rooms/…/send/…/…"
    assert route_of(("keys", "device_signing", "upload")) == "keys/device_signing/upload"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (302, '{"errcode": "M_UNKNOWN", "error": "elsewhere"}'),
        (304, "{}"),
        (403, '{"message": "Forbidden", "request_id": "of a gateway"}'),
        (401, '{"error": "of a gateway, too"}'),
        (404, "[]"),
        (503, '{"errcode": "M_FORBIDDEN"}'),
    ],
)
async def test_what_only_looks_like_a_refusal_of_the_homeserver_may_be_tried_again(
    server: Server, status: int, text: str
) -> None:
    server.answers(status, text=text, headers={"Location": "http://127.0.0.1:1/"} if status == 302 else None)
    with pytest.raises(UnreachableError):
        await server.transport.call("PUT", "rooms", "!a:example.org", "send", "m.room.message", "t1", body={})


async def test_the_content_type_says_nothing(server: Server) -> None:
    server.answers(text='{"a": 1}', headers={"Content-Type": "text/html"})
    assert await server.transport.call("GET", "versions") == {"a": 1}


async def test_an_answer_that_drips_for_ever_ends_with_its_time(server: Server) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.01)
        return response

    server.answer = answer
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="TimeoutError"):
        await server.transport.call("GET", "account", "whoami", wait=0.3)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "packed a thousand times smaller"])
async def test_more_than_an_answer_can_have_is_not_kept(server: Server, *, packed: bool) -> None:
    content = b'{"a": "' + b"x" * (64 * SMALL)
    if packed:
        content = gzip.compress(content, 1)
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Encoding": "gzip"} if packed else None)
        await response.prepare(request)
        with suppress(ConnectionError):
            for start in range(0, len(content), 4096):
                await response.write(content[start : start + 4096])
                sent += 4096
        return response

    server.answer = answer
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError, match="bytes"):
            await server.transport.call("GET", "account", "whoami")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * SMALL
    assert sent < len(content) or packed


async def test_a_sync_may_be_larger_than_anything_else(server: Server) -> None:
    server.answers(text='{"next_batch": "' + "x" * 2 * SMALL + '"}')
    api = ClientApi(server.transport)
    assert len(await api.sync(since=None, filter_json="{}", timeout_ms=0)) > 2 * SMALL
    with pytest.raises(UnreachableError):
        await api.joined_rooms()


@pytest.fixture
def paced(server: Server) -> Server:
    """The same server, asked by somebody with a pace."""
    url = server.transport._base_url
    server.transport = Transport(
        server.transport._http,
        url,
        lambda route, wait: server.limited.append((route, wait)),
        SharedPace(SystemClock()),
    )
    return server


async def put(server: Server, *segments: str) -> None:
    await server.transport.call("PUT", *segments, body={})


LIMITED = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 30_000}


async def test_a_limit_on_one_message_holds_all_messages_back_and_nothing_else(paced: Server) -> None:
    paced.answers(429, LIMITED)
    with pytest.raises(RateLimitedError):
        await put(paced, "rooms", "!a:example.org", "send", "m.room.message", "t1")
    paced.answers()
    for segments in (
        ("rooms", "!a:example.org", "send", "m.room.message", "t1"),
        ("rooms", "!b:example.org", "send", "m.reaction", "t2"),
        ("rooms", "!b:example.org", "redact", "$event", "t3"),
        ("rooms", "!c:example.org", "state", "m.room.name"),
    ):
        with pytest.raises(RateLimitedError) as caught:
            await put(paced, *segments)
        assert 29 < caught.value.wait <= 30
    assert len(paced.seen) == len(paced.limited) == 1
    await paced.transport.call("GET", "rooms", "!a:example.org", "state", "m.room.name")
    await paced.transport.call("POST", "createRoom", body={})
    await paced.transport.call_raw("GET", "sync", is_sync=True)
    await paced.transport.call("POST", "keys", "claim", body={})


async def test_a_limit_on_an_invitation_or_a_join_is_of_that_room_alone(paced: Server) -> None:
    for ending, other in (("!a:example.org", "!b:example.org"),):
        paced.answers(429, LIMITED)
        for call in (("rooms", ending, "invite"), ("join", ending)):
            with pytest.raises(RateLimitedError):
                await paced.transport.call("POST", *call, body={})
        paced.answers()
        for call in (("rooms", ending, "invite"), ("join", ending)):
            with pytest.raises(RateLimitedError):
                await paced.transport.call("POST", *call, body={})
        for call in (("rooms", other, "invite"), ("join", other)):
            await paced.transport.call("POST", *call, body={})


async def test_a_limited_sync_is_asked_again_after_half_a_minute_at_most(paced: Server) -> None:
    paced.answers(429, {"retry_after_ms": 3_600_000})
    with pytest.raises(RateLimitedError) as caught:
        await paced.transport.call_raw("GET", "sync", is_sync=True)
    assert caught.value.wait == 30


@pytest.mark.parametrize(
    ("status", "text", "bad"),
    [
        (200, "{}", False),
        (404, '{"errcode": "M_NOT_FOUND"}', False),
        (401, '{"errcode": "M_UNKNOWN_TOKEN", "soft_logout": true}', False),
        (200, "<html>", True),
        (500, "{}", True),
        (502, "<html>", True),
        (404, "<html>", True),
    ],
)
async def test_only_what_is_no_answer_slows_everything_down(
    paced: Server, status: int, text: str, *, bad: bool
) -> None:
    paced.answers(status, text=text)
    began = time.monotonic()
    for _ in range(PLACES + 1):
        with suppress(RefusedError, UnreachableError):
            await paced.transport.call("GET", "account", "whoami")
    assert (time.monotonic() - began >= 1.0) is bad
