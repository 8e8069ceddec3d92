"""Owns what `!register` does: from a wish that was typed to a request that stands in the database."""

from collections.abc import Collection
from dataclasses import dataclass

from pydantic import SecretStr

from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.display_names import parse_display_name
from onboard_bot.domain.identifiers import parse_username
from onboard_bot.domain.passwords import Choose, generate_password
from onboard_bot.domain.request_ids import generate_request_id
from onboard_bot.domain.requests import AccountType, Origin, Request, State, Wish
from onboard_bot.domain.roles import Actor, Role
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding import effects
from onboard_bot.store.sealing import Sealer
from onboard_bot.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class RegistrationRules:
    """What the configuration says of new accounts.

    `approver_level` is the power level from which on somebody's registration runs at once.
    """

    server_name: str
    reserved: Collection[str]
    allow_admin: bool
    room_sets: Collection[str]
    approver_level: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A wish as it was typed, and where: the answer goes there."""

    username: str
    display_name: str | None
    admin: bool
    account_type: AccountType | None
    room_sets: tuple[str, ...]
    note: str | None
    quiet: bool
    room_id: str
    event_id: str
    thread_root: str | None


def password_label(request_id: str) -> str:
    """What a sealed password is bound to."""
    return f"request:{request_id}:password"


async def register(
    tx: Transaction, asked: Asked, actor: Actor, rules: RegistrationRules, *, sealer: Sealer, choose: Choose
) -> Request:
    """Makes an approved request, with its password, and the intent to make the account.

    Raises:
        OnboardError: The person may not, the wish is not possible, or another open request has the username.
    """
    _may_register(actor, rules)
    wish = _checked(asked, rules)
    holder = await tx.requests.open_for(wish.username)
    if holder is not None:
        raise OnboardError(
            ErrorCode.DUPLICATE_REQUEST,
            f"Request {holder.id} asks for the username {wish.username} already.",
            request_id=holder.id,
        )
    request_id = generate_request_id(choose)
    while await tx.requests.exists(request_id):
        request_id = generate_request_id(choose)
    request = Request(
        id=request_id,
        state=State.APPROVED,
        wish=wish,
        origin=Origin.ADMIN_ROOM,
        requester=actor.user_id,
        origin_room=asked.room_id,
        origin_event=asked.event_id,
        thread_root=asked.thread_root,
        created_at=tx.now,
    )
    password = SecretStr(generate_password(choose))
    sealed = sealer.seal(password, belongs_to=password_label(request_id))
    await tx.requests.add(request, sealed_password=sealed)
    await _record(tx, request)
    await tx.intend(effects.create_account(request), effects.slow_sign(request), effects.answer(request, held=True))
    return request


def _may_register(actor: Actor, rules: RegistrationRules) -> None:
    if actor.role < Role.APPROVER:
        raise OnboardError(
            ErrorCode.NOT_PERMITTED,
            f"Only people with power level {rules.approver_level} or more in this room can make accounts."
            " Please ask one of them.",
        )


def _checked(asked: Asked, rules: RegistrationRules) -> Wish:
    username = parse_username(asked.username, server_name=rules.server_name, reserved=rules.reserved)
    display_name = None if asked.display_name is None else parse_display_name(asked.display_name)
    unknown = [name for name in asked.room_sets if name not in rules.room_sets]
    if unknown:
        known = ", ".join(sorted(rules.room_sets)) or "none are configured"
        raise OnboardError(ErrorCode.BAD_ARGUMENT, f"There is no room set “{unknown[0]}”. Known room sets: {known}.")
    if asked.admin:
        if not rules.allow_admin:
            raise OnboardError(
                ErrorCode.NOT_PERMITTED,
                "Accounts with server-admin rights are switched off here (accounts.allow_admin).",
            )
        raise OnboardError(
            ErrorCode.NOT_PERMITTED,
            "Accounts with server-admin rights need the votes of several people, and voting is not available yet.",
        )
    return Wish(
        username=str(username),
        display_name=display_name,
        admin=asked.admin,
        account_type=asked.account_type,
        room_sets=asked.room_sets,
        note=asked.note,
        quiet=asked.quiet,
    )


async def _record(tx: Transaction, request: Request) -> None:
    wish = request.wish
    asked = {
        "requester": request.requester,
        "username": wish.username,
        "display_name": wish.display_name,
        "note": wish.note,
        "event_id": request.origin_event,
        "room_id": request.origin_room,
    }
    kind = {"admin": wish.admin, "type": wish.account_type, "origin": request.origin, "quiet": wish.quiet}
    await tx.record(Entry(Verb.REQUEST_MADE, request.id, facts=kind, personal=asked))
    by_right = {"by": request.requester, "event_id": request.origin_event}
    await tx.record(Entry(Verb.REQUEST_APPROVED, request.id, facts={"rule": "power_level"}, personal=by_right))
