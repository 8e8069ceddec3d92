"""Owns what `!register` does: from a wish that was typed to an account about to be made, or a request to be decided."""

from collections.abc import Collection
from dataclasses import dataclass

from onboard_bot.domain.approvals import ApprovalRules
from onboard_bot.domain.audit import Entry, Verb
from onboard_bot.domain.display_names import parse_display_name
from onboard_bot.domain.identifiers import parse_username
from onboard_bot.domain.passwords import Choose
from onboard_bot.domain.request_ids import generate_request_id
from onboard_bot.domain.requests import AccountType, Origin, Request, State, Wish
from onboard_bot.domain.roles import Actor, Role
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding import decision, effects
from onboard_bot.onboarding.passwords import NewPasswords
from onboard_bot.store.transaction import Transaction

ADMINS_SWITCHED_OFF = "Accounts with server-admin rights are switched off here (accounts.allow_admin)."


@dataclass(frozen=True, slots=True)
class RegistrationRules:
    """What the configuration says of new accounts."""

    server_name: str
    reserved: Collection[str]
    allow_admin: bool
    room_sets: Collection[str]


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


async def register(
    tx: Transaction,
    asked: Asked,
    actor: Actor,
    rules: RegistrationRules,
    approval: ApprovalRules,
    *,
    passwords: NewPasswords,
    choose: Choose,
) -> Request:
    """Makes a request: approved at once where the person may do that, else with a card for the room to decide.

    Raises:
        OnboardError: The wish is not possible, or another open request has the username.
    """
    wish = _checked(asked, rules)
    await decision.refuse_duplicate(tx, wish.username)
    request_id = generate_request_id(choose)
    while await tx.requests.exists(request_id):
        request_id = generate_request_id(choose)
    at_once = actor.role >= Role.APPROVER and not approval.always and not wish.admin
    request = Request(
        id=request_id,
        state=State.PENDING,
        wish=wish,
        origin=Origin.ADMIN_ROOM,
        requester=actor.user_id,
        origin_room=asked.room_id,
        origin_event=asked.event_id,
        thread_root=asked.thread_root,
        created_at=tx.now,
        expires_at=None if at_once else tx.now + approval.expires_after,
    )
    await tx.requests.add(request)
    await _record(tx, request)
    if at_once:
        by_right = {"by": request.requester, "event_id": request.origin_event}
        await decision.approve(tx, request, passwords, facts={"rule": "power_level"}, personal=by_right)
        await tx.intend(effects.slow_sign(request), effects.answer(request, held=True))
    else:
        await tx.intend(effects.post_card(request))
        await decision.open_to_votes(tx, request, approval)
    return request


def _checked(asked: Asked, rules: RegistrationRules) -> Wish:
    username = parse_username(asked.username, server_name=rules.server_name, reserved=rules.reserved)
    display_name = None if asked.display_name is None else parse_display_name(asked.display_name)
    unknown = [name for name in asked.room_sets if name not in rules.room_sets]
    if unknown:
        known = ", ".join(sorted(rules.room_sets)) or "none are configured"
        raise OnboardError(ErrorCode.BAD_ARGUMENT, f"There is no room set “{unknown[0]}”. Known room sets: {known}.")
    if asked.admin and not rules.allow_admin:
        raise OnboardError(ErrorCode.NOT_PERMITTED, ADMINS_SWITCHED_OFF)
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
    kind = {
        "admin": wish.admin,
        "type": wish.account_type,
        "origin": request.origin,
        "quiet": wish.quiet,
        "room_sets": wish.room_sets,
    }
    await tx.record(Entry(Verb.REQUEST_MADE, request.id, facts=kind, personal=asked))
