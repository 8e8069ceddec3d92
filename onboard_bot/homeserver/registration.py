"""Owns the words of a registration: what is posted for an account, and the proof that we may."""

import hashlib
import hmac
from typing import Any

from pydantic import SecretStr

from onboard_bot.domain.requests import AccountType
from onboard_bot.homeserver.port import NewAccount


def registration(account: NewAccount, nonce: str, secret: SecretStr) -> dict[str, Any]:
    """The body of the POST."""
    body: dict[str, Any] = {
        "nonce": nonce,
        "username": account.localpart,
        "password": account.password.get_secret_value(),
        "admin": account.admin,
        "mac": registration_mac(
            secret,
            nonce=nonce,
            username=account.localpart,
            password=account.password,
            admin=account.admin,
            account_type=account.account_type,
        ),
    }
    if account.account_type is not None:
        body["user_type"] = account.account_type.value
    if account.display_name is not None:
        body["displayname"] = account.display_name
    if account.session is None:
        body["inhibit_login"] = True
    else:
        body["device_id"] = account.session.device_id
        body["initial_device_display_name"] = account.session.device_display_name
    return body


def registration_mac(
    secret: SecretStr, *, nonce: str, username: str, password: SecretStr, admin: bool, account_type: AccountType | None
) -> str:
    """The proof that we know the secret: lower-case hex, over the values exactly as they are sent."""
    covered = [nonce, username, password.get_secret_value(), "admin" if admin else "notadmin"]
    if account_type is not None:  # an ordinary account leaves it out, or the MAC is another one
        covered.append(account_type.value)
    key = secret.get_secret_value().encode()
    return hmac.new(key, "\0".join(covered).encode(), hashlib.sha1).hexdigest()
