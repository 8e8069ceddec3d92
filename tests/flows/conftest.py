"""The room of every flow: its own database, its own homeserver, and what must hold at the end whatever happened."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from onboard_bot.state_dir import StateDir
from tests.fakes.synapse_endpoint import SynapseEndpoint
from tests.flows.room import SERVER, Person, Room, Settings

OpenRoom = Callable[..., Awaitable[Room]]


@pytest_asyncio.fixture
async def open_room(tmp_path: Path, fresh_database: Path) -> AsyncIterator[OpenRoom]:
    """Opens rooms, each with its own bot and homeserver; the arguments are those of `Settings`."""
    rooms: list[Room] = []
    async with AsyncExitStack() as stack:

        async def open_one(**chosen: object) -> Room:
            folder = tmp_path / f"room{len(rooms)}"
            state = StateDir(folder / "state")
            state.prepare()
            shutil.copy(fresh_database, state.database)
            endpoint = await stack.enter_async_context(SynapseEndpoint(server_name=SERVER))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            secret_file = folder / "secret"
            secret_file.write_text(endpoint.shared_secret)
            room = Room(state, secret_file, endpoint, http, Settings(**chosen))  # type: ignore[arg-type]
            await room.open()
            rooms.append(room)
            return room

        yield open_one
        for room in rooms:
            await room.close()


@pytest_asyncio.fixture
async def room(open_room: OpenRoom) -> Room:
    """The room of an operator who changed nothing."""
    return await open_room()


@pytest.fixture
def ada(room: Room) -> Person:
    """An admin."""
    return room.person("@ada:example.org", level=100)


@pytest.fixture
def grace(room: Room) -> Person:
    """An approver."""
    return room.person("@grace:example.org", level=50)


@pytest.fixture
def eve(room: Room) -> Person:
    """Somebody who may only ask."""
    return room.person("@eve:example.org")
