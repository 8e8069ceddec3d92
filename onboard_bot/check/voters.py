"""Owns the checks of who decides: whether enough people may vote, and whether each group can be represented."""

from collections.abc import Collection, Iterator

from onboard_bot.check.findings import Finding, failed, ok, warn
from onboard_bot.config import Config
from onboard_bot.config.model import ApprovalGroup
from onboard_bot.errors import ErrorCode
from onboard_bot.matrix.client_api import ClientApi

_GROUPS_KEY = "approval.groups"


def first_start_enters_group_rooms(config: Config) -> list[Finding]:
    """There is no session yet that could be in a room."""
    later = "will be entered at the first start, or once the bot is invited"
    rooms = ((group.room, group.name) for group in config.approval.groups if group.room is not None)
    return [ok(_GROUPS_KEY, f"{room} of the group {name} {later}.") for room, name in rooms]


def judge_voters(voters: Collection[str], config: Config, room_id: str) -> Iterator[Finding]:
    """A warning for each number of approvals that these people cannot reach; that nobody may vote is said elsewhere.

    Args:
        voters: Who may vote in the admin room.
        config: How many it takes.
        room_id: The admin room.
    """
    if not voters:
        return
    rules = config.approval
    kinds = [("approval.required", "a request", rules.required, rules.always)]
    if config.accounts.allow_admin:
        # These are voted on, whoever asks.
        rights = "an account with server-admin rights"
        kinds.append(("approval.required_for_admin", rights, rules.required_for_admin, True))
    for key, what, needed, voters_ask_too in kinds:
        takes = f"{what} takes {_count(needed, 'approval')}"
        if len(voters) < needed:
            yield warn(
                key,
                f"{takes}, and only {_count(len(voters), 'person', 'people')} in {room_id} may vote, so that it is"
                f" never approved. Give more people there power level {rules.power_level}, or lower this number.",
            )
        elif voters_ask_too and not rules.self_approval and len(voters) == needed:
            yield warn(
                key,
                f"{takes}, and nobody decides on their own: what is asked for by somebody who may vote in {room_id} is"
                f" never approved. Give one more there power level {rules.power_level}, or lower this number.",
            )


async def check_group(
    api: ClientApi, config: Config, group: ApprovalGroup, *, bot: str, voters: Collection[str] | None
) -> list[Finding]:
    """Whether the bot can look up who belongs to a group, and enough of them may vote.

    Args:
        api: With the bot's token; raises what `Transport.call` raises.
        config: How votes count.
        group: Which.
        bot: Its user id.
        voters: Who may vote in the admin room; None where nobody could find out.
    """
    if group.room is None:
        return list(_judge_group(group, group.members, voters, config))
    room_id: str | None = group.room
    if group.room.startswith("#"):
        room_id = await api.resolve_alias(group.room)
    if room_id is None:
        return [
            failed(
                ErrorCode.ROOM_UNUSABLE,
                f"There is no room {group.room}, so that nobody counts for the group {group.name}. Correct"
                " approval.groups, or give a room this address.",
            )
        ]
    if room_id not in await api.joined_rooms():
        return [
            failed(
                ErrorCode.ROOM_UNUSABLE,
                f"The bot is not in {group.room}, so that nobody counts for the group {group.name}. Invite {bot} there"
                " while it runs.",
            )
        ]
    people = [user for user, membership in (await api.members(room_id)).items() if membership == "join"]
    wrong = list(_judge_group(group, people, voters, config))
    return wrong or [ok(_GROUPS_KEY, f"the bot is in {group.room}, and can see who belongs to the group {group.name}.")]


def _judge_group(
    group: ApprovalGroup, people: Collection[str], voters: Collection[str] | None, config: Config
) -> Iterator[Finding]:
    if voters is None:
        return
    rules = config.approval
    belonging = {user.casefold() for user in people}
    count = sum(user.casefold() in belonging for user in voters)
    takes = f"a request takes {_count(group.required, 'approval')} of the group {group.name}"
    mend = f"Give more of them power level {rules.power_level} in the admin room, or change the group."
    if count < group.required:
        who = "nobody of it has" if count == 0 else f"only {count} of it {'has' if count == 1 else 'have'}"
        yield warn(_GROUPS_KEY, f"{takes}, and {who} the level to vote, so that nothing is ever approved. {mend}")
    elif count == group.required and not rules.self_approval and (rules.always or config.accounts.allow_admin):
        yield warn(
            _GROUPS_KEY,
            f"{takes}, and only {count} of it may vote: what they ask for themselves is never approved, since nobody"
            f" decides on their own. {mend}",
        )


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
