"""What is voted on is what is made: another name, another round, and rules that changed after the asking."""

import json
from dataclasses import replace
from typing import Any

import pytest

from onboard_bot.config.model import Accounts
from onboard_bot.domain.approvals import ApprovalRules
from onboard_bot.onboarding.ports import RateLimitedError
from tests.flows.conftest import OpenRoom
from tests.flows.room import Card, Person, Room


@pytest.fixture
async def room(open_room: OpenRoom) -> Room:
    """A room in which two have to agree, for or against."""
    return await open_room(approval=ApprovalRules(required=2, deny=2))


@pytest.fixture
def heidi(room: Room) -> Person:
    """A third approver."""
    return room.person("@heidi:example.org", level=50)


@pytest.fixture
async def card(room: Room, eve: Person) -> Card:
    """A request for bob."""
    return await room.asks(eve)


def hold_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server lets the bot edit nothing for a minute."""
    send = room.chat.send

    async def refuse(room_id: str, event_type: str, content: Any, *more: Any, **named: Any) -> str:
        if "m.new_content" in content:
            raise RateLimitedError("PUT send", 60.0)
        return await send(room_id, event_type, content, *more, **named)

    monkeypatch.setattr(room.chat, "send", refuse)


# Who approves has seen the name


async def test_a_tap_before_the_card_shows_the_new_name_is_no_approval_of_it(
    room: Room, ada: Person, grace: Person, heidi: Person, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as limited:
        hold_back(room, limited)
        await room.say(grace, f"!approve {card.id} --username=principal")
        for key in ("✅", "👍"):
            await card.tap(ada, key)
        assert card.shown.about["user_id"] == "@bob:example.org"
    await room.wait(120)
    assert (card.state, room.accounts) == ("pending", {})
    assert (card.shown.about["user_id"], "1 of 2 approvals" in card.body) == ("@principal:example.org", True)
    (told,) = [said for said in room.posted if said.about["kind"] == "error"]
    assert (told.about["error"], told.mentions, told.answers) == (
        "not_permitted",
        [ada.user_id],
        card.posted.event_id,
    )
    assert "has just been changed to principal" in told.body
    await card.tap(heidi)
    assert list(room.accounts) == ["@principal:example.org"]


async def test_nor_is_what_is_typed_before_that(
    room: Room, ada: Person, grace: Person, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as limited:
        hold_back(room, limited)
        await room.say(grace, f"!approve {card.id} --username=principal")
        refused = await room.answer(ada, f"!approve {card.id}")
    await room.wait(120)
    assert (refused.about["error"], refused.about["id"]) == ("not_permitted", card.id)
    assert "has just been changed to principal" in refused.body
    assert room.accounts == {}
    await room.say(ada, f"!approve {card.id}")
    assert list(room.accounts) == ["@principal:example.org"]


async def test_a_denial_counts_whichever_name_its_voter_saw(
    room: Room, ada: Person, grace: Person, heidi: Person, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as limited:
        hold_back(room, limited)
        await room.say(grace, f"!approve {card.id} --username=principal")
        await card.tap(ada, "❌")
        await room.say(heidi, f"!deny {card.id}")
        assert await room.states() == ["denied"]
    await room.wait(120)
    assert card.state == "denied"


# What was said to the old name


async def test_denials_survive_another_name(room: Room, ada: Person, grace: Person, heidi: Person, card: Card) -> None:
    await card.tap(ada, "❌")
    for name in ("bob2", "bob"):
        await room.say(grace, f"!approve {card.id} --username={name}")
        assert "1 of 2 approvals, 1 of 2 denials" in card.body
    await card.tap(heidi, "❌")
    assert (card.state, room.accounts) == ("denied", {})


async def test_of_each_person_the_last_word_survives_if_it_is_a_denial(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=3, deny=3))
    ada, grace, heidi, eve = room.people(ada=100, grace=50, heidi=50, eve=0)
    card = await room.asks(eve)
    await card.tap(ada, "❌")
    await card.tap(ada, "✅")
    await card.tap(heidi, "✅")
    removed = await card.tap(heidi, "❌")
    await room.say(grace, f"!approve {card.id} --username=bob2")
    assert "1 of 3 approvals, 1 of 3 denials" in card.body
    assert (ada.user_id in card.body, heidi.user_id in card.body) == (False, True)
    await room.remove(heidi, removed)
    assert "1 of 3 approvals, 0 of 3 denials" in card.body


async def test_who_approved_the_old_name_hears_that_it_is_another_one(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=3))
    ada, grace, heidi, eve = room.people(ada=100, grace=50, heidi=50, eve=0)
    card = await room.asks(eve)
    await card.tap(heidi)
    await room.say(ada, f"!approve {card.id}")
    answer = await room.answer(grace, f"!approve {card.id} --username=bob2")
    assert answer.mentions == [ada.user_id, heidi.user_id]
    for word in (ada.user_id, heidi.user_id, "does not count"):
        assert word in answer.body
    again = await room.answer(grace, f"!approve {card.id} --username=bob2")
    assert (again.mentions, "does not count" in again.body) == ([], False)
    assert "1 of 3 approvals" in card.body


async def test_the_record_tells_who_renamed_it_and_where(room: Room, grace: Person, card: Card) -> None:
    typed = await room.say(grace, f"!approve {card.id} --username=bob2")
    (row,) = await room.rows("SELECT personal FROM audit WHERE verb = 'request:renamed'")
    by = {"by": grace.user_id, "event_id": typed}
    assert json.loads(row.personal) == by | {"username": "bob2", "instead_of": "bob"}


# Another round


async def test_after_a_reopening_the_signs_are_offered_that_a_quick_denial_had_withdrawn(
    room: Room, ada: Person, grace: Person, heidi: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = room.chat.send

    async def without_signs(room_id: str, event_type: str, *more: Any, **named: Any) -> str:
        if event_type == "m.reaction":
            raise RateLimitedError("PUT send", 60.0)
        return await send(room_id, event_type, *more, **named)

    with monkeypatch.context() as limited:
        limited.setattr(room.chat, "send", without_signs)
        card = await room.asks(room.person("@dave:example.org"), "!register carol")
        await room.say(ada, f"!deny {card.id}")
        await room.say(grace, f"!deny {card.id}")
    await room.wait(300)
    before = len(room.signs)
    assert before < 2
    await room.say(heidi, f"!reopen {card.id}")
    await room.wait(300)
    assert {"✅", "❌"} <= set(room.signs[before:])


# Rules that changed since


async def admin_request(open_room: OpenRoom) -> tuple[Room, Card]:
    """A request for an admin account with one of two approvals, on a server where they are switched off since."""
    room = await open_room(allow_admin=True)
    ada, _, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve, "!register bob --admin")
    await room.say(ada, f"!approve {card.id}")
    room.settings = replace(room.settings, allow_admin=False)
    await room.restart()
    return room, card


async def test_where_admin_accounts_are_switched_off_since_none_is_approved(open_room: OpenRoom) -> None:
    room, card = await admin_request(open_room)
    refused = await room.answer(Person("@grace:example.org"), f"!approve {card.id}")
    assert (refused.about["error"], refused.about["id"]) == ("not_permitted", card.id)
    assert "accounts.allow_admin" in refused.body
    assert (card.state, room.accounts) == ("pending", {})
    await room.say(Person("@grace:example.org"), f"!deny {card.id}")
    assert card.state == "denied"


async def test_nor_does_a_vote_that_counts_again_approve_one(open_room: OpenRoom) -> None:
    room = await open_room(allow_admin=True)
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve, "!register bob --admin")
    await room.say(ada, f"!approve {card.id}")
    await room.moves(ada, "leave")
    await room.say(grace, f"!approve {card.id}")
    room.settings = replace(room.settings, allow_admin=False)
    await room.restart()
    await room.moves(ada, "join")
    assert (card.state, room.accounts, "2 of 2 approvals" in card.body) == ("pending", {}, True)


async def test_a_name_that_is_reserved_since_has_to_be_another_one(
    room: Room, ada: Person, grace: Person, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    await card.tap(ada)
    monkeypatch.setattr("tests.flows.room.Accounts", lambda: Accounts(reserved=["bob"]))
    await room.restart()
    refused = await room.answer(grace, f"!approve {card.id}")
    assert (refused.about["error"], refused.about["id"]) == ("username_reserved", card.id)
    assert "--username=" in refused.body
    await card.tap(grace)
    assert (room.last.about["error"], room.last.mentions) == ("username_reserved", [grace.user_id])
    assert (card.state, room.accounts) == ("pending", {})
    await room.say(grace, f"!approve {card.id} --username=bobby")
    await card.tap(ada, "👍")
    assert list(room.accounts) == ["@bobby:example.org"]
