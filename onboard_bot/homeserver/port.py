"""Owns the port behind which accounts are made: what is wanted, what came of it, and the three ways it can fail.

The three ways matter more than the verbs, since nothing may be done twice and nothing may be lost:
`OnboardError`: it is certain that no account was made, and trying again does not help until somebody mends something;
`TryLater`: it is certain that nothing took effect, and the same call may be made again;
`AnswerLost`: the call went out and nobody knows whether it took effect; it has to be found out before anything else.
"""

from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr

from onboard_bot.domain.requests import AccountType
from onboard_bot.errors import ErrorCode, OnboardError


@dataclass(frozen=True, slots=True)
class SessionWish:
    """The session that should come with a new account: the device id is ours, so that a repeat makes no second one."""

    device_id: str
    device_display_name: str


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account as it shall be.

    Args:
        localpart: Lower-case and already checked.
        password: What the person, or the bot for them, signs in with.
        display_name: None leaves it to the server, which then shows the localpart.
        admin: Whether it gets server-admin rights.
        account_type: None for an ordinary account.
        session: None where no session shall be left behind.
    """

    localpart: str
    password: SecretStr
    display_name: str | None = None
    admin: bool = False
    account_type: AccountType | None = None
    session: SessionWish | None = None


@dataclass(frozen=True, slots=True)
class AccountSession:
    """A signed-in device of an account."""

    device_id: str
    access_token: SecretStr


@dataclass(frozen=True, slots=True)
class CreatedAccount:
    """An account that now exists.

    `session` is None where none was wished, and where the server gave none although it was.
    """

    user_id: str
    session: AccountSession | None = None


class AccountBackend(Protocol):
    """Makes accounts on a homeserver."""

    async def create(self, account: NewAccount) -> CreatedAccount:
        """Make an account.

        Raises:
            OnboardError: Certain: no account, and a repeat will not help.
            TryLater: Certain: no account, and a repeat may help.
            AnswerLost: Nobody knows.
        """
        ...

    async def prove_secret(self) -> None:
        """Prove that the server would make accounts for us; nobody is created.

        Raises:
            OnboardError: What is wrong and what mends it.
            TryLater: The server cannot be asked now.
        """
        ...

    async def sign_in(
        self, user: str, password: SecretStr, *, device_id: str | None = None, device_display_name: str | None = None
    ) -> AccountSession:
        """Sign in to an account, say to find out whether a lost answer had made it.

        Safe to repeat with the same `device_id`: the device's earlier token dies.

        Args:
            user: A user id or a localpart.
            password: Its password.
            device_id: None lets the server choose.
            device_display_name: How the device is called in the account's list.

        Raises:
            WrongPassword: The password is not this account's, there is no such account, or it was deactivated.
            OnboardError: The server refuses for another reason.
            TryLater: The server cannot be asked now; a session may have been made.
        """
        ...

    async def sign_out(self, session: AccountSession) -> None:
        """End a session. One that has ended already is fine.

        Raises:
            OnboardError: The server refuses.
            TryLater: The server cannot be asked now.
        """
        ...


class WrongPassword(OnboardError):  # noqa: N818 - reads as what happened
    """The server does not let this user in with this password."""

    def __init__(self, user: str) -> None:
        super().__init__(ErrorCode.NOT_PERMITTED, f"The homeserver does not accept this password for {user}.")


class TryLater(Exception):  # noqa: N818 - reads as what to do
    """Certain that nothing took effect; the same call may be made again.

    Args:
        code: `homeserver_unreachable` or `rate_limited`.
        sentence: Why, for a person to read.
        after: How many seconds the server wants us to wait, where it said so.
    """

    def __init__(self, code: ErrorCode, sentence: str, *, after: float | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.after = after


class AnswerLost(Exception):  # noqa: N818 - reads as what happened
    """The call was sent, and nobody knows whether it took effect. The message says how the answer was lost."""
