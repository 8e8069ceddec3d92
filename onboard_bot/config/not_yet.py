"""Owns the list of what the configuration can say already and the program cannot do yet.

All keys are accepted from the first release. A value that asks for something that is not built is an error under its
key instead of a silent nothing. Whoever builds a part takes its lines out of the table; nothing else has to change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onboard_bot.domain.durations import parse_duration


@dataclass(frozen=True, slots=True)
class NotYet:
    """A key, what to write until it can be more, and whether a (parsed) value asks for more. The default never does."""

    key: str
    instead: str
    asks: Callable[[Any], bool] = bool


def _is_set(value: object) -> bool:
    return value is not None


NOT_YET: tuple[NotYet, ...] = (
    NotYet("accounts.delivery", "use dm, room or auto (which means dm until then)", lambda how: how == "claim"),
    NotYet("onboarding.rooms", "leave it empty"),
    NotYet("onboarding.room_sets", "leave it empty"),
    NotYet("onboarding.by_requester", "leave it empty"),
    NotYet("announce.rooms", "leave it empty"),
    NotYet("welcome.template", "leave it out", _is_set),
    NotYet("welcome.follow_up", "leave it out", _is_set),
    NotYet("welcome.avatar", "leave it out", _is_set),
    NotYet("requests.from", "leave it empty"),
    NotYet("invites.members.per_person", "leave it 0"),
    NotYet("invites.members.rooms", "leave it empty"),
    NotYet("web.public_url", "leave it out", _is_set),
    NotYet("web.request_form", "leave it false"),
    NotYet("retention.requests", "leave it 1y", lambda kept: kept != parse_duration("1y")),
    NotYet("retention.audit", "leave it forever", _is_set),
    NotYet("database.url", "leave it out, and SQLite in state_dir is used", _is_set),
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
