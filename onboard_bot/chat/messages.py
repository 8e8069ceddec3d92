"""Owns how an answer becomes event content: one tree of text, both bodies and the machine-readable key from it.

User text is a leaf of the tree. It is escaped when it is rendered, so it can become neither markup nor a pill; who is
mentioned is said apart from the text. Only tags of the specification's list are used ("m.room.message msgtypes").
"""

import html
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

CONTENT_KEY = "io.github.onboard_bot"
MAX_BYTES = 44_000
"""Of an event's content. Events end at 65,536 bytes, and encryption adds a third and a frame."""

# How long one piece of text may be; the first that makes the event fit. The last still shows a user id.
_TEXT_LIMITS = (8000, 2000, 500, 260)
_GROUP = 4
_LINE_BREAKS = re.compile("\r\n|[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
_BIDI_CONTROLS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"
_WORD_JOINER = "\u2060"
_EVERYBODY = re.compile("@(?=room)", re.IGNORECASE)


class Kind(StrEnum):
    """What a message is about, for programs."""

    REQUEST = "request"
    ACCOUNT = "account"
    INVITE = "invite"
    CREDENTIALS = "credentials"
    ANNOUNCEMENT = "announcement"
    ERROR = "error"
    HELP = "help"
    STATUS = "status"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class About:
    """The machine-readable part of a message; only what applies is sent. Never a secret.

    Args:
        kind: What it is about.
        id: The request's id.
        state: The request's state.
        user_id: The account.
        error: An `ErrorCode`.
        user_ids: The accounts of a gathered announcement.
        items: The answers that a list merges.
    """

    kind: Kind
    id: str | None = None
    state: str | None = None
    user_id: str | None = None
    error: str | None = None
    user_ids: tuple[str, ...] = ()
    items: tuple[Mapping[str, Any], ...] = ()

    def content(self) -> dict[str, Any]:
        """The value of the content key."""
        given = {name: getattr(self, name) for name in ("kind", "id", "state", "user_id", "error")}
        content: dict[str, Any] = {"v": 1} | {name: str(value) for name, value in given.items() if value is not None}
        if self.user_ids:
            content["user_ids"] = list(self.user_ids)
        if self.items or self.kind is Kind.LIST:
            content["items"] = [dict(item) for item in self.items]
        return content


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be copied exactly; between backticks in the plain body. A secret shows only when rendered."""

    text: str | SecretStr


@dataclass(frozen=True, slots=True)
class Strong:
    """What the eye should find first."""

    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link to a web address; anything but http and https stays text."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Pill:
    """A person, clickable. It does not mention them: that is for `Message.mentions`."""

    user_id: str
    display: str


@dataclass(frozen=True, slots=True)
class Key:
    """A public key: for people in groups of four, as clients show it; in the plain body in one piece."""

    text: str

    @property
    def grouped(self) -> str:
        """To be compared by eye, or read aloud."""
        return " ".join(self.text[start : start + _GROUP] for start in range(0, len(self.text), _GROUP))


Inline = str | Code | Strong | Key | Link | Pill


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A line of text."""

    inlines: tuple[Inline, ...]


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list, one line each."""

    items: tuple[tuple[Inline, ...], ...]


Block = Paragraph | Bullets


@dataclass(frozen=True, slots=True)
class Message:
    """What the bot says.

    Args:
        blocks: The text.
        about: The machine-readable part.
        mentions: User ids of the people who are to be pinged.
        notice: Sent as `m.notice`, which no bot answers.
    """

    blocks: tuple[Block, ...]
    about: About | None = None
    mentions: tuple[str, ...] = ()
    notice: bool = True


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """The event that is answered, and the thread that it stood in."""

    event_id: str
    thread_root: str | None = None


def render(message: Message, reply_to: ReplyTo | None = None) -> dict[str, Any]:
    """The content of an `m.room.message` event, small enough to be sent in an encrypted room.

    Where it would not fit, long texts are shortened first, then lines (and `items`) are left out from the end; an
    ellipsis shows both.
    """
    lines = _lines(message.blocks)
    for limit in _TEXT_LIMITS:
        content = _content(message, _Renderer(limit), lines, reply_to)
        if _size(content) <= MAX_BYTES:
            return content
    kept, items = len(lines), len(message.about.items) if message.about else 0
    while _size(content) > MAX_BYTES and (kept or items):
        kept, items = kept // 2, items // 2
        fewer = [*lines[:kept], _Line(("…",))]
        content = _content(message, _Renderer(_TEXT_LIMITS[-1]), fewer, reply_to)
        if message.about and message.about.items:
            content[CONTENT_KEY]["items"] = content[CONTENT_KEY]["items"][:items]
    return content


def shorten(text: str, limit: int) -> str:
    """The text, cut to so many characters with an ellipsis at its end."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plain_characters(text: str) -> str:
    """The text without what acts on its neighbours: line breaks become spaces, control characters go."""
    text = _LINE_BREAKS.sub(" ", text).replace("\t", " ")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "\ufffd" if "\ud800" <= c <= "\udfff" else c
        for c in text
        if c not in _BIDI_CONTROLS and unicodedata.category(c) != "Cc"
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a message, and whether it is an item of a list."""

    inlines: tuple[Inline, ...]
    is_item: bool = False


def _lines(blocks: Sequence[Block]) -> list[_Line]:
    lines: list[_Line] = []
    for block in blocks:
        match block:
            case Paragraph(inlines):
                lines.append(_Line(inlines))
            case Bullets(items):
                lines += [_Line(item, is_item=True) for item in items]
    return lines


@dataclass(frozen=True, slots=True)
class _Renderer:
    """Both forms of a tree, no text in them longer than `limit`."""

    limit: int

    def plain(self, lines: Sequence[_Line]) -> str:
        body = "\n".join(("• " if line.is_item else "") + "".join(map(self._plain, line.inlines)) for line in lines)
        # Clients older than m.mentions ping the whole room at this word.
        return _EVERYBODY.sub(f"@{_WORD_JOINER}", body)

    def html(self, lines: Sequence[_Line]) -> str:
        if len(lines) == 1 and not lines[0].is_item:
            return "".join(map(self._html, lines[0].inlines))
        parts: list[str] = []
        in_list = False
        for line in lines:
            if line.is_item != in_list:
                parts.append("<ul>" if line.is_item else "</ul>")
                in_list = line.is_item
            tag = "li" if in_list else "p"
            parts.append(f"<{tag}>{''.join(map(self._html, line.inlines))}</{tag}>")
        return "".join(parts) + ("</ul>" if in_list else "")

    def _plain(self, inline: Inline) -> str:
        match inline:
            case str(text) | Strong(text) | Key(text):
                return self._text(text)
            case Code(text):
                return f"`{self._text(text)}`"
            case Link(text, url):
                shown = self._text(text)
                return shown if text == url or not _is_web(url) else f"{shown} ({plain_characters(url)})"
            case Pill(_, display):
                return self._text(display)

    def _html(self, inline: Inline) -> str:
        match inline:
            case str(text):
                return html.escape(self._text(text))
            case Key() as key:
                return f"<code>{html.escape(self._text(key.grouped))}</code>"
            case Strong(text):
                return f"<strong>{html.escape(self._text(text))}</strong>"
            case Code(text):
                return f"<code>{html.escape(self._text(text))}</code>"
            case Link(text, url):
                shown = html.escape(self._text(text))
                return f'<a href="{html.escape(plain_characters(url))}">{shown}</a>' if _is_web(url) else shown
            case Pill(user_id, display):
                link = "https://matrix.to/#/" + quote(plain_characters(user_id), safe="@:")
                return f'<a href="{html.escape(link)}">{html.escape(self._text(display))}</a>'

    def _text(self, text: str | SecretStr) -> str:
        if isinstance(text, SecretStr):
            return text.get_secret_value()
        cleaned = plain_characters(shorten(text, self.limit))
        # Text that runs from right to left would carry its neighbours along.
        turns = not cleaned.isascii() and any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in cleaned)
        return f"{_ISOLATE}{cleaned}{_END_ISOLATE}" if turns else cleaned


def _content(message: Message, renderer: _Renderer, lines: Sequence[_Line], reply_to: ReplyTo | None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "msgtype": "m.notice" if message.notice else "m.text",
        "body": renderer.plain(lines),
        "format": "org.matrix.custom.html",
        "formatted_body": renderer.html(lines),
        "m.mentions": {"user_ids": list(message.mentions)} if message.mentions else {},
    }
    if message.about is not None:
        content[CONTENT_KEY] = message.about.content()
    if reply_to is not None:
        relation: dict[str, Any] = {"m.in_reply_to": {"event_id": reply_to.event_id}}
        if reply_to.thread_root is not None:
            relation |= {"rel_type": "m.thread", "event_id": reply_to.thread_root, "is_falling_back": False}
        content["m.relates_to"] = relation
    return content


def _size(content: dict[str, Any]) -> int:
    """Bytes in the form that takes the most: some encoders spell every other alphabet in escapes."""
    return len(json.dumps(content))


def _is_web(url: str) -> bool:
    return url.startswith(("https://", "http://"))
