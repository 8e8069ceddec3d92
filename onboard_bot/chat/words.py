"""Owns how a line falls into words, quoted strings and options.

Quotes and dashes come as phones write them. Every scan is linear: a message may be 60 KB long.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_QUOTES = '"“”„‟'
# Possessive, so that a quote without an end costs one look and no going back.
_QUOTED = re.compile(rf"[{_QUOTES}]((?:[^{_QUOTES}\\]++|\\.)*+)[{_QUOTES}](?=\s|\Z)", re.DOTALL)
_ESCAPE = re.compile(rf"\\([{_QUOTES}\\])")
_TO_ESCAPE = re.compile(rf"[{_QUOTES}\\]")
_OPTION = re.compile(r"(--|[\u2013\u2014])([^\W\d_][^\s=]*)(=?)")  # en and em dash
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"\S*")


@dataclass(frozen=True, slots=True)
class Word:
    """A word or a quoted string. `raw` is what was typed, with the white space that follows in `gap`."""

    value: str
    raw: str
    gap: str
    quoted: bool = False

    @property
    def unclosed(self) -> bool:
        """Whether it opens a quotation and does not close it."""
        return not self.quoted and self.raw[:1] in tuple(_QUOTES)


@dataclass(frozen=True, slots=True)
class Given:
    """An option as it was typed; `value` is what stood behind its `=`."""

    name: str
    value: Word | None


def scan(text: str, start: int, known: Collection[str]) -> Iterator[Word | Given]:
    """The words and options of a line, in order.

    Args:
        text: The line.
        start: Where to begin.
        known: The options that a dash of a phone makes one of.
    """
    at = _end(_SPACE, text, start)
    while at < len(text):
        option = _OPTION.match(text, at)
        # An em dash is punctuation as well, so it makes an option only of a word that is one.
        if option and (option[1] == "--" or option[2].lower() in known):
            if option[3]:
                word, at = _read_word(text, option.end())
                yield Given(option[2].lower(), word)
            else:
                at = _end(_SPACE, text, option.end())
                yield Given(option[2].lower(), None)
        else:
            word, at = _read_word(text, at)
            yield word


def _read_word(text: str, start: int) -> tuple[Word, int]:
    """The word or quoted string that begins here, and where the next thing begins."""
    quoted = _QUOTED.match(text, start)
    end = quoted.end() if quoted else _end(_WORD, text, start)
    after = _end(_SPACE, text, end)
    raw, gap = text[start:end], text[end:after]
    return Word(_ESCAPE.sub(r"\1", quoted[1]) if quoted else raw, raw, gap, quoted is not None), after


def first_word(text: str) -> tuple[str, int]:
    """The word that a line begins with, and where it ends."""
    start = _end(_SPACE, text, 0)
    end = _end(_WORD, text, start)
    return text[start:end], end


def quote(value: str) -> str:
    """The value so that `parse` reads exactly it, in any place."""
    return '"' + _TO_ESCAPE.sub(lambda found: "\\" + found.group(), value) + '"'


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where a pattern that may be empty ends."""
    found = pattern.match(text, start)
    return found.end() if found else start
