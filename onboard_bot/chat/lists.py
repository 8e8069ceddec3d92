"""Owns how several answers become one message, while the server limits how often the bot may speak."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onboard_bot.chat.cards import CardView, name_of, outcome
from onboard_bot.chat.messages import CONTENT_KEY, Code, Inline, Kind, Message, Paragraph, Pill, Strong
from onboard_bot.domain.requests import State


@dataclass(frozen=True, slots=True)
class Answered:
    """The content of an answer as it would be sent alone, and who asked."""

    asker: str
    content: Mapping[str, Any]


_REASON = 80
"""Characters of a reason in a line."""


def merged_request(view: CardView, *, mentions: tuple[str, ...]) -> Message:
    """A request that has no card of its own: one line that says how to decide it."""
    request = view.request
    line: tuple[Inline, ...] = outcome(view, _REASON)
    if request.state is State.PENDING:
        asker = Pill(request.requester, request.requester)
        commands = (f"{view.prefix}{name} {request.id}" for name in ("approve", "deny", "show"))
        approve, deny, show = (Code(command) for command in commands)
        how: tuple[Inline, ...] = (": ", approve, " or ", deny, "; more with ", show)
        line = ("Request ", Strong(request.id), ": ", *name_of(request), ", asked for by ", asker, *how)
    return Message((Paragraph(line),), view.about, mentions)


def thread_of(answer: Answered) -> str | None:
    """The root of the thread that an answer belongs into."""
    relation = answer.content["m.relates_to"]
    root: str | None = relation["event_id"] if relation.get("rel_type") == "m.thread" else None
    return root


def as_list(answers: Sequence[Answered]) -> dict[str, Any]:
    """One `kind: list` for answers of one thread, in order; each item names the command that it answers.

    Where several people asked, each line says whose it is.
    """
    name_them = len({answer.asker for answer in answers}) > 1
    content: dict[str, Any] = {
        "msgtype": "m.text" if {answer.content["msgtype"] for answer in answers} == {"m.text"} else "m.notice",
        "body": "\n".join(f"• {_whose(answer) if name_them else ''}{answer.content['body']}" for answer in answers),
        "format": "org.matrix.custom.html",
        "formatted_body": "<ul>" + "".join(_html_item(answer, name_them=name_them) for answer in answers) + "</ul>",
        "m.mentions": _mentions(answers),
        CONTENT_KEY: {"v": 1, "kind": str(Kind.LIST), "items": [_item(answer) for answer in answers]},
    }
    root = thread_of(answers[0])
    if root is not None:
        # The fallback is for clients without threads: there the list stands as a reply to its first command.
        content["m.relates_to"] = {
            "rel_type": "m.thread",
            "event_id": root,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": _command(answers[0])},
        }
    return content


def _command(answer: Answered) -> str:
    event_id: str = answer.content["m.relates_to"]["m.in_reply_to"]["event_id"]
    return event_id


def _item(answer: Answered) -> dict[str, Any]:
    about = {key: value for key, value in answer.content[CONTENT_KEY].items() if key != "v"}
    return about | {"event_id": _command(answer)}


def _whose(answer: Answered) -> str:
    return f"{answer.asker}: "


def _html_item(answer: Answered, *, name_them: bool) -> str:
    whose = html.escape(_whose(answer)) if name_them else ""
    return f"<li>{whose}{answer.content['formatted_body']}</li>"


def _mentions(answers: Sequence[Answered]) -> dict[str, Any]:
    mentioned = {user: None for answer in answers for user in answer.content["m.mentions"].get("user_ids", ())}
    return {"user_ids": list(mentioned)} if mentioned else {}
