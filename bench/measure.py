"""Owns how the figures come about: the room with both answerers in it, and what is typed there in which order."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.bot import BotProcess
from bench.client import Client, signed_in
from bench.figures import Footprint, Latencies
from bench.floor import PREFIX, Floor
from bench.old_state import age
from onboard_bot.demo.synapse import SynapseSettings, running_synapse
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend

_WARM_UP = 5
_BREATH = 0.15  # between two measurements: what the last one left to do must not fall into the next
_TYPED_AT_ONCE = 4
_AGES = (100, 100_000)


@dataclass(frozen=True, slots=True)
class Stage:
    """A homeserver, the bot, and an admin in the encrypted room where the floor's client answers as well."""

    rounds: int
    server_name: str
    bot: BotProcess
    admin: Client
    responder: Client
    room_id: str
    idle_mib: float


@asynccontextmanager
async def stage(folder: Path, rounds: int) -> AsyncIterator[Stage]:
    """Everything started and warm; stopped afterwards."""
    settings = SynapseSettings(bcrypt_rounds=rounds, rate_limits=False)
    async with running_synapse(folder / "synapse", settings) as synapse, aiohttp.ClientSession() as http:
        secret_file = SecretFile(synapse.secret_file)
        backend = SharedSecretBackend(http, synapse.url, secret_file)
        async with (
            signed_in(backend, synapse.url, "admin", folder) as admin,
            signed_in(backend, synapse.url, "floor", folder) as responder,
        ):
            bot = BotProcess(folder, synapse.url, synapse.secret_file, admin.user_id)
            try:
                await bot.start()
                room_id = await admin.first_room()
                await asyncio.sleep(2)
                idle_mib = bot.resident_mib()
                await admin.invite(room_id, responder.user_id)
                await responder.first_room()
                Floor(responder, http, synapse.url, secret_file.read())
                ready = Stage(rounds, synapse.server_name, bot, admin, responder, room_id, idle_mib)
                await _by_turns(ready, "warm", _WARM_UP)
                yield ready
            finally:
                await bot.stop()


async def latencies(on: Stage, samples: int) -> Latencies:
    """Bot, floor, bot, floor …, in the same room, one command at a time."""
    return await _by_turns(on, "bench", samples)


async def footprint(on: Stage, accounts: int, starts: int) -> Footprint:
    """Memory before and after many accounts that were typed a few at a time, then starts on that state."""
    began = time.perf_counter()
    names = iter([f"many{number}" for number in range(accounts)])

    async def type_on() -> None:
        for name in names:
            await on.admin.heard_about(await on.admin.say(on.room_id, f"!register {name}"))

    async with asyncio.TaskGroup() as typing:
        for _ in range(_TYPED_AT_ONCE):
            typing.create_task(type_on())
    for number in range(accounts):
        await on.admin.heard_about(f"@many{number}:{on.server_name}")
    took = time.perf_counter() - began
    await asyncio.sleep(1)
    after = on.bot.resident_mib()
    warm_starts = []
    for _ in range(starts):
        await on.bot.stop()
        warm_starts.append(await on.bot.start())
    return Footprint(on.idle_mib, accounts, after, took, warm_starts, await starts_by_age(on, _AGES, starts))


async def starts_by_age(on: Stage, requests: Sequence[int], times: int) -> dict[int, list[float]]:
    """Starts with so many finished requests in the database, by turns; seconds from the process to its readiness."""
    await on.bot.stop()
    database = on.bot.state / "onboard.db"
    aged = {number: shutil.copy(database, database.with_name(f"{number}.db")) for number in requests}
    for number, path in aged.items():
        age(Path(path), number)
    seconds: dict[int, list[float]] = {number: [] for number in requests}
    for _ in range(times):
        for number, path in aged.items():
            shutil.copy(path, database)
            seconds[number].append(await on.bot.start())
            await on.bot.stop()
    return seconds


async def _by_turns(on: Stage, name: str, samples: int) -> Latencies:
    bot, floor = [], []
    for number in range(samples):
        username = f"{name}{number}"
        bot.append(await _seconds_to_answer(on, f"!register {username}"))
        await on.admin.heard_about(f"@{username}:{on.server_name}")  # the direct message with the password
        await asyncio.sleep(_BREATH)
        floor.append(await _seconds_to_answer(on, f"{PREFIX}register {username}-floor", by_floor=True))
        await asyncio.sleep(_BREATH)
    return Latencies(on.rounds, bot, floor)


async def _seconds_to_answer(on: Stage, command: str, *, by_floor: bool = False) -> float:
    began = time.perf_counter()
    event_id = await on.admin.say(on.room_id, command)
    heard = await on.admin.heard_about(event_id)
    assert (heard.sender == on.responder.user_id) is by_floor, f"{heard.sender} answered {command}"
    return heard.at - began
