"""What the server itself knows, asked with a server admin's token: the truth behind what people and the bot see."""

import secrets
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from pydantic import SecretStr

from onboard_bot.demo.synapse import RunningSynapse
from onboard_bot.homeserver.port import NewAccount, SessionWish
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend

Json = dict[str, Any]


class ServerView:
    """A look into one Synapse; it changes nothing but what its verbs say."""

    def __init__(self, synapse: RunningSynapse, token: SecretStr) -> None:
        self.synapse = synapse
        self._token = token

    @classmethod
    async def of(cls, synapse: RunningSynapse) -> Self:
        """With a server admin of its own."""
        async with aiohttp.ClientSession() as http:
            name = f"view-{secrets.token_hex(4)}"
            wish = NewAccount(name, SecretStr("the view's password"), admin=True, session=SessionWish("VIEW", "view"))
            made = await SharedSecretBackend(http, synapse.url, SecretFile(synapse.secret_file)).create(wish)
        assert made.session is not None
        return cls(synapse, made.session.access_token)

    def user_id(self, localpart: str) -> str:
        """Of an account on this server."""
        return f"@{localpart}:{self.synapse.server_name}"

    async def account(self, user_id: str) -> Json | None:
        """What Synapse keeps of an account; None where there is none."""
        return await self._ask("GET", f"/_synapse/admin/v2/users/{quote(user_id)}")

    async def devices(self, user_id: str) -> list[str]:
        """The account's devices."""
        answer = await self._ask("GET", f"/_synapse/admin/v2/users/{quote(user_id)}/devices")
        return sorted(device["device_id"] for device in (answer or {}).get("devices", []))

    async def end_device(self, user_id: str, device_id: str) -> None:
        """Signs a device out."""
        await self._ask("DELETE", f"/_synapse/admin/v2/users/{quote(user_id)}/devices/{device_id}")

    async def lift_limits(self, user_id: str) -> None:
        """From now on this person may do as much as they like, whatever the rate limits are."""
        await self._ask("POST", f"/_synapse/admin/v1/users/{quote(user_id)}/override_ratelimit")

    async def rooms_of(self, user_id: str) -> list[str]:
        """The rooms that somebody is in."""
        answer = await self._ask("GET", f"/_synapse/admin/v1/users/{quote(user_id)}/joined_rooms")
        return list((answer or {}).get("joined_rooms", []))

    async def rooms_made_by(self, user_id: str) -> list[str]:
        """The rooms that somebody made, whoever is in them."""
        answer = await self._ask("GET", "/_synapse/admin/v1/rooms?limit=10000")
        return [room["room_id"] for room in (answer or {})["rooms"] if room["creator"] == user_id]

    async def room(self, room_id: str) -> Json:
        """What Synapse keeps of a room."""
        return await self._ask("GET", f"/_synapse/admin/v1/rooms/{quote(room_id)}") or {}

    async def state(self, room_id: str) -> dict[tuple[str, str], Json]:
        """The contents of a room's state, by type and state key."""
        answer = await self._ask("GET", f"/_synapse/admin/v1/rooms/{quote(room_id)}/state")
        return {(event["type"], event["state_key"]): event["content"] for event in (answer or {})["state"]}

    async def membership(self, room_id: str, user_id: str) -> str:
        """Of somebody in a room; `leave` for one who never was there."""
        content = (await self.state(room_id)).get(("m.room.member", user_id), {})
        return str(content.get("membership", "leave"))

    async def timeline(self, room_id: str) -> list[Json]:
        """All events of a room as they lie on the server, oldest first."""
        path = f"/_synapse/admin/v1/rooms/{quote(room_id)}/messages?dir=b&limit=1000&from=t1000000000-0_0"
        return list(reversed((await self._ask("GET", path) or {})["chunk"]))

    async def sign_in(self, user_id: str, password: str) -> int:
        """The status of a sign-in with this password."""
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user_id},
            "password": password,
        }
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.synapse.url}/_matrix/client/v3/login", json=body) as answer,
        ):
            return answer.status

    async def _ask(self, method: str, path: str) -> Json | None:
        headers = {"Authorization": f"Bearer {self._token.get_secret_value()}"}
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, self.synapse.url + path, headers=headers) as answer,
        ):
            if answer.status == 404:
                return None
            assert answer.ok, await answer.text()
            body: Json = await answer.json()
            return body
