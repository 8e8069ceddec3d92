"""One exchange with the homeserver, against a server on a real port: what each failure means."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import SecretStr

from onboard_bot.matrix.transport import Transport, route_of
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError

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
        ('{"retry_after_ms": "soon"}', "Wed, 21 Oct 2026 07:28:00 GMT", 5.0),
        ('{"retry_after_ms": 86400000}', None, 600.0),
        ("{}", "1e9", 600.0),
        ("{}", "inf", 600.0),
        ("{}", "nan", 5.0),
        ('{"retry_after_ms": NaN}', None, 5.0),
        ('{"retry_after_ms": 1' + "0" * 400 + "}", None, 5.0),
        ('{"retry_after_ms": -5}', None, 0.05),
        ('{"retry_after_ms": 0}', None, 0.05),
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
