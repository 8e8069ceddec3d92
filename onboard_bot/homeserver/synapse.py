"""Owns the conversation with Synapse's shared-secret endpoint (Dendrite and tuwunel serve the same one).

A nonce, a MAC over it, one POST. A nonce is good for one POST, also for one that fails, and is lost when the server
restarts; a POST whose answer is lost may still have made the account. Nothing here repeats a POST that may have taken
effect: that is for the caller to find out, by signing in.
"""

import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
from pydantic import SecretStr

from onboard_bot.domain.identifiers import is_user_id
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.homeserver.answers import (
    LOGIN_RULES,
    LOGOUT_RULES,
    NONCE_RULES,
    REGISTER_RULES,
    Answer,
    Meaning,
    Rule,
    meaning_of,
    read_answer,
    refusal,
    server_words,
)
from onboard_bot.homeserver.port import (
    AccountSession,
    AnswerLost,
    CreatedAccount,
    NewAccount,
    TryLater,
    WrongPassword,
)
from onboard_bot.homeserver.registration import registration
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.pace import NoPace, NotYetError, Pace, Thing, Turn

_log = logging.getLogger(__name__)

REGISTER_PATH = "/_synapse/admin/v1/register"
VERSION_PATH = "/_synapse/admin/v1/server_version"
"""Synapse's main process answers without a token, also where MAS manages the accounts."""
LOGIN_PATH = "/_matrix/client/v3/login"
LOGOUT_PATH = "/_matrix/client/v3/logout"
MAX_ANSWER_BYTES = 64 * 1024
CONNECT_SECONDS = 5.0
GET_SECONDS = 10.0
POST_SECONDS = 30.0  # a server that hashes many passwords at once is slow
_CLIENT = "/_matrix/client/v3/"
_OK = 200

IMPOSSIBLE_NAME = "onboard bot #check"
"""No server gives this name to anybody: white space and `#` are forbidden in a localpart."""
_CHECKED_AFTER_THE_MAC = frozenset({"M_INVALID_USERNAME", "M_EXCLUSIVE", "M_USER_IN_USE"})


class SharedSecretBackend:
    """Makes accounts with the shared secret.

    Args:
        session: Whose connections are used.
        base_url: The homeserver's internal listener, without a path.
        secret: The file with the secret.
        on_limited: Told of every limit, with the route and the wait.
        pace: Says when a request may go.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        secret: SecretFile,
        on_limited: Callable[[str, float], None] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._session = session
        self._url = base_url.rstrip("/")
        self._secret = secret
        self._on_limited = on_limited
        self._pace = pace or NoPace()

    async def create(self, account: NewAccount) -> CreatedAccount:
        """Make an account; see the port."""
        meaning, answer = await self._register(account)
        if meaning is not Meaning.DONE:
            raise await self._refusal(meaning, answer, account)
        user_id = answer.text("user_id")
        if user_id is None or not is_user_id(user_id) or not user_id.startswith(f"@{account.localpart}:"):
            raise AnswerLost(f"a success (status {answer.status}) that does not name the account")
        session = _session_in(answer)
        if session is not None and account.session is None:
            await self._discard(session)
            session = None
        return CreatedAccount(user_id, session)

    async def prove_secret(self) -> None:
        """Prove that the server accepts the secret; see the port.

        A request for a name that no server accepts is signed as it should be. Names are looked at after the MAC, so
        that an objection to the name is the proof.
        """
        nobody = NewAccount(IMPOSSIBLE_NAME, SecretStr(secrets.token_urlsafe(24)))
        try:
            meaning, answer = await self._register(nobody)
        except AnswerLost as lost:
            raise _unreachable(f"the proof of the secret got no usable answer ({lost})") from None
        if meaning is Meaning.DONE:  # a server that takes any name also takes the secret
            if (session := _session_in(answer)) is not None:
                await self._discard(session)
        elif answer.errcode not in _CHECKED_AFTER_THE_MAC and meaning is not Meaning.DENIED:
            raise await self._refusal(meaning, answer, nobody)

    async def sign_in(
        self, user: str, password: SecretStr, *, device_id: str | None = None, device_display_name: str | None = None
    ) -> AccountSession:
        """Sign in to an account; see the port."""
        body: dict[str, Any] = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password.get_secret_value(),
        }
        if device_id is not None:
            body["device_id"] = device_id
        if device_display_name is not None:
            body["initial_device_display_name"] = device_display_name
        meaning, answer = await self._ask(LOGIN_RULES, LOGIN_PATH, seconds=POST_SECONDS, body=body)
        match meaning:
            case Meaning.PASSWORD_WRONG:
                raise WrongPassword(user)
            case Meaning.DONE if (session := _session_in(answer)) is not None:
                return session
            case Meaning.REFUSED:
                words = server_words(answer, [password.get_secret_value()])
                raise OnboardError(
                    ErrorCode.HOMESERVER_REFUSED, f"The homeserver does not let {user} sign in: {words}."
                )
            case _:
                raise _try_later(meaning, answer)

    async def sign_out(self, session: AccountSession) -> None:
        """End a session; see the port."""
        meaning, answer = await self._ask(
            LOGOUT_RULES, LOGOUT_PATH, seconds=GET_SECONDS, body={}, token=session.access_token
        )
        match meaning:
            case Meaning.DONE | Meaning.TOKEN_UNKNOWN:
                return
            case Meaning.REFUSED:
                words = server_words(answer, [session.access_token.get_secret_value()])
                raise OnboardError(ErrorCode.HOMESERVER_REFUSED, f"The homeserver does not end a session: {words}.")
            case _:
                raise _try_later(meaning, answer)

    async def _register(self, account: NewAccount) -> tuple[Meaning, Answer]:
        """One registration, up to a definite answer: again where the nonce was lost or the secret has changed."""
        secret = self._secret.read()
        nonce_may_get_lost = secret_may_have_changed = True
        while True:
            nonce = await self._fetch_nonce(account)
            meaning, answer = await self._exchange(
                REGISTER_RULES, REGISTER_PATH, seconds=POST_SECONDS, body=registration(account, nonce, secret)
            )
            if meaning is Meaning.NONCE_GONE and nonce_may_get_lost:
                nonce_may_get_lost = False
                continue
            if meaning is Meaning.SECRET_WRONG and secret_may_have_changed:
                secret_may_have_changed = False
                if (now := self._secret.reread()) != secret:
                    secret = now
                    continue
            if meaning is Meaning.BROKEN:
                raise AnswerLost(f"status {answer.status}")
            if meaning in (Meaning.NONCE_GONE, Meaning.LIMITED):
                raise _try_later(meaning, answer)
            return meaning, answer

    async def _fetch_nonce(self, account: NewAccount) -> str:
        meaning, answer = await self._ask(NONCE_RULES, REGISTER_PATH, seconds=GET_SECONDS)
        if meaning is Meaning.DONE:
            if (nonce := answer.text("nonce")) is not None:
                return nonce
            meaning = Meaning.HIDDEN  # a page of somebody else's
        if meaning in (Meaning.BROKEN, Meaning.LIMITED):
            raise _try_later(meaning, answer)
        raise await self._refusal(meaning, answer, account)

    async def _discard(self, session: AccountSession) -> None:
        """End a session that nobody wished for. The account counts; a session left over is no reason to fail."""
        try:
            await self.sign_out(session)
        except (OnboardError, TryLater) as error:
            _log.warning("a session that nobody wished for is left, device %s: %s", session.device_id, error.sentence)

    async def _ask(
        self,
        rules: Iterable[Rule],
        path: str,
        *,
        seconds: float,
        body: Mapping[str, Any] | None = None,
        token: SecretStr | None = None,
    ) -> tuple[Meaning, Answer]:
        """An exchange that may be repeated whatever became of it, so that a lost answer is only a delay."""
        try:
            return await self._exchange(rules, path, seconds=seconds, body=body, token=token)
        except AnswerLost as lost:
            raise _unreachable(f"{_method(body)} {path} got no usable answer ({lost})") from None

    async def _exchange(
        self,
        rules: Iterable[Rule],
        path: str,
        *,
        seconds: float,
        body: Mapping[str, Any] | None = None,
        token: SecretStr | None = None,
    ) -> tuple[Meaning, Answer]:
        """One request, its answer, and what that means.

        Raises:
            TryLater: The request was not sent.
            AnswerLost: It may have been.
        """
        headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
        method = _method(body)
        route = f"{method} {path.removeprefix(_CLIENT)}"
        try:
            async with self._pace.turn(_thing(route)) as turn:
                async with self._session.request(
                    method,
                    self._url + path,
                    json=body,
                    headers=headers,
                    allow_redirects=False,  # a password goes to the configured server or nowhere
                    timeout=aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS),
                ) as response:
                    content = await _read_at_most(response.content, MAX_ANSWER_BYTES)
                    if content is None and response.ok:  # not the endpoint's, nor a page of somebody who hides it
                        raise aiohttp.ClientPayloadError("the answer does not end")
                    hint, date = response.headers.get("Retry-After"), response.headers.get("Date")
                    answer = read_answer(response.status, hint, content or b"", date)
                meaning = meaning_of(rules, answer)
                return meaning, self._heeded(turn, route, meaning, answer)
        except NotYetError as error:
            raise _limited(error.wait) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise _unreachable(f"no connection to {self._url} ({type(error).__name__})") from error
        except (aiohttp.ClientError, OSError) as error:  # OSError: TimeoutError is one
            raise AnswerLost(type(error).__name__) from error

    def _heeded(self, turn: Turn, route: str, meaning: Meaning, answer: Answer) -> Answer:
        """The answer once the pace knows of it: a limit lasts as long as the pace lets it."""
        if meaning is Meaning.LIMITED:
            answer = replace(answer, retry_after=turn.limited(answer.retry_after))
            if self._on_limited is not None and answer.retry_after is not None:
                self._on_limited(route, answer.retry_after)
        elif meaning is Meaning.BROKEN or answer.body is None:
            turn.failed()
        return answer

    async def _refusal(self, meaning: Meaning, answer: Answer, account: NewAccount) -> OnboardError:
        if meaning is Meaning.PATH_UNKNOWN:
            meaning = Meaning.REPLACED if await self._is_synapse() else Meaning.HIDDEN
        return refusal(
            meaning,
            answer,
            url=self._url,
            secret_file=str(self._secret.path),
            localpart=account.localpart,
            hidden=[account.password.get_secret_value()],
        )

    async def _is_synapse(self) -> bool:
        """Whether Synapse's main process is there, and nothing before it keeps its admin API from us."""
        _, answer = await self._ask(NONCE_RULES, VERSION_PATH, seconds=GET_SECONDS)
        return answer.status == _OK and answer.text("server_version") is not None


def _thing(route: str) -> Thing:
    """What is limited together; a nonce is of no use while the POST is limited, and says nothing of its end."""
    method, _, path = route.partition(" ")
    return Thing(path, proves=method == "POST") if path == REGISTER_PATH else Thing(route)


def _method(body: Mapping[str, Any] | None) -> str:
    return "GET" if body is None else "POST"


def _session_in(answer: Answer) -> AccountSession | None:
    token, device_id = answer.text("access_token"), answer.text("device_id")
    if token is None or device_id is None:
        return None
    return AccountSession(device_id, SecretStr(token))


def _try_later(meaning: Meaning, answer: Answer) -> TryLater:
    match meaning:
        case Meaning.LIMITED:
            return _limited(answer.retry_after)
        case Meaning.NONCE_GONE:
            return _unreachable("it forgets its nonces at once; is it restarting, or are there several behind one URL?")
        case _:
            return _unreachable(f"its answer is of no use (status {answer.status})")


def _limited(wait: float | None) -> TryLater:
    return TryLater(ErrorCode.RATE_LIMITED, "The homeserver asks us to wait: too many requests.", after=wait)


def _unreachable(why: str) -> TryLater:
    return TryLater(ErrorCode.HOMESERVER_UNREACHABLE, f"The homeserver cannot be used now: {why}.")


async def _read_at_most(stream: aiohttp.StreamReader, limit: int) -> bytes | None:
    """The whole body; None for one that is larger: half a JSON text says nothing."""
    content = bytearray()
    async for chunk in stream.iter_any():
        content += chunk
        if len(content) > limit:
            return None
    return bytes(content)
