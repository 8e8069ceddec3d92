"""Owns the floor: the least that stands between a command in an encrypted room and its answer.

A second client hears the command in its long-poll, fetches a nonce, posts the registration and says that it is done.
It has no database, checks nobody's rights and forgets everything when it stops: what it takes, no bot can save.
"""

import secrets

import aiohttp
from pydantic import SecretStr

from bench.client import Client, Heard
from onboard_bot.domain.passwords import generate_password
from onboard_bot.homeserver.registration import registration_mac
from onboard_bot.homeserver.synapse import REGISTER_PATH

PREFIX = "?"  # the bot obeys "!" and takes no notice of this one


class Floor:
    """Answers `?register name`.

    Args:
        client: In whose name it answers.
        http: Whose connections the registrations use.
        homeserver: Without a path.
        secret: The shared secret.
    """

    def __init__(self, client: Client, http: aiohttp.ClientSession, homeserver: str, secret: SecretStr) -> None:
        self._client = client
        self._http = http
        self._url = homeserver + REGISTER_PATH
        self._secret = secret
        client.on_message = self._react

    async def _react(self, heard: Heard) -> None:
        command, _, username = str(heard.content.get("body", "")).partition(" ")
        if command == f"{PREFIX}register":
            user_id = await self._register(username)
            await self._client.say(heard.room_id, f"{user_id} is ready.", in_reply_to=heard.event_id)

    async def _register(self, username: str) -> str:
        password = SecretStr(generate_password(secrets.choice))
        async with self._http.get(self._url) as answer:
            nonce = (await answer.json())["nonce"]
        mac = registration_mac(
            self._secret, nonce=nonce, username=username, password=password, admin=False, account_type=None
        )
        body = {
            "nonce": nonce,
            "username": username,
            "password": password.get_secret_value(),
            "admin": False,
            "mac": mac,
            "inhibit_login": True,
        }
        async with self._http.post(self._url, json=body) as answer:
            answer.raise_for_status()
            return str((await answer.json())["user_id"])
