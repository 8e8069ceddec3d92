"""The audit log: a change or a gap shows, erasing a person does not."""

import pytest
import pytest_asyncio

from tests.flows.room import Person, Room


@pytest_asyncio.fixture
async def history(room: Room, ada: Person) -> Room:
    """A room in which two accounts were made and one was not."""
    for name in ("bob", "carol", "bob"):
        await room.say(ada, f"!register {name} --note=welcome")
    assert await first_misfit(room) is None
    return room


async def first_misfit(room: Room) -> int | None:
    async with room.life.store.reading() as tx:
        return await tx.audit.verify()


async def rows_of(room: Room) -> int:
    return int((await room.rows("SELECT count(*) FROM audit"))[0][0])


@pytest.mark.parametrize(
    "change",
    [
        "at = at + 1",
        "verb = 'account:found'",
        "request_id = 'zzzzz'",
        "facts = '{}'",
        "personal = '{}'",
        'personal = \'{"username":"mallory"}\'',
        "personal = 'no JSON'",
        "personal = NULL",
        "salt = x'00'",
        "salt = NULL",
        'salt = NULL, personal = \'{"requester":"@mallory:example.org"}\'',
        "personal_digest = hash",
        "hash = personal_digest",
    ],
)
async def test_a_changed_row_is_found(history: Room, change: str) -> None:
    await history.tamper("CREATE TABLE kept AS SELECT * FROM audit")
    for seq in (1, 4, await rows_of(history)):
        await history.tamper(f"UPDATE audit SET {change} WHERE seq = {seq}")  # noqa: S608 - all of it stands above
        assert await history.rows("SELECT * FROM audit EXCEPT SELECT * FROM kept") != []
        assert await first_misfit(history) == seq
        await history.tamper("DELETE FROM audit")
        await history.tamper("INSERT INTO audit SELECT * FROM kept")
        assert await first_misfit(history) is None


async def test_a_missing_row_is_found(history: Room) -> None:
    await history.tamper("CREATE TABLE kept AS SELECT * FROM audit WHERE seq = 3")
    await history.tamper("DELETE FROM audit WHERE seq = 3")
    assert await first_misfit(history) == 3
    await history.tamper("UPDATE audit SET seq = seq - 1 WHERE seq > 3")
    assert await first_misfit(history) == 3
    await history.tamper("UPDATE audit SET seq = -seq WHERE seq >= 3")
    await history.tamper("UPDATE audit SET seq = 1 - seq WHERE seq < 0")
    await history.tamper("INSERT INTO audit SELECT * FROM kept")
    assert await first_misfit(history) is None


async def test_a_person_can_be_erased_and_the_chain_stays_whole(history: Room) -> None:
    await history.tamper("UPDATE audit SET salt = NULL, personal = NULL WHERE seq IN (1, 2, 5)")
    assert await first_misfit(history) is None


async def test_no_secret_stands_in_the_audit_log(history: Room) -> None:
    text = "".join(str(tuple(row)) for row in await history.rows("SELECT facts, personal FROM audit"))
    assert history.passwords
    assert not any(password in text for password in history.passwords)
