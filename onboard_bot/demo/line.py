"""Owns the line that somebody is typing: what each key does to it. Pure; it knows no terminal."""

import re
from collections.abc import Callable, Iterator

# One key: an escape sequence, else one character. A sequence may arrive in pieces.
_KEY = re.compile(r"\x1b\[[0-9;?]*[@-~]|\x1bO.|\x1b[^\[O]|[^\x1b]", re.DOTALL)


class Line:
    """An editable line with a history.

    `ended` is true once somebody pressed Ctrl-D on an empty line.
    """

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        self.ended = False
        self._typed = ""
        self._history: list[str] = []
        self._recalled = 0
        self._after_return = False
        back, forward, begin, end = self._back, self._forward, self._begin, self._end
        self._actions: dict[str, Callable[[], None]] = {
            "\x7f": self._erase_before,
            "\x08": self._erase_before,
            "\x1b[3~": self._erase_under,
            "\x04": self._erase_under_or_end,
            "\x15": self._erase_to_begin,
            "\x0b": self._erase_to_end,
            "\x17": self._erase_word,
            **dict.fromkeys(("\x1b[D", "\x1bOD", "\x02"), back),
            **dict.fromkeys(("\x1b[C", "\x1bOC", "\x06"), forward),
            **dict.fromkeys(("\x1b[H", "\x1bOH", "\x1b[1~", "\x01"), begin),
            **dict.fromkeys(("\x1b[F", "\x1bOF", "\x1b[4~", "\x05"), end),
            **dict.fromkeys(("\x1b[A", "\x1bOA", "\x10"), lambda: self._recall(-1)),
            **dict.fromkeys(("\x1b[B", "\x1bOB", "\x0e"), lambda: self._recall(1)),
        }

    def type(self, typed: str) -> Iterator[str]:
        """Takes what came from the keyboard; the lines that were finished with Return."""
        self._typed += typed
        position = 0
        while not self.ended and (key := _KEY.match(self._typed, position)):
            position = key.end()
            if key[0] in "\r\n":
                if not (key[0] == "\n" and self._after_return):
                    yield self._finish()
                self._after_return = key[0] == "\r"
                continue
            self._after_return = False
            action = self._actions.get(key[0])
            if action is not None:
                action()
            elif key[0].isprintable():
                self.text = self.text[: self.cursor] + key[0] + self.text[self.cursor :]
                self.cursor += 1
        self._typed = self._typed[position:]

    def _finish(self) -> str:
        text = self.text
        if text.strip():
            self._history.append(text)
        self._recalled = len(self._history)
        self.text, self.cursor = "", 0
        return text

    def _recall(self, step: int) -> None:
        self._recalled = min(max(self._recalled + step, 0), len(self._history))
        self.text = self._history[self._recalled] if self._recalled < len(self._history) else ""
        self.cursor = len(self.text)

    def _back(self) -> None:
        self.cursor = max(self.cursor - 1, 0)

    def _forward(self) -> None:
        self.cursor = min(self.cursor + 1, len(self.text))

    def _begin(self) -> None:
        self.cursor = 0

    def _end(self) -> None:
        self.cursor = len(self.text)

    def _erase_before(self) -> None:
        self._erase_from(max(self.cursor - 1, 0))

    def _erase_under(self) -> None:
        self.text = self.text[: self.cursor] + self.text[self.cursor + 1 :]

    def _erase_under_or_end(self) -> None:
        self.ended = not self.text
        self._erase_under()

    def _erase_to_begin(self) -> None:
        self._erase_from(0)

    def _erase_to_end(self) -> None:
        self.text = self.text[: self.cursor]

    def _erase_word(self) -> None:
        before = self.text[: self.cursor].rstrip()
        self._erase_from(before.rfind(" ") + 1)

    def _erase_from(self, start: int) -> None:
        self.text = self.text[:start] + self.text[self.cursor :]
        self.cursor = start
