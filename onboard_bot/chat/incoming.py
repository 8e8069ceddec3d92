"""Owns which messages are meant for the bot, and what was typed in them.

Content is written by strangers' clients: any shape of it may arrive and none may raise. Whoever is not spoken to stays
silent, so everything doubtful is ignored. Who sent it, and whether they may, is not known here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote

from onboard_bot.domain.identifiers import is_user_id

NOTHING_SAID = "help"
"""What somebody means who mentions the bot and says no more."""

# html.parser takes quadratic time on unclosed tags; a command of this length takes a tenth of a second at worst.
_MAX_FORMATTED = 6000
_MAX_EVENT_ID = 255
_USER_LINK = re.compile(r"https?://matrix\.to/#/(?:@|%40)", re.IGNORECASE)
_USER_LINK_TARGET = re.compile(r"https?://matrix\.to/#/([^/?#]+)", re.IGNORECASE)
_REPLY_FALLBACK = re.compile(r"> (?:\* )?<@")
_AFTER_NAME = re.compile(r"\s*[:,]\s*|\s+|\Z")
# "@onboard:elsewhere.org" is somebody else, so a colon after the bare localpart must be followed by a space.
_AFTER_LOCALPART = re.compile(r"\s*(?::(?=\s|\Z)|,)\s*|\s+|\Z")
_BREAKING = frozenset(("blockquote", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "pre", "tr", "ul"))
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class BotNames:
    """What people call the bot."""

    user_id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class TypedCommand:
    """What somebody typed to the bot.

    Args:
        text: Without prefix or mention; pills are full user ids.
        thread_root: The thread it was typed in.
        in_reply_to: The event that it deliberately answers, not the one a thread names for older clients.
        surely: False where only the display name and a space came first. Talk *about* the bot looks the same
            ("Onboarding is slow today"), so an unknown command of this kind deserves no answer.
    """

    text: str
    thread_root: str | None = None
    in_reply_to: str | None = None
    surely: bool = True


def read_command(content: object, *, prefix: str, bot: BotNames) -> TypedCommand | None:
    """The command in the content of an `m.room.message`; None if it is not one, or not for the bot.

    Args:
        content: The decrypted content, as it came.
        prefix: What stands before a command ("!").
        bot: The names by which the bot can be mentioned instead.
    """
    if not isinstance(content, Mapping) or content.get("msgtype") != "m.text" or "m.new_content" in content:
        return None
    relation = content.get("m.relates_to")
    if not isinstance(relation, Mapping):
        relation = {}
    if relation.get("rel_type") == "m.replace":
        return None
    reply = relation.get("m.in_reply_to")
    said = _said(content, is_reply=reply is not None)
    if said is None:
        return None
    addressed = _without_address(said.strip(), prefix=prefix, bot=bot)
    if addressed is None:
        return None
    text, surely = addressed
    in_thread = relation.get("rel_type") == "m.thread"
    deliberate = not (in_thread and relation.get("is_falling_back") is True)
    return TypedCommand(
        text=text,
        thread_root=read_event_id(relation.get("event_id")) if in_thread else None,
        in_reply_to=read_event_id(reply.get("event_id")) if isinstance(reply, Mapping) and deliberate else None,
        surely=surely,
    )


def _said(content: Mapping[Any, Any], *, is_reply: bool) -> str | None:
    """The text that the sender wrote, with pills as user ids and without what it quotes as a reply."""
    formatted = content.get("formatted_body")
    if (
        content.get("format") == "org.matrix.custom.html"
        and isinstance(formatted, str)
        and len(formatted) <= _MAX_FORMATTED
        and _USER_LINK.search(formatted)
    ):
        said = _text_of_html(_whole(formatted))
        if said:
            return said
    body = content.get("body")
    if not isinstance(body, str):
        return None
    return _without_reply_fallback(_whole(body)) if is_reply else _whole(body)


def _without_address(text: str, *, prefix: str, bot: BotNames) -> tuple[str, bool] | None:
    """What follows the prefix or the mention, and whether that surely was one."""
    if prefix and text.startswith(prefix):
        return (command, True) if (command := text.removeprefix(prefix))[:1].isalpha() else None
    localpart = bot.user_id.split(":", 1)[0]
    # The display name comes last: it may be the beginning of a user id, which then would never be recognised.
    for name, after, flags in (
        (bot.user_id, _AFTER_NAME, re.NOFLAG),
        (localpart, _AFTER_LOCALPART, re.NOFLAG),
        (bot.display_name.strip(), _AFTER_NAME, re.IGNORECASE),
    ):
        named = re.match(re.escape(name), text, flags) if name else None
        ending = after.match(text, named.end()) if named else None
        if ending is None:
            continue
        command = text[ending.end() :]
        if prefix:
            command = command.removeprefix(prefix)
        if not command:
            return NOTHING_SAID, True
        surely = name != bot.display_name.strip() or not ending.group().isspace()
        return (command, surely) if command[0].isalpha() else None
    return None


def _without_reply_fallback(body: str) -> str:
    """The body without the lines with which older clients repeat what is answered."""
    if _REPLY_FALLBACK.match(body) is None:
        return body
    lines = body.split("\n")
    first = next((n for n, line in enumerate(lines) if not line.startswith(">")), len(lines))
    return "\n".join(lines[first:])


def _text_of_html(formatted: str) -> str | None:
    """The text of a formatted body; None if it cannot be read."""
    reader = _HtmlText()
    try:
        reader.feed(formatted)
        reader.close()
    except AssertionError:  # html.parser's answer to "<![foo["
        return None
    lines = (line.strip(" \t") for line in "".join(reader.text).split("\n"))
    return "\n".join(line for line in lines if line)


class _HtmlText(HTMLParser):
    """Collects text: user links as ids, breaks as new lines, quotations marked as such, repeated replies left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] = []
        self._replies = 0
        self._in_pill = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "mx-reply":
            self._replies += 1
        if self._replies:
            return
        if tag == "br" or tag in _BREAKING:
            self.text.append("\n")
        if tag == "blockquote":
            self.text.append("> ")
        if tag == "a" and (user_id := _user_of_link(dict(attrs).get("href"))):
            self.text.append(user_id)
            self._in_pill = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "mx-reply":
            self._replies = max(0, self._replies - 1)
        elif self._replies:
            return
        elif tag == "a":
            self._in_pill = False
        elif tag in _BREAKING:
            self.text.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._replies and not self._in_pill:
            self.text.append(data.replace("\r", " ").replace("\n", " "))


def _user_of_link(href: str | None) -> str | None:
    """The user id that a matrix.to link leads to, if it leads to a user."""
    target = _USER_LINK_TARGET.match(href or "")
    if target is None:
        return None
    user_id = unquote(target.group(1))
    return user_id if is_user_id(user_id) else None


def read_event_id(value: object) -> str | None:
    """An event id that may be sent out again; content of strangers can hold anything in its place."""
    usable = isinstance(value, str) and value.startswith("$") and value.isascii() and value.isprintable()
    return str(value) if usable and len(str(value)) <= _MAX_EVENT_ID else None


def _whole(text: str) -> str:
    """The text without halves of characters, which JSON can spell and nothing else can store."""
    return _SURROGATE.sub("\ufffd", text)
