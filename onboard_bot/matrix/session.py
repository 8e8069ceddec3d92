"""Owns the bot's own account and its one session: registered once, signed in once, restored from then on.

Everything is written down before it is done: the password before the registration, the device id before the login. So a
stop at any moment leaves something to go on from, and a repeated login makes no second device.
"""

import logging
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from onboard_bot.domain.passwords import Choose, generate_password
from onboard_bot.domain.requests import AccountType
from onboard_bot.errors import ErrorCode, FatalError, OnboardError, UnusableError
from onboard_bot.homeserver.port import AccountBackend, AnswerLost, NewAccount
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.onboarding.ports import RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.state_dir import StateDir

_log = logging.getLogger(__name__)

_ACCOUNT = "account.json"
SESSION_FILE = "session.json"
_ACCOUNT_HOLDS = ("username", "password", "registered")
_DEVICE_NAME = "onboard-bot"
_DEVICE_ID_LENGTH = 10


@dataclass(frozen=True, slots=True)
class Session:
    """Who the bot is on the server."""

    user_id: str
    device_id: str
    token: SecretStr


@dataclass(frozen=True, slots=True)
class BotWish:
    """What the configuration says of the bot's account.

    `password_file` is for an account that exists already.
    """

    username: str
    display_name: str
    password_file: Path | None


class OwnAccount:
    """Brings the bot's account and session about.

    Args:
        state: Where both are remembered.
        wish: From the configuration.
        backend: Registers the account.
        api: Without a token yet; gets it here.
        choose: Where the password's and the device id's characters come from.
    """

    def __init__(self, state: StateDir, wish: BotWish, backend: AccountBackend, api: ClientApi, choose: Choose) -> None:
        self._state = state
        self._wish = wish
        self._backend = backend
        self._api = api
        self._choose = choose

    async def open(self) -> Session:
        """The session, from wherever the last start left off.

        Raises:
            FatalError: `state_lost`, `secret_rejected`, `session_revoked`: no later try can succeed.
            UnusableError: The configured password file.
            OnboardError: The endpoint is not usable now.
            TryLater, UnreachableError, RateLimitedError: The server is not usable now; call again later.
        """
        self._refuse_another_accounts_state()
        await self._leave_device_without_keys()
        session = self._state.read_json(SESSION_FILE) or {}
        if "access_token" in session:
            return await self._restore(session)
        password = await self._ensure_registered()
        return await self._sign_in(password)

    def _refuse_another_accounts_state(self) -> None:
        account = self._state.read_json(_ACCOUNT, *_ACCOUNT_HOLDS)
        if account is not None and account["registered"] and account["username"] != self._wish.username:
            raise FatalError(
                ErrorCode.STATE_UNUSABLE,
                f"The state directory {self._state.path} belongs to the account {account['username']}, but bot.username"
                f" is {self._wish.username}. Change one of them: another state_dir, or the old name.",
            )

    def keys_are_stored(self, fingerprint: str) -> None:
        """The encryption store holds this device's keys; without them the device is worth nothing from now on.

        Args:
            fingerprint: Tells them from those of another store.
        """
        session = self._state.read_json(SESSION_FILE)
        kept = {"keys_stored": True, "fingerprint": fingerprint}
        if session is not None and not session.items() >= kept.items():
            self._state.write_json(SESSION_FILE, session | kept)

    def has_lost_keys(self, fingerprint: str) -> bool:
        """Whether the encryption store holds other keys than this device had: it was emptied, say, and made anew.

        Args:
            fingerprint: Of the keys in the store.
        """
        session = self._state.read_json(SESSION_FILE) or {}
        kept = session.get("fingerprint")
        return kept is not None and kept != fingerprint  # earlier versions kept none

    async def leave_device(self) -> None:
        """Signs the device out, so that `open` signs in as a new one: a device id is never used with another store.

        Raises:
            UnreachableError, RateLimitedError: The server is not usable now; call again later.
        """
        _log.warning("the encryption store is not this device's any more; signing in as a new device")
        session = self._state.read_json(SESSION_FILE, "access_token")
        if session is None:
            return
        self._state.write_json(SESSION_FILE, session | {"leaving": True})
        self._api.transport.token = SecretStr(session["access_token"])
        with suppress(RefusedError):
            await self._api.delete_own_session()
        self._api.transport.token = None
        self._state.remove(SESSION_FILE)

    async def _leave_device_without_keys(self) -> None:
        """Where the whole folder is gone, nothing has to be opened to see it; leaving may also have been cut off."""
        session = self._state.read_json(SESSION_FILE) or {}
        gone = session.get("keys_stored") and not any(self._state.crypto.iterdir())
        if gone or session.get("leaving"):
            await self.leave_device()

    async def _restore(self, session: dict[str, Any]) -> Session:
        self._api.transport.token = SecretStr(session["access_token"])
        try:
            await self._api.whoami()
        except TokenRejectedError as error:
            if not error.soft:
                raise FatalError(
                    ErrorCode.SESSION_REVOKED,
                    f"The bot's session was signed out by somebody. If that was a mistake, delete {SESSION_FILE} and"
                    f" the folder crypto/ in {self._state.path} and start again: the bot signs in as a new device.",
                ) from error
            return await self.renew()
        return Session(session["user_id"], session["device_id"], SecretStr(session["access_token"]))

    async def renew(self) -> Session:
        """A new token for the same device, after the old one expired (specification, "Soft logout")."""
        self._api.transport.token = None
        return await self._sign_in(self._password())

    async def _ensure_registered(self) -> SecretStr:
        account = self._state.read_json(_ACCOUNT, *_ACCOUNT_HOLDS)
        if account is not None and account["username"] != self._wish.username:
            account = None  # an earlier name that was never ours
        seen_before = account is not None
        if account is None:
            password = generate_password(self._choose)
            account = {"username": self._wish.username, "password": password, "registered": False}
        if self._wish.password_file is not None and not account["registered"]:
            account |= {"password": _read_password(self._wish.password_file), "registered": True}
        self._state.write_json(_ACCOUNT, account)
        if not account["registered"]:
            await self._register(SecretStr(account["password"]), seen_before=seen_before)
            self._state.write_json(_ACCOUNT, account | {"registered": True})
        return SecretStr(account["password"])

    async def _register(self, password: SecretStr, *, seen_before: bool) -> None:
        account = NewAccount(
            localpart=self._wish.username,
            password=password,
            display_name=self._wish.display_name,
            admin=False,
            account_type=AccountType.BOT,
            session=None,
        )
        try:
            await self._backend.create(account)
        except AnswerLost as error:
            raise UnreachableError("the answer to the bot's own registration was lost") from error
        except OnboardError as error:
            if error.code is ErrorCode.USERNAME_TAKEN and seen_before:
                return  # by us, perhaps: the sign-in will tell
            if error.code is ErrorCode.USERNAME_TAKEN:
                self._state.remove(_ACCOUNT)
                raise self._lost() from error
            if error.code in (ErrorCode.SECRET_REJECTED, ErrorCode.USERNAME_INVALID, ErrorCode.USERNAME_RESERVED):
                raise FatalError(error.code, error.sentence) from error
            raise

    async def _sign_in(self, password: SecretStr) -> Session:
        session = self._state.read_json(SESSION_FILE) or {}
        if "device_id" not in session:
            letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
            session = {"device_id": "".join(self._choose(letters) for _ in range(_DEVICE_ID_LENGTH))}
            self._state.write_json(SESSION_FILE, session)
        try:
            answer = await self._api.login(
                self._wish.username, password, device_id=session["device_id"], device_name=_DEVICE_NAME
            )
        except RefusedError as error:
            if error.errcode in ("M_FORBIDDEN", "M_USER_DEACTIVATED"):
                raise self._not_let_in() from error
            raise
        session |= {"user_id": answer["user_id"], "access_token": answer["access_token"]}
        self._state.write_json(SESSION_FILE, session)
        self._api.transport.token = SecretStr(session["access_token"])
        return Session(session["user_id"], session["device_id"], self._api.transport.token)

    def _password(self) -> SecretStr:
        password = stored_password(self._state)
        if password is None:
            raise self._lost()
        return password

    def _not_let_in(self) -> FatalError:
        """The password is not the account's; the next start must not take it for settled, both ways out stay open."""
        account = self._state.read_json(_ACCOUNT, *_ACCOUNT_HOLDS)
        if account is not None:
            self._state.write_json(_ACCOUNT, account | {"registered": False})
        if self._wish.password_file is None:
            return self._lost()
        return FatalError(
            ErrorCode.STATE_LOST,
            f"The homeserver does not accept the password in bot.password_file {self._wish.password_file} for the"
            f" account {self._wish.username}. Put the right one there, or choose another bot.username.",
        )

    def _lost(self) -> FatalError:
        return FatalError(
            ErrorCode.STATE_LOST,
            f"The account {self._wish.username} exists on the homeserver, but the state directory {self._state.path}"
            " does not know its password. Two ways out: choose another bot.username, or put the account's password"
            " into a file and name it in bot.password_file.",
        )


def stored_password(state: StateDir) -> SecretStr | None:
    """The password of the bot's account, as remembered; None before the first start.

    Raises:
        FatalError: `state_unusable`.
    """
    account = state.read_json(_ACCOUNT, *_ACCOUNT_HOLDS)
    return None if account is None else SecretStr(account["password"])


def _read_password(path: Path) -> str:
    try:
        password = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UnusableError("bot.password_file", f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        # Without the cause: it carries the file's content.
        raise UnusableError("bot.password_file", f"{path} is not UTF-8 text.") from None
    if not password:
        raise UnusableError("bot.password_file", f"{path} is empty; put the account's password there.")
    if path.stat().st_mode & stat.S_IROTH:
        _log.warning("%s can be read by everybody on this machine: chmod o-r it", path)
    return password
