"""What is a vote: every sign and every way to type one, taking it back, and coming too late."""

from typing import Any

import pytest

from onboard_bot.domain.approvals import ApprovalRules
from tests.flows.conftest import OpenRoom
from tests.flows.room import Person, Room

TONES = ["\U0001f3fb", "\U0001f3fc", "\U0001f3fd", "\U0001f3fe", "\U0001f3ff"]
FORMS = ["", *TONES, "\ufe0e", "\ufe0f", "\U0001f3fd\ufe0f"]
"""What keyboards put behind a sign: skin tones, and what asks for its plain or its coloured form."""
FOR = [sign + form for sign in "✅👍" for form in FORMS]
AGAINST = [sign + form for sign in "❌👎" for form in FORMS]
NOTHING = ["🎉", "✔️", "☑️", "✖️", "❎", "+1", "approve", "yes", "✅✅", "✅❌", "👍🎉", "x", "", " ", "✅" * 1000]


def reply(event_id: str) -> dict[str, Any]:
    """A message that answers another one."""
    return {"m.relates_to": {"m.in_reply_to": {"event_id": event_id}}}


def in_thread(root: str, answering: str | None = None) -> dict[str, Any]:
    """A message in a thread; `answering` is another one that it deliberately answers there."""
    relation = {"rel_type": "m.thread", "event_id": root, "is_falling_back": answering is None}
    return {"m.relates_to": relation | {"m.in_reply_to": {"event_id": answering or root}}}


# Signs


async def test_every_form_of_a_sign_is_a_vote(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=1000, deny=1000))
    (ada, eve) = room.people(ada=100, eve=0)
    card = await room.asks(eve)
    for key in (*FOR, *AGAINST):
        await room.puts_sign(ada, card.posted.event_id, key)
    await room.settle()
    cast = await room.rows("SELECT choice FROM votes ORDER BY seq")
    assert [row.choice for row in cast] == ["approve"] * len(FOR) + ["deny"] * len(AGAINST)
    assert "0 of 1000 approvals, 1 of 1000 denials" in card.body


async def test_whatever_else_is_put_under_a_card_is_nothing(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    for key in NOTHING:
        await room.puts_sign(ada, card.posted.event_id, key)
    await room.settle()
    assert (card.state, card.edits, room.posted) == ("pending", [], [card.posted])


@pytest.mark.parametrize(
    "relation",
    [
        {"rel_type": "m.reference", "key": "✅"},
        {"key": "✅"},
        {"rel_type": "m.annotation"},
        {"rel_type": "m.annotation", "key": ["✅"]},
        {"rel_type": ["m.annotation"], "key": "✅"},
    ],
)
async def test_what_only_looks_like_a_reaction_is_nothing(
    room: Room, ada: Person, eve: Person, relation: dict[str, Any]
) -> None:
    card = await room.asks(eve)
    await room.sends(ada, "m.reaction", {"m.relates_to": relation | {"event_id": card.posted.event_id}})
    await room.sends(ada, "m.reaction", {"m.relates_to": "✅"})
    await room.sends(ada, "m.reaction", {})
    await room.settle()
    assert (card.state, card.edits, room.posted) == ("pending", [], [card.posted])


# Typed


async def test_a_reply_to_the_card_needs_no_id(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.say(ada, "!approve welcome", **reply(card.posted.event_id))
    assert (card.state, "“welcome”" in card.body) == ("created", True)


async def test_nor_does_a_message_in_its_thread(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    typed = await room.say(ada, "!deny not now", **in_thread(card.posted.event_id))
    assert card.state == "denied"
    (answer,) = room.answers_to(typed)
    assert answer.content["m.relates_to"]["event_id"] == card.posted.event_id


async def test_in_the_thread_that_it_was_asked_in_neither(room: Room, ada: Person, eve: Person) -> None:
    root = await room.types(eve, "Hello")
    card = await room.asks(eve, **in_thread(root))
    await room.say(ada, "!approve", **in_thread(root))
    assert card.state == "created"


async def test_in_a_thread_with_two_requests_it_has_to_be_said_which(room: Room, ada: Person, eve: Person) -> None:
    root = await room.types(eve, "Hello")
    bob = await room.asks(eve, "!register bob", **in_thread(root))
    carol = await room.asks(eve, "!register carol", **in_thread(root))
    await room.say(ada, "!approve", **in_thread(root))
    assert room.last.about["error"] == "bad_argument"
    assert bob.id in room.last.body
    assert carol.id in room.last.body
    assert (bob.state, carol.state) == ("pending", "pending")
    await room.say(ada, "!approve", **in_thread(root, answering=carol.posted.event_id))
    assert (bob.state, carol.state) == ("pending", "created")
    await room.say(ada, f"!deny {bob.id}", **in_thread(root))
    assert bob.state == "denied"


async def test_an_id_says_more_than_the_card_that_is_answered(room: Room, ada: Person, eve: Person) -> None:
    bob = await room.asks(eve, "!register bob")
    carol = await room.asks(eve, "!register carol")
    await room.say(ada, f"!approve {carol.id}", **reply(bob.posted.event_id))
    assert (bob.state, carol.state) == ("pending", "created")


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        ("!approve", "bad_argument", "Usage: !approve <id>…"),
        ("!deny --silent", "bad_argument", "Usage: !deny <id>…"),
        ("!approve bob", "not_found", "“bob”"),
        ("!deny this one please", "not_found", "“this”"),
    ],
)
async def test_without_an_id_and_below_no_card_it_is_asked_which(
    room: Room, ada: Person, eve: Person, line: str, error: str, says: str
) -> None:
    card = await room.asks(eve)
    other = await room.types(eve, "Please be quick")
    for more in ({}, reply(other), in_thread(other)):
        await room.say(ada, line, **more)
        assert room.last.about["error"] == error
        assert says in room.last.body
    assert card.state == "pending"


async def test_a_note_beginning_with_words_of_five_letters_is_a_note(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.say(ada, f"!approve {card.id} harks marks 42 2k4fa")
    assert "“harks marks 42 2k4fa”" in card.body
    assert card.state == "created"


# The latest counts, and what was removed does not


@pytest.fixture
async def undecided(open_room: OpenRoom) -> Room:
    """A room in which two have to agree."""
    return await open_room(approval=ApprovalRules(required=2, deny=2))


async def test_the_latest_vote_of_a_person_counts(undecided: Room) -> None:
    ada, grace, eve = undecided.people(ada=100, grace=50, eve=0)
    card = await undecided.asks(eve)
    await card.tap(ada)
    await undecided.say(ada, f"!deny {card.id} no, after all")
    assert "0 of 2 approvals, 1 of 2 denials" in card.body
    await card.tap(grace)
    assert card.state == "pending"
    await card.tap(ada, "👍")
    assert card.state == "created"


async def test_a_removed_reaction_is_no_vote(undecided: Room) -> None:
    ada, grace, eve = undecided.people(ada=100, grace=50, eve=0)
    card = await undecided.asks(eve)
    reaction = await card.tap(ada)
    await undecided.remove(ada, reaction)
    assert ("0 of 2 approvals" in card.body, ada.user_id in card.body) == (True, False)
    await card.tap(grace)
    assert card.state == "pending"
    await card.tap(ada)
    assert card.state == "created"


async def test_a_removed_message_takes_the_vote_back_that_was_typed_in_it(undecided: Room) -> None:
    ada, grace, eve = undecided.people(ada=100, grace=50, eve=0)
    card = await undecided.asks(eve)
    typed = await undecided.say(ada, f"!approve {card.id}")
    await undecided.remove(ada, typed)
    await card.tap(grace)
    assert (card.state, "1 of 2 approvals" in card.body) == ("pending", True)


async def test_of_two_votes_the_one_that_still_stands_counts(undecided: Room) -> None:
    ada, grace, eve = undecided.people(ada=100, grace=50, eve=0)
    card = await undecided.asks(eve)
    approval = await card.tap(ada)
    denial = await card.tap(ada, "❌")
    await undecided.remove(ada, denial)
    assert "1 of 2 approvals" in card.body
    denial = await card.tap(ada, "❌")
    await undecided.remove(ada, approval)
    assert "0 of 2 approvals, 1 of 2 denials" in card.body
    await card.tap(grace)
    assert card.state == "pending"


async def test_removing_a_denial_may_decide(undecided: Room) -> None:
    ada, grace, eve = undecided.people(ada=100, grace=50, eve=0)
    card = await undecided.asks(eve)
    await card.tap(ada)
    denial = await card.tap(ada, "❌")
    await card.tap(grace)
    assert card.state == "pending"
    await undecided.remove(ada, denial)
    assert card.state == "created"


async def test_a_reaction_that_is_gone_before_anybody_looked_was_none(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    reaction = await room.puts_sign(ada, card.posted.event_id, "✅")
    await room.remove(ada, reaction)
    assert (card.state, room.accounts) == ("pending", {})


async def test_after_the_decision_nothing_is_taken_back(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    reaction = await card.tap(ada)
    posted = room.posted
    await room.remove(ada, reaction)
    assert (card.state, room.posted) == ("created", posted)
    assert not await room.rows("SELECT 1 FROM audit WHERE verb = 'vote:taken_back'")


# Too late


async def test_who_taps_after_the_decision_hears_the_outcome_once(room: Room, ada: Person, grace: Person) -> None:
    heidi, eve = room.people(heidi=50, eve=0)
    card = await room.asks(eve)
    await card.tap(ada)
    before, edits = room.posted, card.edits
    for key in ("✅", "❌", "👍"):
        await card.tap(grace, key)
    await card.tap(heidi, "❌")
    told = room.posted[len(before) :]
    assert [said.mentions for said in told] == [[grace.user_id], [heidi.user_id]]
    for said in told:
        assert said.answers == card.posted.event_id
        assert said.about == {"v": 1, "kind": "error", "error": "already_decided", "id": card.id, "state": "created"}
    assert card.edits == edits
    assert len(await room.rows("SELECT 1 FROM votes")) == 1


async def test_who_types_after_the_decision_hears_the_outcome(room: Room, ada: Person, grace: Person) -> None:
    eve = room.person("@eve:example.org")
    card = await room.asks(eve)
    await card.tap(ada, "❌")
    await room.say(grace, f"!approve {card.id}")
    assert (room.last.about["error"], room.last.about["state"]) == ("already_decided", "denied")
    assert (card.state, room.accounts) == ("denied", {})


async def test_who_asked_or_may_not_vote_hears_nothing_after_it_either(room: Room, ada: Person, eve: Person) -> None:
    dave = room.person("@dave:example.org", level=49)
    card = await room.asks(eve)
    await card.tap(ada)
    posted = room.posted
    for who in (eve, dave):
        await card.tap(who)
    assert room.posted == posted
