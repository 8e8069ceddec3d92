"""A new version on the state of an older one: what was under way is carried out, as if nothing had happened."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from onboard_bot.state_dir import StateDir
from onboard_bot.store.schema import bring_up_to_date
from tests.fakes.synapse_endpoint import SynapseEndpoint
from tests.flows.room import ADMIN_ROOM, SERVER, Person, Room, Settings

RELEASED = sorted((Path(__file__).parents[1] / "schemas").glob("*.sql"))


@pytest_asyncio.fixture(params=RELEASED, ids=lambda dump: str(dump.stem))
async def room(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Room]:
    """The room that the dumped state knows, and a new version of the bot that comes back to it."""
    state = StateDir(tmp_path / "state")
    state.prepare()
    (state.path / "secrets.key").write_bytes(b"k" * 32)
    with closing(sqlite3.connect(state.database)) as connection:
        connection.executescript(request.param.read_text())
    bring_up_to_date(state.database)
    async with SynapseEndpoint(server_name=SERVER) as endpoint, aiohttp.ClientSession() as http:
        secret_file = tmp_path / "secret"
        secret_file.write_text(endpoint.shared_secret)
        # In this room people type in clear text.
        room = Room(state, secret_file, endpoint, http, Settings(only_signed=False))
        room.clock.advance(120)
        for number in range(1, 20):  # what stands in the room already
            room.chat.put(ADMIN_ROOM, "@ada:example.org", "m.room.message", {"body": f"earlier {number}"})
        room.life = room._new_life()
        yield room
        await room.close()


async def test_what_was_under_way_is_carried_out_once_and_answered(room: Room, ada: Person) -> None:
    await room.settle()
    await room.wait(60)
    rows = await room.rows("SELECT username, state FROM requests ORDER BY username, state")
    assert rows == [
        ("bob", "created"),
        ("bob", "failed"),
        ("carol", "created"),
        ("dora", "created"),
        ("erin", "created"),
        ("frank", "created"),
        ("gwen", "unknown"),
    ]
    assert set(room.accounts) == {f"@{name}:example.org" for name in ("carol", "dora", "erin")}
    told = [(said.about["kind"], said.about.get("user_id")) for said in room.said if "kind" in said.about]
    assert sorted(told) == [
        ("account", "@carol:example.org"),
        ("account", "@dora:example.org"),
        ("account", "@erin:example.org"),
        ("account", "@frank:example.org"),
        ("error", "@gwen:example.org"),
    ]
    brought = {said.about["user_id"]: said.body.split("`")[1] for said in room.direct(ada)}
    assert brought.keys() == {f"@{name}:example.org" for name in ("carol", "dora", "erin", "frank")}
    assert all(room.may_sign_in(user_id, brought[user_id]) for user_id in room.accounts)
    assert set(await room.open_jobs()) == {"erase_credentials"}


async def test_new_commands_are_obeyed_and_old_answers_stay_known(room: Room, ada: Person) -> None:
    again = await room.say(ada, "!register carol")
    assert [said.about.get("error") for said in room.answers_to(again)] == ["duplicate_request"]
    fresh = await room.say(ada, "!register hugo")
    assert [said.about["user_id"] for said in room.answers_to(fresh)] == ["@hugo:example.org"]
