"""What is withdrawn, and what is taken up again: by `!cancel` and by `!reopen`."""

from onboard_bot.domain.approvals import ApprovalRules
from onboard_bot.onboarding.ports import RateLimitedError
from tests.flows.conftest import OpenRoom
from tests.flows.room import Person, Room

DAY = 24 * 3600.0


# Withdrawn


async def test_who_asked_may_cancel(room: Room, ada: Person, eve: Person) -> None:
    command = await room.say(eve, "!register bob")
    card = room.card_of(command)
    about = (await room.answer(eve, f"!cancel {card.id}")).about
    assert about == {"v": 1, "kind": "request", "id": card.id, "state": "cancelled", "user_id": "@bob:example.org"}
    assert card.state == "cancelled"
    assert room.answers_to(command) == [card.posted]
    await card.tap(ada)
    assert (room.last.about["error"], room.last.about["state"]) == ("already_decided", "cancelled")
    assert (room.accounts, await room.open_jobs()) == ({}, [])


async def test_an_approver_may_cancel_what_others_asked_for(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    assert (await room.answer(ada, f"!cancel {card.id.upper()}")).about["state"] == "cancelled"
    assert card.state == "cancelled"


async def test_somebody_else_who_only_asks_may_not(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    dave = room.person("@dave:example.org")
    about = (await room.answer(dave, f"!cancel {card.id}")).about
    assert (about["error"], about["id"]) == ("not_permitted", card.id)
    assert card.state == "pending"


async def test_what_is_decided_cannot_be_cancelled(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await card.tap(ada)
    about = (await room.answer(eve, f"!cancel {card.id}")).about
    assert (about["error"], about["state"]) == ("already_decided", "created")


async def test_a_cancelled_name_is_free_again(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.say(eve, f"!cancel {card.id}")
    await (await room.asks(room.person("@dave:example.org"))).tap(ada)
    assert list(room.accounts) == ["@bob:example.org"]


async def test_what_waits_for_the_homeserver_can_be_cancelled_and_holds_no_answer_up(room: Room, ada: Person) -> None:
    room.answers.clear()
    async with room.running():
        commands = [await room.types(ada, f"!register bob{number}") for number in range(3)]
        await room.until(lambda: len(room.accounts) == 2)
        (waiting,) = await room.eventually("SELECT id, username FROM requests WHERE state = 'approved'")
        cancel = await room.types(ada, f"!cancel {waiting.id}")
        await room.eventually("SELECT 1 FROM requests WHERE state = 'cancelled'")
        room.answers.set()
        await room.until(lambda: room.answers_to(cancel))
    await room.settle()
    assert f"@{waiting.username}:example.org" not in room.accounts
    assert sorted(room.answers_to(command)[0].about["state"] for command in commands) == [
        "cancelled",
        "created",
        "created",
    ]
    assert room.answers_to(cancel)[0].about["state"] == "cancelled"


# Taken back


async def test_reopened_it_is_decided_anew(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, heidi, eve = room.people(ada=100, grace=50, heidi=50, eve=0)
    command = await room.say(eve, "!register bob")
    card = room.card_of(command)
    await card.tap(ada)
    await card.tap(grace, "❌")
    about = (await room.answer(heidi, f"!reopen {card.id}")).about
    assert about == {"v": 1, "kind": "request", "id": card.id, "state": "pending", "user_id": "@bob:example.org"}
    assert (card.state, "0 of 2 approvals" in card.body) == ("pending", True)
    await card.tap(heidi)
    assert (card.state, room.accounts) == ("pending", {})  # ada's vote was about what was denied
    await card.tap(ada, "👍")
    assert card.state == "created"
    assert [said.about["kind"] for said in room.answers_to(command)] == ["request", "status", "account"]


async def test_a_sign_from_before_can_be_removed_without_any_effect(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve)
    approval = await card.tap(ada)
    await card.tap(grace, "❌")
    await room.say(grace, f"!reopen {card.id}")
    await room.say(ada, f"!approve {card.id}")
    await room.remove(ada, approval)
    assert (card.state, "1 of 2 approvals" in card.body) == ("pending", True)


async def test_reopened_it_has_all_its_time_again(room: Room, ada: Person, eve: Person) -> None:
    command = await room.say(eve, "!register bob")
    card = room.card_of(command)
    await room.wait(6 * DAY)
    await card.tap(ada, "❌")
    await room.wait(DAY)
    await room.say(ada, f"!reopen {card.id}")
    await room.wait(6 * DAY)
    assert card.state == "pending"
    await room.wait(DAY)
    assert card.state == "expired"
    assert [said.about.get("state") for said in room.answers_to(command)] == ["pending", "denied", "expired"]
    reminders = [said for said in room.posted if said.answers == card.posted.event_id]
    assert [said.about["state"] for said in reminders] == ["pending", "pending"]


async def test_only_a_denial_can_be_taken_back(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    assert (await room.answer(ada, f"!reopen {card.id}")).about["state"] == "pending"
    await card.tap(ada)
    about = (await room.answer(ada, f"!reopen {card.id}")).about
    assert (about["error"], about["state"]) == ("already_decided", "created")
    assert (await room.answer(ada, "!reopen 2k4fa")).about["error"] == "not_found"


async def test_who_asked_cannot_take_the_denial_back(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(always=True))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    for asker in (ada, eve):
        card = await room.asks(asker, f"!register {asker.user_id[1:4]}s-friend")
        await card.tap(grace, "❌")
        assert (await room.answer(asker, f"!reopen {card.id}")).about["error"] == "not_permitted"
        assert card.state == "denied"


async def test_after_the_retention_time_nobody_can(open_room: OpenRoom) -> None:
    room = await open_room(kept_for=30 * DAY)
    ada, eve = room.people(ada=100, eve=0)
    card = await room.asks(eve)
    await card.tap(ada, "❌")
    await room.wait(30 * DAY + 1)
    assert (await room.answer(ada, f"!reopen {card.id}")).about["error"] == "not_found"
    assert card.state == "denied"


async def test_a_name_that_somebody_else_asked_for_since_is_theirs(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await card.tap(ada, "❌")
    later = await room.asks(room.person("@dave:example.org"))
    about = (await room.answer(ada, f"!reopen {card.id}")).about
    assert (about["error"], about["id"]) == ("duplicate_request", later.id)


async def test_an_outcome_that_was_taken_back_before_it_could_be_told_is_not_told(
    room: Room, ada: Person, eve: Person
) -> None:
    command = await room.say(eve, "!register bob")
    card = room.card_of(command)
    room.chat.fail_next("send", RateLimitedError("send", 30.0), times=3)
    await card.tap(ada, "❌")
    await room.say(ada, f"!reopen {card.id}")
    await room.wait(120)
    assert card.state == "pending"
    assert room.answers_to(command) == [card.posted]
    assert [said.about.get("state") for said in room.posted] == ["pending", "pending"]  # the card, and the answer
