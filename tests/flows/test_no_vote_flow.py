"""What is no vote, whoever means it as one: by whom, on what, and for which id; and that nobody is disturbed by it."""

from collections.abc import Awaitable, Callable

import pytest

from onboard_bot.domain.approvals import ApprovalRules
from onboard_bot.domain.devices import Standing
from tests.fakes.chat import BOT
from tests.flows.conftest import OpenRoom
from tests.flows.room import ADMIN_ROOM, Card, Person, Room

ELSEWHERE = "!elsewhere:example.org"

Cast = Callable[[Card, Person], Awaitable[object]]


async def by_sign(card: Card, who: Person) -> None:
    """Two votes."""
    await card.tap(who, "✅")
    await card.tap(who, "👎")


async def by_word(card: Card, who: Person) -> None:
    """The same, typed."""
    await card.room.say(who, f"!approve {card.id}")
    await card.room.say(who, f"!deny {card.id}")


async def nothing_came_of_it(card: Card) -> None:
    """No vote is known, and nobody was told of any."""
    room = card.room
    assert await room.rows("SELECT 1 FROM votes") == []
    assert (card.state, card.edits, room.posted, room.accounts) == ("pending", [], [card.posted], {})


# By whom


async def test_the_signs_of_people_who_may_not_vote_are_nothing(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    below = room.person("@dave:example.org", level=49)
    stranger = Person("@mallory:elsewhere.org")
    for who in (below, stranger, eve):
        await by_sign(card, who)
    await nothing_came_of_it(card)


async def test_what_people_type_who_may_not_vote_is_refused(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    for who in (room.person("@dave:example.org", level=49), eve):
        await room.say(who, f"!approve {card.id}")
        assert room.last.about == {"v": 1, "kind": "error", "error": "not_permitted"}
    await room.say(Person("@mallory:elsewhere.org"), f"!approve {card.id}")
    assert len(room.posted) == 3
    assert (card.state, room.accounts) == ("pending", {})


@pytest.mark.parametrize("membership", ["leave", "ban", "invite", "knock"])
@pytest.mark.parametrize("cast", [by_sign, by_word])
async def test_who_is_not_in_the_room_has_no_vote_whatever_their_level(
    room: Room, eve: Person, membership: str, cast: Cast
) -> None:
    card = await room.asks(eve)
    grace = room.person("@grace:example.org", level=100)
    room.room.members[grace.user_id] = membership
    await cast(card, grace)
    await nothing_came_of_it(card)


@pytest.mark.parametrize("what", ["leaves", "loses_level"])
async def test_what_counts_is_who_they_are_when_the_sign_is_looked_at(
    room: Room, ada: Person, eve: Person, what: str
) -> None:
    card = await room.asks(eve)
    await room.puts_sign(ada, card.posted.event_id)
    getattr(room, what)(ada)
    await room.settle()
    await nothing_came_of_it(card)


async def test_somebody_who_leaves_before_their_word_is_read_has_no_vote(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.types(ada, f"!approve {card.id}")
    room.leaves(ada)
    await room.settle()
    await nothing_came_of_it(card)


async def test_the_bot_has_no_vote(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    assert room.signs == ["✅", "❌"]  # its own, and the server tells of them as of any
    for event in room.room.said_by(BOT, "m.reaction"):
        await room.arrives(event.event_id)
    await room.settle()
    await nothing_came_of_it(card)


@pytest.mark.parametrize("spelling", ["@EVE:example.org", "@eve:EXAMPLE.ORG", "@Eve:Example.org"])
async def test_who_asked_has_no_vote_under_another_spelling_either(room: Room, eve: Person, spelling: str) -> None:
    card = await room.asks(eve)
    other = room.person(spelling, level=100)
    await by_sign(card, other)
    await nothing_came_of_it(card)
    await room.say(other, f"!approve {card.id}")
    assert room.last.about["error"] == "not_permitted"
    assert (card.state, room.accounts) == ("pending", {})


# On what


async def test_only_the_card_itself_takes_signs(room: Room, ada: Person, eve: Person) -> None:
    command = await room.say(eve, "!register bob")
    card = room.card_of(command)
    reaction = await card.tap(room.person("@heidi:example.org", level=50), "🎉")
    talk = await room.types(eve, "Please be quick")
    own_sign = room.room.said_by(BOT, "m.reaction")[0].event_id
    for event_id in (command, reaction, talk, own_sign):
        await room.react(ada, event_id, "✅")
    await nothing_came_of_it(card)


async def test_edits_lists_and_other_answers_of_the_bot_take_none(room: Room, ada: Person, eve: Person) -> None:
    decided = await room.asks(eve, "!register carol")
    await decided.tap(ada)
    card = await room.asks(eve)
    await room.say(eve, "!requests")
    await room.say(eve, f"!show {card.id}")
    before = room.posted
    for said in (*decided.edits, *before):
        if said.event_id not in (card.posted.event_id, decided.posted.event_id):
            await room.react(ada, said.event_id, "✅")
    assert (card.state, room.posted) == ("pending", before)


async def test_a_card_that_somebody_else_posted_is_none(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    forged = await room.types(eve, card.posted.body, **{"io.github.onboard_bot": card.posted.about})
    await room.react(ada, forged, "✅")
    await nothing_came_of_it(card)


@pytest.mark.parametrize("known", [False, True], ids=["of which the bot knows nothing", "where it talks to somebody"])
async def test_in_another_room_nobody_votes(room: Room, ada: Person, eve: Person, *, known: bool) -> None:
    card = await room.asks(eve)
    elsewhere = room.chat.make_room(ELSEWHERE)
    elsewhere.members[ada.user_id] = "join"
    elsewhere.power_levels["users"][ada.user_id] = 100
    if known:
        await room.uses(ELSEWHERE)
    copy = room.chat.put(ELSEWHERE, BOT, "m.room.message", card.posted.content)
    await room.react(ada, copy.event_id, "✅")
    relation = {"rel_type": "m.annotation", "event_id": card.posted.event_id, "key": "✅"}
    await room.sends(ada, "m.reaction", {"m.relates_to": relation}, room_id=ELSEWHERE)
    line = {"msgtype": "m.text", "body": f"!approve {card.id}"}
    await room.sends(ada, "m.room.message", line, room_id=ELSEWHERE)
    await room.settle()
    await nothing_came_of_it(card)


async def test_nor_is_a_vote_taken_back_there(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    room.chat.make_room(ELSEWHERE).members[ada.user_id] = "join"
    card = await room.asks(eve)
    approval = await card.tap(ada)
    await room.sends(ada, "m.room.redaction", {"redacts": approval}, room_id=ELSEWHERE)
    await card.tap(grace)
    assert card.state == "created"


@pytest.mark.parametrize("redacts", [None, 5, ["$x"], "", "$nothing", {"event_id": "$x"}])
async def test_removals_of_nothing_change_nothing(room: Room, ada: Person, eve: Person, redacts: object) -> None:
    card = await room.asks(eve)
    await room.sends(ada, "m.room.redaction", {"redacts": redacts})
    await room.settle()
    await nothing_came_of_it(card)


async def test_the_same_event_twice_is_one_vote(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    reaction = await card.tap(ada)
    before = room.posted
    await room.arrives(reaction)
    await room.settle()
    assert room.posted == before
    assert len(await room.rows("SELECT 1 FROM votes")) == 1


# For which id


NO_IDS = {
    "2k4fa": "2k4fa",  # could be one
    "12345": "ids are made of",
    "2k4fo": "ids are made of",
    "O1il0": "ids are made of",
    "2k4f": "2k4f",
    "2k4fa2": "2k4fa2",
    "2k4f\u0430": "2k4f\u0430",  # a Cyrillic a
    "\uff12k4fa": "\uff12k4fa",  # a wide 2
    "bob": "bob",
    "@bob:example.org": "@bob:example.org",
    '"2k4fa"': "2k4fa",
}
"""What somebody may type instead of an id, and what the answer names."""


@pytest.mark.parametrize("verb", ["approve", "deny"])
async def test_what_is_no_id_of_a_request_is_not_found(room: Room, ada: Person, eve: Person, verb: str) -> None:
    card = await room.asks(eve)
    for typed, named in NO_IDS.items():
        await room.say(ada, f"!{verb} {typed}")
        assert room.last.about == {"v": 1, "kind": "error", "error": "not_found"}
        assert named in room.last.body
    assert (card.state, card.edits) == ("pending", [])


@pytest.mark.parametrize("verb", ["show", "cancel", "reopen"])
async def test_nor_is_it_found_by_the_other_commands(room: Room, ada: Person, verb: str) -> None:
    for typed in ("2k4fa", "2k4f\u0430", "12345", "x" * 60_000):
        await room.say(ada, f"!{verb} {typed}")
        assert room.last.about == {"v": 1, "kind": "error", "error": "not_found"}
        assert len(room.last.body) < 200


# From which device


async def test_a_sign_counts_in_an_encrypted_room_although_it_is_in_clear_text(
    room: Room, ada: Person, eve: Person
) -> None:
    card = await room.asks(eve)
    reaction = await card.tap(ada)
    assert room.chat.event(reaction).device is None
    assert card.state == "created"


async def test_a_vote_typed_at_a_device_that_nobody_signed_is_refused(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    thief = Person(ada.user_id, device="THIEF")
    room.chat.standings[thief.user_id, thief.device] = Standing.UNSIGNED
    await room.say(thief, f"!approve {card.id}")
    assert room.last.about["error"] == "device_not_signed"
    assert room.last.device is None
    assert card.id not in str(room.last.content)
    assert (card.state, room.accounts) == ("pending", {})


async def test_nor_does_a_vote_count_that_is_typed_in_clear_text(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    line = {"msgtype": "m.text", "body": f"!approve {card.id}"}
    await room.sends(ada, "m.room.message", line, room_id=ADMIN_ROOM, in_clear=True)
    await room.settle()
    assert (card.state, room.accounts) == ("pending", {})
