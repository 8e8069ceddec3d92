"""Owns how the audit log's rows about a request are told to people.

Rows are kept for years and outlive the program that wrote them: a verb, or a value, that is not known here any more is
told as it stands, and one that is gone is left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onboard_bot.clock import Timestamp
from onboard_bot.domain.audit import Recorded, Verb

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One step of a request; `who` took it, None where nobody did or it was erased."""

    at: Timestamp
    who: str | None
    words: str


def history_line(recorded: Recorded) -> HistoryLine:
    """A row of the audit log, told."""
    erased = recorded.personal is None
    personal = recorded.personal or {}
    who = personal.get("by", personal.get("requester"))
    tell = _WORDS.get(recorded.verb)
    words = recorded.verb if tell is None else tell(recorded.facts, personal)
    return HistoryLine(
        recorded.at, who if isinstance(who, str) else None, words + (" (personal details erased)" if erased else "")
    )


def _made(facts: Values, personal: Values) -> str:
    words = f"asked for {_text(personal, 'username', 'an account')}"
    if personal.get("display_name"):
        words += f" ({personal['display_name']})"
    if facts.get("admin"):
        words += ", with server-admin rights"
    if facts.get("type"):
        words += f", of the type {facts['type']}"
    return words + _note(personal)


def _approved(facts: Values, _personal: Values) -> str:
    match facts.get("rule"):
        case "power_level":
            return "may decide alone: approved at once"
        case "again":
            return "had it tried again"
        case "votes":
            return f"approved: {facts.get('approvals', '?')} of {facts.get('needed', '?')} approvals"
        case _:
            return "approved"


def _denied(facts: Values, _personal: Values) -> str:
    denials = facts.get("denials")
    words = "denied" if denials is None else f"denied, with {denials} against it"
    return words + ("; who asked was not told" if facts.get("silent") else "")


def _cast(facts: Values, personal: Values) -> str:
    choice = {"approve": "voted for it", "deny": "voted against it"}.get(str(facts.get("choice")), "voted")
    how = {"reaction": " (a reaction)", "typed": " (typed)"}.get(str(facts.get("how")), "")
    silently = ", silently" if facts.get("silent") else ""
    return choice + silently + how + _note(personal)


def _regrouped(facts: Values, _personal: Values) -> str:
    groups = facts.get("groups")
    return "counts for: " + ", ".join(map(str, groups)) if isinstance(groups, list) else "counts for no group any more"


def _renamed(_facts: Values, personal: Values) -> str:
    name, before = _text(personal, "username", "another name"), _text(personal, "instead_of", "the one before")
    return f"corrected the username: {name} instead of {before}; approvals of that one do not count"


def _created(facts: Values, personal: Values) -> str:
    words = f"the homeserver made {_text(personal, 'user_id', 'the account')}"
    return words + (" (found by signing in)" if facts.get("server_answer") == "found by signing in" else "")


def _failed(facts: Values, personal: Values) -> str:
    answer = facts.get("server_answer")
    return f"{_text(personal, 'username', 'the account')} could not be made" + (f": {answer}" if answer else "")


def _sent(_facts: Values, personal: Values) -> str:
    return f"the credentials were sent to {_text(personal, 'to', 'who asked')}"


def _text(values: Values, key: str, instead: str) -> str:
    return str(values.get(key) or instead)


def _note(personal: Values) -> str:
    note = personal.get("note")
    return f": “{note}”" if note else ""


_WORDS: dict[str, Callable[[Values, Values], str]] = {
    Verb.REQUEST_MADE: _made,
    Verb.REQUEST_APPROVED: _approved,
    Verb.REQUEST_DENIED: _denied,
    Verb.REQUEST_CANCELLED: lambda _facts, _personal: "cancelled it",
    Verb.REQUEST_EXPIRED: lambda _facts, _personal: "expired undecided",
    Verb.REQUEST_REMINDED: lambda _facts, _personal: "those who had not voted were reminded",
    Verb.REQUEST_REOPENED: lambda _facts, _personal: "took the denial back; votes began anew",
    Verb.REQUEST_RENAMED: _renamed,
    Verb.VOTE_CAST: _cast,
    Verb.VOTE_TAKEN_BACK: lambda _facts, _personal: "took the vote back",
    Verb.VOTE_LAPSED: lambda _facts, _personal: "may not vote any more: their vote does not count",
    Verb.VOTE_RESTORED: lambda _facts, _personal: "may vote again: their vote counts",
    Verb.VOTE_REGROUPED: _regrouped,
    Verb.ACCOUNT_CREATING: lambda _facts, personal: (
        f"the homeserver was asked to make {_text(personal, 'username', 'the account')}"
    ),
    Verb.ACCOUNT_CREATED: _created,
    Verb.ACCOUNT_FAILED: _failed,
    Verb.ACCOUNT_UNKNOWN: lambda _facts, personal: (
        f"whether the homeserver made {_text(personal, 'username', 'the account')} could not be found out"
    ),
    Verb.CREDENTIALS_SENT: _sent,
    Verb.CREDENTIALS_ERASED: lambda _facts, _personal: "the credentials were erased",
}
