"""Owns how the demo looks: a chat that is read from top to bottom, and what goes on around it.

Whatever the terminal: as wide as it is, colours only where they are wanted, ASCII where it speaks nothing else.
"""

import os
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from onboard_bot.chat.messages import shorten
from onboard_bot.clock import Timestamp
from onboard_bot.demo.heard import Edited, Said, Tapped
from onboard_bot.demo.prompt import Prompt

_YAML_KEY = r"^ *[a-z_]+:"
_BULLETS = ("• ", "- ", "✓ ", "* ", "✗ ", "! ")
_CODE = r"`[^`]+`"
_SIGNS_IN_ASCII = {
    "🔒": "[encrypted]",
    "🔓": "[in clear]",
    "✅": "[ok]",
    "❌": "[no]",
    "🔑": "[key]",
    "⚠️": "[!]",
    "⏳": "[wait]",
    "✓": "*",
    "🗳️": "[vote]",
    "🕑": "[late]",
    "↩️": "[back]",
    "✗": "!",
    "•": "-",
    "┃": "|",
    "…": "...",
    "“": '"',
    "”": '"',
    "·": "-",
}
_NAME_COLOURS = ("cyan", "green", "magenta", "yellow", "blue")
_NARROW = 60
_BEGINNING = 30


class ReaderGoneError(Exception):
    """Nobody can read what is printed any more: the pipe or the terminal was closed."""


class _Console(Console):
    """Rich's own would end the program on the spot, with everything that was started."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@dataclass
class Step:
    """Something that takes a moment.

    `done` is what is said once it is over.
    """

    done: str


class Screen:
    """Prints; `prompt`, while there is one, stays below everything that is printed."""

    def __init__(self) -> None:
        self.prompt: Prompt | None = None
        self._console = _Console()
        self._speaks_unicode = self._console.encoding.lower().startswith("utf")
        self._colours: dict[str, str] = {}
        self._titles: dict[str, str] = {}
        self._room: str | None = None
        self._after_gap = False
        self._began = time.monotonic()

    @property
    def can_redraw(self) -> bool:
        """Whether what is on the terminal can be drawn over."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def fit(self, text: str) -> str:
        """The text as this terminal can show it: nothing in it moves the cursor or changes a colour."""
        text = unicodedata.normalize("NFC", text)
        if not self._speaks_unicode:
            for sign, ascii_sign in _SIGNS_IN_ASCII.items():
                text = text.replace(sign, ascii_sign)
            text = text.encode("ascii", "replace").decode()
        return "".join(c for c in text if c.isprintable() or c in "\n\ufe0f")

    def say(self, text: str, style: str = "") -> None:
        """A line of the demo's own."""
        self._wrapped(Text(self.fit(text), style=style))

    def gap(self) -> None:
        """One empty line, however often it is asked for."""
        if not self._after_gap:
            self._print(Text())
        self._after_gap = True

    def opening(self) -> None:
        """What this is."""
        self._began = time.monotonic()
        self.say("onboard-bot demo", "bold")
        self.say("Real Synapse, real bot, real encrypted client; nothing leaves this machine.", "dim")
        self.gap()

    def closing(self, word: str) -> None:
        """What is left: nothing."""
        self.gap()
        took = time.monotonic() - self._began
        self.say(f"{word}, after {took:.1f} s. Every process is stopped and every file removed.", "dim")

    def heading(self, text: str) -> None:
        """The beginning of a part."""
        self._room = None
        self.gap()
        title = Text(self.fit(text), style="bold")
        line = "─" if self._speaks_unicode else "-"
        title.append(f" {line * max(self._console.width - title.cell_len - 1, 0)}", "not bold dim")
        self._wrapped(title)

    def enter(self, room_id: str, title: str) -> None:
        """What is said from now on is said in this room."""
        self._titles[room_id] = title
        self.heading(title)
        self._room = room_id

    def turn_to(self, room_id: str) -> None:
        """What is said from now on is said in this room, which was entered before."""
        if room_id != self._room:
            self.enter(room_id, self._titles.get(room_id, "Another room"))

    def happened(self, text: str) -> None:
        """Something in a room that is no message."""
        self.say(text, "italic dim")

    def yaml(self, text: str) -> None:
        """A piece of configuration."""
        self.gap()
        for line in self.fit(text).splitlines():
            shown = Text(f"    {line}")
            shown.highlight_regex(_YAML_KEY, "cyan")
            self._print(shown)
        self.gap()

    def facts(self, facts: Mapping[str, str]) -> None:
        """Names and values, one pair to a line."""
        width = max(map(len, facts))
        for name, value in facts.items():
            self._wrapped(Text.assemble((f"{name:<{width}}  ", "dim"), (self.fit(value), "bold")), 4)

    @contextmanager
    def step(self, doing: str, done: str) -> Iterator[Step]:
        """Something that takes a moment.

        Args:
            doing: Shown while it goes on.
            done: Shown when it went well; whoever does it may say more.
        """
        step = Step(done)
        began = time.monotonic()
        if self.can_redraw:
            spinner = "dots" if self._speaks_unicode else "line"
            going_on: AbstractContextManager[object] = self._console.status(
                Text(self.fit(f"{doing} …"), style="dim"), spinner=spinner
            )
        else:
            self.say(f"  {doing} …", "dim")
            going_on = nullcontext()
        with going_on:
            yield step
        self.done(step.done, time.monotonic() - began)

    def done(self, what: str, took: float | None = None) -> None:
        """Something went well."""
        line = Text.assemble((self.fit("✓ "), "bold green"), self.fit(what))
        if took is not None:
            line.append(f"  {took:.1f} s", "dim")
        self._wrapped(line)

    def said(self, said: Said, quoted: Said | None) -> None:
        """A message as in a chat, below the beginning of what it answers."""
        self.turn_to(said.room_id)
        self.gap()
        when = _time_of_day(said.at)
        sealed = self.fit(" 🔒" if said.encrypted else " 🔓")
        self._print(Text.assemble(when, self._name(said.sender, said.name), sealed))
        indent = 2 if self._console.width < _NARROW else len(when)
        if quoted is not None:
            self._print(self._quote(quoted, indent))
            indent += 2
        body = Text(self.fit(said.body))
        body.highlight_regex(_CODE, "bold yellow")
        self._wrapped(body, indent)
        self.gap()

    def edited(self, edited: Edited) -> None:
        """What is new in a message that stands further up, as one line."""
        what = "the card" if edited.now.is_about_a_request else "a message"
        words = Text.assemble(self.fit(f" edits {what}: "), (self.fit(edited.news), "bold"))
        self._did(edited.room_id, edited.at, self._name(edited.now.sender, edited.now.name).append(words))

    def tapped(self, tapped: Tapped, signs: str) -> None:
        """Signs under a message that stands further up, as one line.

        Args:
            tapped: One of them.
            signs: All of them.
        """
        under = tapped.under
        beginning = shorten("".join(under.body.splitlines()[:1]), _BEGINNING)
        what = f"request {under.request_id}" if under.is_about_a_request else f"“{beginning}”"
        does = "puts" if tapped.is_offered else "taps"
        words = " ".join(f" {does} {signs} under {what}".splitlines())
        self._did(tapped.room_id, tapped.at, self._name(tapped.sender, tapped.name).append(self.fit(words)))

    def failed(self, sentence: str, log_tail: str, logs: str) -> None:
        """The end that nobody wanted.

        Args:
            sentence: What went wrong.
            log_tail: The last lines of the bot's log.
            logs: Where all logs lie.
        """
        self.gap()
        self._wrapped(Text.assemble((self.fit("✗ "), "bold red"), (self.fit(sentence), "bold")))
        if log_tail:
            self.say("The end of the bot's log:", "dim")
            for line in self.fit(log_tail).splitlines():
                self._wrapped(Text(line), 2)
        self.say(f"All logs are kept in {logs}")

    def _did(self, room_id: str, at: Timestamp, what: Text) -> None:
        """Something that somebody did in a room without saying anything."""
        self.turn_to(room_id)
        when = _time_of_day(at)
        self._wrapped(what, len(when), when)

    def _name(self, sender: str, name: str) -> Text:
        return Text.assemble((self.fit(name), f"bold {self._colour_of(sender)}"))

    def _quote(self, quoted: Said, indent: int) -> Text:
        beginning = self.fit(f"┃ {quoted.name}: {' '.join(quoted.body.split())}")
        text = Text(" " * indent + beginning, style="dim")
        text.truncate(self._console.width, overflow="ellipsis" if self._speaks_unicode else "crop")
        return text

    def _wrapped(self, text: Text, indent: int = 0, lead: Text | None = None) -> None:
        """Text, wrapped to the width; what follows a bullet or a tick stays to the right of it.

        Args:
            text: Which.
            indent: Of all its rows.
            lead: Stands in the indent of the first.
        """
        for line in text.split("\n", allow_blank=True):
            hanging = 2 if line.plain.startswith(_BULLETS) else 0
            width = max(self._console.width - indent - hanging, 1)
            for number, piece in enumerate(line.wrap(self._console, width)):
                piece.rstrip()
                before, lead = lead or " " * (indent + (hanging if number else 0)), None
                self._print(Text.assemble(before, piece, no_wrap=True))

    def _colour_of(self, sender: str) -> str:
        return self._colours.setdefault(sender, _NAME_COLOURS[len(self._colours) % len(_NAME_COLOURS)])

    def _print(self, what: RenderableType) -> None:
        try:
            if self.prompt is not None:
                self.prompt.hide()
            self._console.print(what, highlight=False)
            if self.prompt is not None:
                self.prompt.draw()
        except OSError as error:
            # What comes from now on, to the last flush of the interpreter, goes where nobody is missed.
            self.prompt = None
            with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            raise ReaderGoneError from error
        self._after_gap = False


def _time_of_day(at: Timestamp) -> Text:
    return Text(datetime.fromtimestamp(at, UTC).astimezone().strftime("%H:%M:%S "), style="dim")
