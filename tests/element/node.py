"""Owns the Node.js process that runs `element.mjs`: orders go in, what its clients answer and show comes out."""

import asyncio
import itertools
import json
import os
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.element.events import Json

FOLDER = Path(__file__).parent
# One line is one event, of 64 KiB at most on the wire and larger as JSON of JSON.
_LONGEST_LINE = 1 << 22


class ElementError(Exception):
    """What a client threw, with the end of what it logged."""


class Node:
    """One Node.js process; see `running_node`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ids = itertools.count()
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._shown_to: dict[str, Callable[[Json], Awaitable[None]]] = {}
        self._logged: deque[str] = deque(maxlen=25)

    def show(self, client: str, to: Callable[[Json], Awaitable[None]] | None) -> None:
        """Who gets what a client shows, from now on."""
        if to is None:
            self._shown_to.pop(client, None)
        else:
            self._shown_to[client] = to

    def new_name(self, person: str) -> str:
        """The name of one more client."""
        return f"{person}/{next(self._ids)}"

    async def do(self, client: str, verb: str, *, within: float = 60.0, **order: Any) -> Any:
        """What a client answers to an order.

        Raises:
            ElementError: It threw, or the process has ended.
        """
        order_id = next(self._ids)
        answer = self._open[order_id] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        line = json.dumps({"id": order_id, "client": client, "verb": verb, **order})
        try:
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()
            return await asyncio.wait_for(answer, within)
        except (TimeoutError, OSError) as error:
            raise ElementError(f"{verb} had no answer within {within} s; the log:\n{self.log()}") from error
        finally:
            self._open.pop(order_id, None)

    def log(self) -> str:
        """The end of what the clients logged."""
        return "\n".join(f"  {line}" for line in self._logged)

    async def listen(self) -> None:
        """Reads what the process says, until it ends."""
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            line = json.loads(raw)
            if "id" not in line:
                if line["client"] in self._shown_to:
                    await self._shown_to[line["client"]](line)
                continue
            answer = self._open.get(line["id"])
            if answer is None or answer.done():
                continue
            if "error" in line:
                answer.set_exception(ElementError(f"{line['error']}\nthe log:\n{self.log()}"))
            else:
                answer.set_result(line["value"])
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(ElementError(f"Node.js has ended; its log:\n{self.log()}"))

    async def keep_log(self) -> None:
        """Reads what the process logs, until it ends."""
        assert self._process.stderr is not None
        async for raw in self._process.stderr:
            line = raw.decode(errors="replace").strip()
            if not line.startswith(("at ", "in ")):  # lines of a stack
                self._logged.append(line[:400])


def node_binary() -> Path | None:
    """The Node.js that npm brought for this machine; None where `make` could not install it."""
    folders = (FOLDER / "node_modules" / f"node-linux-{machine}" for machine in ("x64", "arm64"))
    return next((folder / "bin" / "node" for folder in folders if (folder / "bin" / "node").exists()), None)


@asynccontextmanager
async def running_node(binary: Path) -> AsyncIterator[Node]:
    """A process for as many Elements as a test wants, gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(str(binary), str(FOLDER / "element.mjs")),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        limit=_LONGEST_LINE,
        env={"PATH": os.environ.get("PATH", "")},
    )
    node = Node(process)
    listening = [asyncio.create_task(node.listen()), asyncio.create_task(node.keep_log())]
    try:
        yield node
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await asyncio.gather(*listening)
