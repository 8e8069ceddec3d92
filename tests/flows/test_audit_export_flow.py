"""What `onboard-bot audit` shows of a room at work: every step, whole at any time, and no secret."""

import json
from typing import Any

from onboard_bot.safekeeping.audit_log import export, verify
from tests.flows.room import Person, Room


async def exported(room: Room) -> list[dict[str, Any]]:
    lines: list[bytes] = []
    await export(room.state, room.clock, lines.append)
    return [json.loads(line) for line in lines]


async def test_the_log_can_be_read_while_the_bot_works_and_is_whole_at_any_time(room: Room, ada: Person) -> None:
    event_ids = [await room.say(ada, f"!register {name}") for name in ("bob", "carol")]
    assert (await verify(room.state, room.clock)).startswith("The audit log is whole: ")
    before = await exported(room)
    asked = [entry for entry in before if entry["verb"] == "request:made"]
    assert [entry["personal"]["event_id"] for entry in asked] == event_ids
    await room.say(ada, "!register dora")
    after = await exported(room)
    assert after[: len(before)] == before
    assert [entry["personal"]["username"] for entry in after if entry["verb"] == "request:made"] == [
        "bob",
        "carol",
        "dora",
    ]


async def test_no_secret_leaves_with_an_export(room: Room, ada: Person) -> None:
    for name in ("bob", "carol", "bob"):
        await room.say(ada, f"!register {name} --note=welcome")
    await room.wait(25 * 3600)
    text = json.dumps(await exported(room))
    assert "credentials:erased" in text
    assert room.passwords
    assert not any(password in text for password in room.passwords)
    assert room.endpoint.shared_secret not in text


async def test_what_was_cut_off_is_missed_by_the_bot_that_goes_on(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob")
    await room.tamper("CREATE TABLE kept AS SELECT * FROM audit")
    (last,) = (await room.rows("SELECT max(seq) FROM audit"))[0]
    await room.tamper(f"DELETE FROM audit WHERE seq = {last}")  # noqa: S608 - a number of ours
    await room.say(ada, "!register carol")
    async with room.life.store.reading() as tx:
        assert await tx.audit.verify() == last
    await room.tamper(f"INSERT INTO audit SELECT * FROM kept WHERE seq = {last}")  # noqa: S608 - the same
    assert (await verify(room.state, room.clock)).startswith("The audit log is whole: ")
