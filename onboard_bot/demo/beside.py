"""Owns doing one thing while others go on beside it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


async def unless(played: Coroutine[Any, Any, T], *watches: Coroutine[Any, Any, NoReturn]) -> T:
    """What comes of `played`, unless one of the others fails first."""
    task = asyncio.create_task(played)
    tasks: list[asyncio.Task[Any]] = [task, *(asyncio.create_task(watch) for watch in watches)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for ended in done:
            ended.result()
        return task.result()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
