"""Cards that the bot does not know yet, that fell behind, or that are gone: what is tapped and asked there counts."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from onboard_bot.domain.approvals import ApprovalRules
from onboard_bot.jobs.outgoing import Restoration
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, UnreachableError
from tests.fakes.chat import Said
from tests.flows.conftest import OpenRoom
from tests.flows.room import Card, Person, Room

DAY = 24 * 3600.0
LOST = UnreachableError("the answer was lost")
LIMITED = RateLimitedError("PUT send", 5.0)


def mute(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room lets nobody say anything."""

    async def refuse(*_: Any, **__: Any) -> str:
        raise RefusedError(403, {"errcode": "M_FORBIDDEN", "error": "muted"})

    monkeypatch.setattr(room.chat, "send", refuse)


async def unheard(room: Room, who: Person) -> Card:
    """A card that stands in the room, and whose sender has not heard of it."""
    room.chat.fail_next("send", LOST, after=True)
    command = await room.say(who, "!register bob")
    (posted,) = room.answers_to(command)
    assert await room.rows("SELECT 1 FROM requests WHERE card_event IS NULL")
    return Card(room, posted)


async def merged(room: Room, *askers: Person) -> list[str]:
    """Requests that came into one list; their ids."""
    room.chat.fail_next("send", LIMITED)
    for number, who in enumerate(askers):
        await room.types(who, f"!register bob{number}")
    await room.wait(6)
    return [item["id"] for item in room.last.about["items"]]


def asking(room: Room) -> list[Said]:
    """The cards in the room: they mention who may decide."""
    return [said for said in room.posted if said.about["kind"] == "request" and said.mentions]


# Not heard of yet


async def test_a_tap_under_a_card_whose_sending_was_not_heard_of_counts(room: Room, ada: Person, eve: Person) -> None:
    card = await unheard(room, eve)
    await card.tap(ada)
    assert await room.states() == ["pending"]
    await room.wait(60)
    assert (card.state, list(room.accounts)) == ("created", ["@bob:example.org"])
    assert room.card_of(str(card.posted.answers)).posted == card.posted


async def test_so_does_one_of_the_time_in_which_the_bot_was_dead(room: Room, ada: Person, eve: Person) -> None:
    fate = room.life.fate
    command = await room.types(eve, "!register bob")

    async def die(name: str) -> None:
        await fate.step(name)
        if name == "after send":
            fate.died.set()
            await asyncio.Event().wait()

    room.chat.step = die
    await room.settle()
    await room.restart()
    (posted,) = room.answers_to(command)
    await room.react(ada, posted.event_id, "✅")
    await room.wait(60)
    assert list(room.accounts) == ["@bob:example.org"]


async def test_a_tap_that_is_removed_before_the_card_is_known_counts_for_nothing(
    room: Room, ada: Person, eve: Person
) -> None:
    card = await unheard(room, eve)
    await room.remove(ada, await card.tap(ada))
    await room.wait(60)
    assert (card.state, "0 of 1 approval" in card.body) == ("pending", True)
    assert await room.rows("SELECT 1 FROM votes") == []
    await card.tap(ada)
    assert card.state == "created"


async def test_of_the_taps_that_wait_for_the_card_each_is_weighed_as_if_it_came_then(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2, deny=2))
    ada, grace, dave, eve = room.people(ada=100, grace=50, dave=0, eve=0)
    card = await unheard(room, eve)
    for who, key in ((ada, "❌"), (dave, "✅"), (grace, "✅"), (ada, "👍"), (eve, "✅")):
        await card.tap(who, key)
    await room.restart()
    await room.wait(60)
    assert card.state == "created"
    cast = await room.rows("SELECT voter, choice FROM votes ORDER BY seq")
    assert cast == [(ada.user_id, "deny"), (grace.user_id, "approve"), (ada.user_id, "approve")]


async def test_what_is_put_under_other_messages_meanwhile_is_still_nothing(
    room: Room, ada: Person, eve: Person
) -> None:
    other = await room.types(eve, "please be quick")
    card = await unheard(room, eve)
    await room.react(ada, other, "✅")
    await room.react(ada, str(card.posted.answers), "✅")
    await room.wait(60)
    assert (card.state, card.edits) == ("pending", [])
    await room.moves(room.person("@grace:example.org"), "leave")
    assert await room.rows("SELECT 1 FROM inbox WHERE content LIKE '%annotation%' OR reacts_to IS NOT NULL") == []


# Behind


async def test_a_card_that_could_not_be_edited_catches_up_when_the_bot_may_speak_again(
    room: Room, ada: Person, eve: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = await room.asks(eve)
    with monkeypatch.context() as muted:
        mute(room, muted)
        await card.tap(ada, "❌")
        await room.wait(60)
    assert (await room.states(), card.state) == (["denied"], "pending")
    await room.has_level(room.person("@somebody:example.org"), 1)
    assert card.state == "denied"
    edits = card.edits
    await room.has_level(room.person("@somebody:example.org"), 2)
    assert card.edits == edits


async def test_after_a_restore_the_card_shows_what_holds_now_although_it_was_edited_in_the_life_before(
    open_room: OpenRoom,
) -> None:
    room = await open_room(approval=ApprovalRules(required=3))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve)
    saved, saved_at = room.state.path / "saved.db", room.clock.now()
    with closing(sqlite3.connect(room.state.database)) as live, closing(sqlite3.connect(saved)) as target:
        live.backup(target)
    await card.tap(ada)
    assert "1 of 3 approvals" in card.body
    room.clock.advance(100)
    await room.life.store.close()
    for file in room.state.path.glob("onboard.db*"):
        file.unlink()
    await asyncio.to_thread(saved.rename, room.state.database)
    room.restoration = Restoration(saved_at, room.clock.now())
    room.chat.forget_transaction_ids()
    await room.restart()
    await room.say(grace, f"!deny {card.id} no")
    await room.wait(60)
    assert (await room.states(), card.state) == (["denied"], "denied")


# Merged into a list


async def test_what_was_merged_denied_and_reopened_gets_a_card_of_its_own(
    room: Room, ada: Person, grace: Person
) -> None:
    eve = room.person("@eve:example.org")
    first, _ = await merged(room, eve, eve)
    await room.say(ada, f"!deny {first}")
    await room.say(ada, f"!reopen {first}")
    (posted,) = asking(room)
    card = Card(room, posted)
    assert (card.id, posted.mentions, card.state) == (first, [ada.user_id, grace.user_id], "pending")
    (asked,) = await room.rows("SELECT origin_event FROM requests WHERE card_event IS NOT NULL")
    assert posted.answers == asked.origin_event
    assert room.signs == ["✅", "❌"]
    await card.tap(grace)
    assert card.state == "created"


async def test_what_failed_at_once_and_is_voted_on_under_another_name_gets_a_card(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, heidi = room.people(ada=100, grace=50, heidi=50)
    await room.say(heidi, "!register bob")
    command = await room.say(ada, "!register bob")
    failed_id = room.last.about["id"]
    assert (await room.answer(grace, f"!approve {failed_id} --username=bob2")).about["state"] == "pending"
    (posted,) = asking(room)
    assert (posted.answers, posted.about["id"], posted.mentions) == (command, failed_id, [grace.user_id, heidi.user_id])
    card = Card(room, posted)
    assert "1 of 2 approvals" in card.body
    await card.tap(heidi)
    assert (card.state, "@bob2:example.org" in room.accounts) == ("created", True)


async def test_cards_that_are_asked_for_while_the_server_limits_are_cards_and_no_list(room: Room, ada: Person) -> None:
    eve, dave = room.people(eve=0, dave=0)
    ids = await merged(room, eve, dave)
    room.chat.fail_next("send", LIMITED)
    shows = [await room.types(ada, f"!show {request_id}") for request_id in ids]
    await room.wait(30)
    cards = [room.card_of(show) for show in shows]
    assert [card.id for card in cards] == ids
    for card in cards:
        await card.tap(ada)
    assert [card.state for card in cards] == ["created", "created"]


async def test_of_a_merged_request_the_reminder_says_how_to_get_the_card(room: Room, ada: Person, eve: Person) -> None:
    first, second = await merged(room, eve, eve)
    await room.say(ada, f"!deny {second}")
    await room.wait(DAY)
    assert (room.last.about["id"], room.last.mentions) == (first, [ada.user_id])
    assert "under its card" not in room.last.body
    assert f"`!show {first}` posts its card" in room.last.body


# Removed


async def test_a_card_that_was_removed_is_posted_again_by_show(room: Room, ada: Person, grace: Person) -> None:
    card = await room.asks(room.person("@eve:example.org"))
    await room.remove(ada, card.posted.event_id)
    posted = len(room.posted)
    again = room.card_of(await room.say(grace, f"!show {card.id}"))
    assert room.posted[posted:] == [again.posted]
    assert again.posted.mentions == [ada.user_id, grace.user_id]
    await card.tap(ada)
    assert again.state == "pending"
    await again.tap(ada)
    assert (again.state, card.edits) == ("created", [])


async def test_the_votes_under_a_card_that_was_removed_still_count(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    card = await room.asks(eve)
    await card.tap(ada)
    await room.remove(grace, card.posted.event_id)
    await room.say(grace, f"!approve {card.id}")
    assert await room.states() == ["created"]


async def test_after_the_decision_the_removal_of_its_card_is_nothing(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await card.tap(ada, "❌")
    said = room.said
    await room.remove(ada, card.posted.event_id)
    assert room.said == said
    assert (await room.answer(ada, f"!show {card.id}")).about["state"] == "denied"
