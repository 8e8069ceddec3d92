"""Owns the terminal's last row: what is typed there stays whole while answers come in above it.

One row, drawn anew whenever something changes; a line that is longer shows the part around the cursor. At a terminal
that cannot move its cursor back (TERM=dumb) the kernel edits the line instead, and nothing is redrawn.
"""

import asyncio
import codecs
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len

from onboard_bot.demo.line import Line

_CLEAR_ROW = "\r\x1b[K"
_READ_BYTES = 4096


class Prompt:
    """The row; reads standard input, which must be a terminal.

    Args:
        label: Stands before what is typed.
        fit: Makes text that this terminal can show.
        redraws: Whether the terminal can move its cursor back.
    """

    def __init__(self, label: str, fit: Callable[[str], str], *, redraws: bool) -> None:
        self._label = label
        self._fit = fit
        self._redraws = redraws
        self._line = Line()
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._finished: asyncio.Queue[str | None] = asyncio.Queue()
        self._shown = False

    async def lines(self) -> AsyncGenerator[str]:
        """What is typed, line by line, until Ctrl-D or until the terminal is gone."""
        loop = asyncio.get_running_loop()
        with self._keys_as_they_come():
            loop.add_reader(sys.stdin.fileno(), self._read)
            loop.add_signal_handler(signal.SIGWINCH, self.draw)
            try:
                self._shown = True
                self.draw()
                while (text := await self._finished.get()) is not None:
                    yield text
            finally:
                loop.remove_signal_handler(signal.SIGWINCH)
                loop.remove_reader(sys.stdin.fileno())
                self.hide()
                self._shown = False

    def hide(self) -> None:
        """Clears the row for something else to be printed."""
        if self._shown and self._redraws:
            _write(_CLEAR_ROW)

    def draw(self) -> None:
        """Shows the row as it is now."""
        if not (self._shown and self._redraws):
            return
        room = max(_columns() - cell_len(self._label) - 1, 1)
        before, after = self._fit(self._line.text[: self._line.cursor]), self._fit(self._line.text[self._line.cursor :])
        while cell_len(before) > room:
            before = before[1:]
        while cell_len(before + after) > room:
            after = after[:-1]
        back = f"\x1b[{cell_len(after)}D" if after else ""
        _write(f"{_CLEAR_ROW}{self._label}{before}{after}{back}")

    def _read(self) -> None:
        try:
            typed = os.read(sys.stdin.fileno(), _READ_BYTES)
        except OSError:  # the terminal was closed
            typed = b""
        for text in self._line.type(self._decoder.decode(typed)):
            self._finished.put_nowait(text)
        if not typed or self._line.ended:
            self._finished.put_nowait(None)
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        else:
            self.draw()

    @contextmanager
    def _keys_as_they_come(self) -> Iterator[None]:
        if not self._redraws:
            yield
            return
        loop = asyncio.get_running_loop()
        terminal = sys.stdin.fileno()
        before: list[Any] = termios.tcgetattr(terminal)

        def take() -> None:
            tty.setcbreak(terminal, termios.TCSANOW)  # keeps what was typed ahead; Ctrl-C stays a signal
            self.draw()

        loop.add_signal_handler(signal.SIGCONT, take)  # after Ctrl-Z and fg
        take()
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGCONT)
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
