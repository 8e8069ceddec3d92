"""Owns the list of what the configuration can say already and the program cannot do yet.

All keys are accepted from the first release. A value that asks for something that is not built is an error under its
key instead of a silent nothing. Whoever builds a part takes its lines out of the table; nothing else has to change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onboard_bot.config.durations import parse_duration


@dataclass(frozen=True, slots=True)
class NotYet:
    """One thing that cannot be done yet.

    Args:
        key: Where it is asked for.
        asks: Whether a (parsed) value asks for it. The default never does.
        instead: What to write until then.
    """

    key: str
    asks: Callable[[Any], bool]
    instead: str


_UNSET = "leave it out"

NOT_YET: tuple[NotYet, ...] = (
    NotYet("approval.always", bool, "leave it false"),
    NotYet("approval.groups", bool, "leave it empty"),
    NotYet(
        "accounts.delivery", lambda delivery: delivery == "claim", "use dm, room or auto (which means dm until then)"
    ),
    NotYet("onboarding.rooms", bool, "leave it empty"),
    NotYet("onboarding.room_sets", bool, "leave it empty"),
    NotYet("onboarding.by_requester", bool, "leave it empty"),
    NotYet("announce.rooms", bool, "leave it empty"),
    NotYet("welcome.template", lambda template: template is not None, _UNSET),
    NotYet("welcome.follow_up", lambda template: template is not None, _UNSET),
    NotYet("welcome.avatar", lambda avatar: avatar is not None, _UNSET),
    NotYet("requests.from", bool, "leave it empty"),
    NotYet("invites.members.per_person", lambda count: count > 0, "leave it 0"),
    NotYet("invites.members.rooms", bool, "leave it empty"),
    NotYet("web.public_url", lambda url: url is not None, _UNSET),
    NotYet("web.request_form", bool, "leave it false"),
    NotYet("retention.requests", lambda kept: kept != parse_duration("1y"), "leave it 1y"),
    NotYet("retention.audit", lambda kept: kept is not None, "leave it forever"),
    NotYet("database.url", lambda url: url is not None, "leave it out, and SQLite in state_dir is used"),
)


def words_until_then(key: str) -> str:
    """What the documents say about a key whose values are not all built; empty where they are."""
    return "".join(f" Until a later release: {thing.instead}." for thing in NOT_YET if thing.key == key)


def refuse_what_is_not_built(key: str, value: object) -> None:
    """Lets a value pass that the program can act on.

    Raises:
        ValueError: "not available yet", and what to write instead.
    """
    for thing in NOT_YET:
        if thing.key == key and thing.asks(value):
            raise ValueError(f"not available yet; {thing.instead}.")
