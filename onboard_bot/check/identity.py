"""Owns the checks of cross-signing: the bot's own identity on the server, and whether those who approve have one."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from onboard_bot.check.findings import Finding, failed, failed_with, ok, warn
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.matrix.client_api import USERS_PER_QUERY, ClientApi
from onboard_bot.matrix.cross_signing import Identity, Shown, look_at_own
from onboard_bot.matrix.own_identity import foreign_identity, seeds_are_gone
from onboard_bot.matrix.own_seeds import OwnSeeds
from onboard_bot.matrix.owners import read_owner
from onboard_bot.matrix.session import Session
from onboard_bot.store.trouble import StoreUnavailableError

_KEY = "identity"
_DEVICES_KEY = "encryption.unsigned_devices"


def first_start_makes_identity() -> Finding:
    """There is no session yet that could have one."""
    return ok(_KEY, "the bot's cross-signing identity will be made at the first start.")


async def check_identity(api: ClientApi, seeds: OwnSeeds, session: Session) -> list[Finding]:
    """The bot's identity as the server shows it, beside the seeds; raises what `Transport.call` raises.

    Args:
        api: With the bot's token.
        seeds: As remembered.
        session: As remembered.
    """
    try:
        current, pending = seeds.current(), seeds.pending()
    except StoreUnavailableError as error:
        words = f"Nobody can read the state: {error.sentence}. Run check as the user that the bot runs as."
        return [failed(ErrorCode.STATE_UNUSABLE, words)]
    except OnboardError as error:
        return [failed_with(error)]
    shown = await look_at_own(api, session.user_id, session.device_id)
    return [judge_identity(shown, current, pending, session)]


def judge_identity(shown: Shown, current: Identity | None, pending: Identity | None, session: Session) -> Finding:
    """What is to be said of the bot's identity.

    Args:
        shown: By the server.
        current: The one that counts, if the server has not taken the other one.
        pending: The one of a reset that did not come to its end here.
        session: Whose.
    """
    there, device_id = shown.master_key, session.device_id
    if there is None:
        return ok(_KEY, "the bot's cross-signing identity will be brought to the homeserver at the next start.")
    ours = pending if pending is not None and pending.public("master") == there else current
    if ours is None:
        return failed_with(seeds_are_gone(session.user_id, there))
    if ours.public("master") != there:
        return failed_with(foreign_identity(session.user_id, there))
    if shown.device is None:
        return warn(_KEY, f"the homeserver has no keys of the bot's device {device_id} yet; they come with its start.")
    if not shown.holds(ours) or not shown.device_is_signed_by(ours):
        return failed(
            ErrorCode.IDENTITY_MISMATCH,
            f"The bot's device {device_id} is not signed by its identity, so that clients may not show its messages."
            " Start the bot anew: it signs its device, or says in its log why it cannot.",
        )
    return ok(_KEY, f"the homeserver shows the bot's device {device_id} as signed by its own identity.")


async def check_approvers(api: ClientApi, people: Sequence[str], not_accepted: Collection[str]) -> list[Finding]:
    """Whether these people's commands will be obeyed; raises what `Transport.call` raises.

    Args:
        api: With the bot's token.
        people: Who may approve.
        not_accepted: People whose identity changed, as the bot remembers it, and was not accepted since.
    """
    findings = [_warn_of_change(user) for user in people if user in not_accepted]
    others = [user for user in people if user not in not_accepted]
    for start in range(0, len(others), USERS_PER_QUERY):
        asked = others[start : start + USERS_PER_QUERY]
        findings += judge_approvers(asked, await api.keys_query(asked))
    return findings


def _warn_of_change(user: str) -> Finding:
    return warn(
        _DEVICES_KEY,
        f"{user} has another cross-signing identity than before: their commands will not be obeyed until another"
        f" approver types !trust {user}, or you run “onboard-bot trust {user}”. Ask them first whether it is theirs.",
    )


def judge_approvers(people: Sequence[str], answer: Mapping[str, Any]) -> list[Finding]:
    """One warning for each of them who has no device that counts under `refuse`.

    Args:
        people: Who may approve.
        answer: Of a `keys/query` for them.
    """
    devices = answer.get("device_keys")
    findings = []
    for user in people:
        owner = read_owner(user, answer)
        if owner is not None and owner.devices:
            continue
        if not isinstance(devices, Mapping) or user not in devices:
            text = f"the homeserver does not say which devices {user} has; without that their commands are not obeyed."
        else:
            lack = "has no cross-signing identity" if owner is None else "has verified no device"
            text = f"{user} {lack}: their commands will not be obeyed until they have verified a device."
        findings.append(warn(_DEVICES_KEY, text))
    return findings
