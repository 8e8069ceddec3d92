"""People who use Element: each a client of matrix-js-sdk without a screen."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from tests.element.events import Event, Json, Keys
from tests.element.node import ElementError, Node

Isolation = Literal["onlysigned", "all"]
"""Whether devices that their owner did not sign are left out, or everybody's are served."""
T = TypeVar("T")


@dataclass
class Element:
    """A signed-in person; `events` is everything that their client shows, in the order in which it came."""

    name: str
    node: Node
    password: str = field(repr=False)
    user_id: str = ""
    device_id: str = ""
    fingerprint: str = ""
    events: dict[str, Event] = field(default_factory=dict, repr=False)
    rooms: dict[str, str] = field(default_factory=dict)
    """The person's own membership."""
    inviters: dict[str, str | None] = field(default_factory=dict)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    # Rooms

    async def make_room(
        self,
        *,
        version: str | None = None,
        encrypted: bool = True,
        invite: Iterable[str] = (),
        levels: Json | None = None,
        **content: Any,
    ) -> str:
        """Makes a private room, or what `content` (of `POST /createRoom`) says; its id."""
        made = await self._do(
            "make_room",
            version=version,
            encrypted=encrypted,
            invite=list(invite),
            levels=levels,
            content=content,
        )
        room_id = str(made)
        await self.until(lambda: self.rooms.get(room_id) == "join", why=f"being in {room_id}")
        return room_id

    async def join(self, room_id: str) -> None:
        await self._do("join", room=room_id)
        await self.until(lambda: self.rooms.get(room_id) == "join", why=f"being in {room_id}")

    async def leave(self, room_id: str) -> None:
        await self._do("leave", room=room_id)

    async def kick(self, room_id: str, user_id: str) -> None:
        await self._do("kick", room=room_id, user=user_id)

    async def invite(self, room_id: str, user_id: str) -> None:
        await self._do("invite", room=room_id, user=user_id)

    async def set_level(self, room_id: str, user_id: str, level: int) -> None:
        await self._do("set_level", room=room_id, user=user_id, level=level)

    async def members(self, room_id: str) -> dict[str, Json]:
        """Everybody's `membership` and `level`."""
        return dict(await self._do("members", room=room_id))

    async def sees_membership(self, room_id: str, user_id: str, membership: str) -> None:
        """Waits until this client knows that somebody is invited, has joined or left."""
        await self.until(
            lambda: next(
                (
                    e.content.get("membership") == membership
                    for e in reversed(self.events.values())
                    if (e.room_id, e.type, e.state_key) == (room_id, "m.room.member", user_id)
                ),
                False,
            ),
            why=f"{membership} of {user_id}",
        )

    async def invitation_from(self, user_id: str, *, within: float = 30.0) -> str:
        """The room that somebody invited this person to."""

        def found() -> str | None:
            return next((r for r, who in self.inviters.items() if who == user_id and self.rooms[r] == "invite"), None)

        return await self.until(found, within=within, why=f"an invitation from {user_id}")

    # What is said

    async def say(self, room_id: str, body: str, **extra: Any) -> str:
        """Says something; the event's id."""
        return await self.send(room_id, {"msgtype": "m.text", "body": body, **extra})

    async def send(self, room_id: str, content: Mapping[str, Any], event_type: str = "m.room.message") -> str:
        """Sends something, encrypted where the room is; the event's id."""
        return str(await self._do("send", room=room_id, type=event_type, content=dict(content)))

    async def say_in_thread(self, room_id: str, root: str, body: str) -> str:
        """As Element does in a thread, with a way out for clients that know no threads."""
        fallback = {"is_falling_back": True, "m.in_reply_to": {"event_id": root}}
        return await self.say(room_id, body, **{"m.relates_to": {"rel_type": "m.thread", "event_id": root, **fallback}})

    async def say_in_reply(self, room_id: str, to: str, body: str) -> str:
        """An ordinary reply."""
        return await self.say(room_id, body, **{"m.relates_to": {"m.in_reply_to": {"event_id": to}}})

    async def edit(self, room_id: str, event_id: str, body: str, *, mark: str = "* ") -> str:
        """Makes other words of what was said; `mark` is how clients that know no edits see that it is one."""
        words = {"msgtype": "m.text", "body": body, "m.mentions": {}}
        relation = {"rel_type": "m.replace", "event_id": event_id}
        return await self.say(room_id, mark + body, **{"m.new_content": words, "m.relates_to": relation})

    async def react(self, room_id: str, event_id: str, key: str) -> str:
        """Puts an emoji to an event."""
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self.send(room_id, {"m.relates_to": relation}, "m.reaction")

    async def redact(self, room_id: str, event_id: str) -> str:
        """Takes something back."""
        return str(await self._do("redact", room=room_id, event=event_id))

    async def send_file(self, room_id: str, name: str, text: str) -> str:
        """Encrypts a file, uploads it, and sends the message that holds its key."""
        return str(await self._do("send_file", room=room_id, name=name, text=text))

    async def read_file(self, event_id: str) -> str:
        """Downloads and opens the file that an event brought."""
        return str(await self._do("read_file", event=event_id))

    # What is seen

    async def until(self, what: Callable[[], T | None], *, within: float = 20.0, why: str = "") -> T:
        """Waits until `what()` is true; its value."""
        try:
            async with asyncio.timeout(within), self._news:
                while not (value := what()):
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(
                f"{self.name} waited {within} s in vain for {why or what}; what their client shows:\n{self._shown()}\n"
                f"rooms: {self.rooms}, invited by: {self.inviters}\nand what it logged:\n{self.node.log()}"
            ) from None
        return value

    async def sees(self, event_id: str, *, within: float = 20.0) -> Event:
        """An event, once it is there, read or not."""
        return await self.until(lambda: self.events.get(event_id), within=within, why=event_id)

    async def reads(self, event_id: str, *, within: float = 20.0) -> Event:
        """An event, once it can be read."""

        def found() -> Event | None:
            event = self.events.get(event_id)
            return event if event is not None and event.failure is None else None

        return await self.until(found, within=within, why=f"being able to read {event_id}")

    async def event(self, fits: Callable[[Event], bool], *, within: float = 20.0, why: str = "an event") -> Event:
        """The first event that fits."""

        def found() -> Event | None:
            return next((event for event in self.events.values() if fits(event)), None)

        return await self.until(found, within=within, why=why)

    async def reply_to(self, event_id: str, *, within: float = 20.0) -> Event:
        """The answer to what this person said, read or not: relations stand in clear."""
        wanted = ("m.room.message", "m.room.encrypted")
        why = f"a reply to {event_id}"
        return await self.event(lambda e: e.in_reply_to == event_id and e.type in wanted, within=within, why=why)

    async def signs_under(self, event_id: str) -> None:
        """Waits for the two signs that the bot puts under a card."""

        def keys() -> set[str]:
            under = [e.relation for e in self.events.values() if e.relation.get("event_id") == event_id]
            return {str(relation.get("key")) for relation in under}

        await self.until(lambda: {"✅", "❌"} <= keys(), why=f"✅ and ❌ under {event_id}")

    def said_by(self, sender: str, room_id: str | None = None, *, after: str | None = None) -> list[Event]:
        """Messages and reactions of somebody, since an event; nothing before that event has come."""
        events = list(self.events.values())
        if after is not None:
            index = next((n for n, event in enumerate(events) if event.event_id == after), len(events))
            events = events[index + 1 :]
        said = ("m.room.message", "m.room.encrypted", "m.reaction", "m.sticker")
        return [e for e in events if e.sender == sender and e.type in said and room_id in (None, e.room_id)]

    async def shield_of(self, event: Event) -> Json | None:
        """The shield beside an event, judged now; None for what came in clear or cannot be read."""
        shield: Json | None = await self._do("shield_of", event=event.event_id)
        return shield

    # Keys and trust

    async def make_identity(self, *, anew: bool = False) -> None:
        """Signs this device with an identity; `anew` replaces the one that the account has."""
        await self._do("make_identity", password=self.password, anew=anew)

    async def discard(self, room_id: str) -> None:
        """The next message in the room gets a new key, as after `/discardsession`."""
        await self._do("discard", room=room_id)

    async def keys_of(self, user_id: str) -> Keys:
        """Somebody's keys."""
        found = await self._do("keys_of", user=user_id)
        devices: dict[str, Json] = found["devices"]
        return Keys(
            {device_id: device["fingerprint"] for device_id, device in devices.items()},
            {device_id for device_id, device in devices.items() if device["signed"]},
            found["master"],
        )

    async def needs_approval(self, user_id: str) -> bool:
        """Whether the client warns that somebody's identity is another one than before."""
        return bool((await self._do("trust_in", user=user_id))["needs_approval"])

    async def sessions(self, room_id: str) -> set[str]:
        """The room's Megolm sessions that this device has keys of."""
        return set(await self._do("sessions", room=room_id))

    # Coming and going

    async def go_offline(self) -> None:
        """Pulls the cable: nothing comes and nothing goes."""
        await self._do("go_offline")

    async def come_back(self) -> None:
        """Plugs it in again."""
        await self._do("come_back")

    async def sign_out(self) -> None:
        """Ends the session; the device is gone."""
        await self._do("sign_out")

    async def _do(self, verb: str, **order: Any) -> Any:
        return await self.node.do(self.name, verb, **order)

    async def take(self, line: Json) -> None:
        """Something that the client shows."""
        if "event" in line:
            event = Event(**line["event"])
            before = self.events.get(event.event_id)
            self.events[event.event_id] = replace(
                event, first_failure=event.failure if before is None else before.first_failure
            )
        else:
            self.rooms[line["room"]] = line["membership"]
            if line["membership"] == "invite":
                self.inviters[line["room"]] = line["inviter"]
        async with self._news:
            self._news.notify_all()

    def _shown(self) -> str:
        last = list(self.events.values())[-15:]
        return "\n".join(
            f"  {e.event_id[:9]} {e.sender} {e.type} {e.failure or ''} {e.shield or ''}"
            f" ↩{(e.in_reply_to or '-')[:9]} {e.body[:120]!r} {e.about}"
            for e in last
        )


@asynccontextmanager
async def signed_in(
    node: Node,
    homeserver: str,
    user_id: str,
    password: str,
    *,
    device_id: str | None = None,
    isolation: Isolation = "onlysigned",
    cross_sign: bool = True,
) -> AsyncIterator[Element]:
    """A person who signed in with Element on a new device.

    Args:
        node: What runs the client.
        homeserver: Its URL.
        user_id: Theirs.
        password: Theirs.
        device_id: Of the new device, if it matters.
        isolation: What the client thinks of devices that their owners did not sign.
        cross_sign: Whether the person makes an identity, which signs this device.
    """
    name = node.new_name(user_id)
    person = Element(name, node, password)
    node.show(name, to=person.take)
    try:
        session = await node.do(
            name,
            "sign_in",
            homeserver=homeserver,
            user=user_id,
            password=password,
            device=device_id,
            isolation=isolation,
        )
        person.user_id, person.device_id = session["user_id"], session["device_id"]
        person.fingerprint = session["fingerprint"]
        if cross_sign:
            await person.make_identity()
        yield person
    finally:
        with suppress(ElementError):
            await node.do(name, "close")
        node.show(name, to=None)
