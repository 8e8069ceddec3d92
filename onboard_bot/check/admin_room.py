"""Owns the checks of the admin room: whether the bot is in it, may do its work there, and has somebody to work for."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from onboard_bot.check.findings import Finding, failed, ok, unusable, warn
from onboard_bot.check.identity import check_approvers
from onboard_bot.check.voters import judge_voters
from onboard_bot.config import Config
from onboard_bot.domain.roles import PowerLevels
from onboard_bot.errors import ErrorCode
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.rooms import Rooms
from onboard_bot.store.rooms import PlannedRoom

_KEY = "admin_room"
_ROOM_KEY = "admin_room.room"


@dataclass(frozen=True, slots=True)
class RoomFacts:
    """What the server says about the room.

    Args:
        room_id: Which one.
        levels: Who may do what.
        members: Everybody who did not leave, with their membership.
        encrypted: Whether messages are.
    """

    room_id: str
    levels: PowerLevels
    members: Mapping[str, str]
    encrypted: bool


def first_start_enters_room(config: Config) -> Finding:
    """There is no session yet that could be in a room."""
    if config.admin_room.room is None:
        return ok(_KEY, "the encrypted admin room will be made at the first start.")
    return ok(_ROOM_KEY, f"{config.admin_room.room} will be entered at the first start, or once the bot is invited.")


async def look_at_admin_room(
    api: ClientApi, config: Config, plan: PlannedRoom | None, *, bot: str
) -> RoomFacts | Finding:
    """The room as the server has it now, or why there is nothing to look at; raises what `Transport.call` raises.

    Args:
        api: With the bot's token.
        config: Which room is wanted.
        plan: Which room the bot remembers.
        bot: Its user id.
    """
    made_by_bot = config.admin_room.room is None
    room_id: str | None
    if config.admin_room.room is None:
        room_id = plan.room_id if plan is not None and plan.made_by_bot else None
        if room_id is None:
            return ok(_KEY, "the encrypted admin room will be made at the next start.")
    else:
        room_id = config.admin_room.room
        if room_id.startswith("#"):
            room_id = await api.resolve_alias(room_id)
        if room_id is None:
            return _no_such_alias(config.admin_room.room)
    if room_id not in await api.joined_rooms():
        return _not_joined(room_id if made_by_bot else str(config.admin_room.room), made_by_bot=made_by_bot, bot=bot)
    rooms = Rooms(api)
    return RoomFacts(
        room_id,
        await rooms.power_levels(room_id),
        await api.members(room_id),
        await rooms.is_encrypted(room_id),
    )


async def check_admin_room(
    api: ClientApi, facts: RoomFacts, config: Config, *, bot: str, not_accepted: Collection[str] = ()
) -> list[Finding]:
    """What is to be said of the room and of the devices of its people; raises what `Transport.call` raises.

    Args:
        api: With the bot's token.
        facts: About the room.
        config: How the bot is to work there.
        bot: Its user id.
        not_accepted: People whose identity changed, and was not accepted since.
    """
    findings = judge_room(facts, config, bot=bot, made_by_bot=config.admin_room.room is None)
    if facts.encrypted and config.encryption.unsigned_devices == "refuse":
        findings += await check_approvers(api, approvers(facts, config, bot), not_accepted)
    return findings


def judge_room(facts: RoomFacts, config: Config, *, bot: str, made_by_bot: bool) -> list[Finding]:
    """What is to be said of a room that the bot is in.

    Args:
        facts: About the room.
        config: How the bot is to work there.
        bot: Its user id.
        made_by_bot: Whether it is the bot's own room, into which it invites the admins itself.
    """
    wrong = [
        *_rights(facts, bot, made_by_bot=made_by_bot),
        *_people(facts, config, bot, made_by_bot=made_by_bot),
        *judge_voters(approvers(facts, config, bot), config, facts.room_id),
    ]
    if not wrong:
        wrong = [ok(_KEY, f"the bot is in {facts.room_id}, may do its work there, and somebody may approve.")]
    return [*wrong, *_encryption(facts, config)]


def approvers(facts: RoomFacts, config: Config, bot: str) -> list[str]:
    """Who is in the room and may approve."""
    wanted = config.approval.power_level
    people = (user for user, membership in facts.members.items() if membership == "join" and user != bot)
    return sorted(user for user in people if facts.levels.of(user) >= wanted)


def _rights(facts: RoomFacts, bot: str, *, made_by_bot: bool) -> Iterator[Finding]:
    levels, room_id = facts.levels, facts.room_id
    message = "m.room.encrypted" if facts.encrypted else "m.room.message"
    if not levels.may_send(bot, message):
        yield failed(
            ErrorCode.ROOM_UNUSABLE,
            f"In the admin room {room_id} {bot} may not send messages. Give it the power level for that"
            f" (it has {levels.of(bot):g}).",
        )
        return
    if not levels.may_send(bot, "m.reaction"):
        yield warn(
            _KEY, f"in {room_id} {bot} may not put ✅ and ❌ under a request. Lower the level of m.reaction there."
        )
    if not levels.may_send(bot, "m.room.redaction"):
        yield warn(
            _KEY, f"in {room_id} {bot} may not remove its own messages. Lower the level of m.room.redaction there."
        )
    if made_by_bot and levels.of(bot) < levels.invite:
        yield warn(_KEY, f"in {room_id} {bot} may not invite the admins. Give it power level {levels.invite:g}.")


def _people(facts: RoomFacts, config: Config, bot: str, *, made_by_bot: bool) -> Iterator[Finding]:
    wanted = config.approval.power_level
    if not approvers(facts, config, bot):
        yield warn(
            "approval.power_level",
            f"nobody in {facts.room_id} has power level {wanted} or more, so that nobody can make or approve an"
            " account yet. Let an admin join, raise somebody's level there, or lower this one.",
        )
    for admin in config.admin_room.admins:
        membership = facts.members.get(admin, "leave")
        if membership == "invite":
            yield warn("admin_room.admins", f"{admin} is invited to {facts.room_id} and has not joined yet.")
        elif membership == "ban":
            yield warn(
                "admin_room.admins", f"{admin} is banned from {facts.room_id}; lift the ban, or take the name out."
            )
        elif membership != "join":
            again = " and is invited again at the bot's next start."
            mend = again if made_by_bot else "; invite them there, or take the name out."
            yield warn("admin_room.admins", f"{admin} is not in {facts.room_id}{mend}")


def _encryption(facts: RoomFacts, config: Config) -> Iterator[Finding]:
    if facts.encrypted:
        yield ok("encryption", f"the admin room {facts.room_id} is encrypted.")
        return
    yield warn(
        "encryption",
        f"the admin room {facts.room_id} is not encrypted: the homeserver reads what is said there. Turn encryption on"
        " in the room's settings.",
    )
    if config.accounts.delivery == "room":
        yield unusable(
            "accounts.delivery",
            f"room would put passwords in clear text into {facts.room_id}, which is not encrypted. Turn encryption on"
            " there, or set accounts.delivery to dm.",
        )


def _no_such_alias(alias: str) -> Finding:
    return failed(
        ErrorCode.ROOM_UNUSABLE, f"There is no room {alias}. Correct admin_room.room, or give a room this address."
    )


def _not_joined(room: str, *, made_by_bot: bool, bot: str) -> Finding:
    if made_by_bot:
        return failed(
            ErrorCode.ROOM_UNUSABLE, f"Somebody removed {bot} from the admin room {room} that it made. Invite it again."
        )
    return warn(_ROOM_KEY, f"waiting for an invitation to {room}; invite {bot} there.")
