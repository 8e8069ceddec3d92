"""A homeserver that hands out what a test wants to throw, and writes down what the bot does to it.

The client-server API's client is the real one; what stands in for the network is here. Rooms and keys are those of
the other fakes.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onboard_bot.matrix.transport import Transport
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, UnreachableError
from tests.fakes.key_server import KeyServer
from tests.fakes.room_server import RoomServer

Json = dict[str, Any]

_TOLD_AT_MOST = 5


@dataclass(frozen=True)
class Body:
    """A `/sync` body. A sound one must be got over at the first telling, whatever stands in it."""

    text: str
    next_batch: str | None = None


@dataclass
class WrongAnswer:
    """What a kind of call gets instead of its answer."""

    call: str
    status: int
    text: str


@dataclass
class Deed:
    """Something that the bot did to the server."""

    call: str
    path: str
    content: Any


@dataclass
class HostileServer(Transport):
    """The transport of the real `ClientApi`."""

    rooms: RoomServer
    keys: KeyServer
    user_id: str
    device_id: str
    pages: list[str] = field(default_factory=list)
    """Answers to `/messages`, one after the other, the last again and again."""
    wrong: list[WrongAnswer] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    stuck: list[str] = field(default_factory=list)
    """The sound bodies that had to be told more than once."""

    def __post_init__(self) -> None:
        # Of the real transport nothing is needed but how it reads an answer; there is no connection to set up.
        self.token = None
        self._bodies: deque[Body] = deque()
        self._told: tuple[str | None, int] = (None, 0)
        self._more = asyncio.Event()
        self._key_api = self.keys.api(self.user_id, self.device_id)
        self._events = 0
        self.nothing_more = asyncio.Event()

    def tell(self, bodies: Sequence[Body]) -> None:
        """These are the next answers to `/sync`."""
        self._bodies += bodies
        self.nothing_more.clear()
        self._more.set()

    async def call_raw(
        self,
        method: str,
        *segments: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        **_: Any,
    ) -> str:
        """See `Transport`."""
        call = name_of(method, segments)
        self.asked[call] += 1
        wrong = next((answer for answer in self.wrong if answer.call == call), None)
        if wrong is not None:
            self.wrong.remove(wrong)
            status, text = wrong.status, wrong.text
        elif call == "GET sync":
            status, text = 200, await self._sync((query or {}).get("since"))
        else:
            status, answer = await self._answer(method, call, segments, json.loads(json.dumps(body or {})))
            text = answer if isinstance(answer, str) else json.dumps(answer)
        if status == 200 and text[:1] in ("{", "["):
            return text
        raise _failure(status, text, call)

    async def _sync(self, since: str | None) -> str:
        """The next body; the same again until the bot asks with its token, or has been told often enough."""
        before, times = self._told
        if self._bodies and times and (since != before or times >= _TOLD_AT_MOST):
            done = self._bodies.popleft()
            if done.next_batch is not None and since != done.next_batch:
                self.stuck.append(done.text)
            self._told = (None, 0)
        while not self._bodies:
            self.nothing_more.set()
            self._more.clear()
            await self._more.wait()
        self._told = (since, self._told[1] + 1)
        return self._bodies[0].text

    async def _answer(  # noqa: PLR0911 - a table of calls
        self, method: str, call: str, segments: tuple[str, ...], body: Json
    ) -> tuple[int, Any]:
        match call.split(" ", 1)[1]:
            case "keys/upload":
                return 200, await self._key_api.keys_upload(body)
            case "keys/query":
                return 200, await self._key_api.keys_query(list(body["device_keys"]))
            case "keys/claim":
                return 200, await self._key_api.keys_claim({u: list(d) for u, d in body["one_time_keys"].items()})
            case "sendToDevice":
                return 200, {}
            case "messages":
                page = self.pages[0] if self.pages else '{"chunk": []}'
                self.pages = self.pages[1:] or self.pages
                return 200, page.replace("@@page@@", f"t{self.asked[call]}")
            case "send" | "redact" as kind:
                self._events += 1
                self.deeds.append(Deed(kind, "/".join(segments), body))
                return 200, {"event_id": f"$own{self._events}"}
        status, answer = self.rooms._answer(method, "/" + "/".join(segments), body)
        if method != "GET" and status == 200:
            self.deeds.append(Deed(call, "/".join(segments), body))
        return status, answer


def _failure(status: int, text: str, call: str) -> Exception:
    """What the real transport makes of such an answer."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if status == 429:
        return RateLimitedError(call, 5.0)
    if status not in range(400, 500) or not isinstance(answer, dict) or not isinstance(answer.get("errcode"), str):
        return UnreachableError(f"{call}: status {status} without a Matrix answer")
    return RefusedError(status, answer)


def name_of(method: str, segments: Sequence[str]) -> str:
    """What kind of call this is, without the ids in it."""
    if segments[0] == "rooms":
        what = segments[2]
        kind = f" {segments[3]}" if what == "state" and len(segments) > 3 else ""
        return f"{method} {what}{kind}"
    return f"{method} " + ("/".join(segments[:2]) if segments[0] == "keys" else segments[0])
