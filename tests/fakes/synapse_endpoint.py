"""A stateful fake of the part of Synapse that makes accounts, on a real port.

The checks come in Synapse's order, with Synapse's words; `tests/e2e/test_register_endpoint.py` puts the same cases to
both, so that it cannot drift. Accounts, sessions and nonces live in memory; time stands still until `advance`.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

Mode = Literal["ok", "disabled", "hidden", "hidden_json", "mas", "unreachable_502", "hidden_all"]
NONCE_SECONDS = 60
VERSION_PATH = "/_synapse/admin/v1/server_version"
MAX_CHARACTERS = 512
_LOCALPART = re.compile(r"[a-z0-9=_\-./+]*")
_BODY = web.RequestKey("body", dict[str, Any])
_CHARACTERS = "User ID can only contain characters a-z, 0-9, or '=_-./+'"


@dataclass
class FakeAccount:
    """An account of the fake; `sessions` maps access tokens to device ids."""

    user_id: str
    password: str = field(repr=False)
    display_name: str | None
    admin: bool = False
    user_type: str | None = None
    deactivated: bool = False
    sessions: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Call:
    """A request that arrived."""

    method: str
    path: str
    body: Mapping[str, Any]


class _Refused(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, status: int, errcode: str, error: str) -> None:
        super().__init__(error)
        self.answer = web.json_response({"errcode": errcode, "error": error}, status=status)


class SynapseEndpoint:
    """`async with SynapseEndpoint() as synapse:` serves at `synapse.url` until the block ends.

    Args:
        server_name: The part of user ids behind the colon.
        shared_secret: What the MAC is made with; may be changed at any time, as a restart after a rotation would.
    """

    def __init__(self, *, server_name: str = "localhost", shared_secret: str = "a secret of the fake") -> None:
        self.server_name = server_name
        self.shared_secret = shared_secret
        self.mode: Mode = "ok"
        self.now = 0.0
        self.accounts: dict[str, FakeAccount] = {}
        self.exclusive = re.compile(r"irc-.*")
        """Localparts of an application service."""
        self.spammers = re.compile(r"spammer.*")
        """Localparts that a spam checker refuses."""
        self.inhibit_login_is_known = True
        """Dendrite's is not: it always gives a session."""
        self.answer_delay = 0.0
        """Seconds between the effect of a registration and its answer."""
        self.calls: list[Call] = []
        self.url = ""
        self._nonces: dict[str, int] = {}
        self._answers_to_lose = 0
        self._failures: list[tuple[int, Mapping[str, Any] | None]] = []
        self._port = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, again on the same port if there was one."""
        app = web.Application(middlewares=[self._around])
        app.router.add_get("/_synapse/admin/v1/register", self._give_nonce)
        app.router.add_post("/_synapse/admin/v1/register", self._register)
        app.router.add_get(VERSION_PATH, self._server_version)
        app.router.add_get("/_matrix/client/versions", self._versions)
        app.router.add_post("/_matrix/client/v3/login", self._login)
        app.router.add_post("/_matrix/client/v3/logout", self._logout)
        app.router.add_get("/_matrix/client/v3/profile/{user_id}", self._profile)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def stop(self) -> None:
        """Listen no longer; what is in memory stays, but for the nonces."""
        self.restart()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def restart(self) -> None:
        """Forget what Synapse forgets when it restarts: the nonces."""
        self._nonces.clear()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def lose_answer_once(self) -> None:
        """The next registration takes effect, and its connection is cut before the answer."""
        self._answers_to_lose += 1

    def fail_before_once(self, status: int, body: Mapping[str, Any] | None = None) -> None:
        """The next registration is answered thus and has no effect; without a body with a proxy's page."""
        self._failures.append((status, body))

    def deactivate(self, user_id: str) -> None:
        """As the admin API does: nobody signs in any more, and the name stays taken."""
        account = self.accounts[user_id]
        account.deactivated = True
        account.sessions.clear()

    def add_account(self, localpart: str, password: str = "its password", **facts: Any) -> FakeAccount:
        """An account that was there before."""
        user_id = f"@{localpart}:{self.server_name}"
        facts.setdefault("display_name", localpart)
        return self.accounts.setdefault(user_id, FakeAccount(user_id, password, **facts))

    @web.middleware
    async def _around(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            body = await _json_of(request) if request.method == "POST" else {}
            self.calls.append(Call(request.method, request.path, body))
            if (answer := self._instead_of_synapse(request.path)) is not None:
                return answer
            request[_BODY] = body
            served: web.StreamResponse = await handler(request)
        except _Refused as refused:
            return refused.answer
        except web.HTTPException as error:
            return _error(error.status, "M_UNRECOGNIZED", "Unrecognized request")
        return served

    def _instead_of_synapse(self, path: str) -> web.Response | None:
        """What somebody before Synapse answers, or Synapse when it does not serve the path."""
        if self.mode == "unreachable_502":
            return _page(502)
        if self.mode == "hidden_all":
            return _page(404)
        if self.mode == "hidden" and path.startswith("/_synapse"):
            return _page(404)
        if self.mode == "hidden_json" and path.startswith("/_synapse"):
            return _error(404, "M_UNRECOGNIZED", "Unrecognized request")
        if self.mode == "mas" and path.startswith("/_synapse") and path != VERSION_PATH:
            return _error(404, "M_UNRECOGNIZED", "Unrecognized request")
        return None

    async def _server_version(self, request: web.Request) -> web.Response:  # noqa: ARG002 - a handler's signature
        return web.json_response({"server_version": "1.163.2"})

    async def _versions(self, request: web.Request) -> web.Response:  # noqa: ARG002 - a handler's signature
        return web.json_response({"versions": ["v1.11"]})

    async def _give_nonce(self, request: web.Request) -> web.Response:  # noqa: ARG002 - a handler's signature
        nonce = secrets.token_hex(64)
        self._nonces[nonce] = int(self.now)
        return web.json_response({"nonce": nonce})

    async def _register(self, request: web.Request) -> web.Response:
        if self._failures:
            status, failure = self._failures.pop(0)
            return _page(status) if failure is None else web.json_response(failure, status=status)
        body = request[_BODY]
        account = self._made_of(body)
        answer = {"user_id": account.user_id, "home_server": self.server_name}
        if not (self.inhibit_login_is_known and body.get("inhibit_login")):
            answer |= self._open_session(account, body.get("device_id") if self.inhibit_login_is_known else None)
        self.accounts[account.user_id] = account
        if self._answers_to_lose:
            self._answers_to_lose -= 1
            assert request.transport is not None
            request.transport.abort()
        await asyncio.sleep(self.answer_delay)
        return web.json_response(answer)

    def _made_of(self, body: Mapping[str, Any]) -> FakeAccount:
        """The account that a request makes, checked in Synapse's order."""
        if self.mode == "disabled":
            raise _Refused(400, "M_UNKNOWN", "Shared secret registration is not enabled")
        self._spend_nonce(_given(body, "nonce"))
        username = _text(_given(body, "username"), "Invalid username")
        password = _text(_given(body, "password"), "Invalid password")
        user_type = body.get("user_type")
        if user_type is not None and user_type not in ("bot", "support"):
            raise _Refused(400, "M_UNKNOWN", "Invalid user type")
        covered = [body["nonce"], username, password, "admin" if body.get("admin") else "notadmin"]
        covered += [user_type] if user_type else []
        mac = hmac.new(self.shared_secret.encode(), "\0".join(covered).encode(), hashlib.sha1).hexdigest()
        if _given(body, "mac") != mac:
            raise _Refused(403, "M_UNKNOWN", "HMAC incorrect")
        if self.spammers.fullmatch(username):
            raise _Refused(429, "M_UNKNOWN", "Rate limited")
        localpart = self._checked_localpart(username.lower())
        display_name = body.get("displayname")
        return FakeAccount(
            f"@{localpart}:{self.server_name}",
            password,
            display_name=localpart if display_name is None else (str(display_name) or None),
            admin=bool(body.get("admin")),
            user_type=user_type,
        )

    def _spend_nonce(self, nonce: Any) -> None:
        given_at = self._nonces.pop(nonce, None) if isinstance(nonce, str) else None
        if given_at is None or int(self.now) - given_at > NONCE_SECONDS:
            raise _Refused(400, "M_UNKNOWN", "unrecognised nonce")

    def _checked_localpart(self, localpart: str) -> str:
        user_id = f"@{localpart}:{self.server_name}"
        problems = (
            (_LOCALPART.fullmatch(localpart) is None, "M_INVALID_USERNAME", _CHARACTERS),
            (not localpart, "M_INVALID_USERNAME", "User ID cannot be empty"),
            (localpart.startswith("_"), "M_INVALID_USERNAME", "User ID may not begin with _"),
            (
                self.exclusive.fullmatch(localpart) is not None,
                "M_EXCLUSIVE",
                "This user ID is reserved by an application service.",
            ),
            (len(user_id) > 255, "M_INVALID_USERNAME", "User ID may not be longer than 255 characters"),
            (user_id in self.accounts, "M_USER_IN_USE", "User ID already taken."),
            (localpart.isdigit(), "M_INVALID_USERNAME", "Numeric user IDs are reserved for guest users."),
        )
        for applies, errcode, error in problems:
            if applies:
                raise _Refused(400, errcode, error)
        return localpart

    async def _login(self, request: web.Request) -> web.Response:
        body = request[_BODY]
        user = str(body["identifier"]["user"])
        user_id = user if user.startswith("@") else f"@{user.lower()}:{self.server_name}"
        account = self.accounts.get(user_id)
        if account is None or account.deactivated or account.password != body["password"]:
            raise _Refused(403, "M_FORBIDDEN", "Invalid username or password")
        session = self._open_session(account, body.get("device_id"))
        return web.json_response({"user_id": user_id, "home_server": self.server_name, **session})

    async def _logout(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        for account in self.accounts.values():
            if account.sessions.pop(token, None) is not None:
                return web.json_response({})
        raise _Refused(401, "M_UNKNOWN_TOKEN", "Invalid access token passed.")

    async def _profile(self, request: web.Request) -> web.Response:
        account = self.accounts.get(request.match_info["user_id"])
        if account is None or account.display_name is None:
            raise _Refused(404, "M_UNKNOWN", "No row found (profiles)")
        return web.json_response({"displayname": account.display_name})

    def _open_session(self, account: FakeAccount, device_id: str | None) -> dict[str, str]:
        device_id = device_id or secrets.token_hex(5).upper()
        token = f"syt_{secrets.token_hex(16)}"
        account.sessions = {old: device for old, device in account.sessions.items() if device != device_id}
        account.sessions[token] = device_id
        return {"device_id": device_id, "access_token": token}


async def _json_of(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise _Refused(400, "M_NOT_JSON", "Content not JSON.") from None
    if not isinstance(body, dict):
        raise _Refused(400, "M_BAD_JSON", "Content must be a JSON object.")
    return body


def _given(body: Mapping[str, Any], key: str) -> Any:
    if key not in body:
        raise _Refused(400, "M_BAD_JSON", f"{key} must be specified")
    return body[key]


def _text(value: Any, otherwise: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_CHARACTERS or "\0" in value:
        raise _Refused(400, "M_UNKNOWN", otherwise)
    return value


def _error(status: int, errcode: str, error: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": error}, status=status)


def _page(status: int) -> web.Response:
    return web.Response(status=status, text=f"<html><h1>{status}</h1><hr>a proxy</html>", content_type="text/html")
