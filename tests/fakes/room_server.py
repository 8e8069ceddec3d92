"""The part of a homeserver that rooms live in, over HTTP: state, members, invitations, as one account sees them.

A test may answer instead of it; so the real client, and all that reads its answers, meets nonsense as it would come.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import aiohttp
from aiohttp import web

from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.transport import CLIENT, Transport

Json = dict[str, Any]

NOT_FOUND = (404, {"errcode": "M_NOT_FOUND", "error": "Event not found."})
FORBIDDEN = (403, {"errcode": "M_FORBIDDEN", "error": "You are not in the room."})

NONSENSE: dict[str, tuple[int, Any]] = {
    "null": (200, None),
    "a list": (200, [1, None]),
    "a number": (200, 5),
    "a string": (200, "yes"),
    "a web page": (200, b"<html>Welcome</html>"),
    "nothing": (200, b""),
    "another path's 404": (404, {"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}),
    "a proxy's 404": (404, b"<html>Not Found</html>"),
    "an unknown 403": (403, {"errcode": "M_UNKNOWN", "error": "no"}),
}
"""Answers that say nothing about what was asked; bytes are not JSON."""

Instead = Callable[[str, str], tuple[int, Any] | None]
"""Sees the method and the path behind the prefix; what it gives is answered, None lets the server answer."""


@dataclass
class ServedRoom:
    """One room."""

    room_id: str
    creator: str
    version: str
    creation: Json
    state: dict[tuple[str, str], Json] = field(default_factory=dict)

    @property
    def is_public(self) -> bool:
        """Whether everybody may come in."""
        return self.state.get(("m.room.join_rules", "")) == {"join_rule": "public"}

    def membership(self, user_id: str) -> str:
        """How somebody stands to it."""
        return str(self.state.get(("m.room.member", user_id), {}).get("membership", "leave"))

    def set_membership(self, user_id: str, membership: str) -> None:
        """Somebody comes, goes, is invited or banned."""
        self.state[("m.room.member", user_id)] = {"membership": membership}

    def events(self) -> list[Json]:
        """The whole state."""
        create = {**self.creation, "room_version": self.version}
        yielded = [{"type": "m.room.create", "state_key": "", "sender": self.creator, "content": create}]
        yielded += [{"type": kind, "state_key": key, "content": content} for (kind, key), content in self.state.items()]
        return yielded


class RoomServer:
    """`async with RoomServer(user_id) as server:` serves `server.api`, the client of that account."""

    def __init__(self, own_user_id: str) -> None:
        self.own_user_id = own_user_id
        self.rooms: dict[str, ServedRoom] = {}
        self.aliases: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self._instead: Instead = lambda _method, _path: None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._http = aiohttp.ClientSession()
        self.api = ClientApi(Transport(self._http, f"http://127.0.0.1:{self._runner.addresses[0][1]}"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()
        await self._runner.cleanup()

    @contextmanager
    def answering(self, instead: Instead) -> Iterator[None]:
        """Somebody else answers for a while."""
        self._instead = instead
        try:
            yield
        finally:
            self._instead = lambda _method, _path: None

    @contextmanager
    def wrong(self, method: str, ending: str, answer: tuple[int, Any]) -> Iterator[None]:
        """One kind of call is answered wrongly for a while."""
        with self.answering(lambda m, path: answer if m == method and path.endswith(ending) else None):
            yield

    def count(self, method: str, ending: str) -> int:
        """How many such calls came."""
        return sum(m == method and path.endswith(ending) for m, path in self.calls)

    def make(self, creator: str, body: Json) -> ServedRoom:
        """Somebody makes a room."""
        version = str(body.get("room_version", "11"))
        room_id = f"!room{len(self.rooms) + 1}:example.org"
        room = ServedRoom(room_id, creator, version, dict(body.get("creation_content", {})))
        room.set_membership(creator, "join")
        levels: Json = {"users": {creator: 100}, **body.get("power_level_content_override", {})}
        room.state[("m.room.power_levels", "")] = levels
        for event in body.get("initial_state", []):
            room.state[(event["type"], event["state_key"])] = event["content"]
        for user_id in body.get("invite", []):
            room.set_membership(user_id, "invite")
        self.rooms[room_id] = room
        return room

    async def _serve(self, request: web.Request) -> web.Response:
        path = unquote(request.raw_path.partition("?")[0]).removeprefix(CLIENT)
        self.calls.append((request.method, path))
        body = await request.json() if request.can_read_body else {}
        instead = self._instead(request.method, path)
        status, answer = self._answer(request.method, path, body) if instead is None else instead
        if isinstance(answer, bytes):
            return web.Response(status=status, body=answer, content_type="text/html")
        return web.Response(status=status, text=json.dumps(answer), content_type="application/json")

    def _answer(self, method: str, path: str, body: Json) -> tuple[int, Any]:  # noqa: PLR0911 - a table of calls
        match method, path.split("/")[1:]:
            case "GET", ["capabilities"]:
                return 200, {"capabilities": {"m.room_versions": {"default": "11"}}}
            case "GET", ["joined_rooms"]:
                ours = [room for room in self.rooms.values() if room.membership(self.own_user_id) == "join"]
                return 200, {"joined_rooms": [room.room_id for room in ours]}
            case "GET", ["directory", "room", alias]:
                return (200, {"room_id": self.aliases[alias]}) if alias in self.aliases else NOT_FOUND
            case "POST", ["createRoom"]:
                return 200, {"room_id": self.make(self.own_user_id, body).room_id}
            case "POST", ["join", room_id]:
                return self._join(room_id)
            case _:
                pass
        in_room = re.fullmatch(r"/rooms/([^/]+)/(.+)", path)
        room = None if in_room is None else self.rooms.get(in_room[1])
        if in_room is None or room is None:
            return FORBIDDEN
        return self._in_room(room, method, in_room[2].split("/"), body)

    def _join(self, room_id: str) -> tuple[int, Any]:
        room = self.rooms.get(room_id)
        if room is None or not (room.is_public or room.membership(self.own_user_id) in ("invite", "join")):
            return FORBIDDEN
        room.set_membership(self.own_user_id, "join")
        return 200, {"room_id": room_id}

    def _in_room(  # noqa: PLR0911 - the same
        self, room: ServedRoom, method: str, what: list[str], body: Json
    ) -> tuple[int, Any]:
        if method == "POST" and what == ["leave"]:
            room.set_membership(self.own_user_id, "leave")
            return 200, {}
        if room.membership(self.own_user_id) != "join":
            return FORBIDDEN
        match method, what:
            case "GET", ["state"]:
                return 200, room.events()
            case "GET", ["members"]:
                members = [e for e in room.events() if e["type"] == "m.room.member"]
                return 200, {"chunk": [e for e in members if e["content"]["membership"] != "leave"]}
            case "GET", ["state", kind, *key]:
                content = room.state.get((kind, "".join(key)))
                return NOT_FOUND if content is None else (200, content)
            case "PUT", ["state", kind, *key]:
                room.state[(kind, "".join(key))] = body
                return 200, {"event_id": "$state"}
            case "POST", ["invite"]:
                if room.membership(body["user_id"]) in ("join", "ban"):
                    return FORBIDDEN
                room.set_membership(body["user_id"], "invite")
                return 200, {}
            case _:
                return FORBIDDEN
