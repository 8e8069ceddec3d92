"""Which request a typed vote is about: its id, the card that it answers, or the thread that it stands in."""

from typing import Any

import pytest

from tests.flows.conftest import OpenRoom
from tests.flows.room import Person, Room

LOOKALIKES = str.maketrans("akxrmhwf", "\u0430\u043a\u0445\u0433\u043c\u04bb\u051d\u0192")
"""Letters of ids, and letters of other alphabets that look like them."""
AROUND = ["{}:", "{};", "{}.", "`{}`", "`{}`:"]
"""What people put around an id, or behind it; in double quotes it is a remark."""


def reply(event_id: str) -> dict[str, Any]:
    """A message that answers another one."""
    return {"m.relates_to": {"m.in_reply_to": {"event_id": event_id}}}


def in_thread(root: str, answering: str | None = None) -> dict[str, Any]:
    """A message in a thread; `answering` is another one that it deliberately answers there."""
    relation = {"rel_type": "m.thread", "event_id": root, "is_falling_back": answering is None}
    return {"m.relates_to": relation | {"m.in_reply_to": {"event_id": answering or root}}}


# Below a card


async def test_a_reply_to_a_card_means_that_one_whatever_was_asked_for_in_its_thread(
    room: Room, ada: Person, eve: Person
) -> None:
    bob = await room.asks(room.person("@carol:example.org"))
    mallory = await room.asks(eve, "!register mallory", **in_thread(bob.posted.event_id))
    await room.say(ada, "!approve", **reply(bob.posted.event_id))
    assert (bob.state, mallory.state) == ("created", "pending")


async def test_so_does_a_reply_to_the_line_that_asked_for_it(room: Room, ada: Person, eve: Person) -> None:
    root = await room.types(eve, "Hello")
    bob = await room.asks(eve, "!register bob", **in_thread(root))
    carol = await room.asks(eve, "!register carol", **in_thread(root))
    await room.say(ada, "!deny", **in_thread(root, answering=str(carol.posted.answers)))
    assert (bob.state, carol.state) == ("pending", "denied")


async def test_in_a_thread_what_is_decided_makes_nothing_ambiguous(room: Room, ada: Person, eve: Person) -> None:
    root = await room.types(eve, "Hello")
    bob = await room.asks(eve, "!register bob", **in_thread(root))
    carol = await room.asks(eve, "!register carol", **in_thread(root))
    await room.say(ada, f"!deny {bob.id}")
    await room.say(ada, "!approve", **in_thread(root))
    assert (bob.state, carol.state) == ("denied", "created")


async def test_in_the_thread_of_a_card_what_was_asked_for_there_does(room: Room, ada: Person, eve: Person) -> None:
    bob = await room.asks(eve)
    mallory = await room.asks(eve, "!register mallory", **in_thread(bob.posted.event_id))
    await room.say(ada, "!approve", **in_thread(bob.posted.event_id))
    assert room.last.about["error"] == "bad_argument"
    for asked in (bob, mallory):
        assert (asked.state, asked.id in room.last.body) == ("pending", True)


# For server-admin rights


@pytest.mark.parametrize("line", ["!approve", "!approve welcome", "!deny", "!deny not them"])
async def test_on_an_admin_account_a_vote_needs_its_id(open_room: OpenRoom, line: str) -> None:
    room = await open_room(allow_admin=True)
    ada, eve = room.people(ada=100, eve=0)
    card = await room.asks(eve, "!register bob --admin")
    for where in (reply(card.posted.event_id), in_thread(card.posted.event_id)):
        refused = await room.answer(ada, line, **where)
        assert refused.about["error"] == "bad_argument"
        assert f"Request {card.id} is for server-admin rights" in refused.body
    assert (card.state, card.edits, await room.rows("SELECT 1 FROM votes")) == ("pending", [], [])
    verb, *_ = line.split()
    await room.say(ada, f"{verb} {card.id}", **reply(card.posted.event_id))
    assert len(await room.rows("SELECT 1 FROM votes")) == 1


# Almost an id


@pytest.mark.parametrize("verb", ["approve", "deny"])
async def test_a_mistyped_id_below_a_card_is_not_found_and_no_note_on_that_card(
    room: Room, ada: Person, eve: Person, verb: str
) -> None:
    bob = await room.asks(eve)
    almost = ["2k4f", "2k4fa2", "12345", "2k4f\u0430", "\uff12k4fa", "2k4fo", "`2k4f`", "2k4f:"]
    for typed in (*almost, "2k4fa".translate(LOOKALIKES)):
        refused = await room.answer(ada, f"!{verb} {typed} thanks", **reply(bob.posted.event_id))
        assert (refused.about["error"], refused.about.get("id")) == ("not_found", None)
        assert "Nothing was done" in refused.body
    assert (bob.state, bob.edits) == ("pending", [])


async def test_neither_does_one_of_several_that_is_mistyped_let_the_others_be_decided(
    room: Room, ada: Person, eve: Person
) -> None:
    bob, carol = await room.asks(eve), await room.asks(eve, "!register carol")
    refused = await room.answer(ada, f"!deny {bob.id} {carol.id.translate(LOOKALIKES)}2")
    assert refused.about["error"] == "not_found"
    assert (bob.state, carol.state) == ("pending", "pending")


@pytest.mark.parametrize("word", ["2024", "fine", "thanks", "3rd", "10am", "room12", "1234567", "10:30", "2k4fa77"])
async def test_a_note_may_begin_with_a_number_or_a_word(room: Room, ada: Person, eve: Person, word: str) -> None:
    card = await room.asks(eve)
    await room.say(ada, f"!approve {word} it is", **reply(card.posted.event_id))
    assert (card.state, f"“{word} it is”" in card.body) == ("created", True)


@pytest.mark.parametrize("typed", AROUND)
async def test_an_id_is_read_with_what_people_put_around_it(room: Room, ada: Person, eve: Person, typed: str) -> None:
    card = await room.asks(eve)
    await room.say(ada, f"!deny {typed.format(card.id.upper())} no thanks")
    assert (card.state, "“no thanks”" in card.body) == ("denied", True)
    assert (await room.answer(ada, f"!reopen {typed.format(card.id)}")).about["state"] == "pending"
