"""What is told to whom: of a silent denial, of what somebody else cancelled, of too few who can decide."""

import logging

import pytest

from onboard_bot.domain.approvals import ApprovalRules
from onboard_bot.onboarding import effects
from onboard_bot.store.jobs import NewJob
from tests.fakes.chat import Said
from tests.flows.conftest import OpenRoom
from tests.flows.room import ADMIN_ROOM, Card, Person, Room

DAY = 24 * 3600.0


def told(card: Card) -> list[Said]:
    """What the room answered who asked, after the card."""
    return card.room.answers_to(str(card.posted.answers))[1:]


# Silently


@pytest.fixture
async def strict(open_room: OpenRoom) -> Room:
    """A room in which it takes two to deny."""
    return await open_room(approval=ApprovalRules(required=3, deny=2))


async def test_where_one_denial_is_silent_who_asked_is_told_without_its_reason(strict: Room) -> None:
    ada, grace, eve = strict.people(ada=100, grace=50, eve=0)
    card = await strict.asks(eve)
    await strict.say(ada, f"!deny {card.id} a hidden reason --silent")
    await strict.say(grace, f"!deny {card.id} no room left")
    (outcome,) = told(card)
    assert (outcome.about["state"], outcome.mentions) == ("denied", [eve.user_id])
    assert ("a hidden reason" in outcome.body, "no room left" in outcome.body) == (False, True)


async def test_whichever_of_them_was_the_silent_one(strict: Room) -> None:
    ada, grace, eve = strict.people(ada=100, grace=50, eve=0)
    card = await strict.asks(eve)
    await card.tap(ada, "❌")
    await strict.say(grace, f"!deny {card.id} a hidden reason --silent")
    (outcome,) = told(card)
    assert "a hidden reason" not in outcome.body


async def test_where_all_denials_are_silent_nobody_is_told(strict: Room) -> None:
    ada, grace, eve = strict.people(ada=100, grace=50, eve=0)
    card = await strict.asks(eve)
    for who in (ada, grace):
        await strict.say(who, f"!deny {card.id} a hidden reason --silent")
    assert (card.state, told(card)) == ("denied", [])


async def test_a_silent_denial_that_its_voter_said_again_aloud_is_told(strict: Room) -> None:
    ada, grace, eve = strict.people(ada=100, grace=50, eve=0)
    card = await strict.asks(eve)
    for who in (ada, grace):
        await strict.say(who, f"!deny {card.id} --silent")
        if who is ada:
            await strict.say(ada, f"!deny {card.id} come back in spring")
    assert ["come back in spring" in said.body for said in told(card)] == [True]


# Cancelled


async def test_who_asked_hears_that_somebody_else_cancelled_it(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.say(ada, f"!cancel {card.id}")
    (outcome,) = told(card)
    assert outcome.about == {
        "v": 1,
        "kind": "status",
        "id": card.id,
        "state": "cancelled",
        "user_id": "@bob:example.org",
    }
    assert outcome.mentions == [eve.user_id]
    assert "was cancelled; no account is made" in outcome.body


async def test_of_their_own_cancelling_nobody_hears_but_the_answer(room: Room, ada: Person) -> None:
    eve = room.person("@eve:example.org")
    card = await room.asks(eve)
    cancel = await room.say(eve, f"!cancel {card.id}")
    assert (len(room.answers_to(cancel)), told(card)) == (1, [])
    assert all(ada.user_id not in said.mentions for said in room.posted[1:])


# Who can decide


async def test_that_too_few_can_decide_is_said_for_as_long_as_it_is_true(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=3))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve)
    await card.tap(ada)
    for words in ("cannot be approved yet", "only 2 people here may", "1 of 3 approvals"):
        assert words in card.body
    room.person("@heidi:example.org", level=50)
    await card.tap(grace)
    assert ("cannot be approved yet" in card.body, "2 of 3 approvals" in card.body) == (False, True)


async def test_who_is_one_of_too_many_to_be_mentioned_is_reminded_when_the_others_have_voted(
    open_room: OpenRoom,
) -> None:
    room = await open_room(approval=ApprovalRules(required=103))
    crowd = [room.person(f"@approver{number:03}:example.org", 50) for number in range(104)]
    card = await room.asks(room.person("@eve:example.org"))
    assert card.posted.mentions == [who.user_id for who in crowd[:100]]
    assert "cannot be approved yet" not in card.body
    await room.puts_signs([(who, "✅") for who in crowd[:102]], card.posted.event_id)
    await room.wait(DAY)
    assert room.last.about["kind"] == "status"
    assert room.last.mentions == [who.user_id for who in crowd[102:]]


async def test_who_asks_is_not_reminded_of_their_own_although_they_may_decide(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(always=True, self_approval=True, required=2))
    ada, grace = room.people(ada=100, grace=50)
    card = await room.asks(ada)
    assert "cannot be approved yet" not in card.body
    await room.wait(DAY)
    assert (room.last.about["kind"], room.last.mentions) == ("status", [grace.user_id])
    await card.tap(ada)
    await card.tap(grace)
    assert card.state == "created"


# Once, and all of it


async def test_of_very_many_steps_show_tells_the_first_and_the_last(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=3))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve)
    await room.puts_signs([(ada, "✅")] * 100, card.posted.event_id)
    await room.say(grace, f"!approve {card.id} the last step")
    shown = await room.answer(grace, f"!show {card.id}")
    assert "asked for bob" in shown.body
    assert "“the last step”" in shown.body.splitlines()[-1]
    assert "… and 52 more" in shown.body


async def test_a_card_says_nothing_that_time_makes_untrue(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    assert ada.user_id in card.posted.mentions
    assert [line for line in card.body.splitlines() if "Expires" in line] == ["• Expires: 2027-01-22 08:00 UTC"]
    await room.say(eve, f"!show {card.id}")
    assert "2027-01-22 08:00 UTC, in 7 days" in room.last.body


async def test_what_a_newer_version_left_to_do_hinders_nothing_and_is_logged_once(
    room: Room, ada: Person, caplog: pytest.LogCaptureFixture
) -> None:
    lane, turn = effects.into_room(ADMIN_ROOM), f"{ada.user_id} in {ADMIN_ROOM}"
    async with room.life.store.transaction() as tx:
        await tx.intend(NewJob("fly", key="to the moon", lane=lane, turn=turn))
    with caplog.at_level(logging.WARNING):
        await room.restart()
        for line in ("!help", "!status", "!register bob"):
            assert (await room.answer(ada, line)).about["kind"] != "error"
    assert "@bob:example.org" in room.accounts
    assert len([record for record in caplog.records if "fly" in record.getMessage()]) == 1
    assert "fly" in await room.open_jobs()
