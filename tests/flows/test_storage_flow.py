"""The disk refuses in the middle of it: no command is lost, none is answered with an excuse, all happens once."""

import pytest

from onboard_bot.store.trouble import StoreUnavailableError
from tests.fakes.sick_disk import SickDisk
from tests.flows.room import Person, Room


async def test_a_command_that_could_not_be_carried_out_is_carried_out_once_when_there_is_room(
    room: Room, ada: Person, caplog: pytest.LogCaptureFixture
) -> None:
    trouble: list[StoreUnavailableError] = []
    room.life.store._on_trouble = trouble.append
    disk = SickDisk(room.life.store._database)
    command = await room.types(ada, "!register bob Bob")
    question = await room.types(ada, "!status")
    disk.read_only = True
    async with room.running():
        await room.until(lambda: len(trouble) >= 5)
        assert room.said == []
        assert room.accounts == {}
        disk.heal()
        await room.until(lambda: room.direct(ada) and room.answers_to(question))
    await room.settle()
    assert [said.about["kind"] for said in room.answers_to(command)] == ["account"]
    assert len(room.answers_to(question)) == 1
    assert len(room.direct(ada)) == 1
    assert list(room.accounts) == ["@bob:example.org"]
    assert "Traceback" not in caplog.text
    assert "reference" not in caplog.text


@pytest.mark.parametrize("transaction", range(12))
async def test_whichever_transaction_finds_the_disk_full_the_account_is_made_once(
    room: Room, ada: Person, transaction: int
) -> None:
    trouble: list[StoreUnavailableError] = []
    room.life.store._on_trouble = trouble.append
    disk = SickDisk(room.life.store._database)
    command = await room.types(ada, "!register bob Bob")
    seen = 0
    step = room.life.store.step

    async def sicken(name: str) -> None:
        nonlocal seen
        if name == "after commit":
            seen += 1
            disk.read_only = disk.read_only or (seen == transaction and not trouble)
        await step(name)

    room.life.store.step = sicken
    disk.read_only = transaction == 0
    async with room.running():
        await room.until(lambda: len(trouble) >= 3 or (seen < transaction and room.direct(ada)))
        disk.heal()
        await room.until(lambda: room.direct(ada) and room.answers_to(command))
    await room.settle()
    assert [said.about["kind"] for said in room.answers_to(command)] == ["account"]
    (credentials,) = room.direct(ada)
    assert room.may_sign_in("@bob:example.org", credentials.body.split("`")[1])
    assert await room.states() == ["created"]
    assert await room.open_jobs() == ["erase_credentials"]
