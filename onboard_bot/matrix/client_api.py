"""Owns the calls of the client-server API that the bot makes, one method each, named as in the specification."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from onboard_bot.matrix.json_text import read_json
from onboard_bot.matrix.transport import HUGE, LARGE, Json, Transport
from onboard_bot.onboarding.ports import RefusedError, UnreachableError

_SYNC_SLACK = 30.0
USERS_PER_QUERY = 200
"""About how many people `keys/query` is asked at once."""


class ClientApi:
    """The calls; each is one try and raises what `Transport.call` raises."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._call = transport.call

    async def default_room_version(self) -> str:
        """The version that the server gives to a new room."""
        answer = await self._call("GET", "capabilities")
        try:
            version = answer["capabilities"]["m.room_versions"]["default"]
        except (KeyError, TypeError) as error:
            raise UnreachableError("capabilities without a default room version") from error
        return _text({"default": version}, "default")

    async def login(self, username: str, password: SecretStr, *, device_id: str, device_name: str) -> Json:
        """`POST /login` with a device id of our choice: repeated, it is the same device."""
        return await self._call(
            "POST",
            "login",
            body={
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": username},
                "password": password.get_secret_value(),
                "device_id": device_id,
                "initial_device_display_name": device_name,
            },
        )

    async def whoami(self) -> Json:
        """`GET /account/whoami`."""
        return await self._call("GET", "account", "whoami")

    async def delete_own_session(self) -> None:
        """`POST /logout`: the session that the transport carries ends."""
        await self._call("POST", "logout", body={})

    async def sync(self, *, since: str | None, filter_json: str, timeout_ms: int) -> str:
        """`GET /sync`, the raw body."""
        query = {"filter": filter_json, "timeout": str(timeout_ms)}
        if since is not None:
            query["since"] = since
        wait = timeout_ms / 1000 + _SYNC_SLACK
        return await self.transport.call_raw("GET", "sync", query=query, wait=wait, at_most=HUGE, is_sync=True)

    async def messages_before(
        self, room_id: str, *, start: str | None, end: str | None = None, sender: str | None = None
    ) -> Json:
        """`GET /rooms/{roomId}/messages` backwards from `start` (or the present) to `end`, one page of one sender's."""
        query = {"dir": "b", "limit": "100"}
        if start is not None:
            query["from"] = start
        if end is not None:
            query["to"] = end
        if sender is not None:
            query["filter"] = json.dumps({"senders": [sender]})
        return await self._call("GET", "rooms", room_id, "messages", query=query, at_most=LARGE)

    async def joined_rooms(self) -> list[str]:
        """The rooms that we are in."""
        return [str(room) for room in _list(await self._call("GET", "joined_rooms"), "joined_rooms")]

    async def resolve_alias(self, alias: str) -> str | None:
        """The room that an alias points to; None where there is no such alias."""
        try:
            return _text(await self._call("GET", "directory", "room", alias), "room_id")
        except RefusedError as error:
            if error.errcode == "M_NOT_FOUND":
                return None
            raise

    async def create_room(self, body: Mapping[str, Any]) -> str:
        """`POST /createRoom`; the new room's id."""
        return _text(await self._call("POST", "createRoom", body=body), "room_id")

    async def join(self, room: str, *, via: Sequence[str] = ()) -> str:
        """Joins by id or alias; the room's id."""
        query = {"via": via[0], "server_name": via[0]} if via else None  # the second for servers before version 1.12
        return _text(await self._call("POST", "join", room, body={}, query=query), "room_id")

    async def leave(self, room_id: str) -> None:
        """Leaves, or declines an invitation."""
        await self._call("POST", "rooms", room_id, "leave", body={})

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invites a person."""
        await self._call("POST", "rooms", room_id, "invite", body={"user_id": user_id})

    async def state_event(self, room_id: str, event_type: str, state_key: str = "") -> Json | None:
        """The content of one state event; None where the room has none."""
        segments = ("rooms", room_id, "state", event_type, *([state_key] if state_key else []))
        try:
            return await self._call("GET", *segments)
        except RefusedError as error:
            if error.errcode == "M_NOT_FOUND":
                return None
            if error.errcode == "M_UNRECOGNIZED":  # something on the way that is no homeserver
                raise UnreachableError("a room's state that was not looked for") from error
            raise

    async def state(self, room_id: str) -> list[Json]:
        """All state events, whole."""
        text = await self.transport.call_raw("GET", "rooms", room_id, "state", at_most=LARGE)
        try:
            events = read_json(text)
        except ValueError:
            events = None
        if not isinstance(events, list):
            raise UnreachableError("GET rooms/…/state: an answer that is no list")
        return [event for event in events if isinstance(event, dict)]

    async def set_state(self, room_id: str, event_type: str, content: Mapping[str, Any], state_key: str = "") -> None:
        """Replaces the content of a state event."""
        await self._call(
            "PUT", "rooms", room_id, "state", event_type, *([state_key] if state_key else []), body=content
        )

    async def members(self, room_id: str) -> dict[str, str]:
        """Everybody who did not leave, with their membership."""
        query = {"not_membership": "leave"}
        answer = await self._call("GET", "rooms", room_id, "members", query=query, at_most=LARGE)
        events = [event for event in _list(answer, "chunk") if isinstance(event, dict)]
        return {
            event["state_key"]: str(event["content"].get("membership"))
            for event in events
            if isinstance(event.get("state_key"), str) and isinstance(event.get("content"), dict)
        }

    async def send(self, room_id: str, event_type: str, content: Mapping[str, Any], *, transaction_id: str) -> str:
        """Sends as it is; the event's id. The same transaction id makes the same event."""
        answer = await self._call("PUT", "rooms", room_id, "send", event_type, transaction_id, body=content)
        return _text(answer, "event_id")

    async def event(self, room_id: str, event_id: str) -> Json:
        """`GET /rooms/{roomId}/event/{eventId}`."""
        return await self._call("GET", "rooms", room_id, "event", event_id)

    async def redact(self, room_id: str, event_id: str, body: Mapping[str, Any], *, transaction_id: str) -> str:
        """Takes an event's content away."""
        answer = await self._call("PUT", "rooms", room_id, "redact", event_id, transaction_id, body=body)
        return _text(answer, "event_id")

    async def keys_upload(self, body: Mapping[str, Any]) -> Json:
        """`POST /keys/upload`."""
        return await self._call("POST", "keys", "upload", body=body)

    async def keys_query(self, users: Sequence[str]) -> Json:
        """`POST /keys/query` for all devices of these users."""
        wanted: dict[str, list[str]] = {user: [] for user in users}
        return await self._call("POST", "keys", "query", body={"device_keys": wanted}, at_most=LARGE)

    async def keys_claim(self, devices: Mapping[str, Sequence[str]]) -> Json:
        """`POST /keys/claim`: one one-time key of each device."""
        wanted = {user: dict.fromkeys(ids, "signed_curve25519") for user, ids in devices.items()}
        return await self._call("POST", "keys", "claim", body={"one_time_keys": wanted}, at_most=LARGE)

    async def send_to_device(
        self, event_type: str, messages: Mapping[str, Mapping[str, Any]], *, transaction_id: str
    ) -> None:
        """`PUT /sendToDevice`."""
        await self._call("PUT", "sendToDevice", event_type, transaction_id, body={"messages": messages})

    async def device_signing_upload(self, body: Mapping[str, Any]) -> Json:
        """`POST /keys/device_signing/upload`."""
        return await self._call("POST", "keys", "device_signing", "upload", body=body)

    async def signatures_upload(self, body: Mapping[str, Any]) -> Json:
        """`POST /keys/signatures/upload`."""
        return await self._call("POST", "keys", "signatures", "upload", body=body)


def _text(answer: Json, key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str):
        raise UnreachableError(f"an answer without {key}")
    return value


def _list(answer: Json, key: str) -> list[Any]:
    value = answer.get(key)
    if not isinstance(value, list):
        raise UnreachableError(f"an answer without {key}")
    return value
