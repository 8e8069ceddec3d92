"""The fake and a real Synapse behind one surface, so that the same test can look into both."""

from typing import Any, Protocol

import aiohttp
from pydantic import SecretStr

from onboard_bot.demo.synapse import RunningSynapse
from tests.fakes.synapse_endpoint import SynapseEndpoint


class Endpoint(Protocol):
    """A homeserver that a test can look into."""

    @property
    def url(self) -> str: ...
    @property
    def server_name(self) -> str: ...
    @property
    def shared_secret(self) -> str: ...

    async def restart(self) -> None: ...
    async def facts(self, user_id: str) -> dict[str, Any]:
        """`admin`, `user_type` and `devices` of an account."""
        ...

    async def count_accounts(self) -> int: ...
    async def deactivate(self, user_id: str) -> None: ...


class FakeEndpoint:
    """The fake."""

    def __init__(self, fake: SynapseEndpoint) -> None:
        self.fake = fake
        self.url = fake.url
        self.server_name = fake.server_name
        self.shared_secret = fake.shared_secret

    async def restart(self) -> None:
        await self.fake.stop()
        await self.fake.start()

    async def facts(self, user_id: str) -> dict[str, Any]:
        account = self.fake.accounts[user_id]
        devices = sorted(account.sessions.values())
        return {"admin": account.admin, "user_type": account.user_type, "devices": devices}

    async def count_accounts(self) -> int:
        return len(self.fake.accounts)

    async def deactivate(self, user_id: str) -> None:
        self.fake.deactivate(user_id)


class RealEndpoint:
    """A real Synapse, looked into with a server admin's token."""

    def __init__(self, synapse: RunningSynapse, http: aiohttp.ClientSession, admin_token: SecretStr) -> None:
        assert synapse.settings.shared_secret is not None
        self.synapse = synapse
        self.url = synapse.url
        self.server_name = synapse.server_name
        self.shared_secret = synapse.settings.shared_secret
        self._http = http
        self._headers = {"Authorization": f"Bearer {admin_token.get_secret_value()}"}

    async def restart(self) -> None:
        await self.synapse.restart()

    async def facts(self, user_id: str) -> dict[str, Any]:
        account = await self._get(f"/_synapse/admin/v2/users/{user_id}")
        devices = (await self._get(f"/_synapse/admin/v2/users/{user_id}/devices"))["devices"]
        ids = sorted(device["device_id"] for device in devices)
        return {"admin": account["admin"], "user_type": account["user_type"], "devices": ids}

    async def count_accounts(self) -> int:
        return int((await self._get("/_synapse/admin/v2/users?limit=1"))["total"])

    async def deactivate(self, user_id: str) -> None:
        url = f"{self.url}/_synapse/admin/v1/deactivate/{user_id}"
        async with self._http.post(url, json={}, headers=self._headers) as answer:
            assert answer.ok, await answer.text()

    async def _get(self, path: str) -> dict[str, Any]:
        async with self._http.get(self.url + path, headers=self._headers) as answer:
            assert answer.ok, await answer.text()
            body: dict[str, Any] = await answer.json()
            return body
