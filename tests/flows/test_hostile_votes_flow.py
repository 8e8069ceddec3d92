"""Votes meant to do harm: floods of signs, and reasons that would be markup, mentions or too much."""

import json
import re

import pytest

from onboard_bot.domain.approvals import ApprovalRules
from tests.fakes.chat import Said
from tests.flows.conftest import OpenRoom
from tests.flows.room import Card, Person, Room

A_THOUSAND = 1000
LARGEST_EVENT = 65_536
OWN_TAGS = re.compile(r"</?(p|ul|li|strong|code)>|<a href=\"https://matrix\.to/#/@[a-z]+:example\.org\">|</a>")

HARMFUL = {
    "html": '<b>no</b> <img src=x onerror=alert(1)> </li></ul><h1>approved</h1> <a href="https://evil.example">here</a>',
    "entities": "&lt;b&gt; &amp;#60;script&#62;",
    "a mention": "ask @ada:example.org and @grace:example.org",
    "everybody": "@room wake up, @ROOM",
    "right to left": "\u202edesrever\u202c \u05d0\u05d1\u05d2 \u2067x",
    "control characters": "a\x07b\x00c\x1b[31mred",
    "backticks": "`!approve 2k4fa` ```",
    "half a character": "a\ud83d b",
    "marks": "z\u0300\u0301\u0302\u0303\u0304 \u200b\u200d\ufeff",
}


async def flood(room: Room, card: Card, signs: list[tuple[Person, str]]) -> int:
    """All these signs are put under a card, and looked at; how many look-ups that took."""
    await room.puts_signs(signs, card.posted.event_id)
    before = len(room.chat.calls)
    await room.settle()
    calls = room.chat.calls[before:]
    return len(calls) - calls.count("send")


async def test_a_thousand_signs_end_in_what_each_approver_said_last(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=10, deny=11))
    approvers = [room.person(f"@approver{number}:example.org", level=50) for number in range(10)]
    others = [room.person(f"@other{number}:example.org", level=number) for number in range(39)]
    eve = room.person("@eve:example.org")
    card = await room.asks(eve)
    crowd = [*approvers, *others, eve]
    signs = [(crowd[number % 50], "❌" if number % 3 else "✅") for number in range(A_THOUSAND)]
    last = dict(signs)
    look_ups = await flood(room, card, signs)
    assert look_ups <= 2 * A_THOUSAND + (len(approvers) + 1) * A_THOUSAND // 5
    agreed = sum(last[who] == "✅" for who in approvers)
    assert f"{agreed} of 10 approvals, {10 - agreed} of 11 denials" in card.body
    assert (card.state, len(card.edits), room.posted) == ("pending", 1, [card.posted])
    await flood(room, card, [(who, "👍") for who in crowd])
    assert (card.state, list(room.accounts)) == ("created", ["@bob:example.org"])


async def test_the_signs_of_who_may_not_vote_whatever_they_do_are_looked_up_by_nobody(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    assert await flood(room, card, [(eve, "✅")] * 100) == 0
    assert (card.state, card.edits, room.posted) == ("pending", [], [card.posted])


async def test_after_the_decision_a_flood_gets_one_answer(room: Room, ada: Person, grace: Person) -> None:
    card = await room.asks(room.person("@eve:example.org"))
    await card.tap(ada)
    posted, edits = len(room.posted), len(card.edits)
    await flood(room, card, [(grace, "✅")] * 50)
    assert (len(room.posted) - posted, len(card.edits) - edits) == (1, 0)


# What is said with a vote


def is_harmless(said: Said) -> bool:
    """Whether nothing in it is markup, a mention or a direction of somebody else's."""
    for content in (said.content, said.content.get("m.new_content", {})):
        html, body = content.get("formatted_body", ""), content.get("body", "")
        if "<" in OWN_TAGS.sub("", html) or re.search("@room", body, re.IGNORECASE):
            return False
        if re.search("[\u202a-\u202e\u2066\u2067\x00-\x08\x0b-\x1f\u2028\u2029\ud800-\udfff]", html + body):
            return False
    return "room" not in said.content["m.mentions"] and len(json.dumps(said.content)) < LARGEST_EVENT


@pytest.mark.parametrize("reason", HARMFUL.values(), ids=HARMFUL)
@pytest.mark.parametrize("verb", ["approve", "deny"])
async def test_what_is_said_with_a_vote_is_only_text(open_room: OpenRoom, verb: str, reason: str) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    command = await room.say(eve, "!register bob")
    card = room.card_of(command)
    await room.say(grace, f"!{verb} {card.id} {reason}")
    await room.say(ada, f"!show {card.id}")
    await room.say(ada, f"!approve {card.id}")
    assert card.state == ("created" if verb == "approve" else "denied")
    for said in room.said:
        assert is_harmless(said)
        if said is not card.posted:
            assert set(said.mentions) <= {eve.user_id}
    assert ada.user_id not in room.answers_to(command)[-1].mentions


async def test_whom_a_reason_mentions_is_not_mentioned_by_the_bot(room: Room, ada: Person, grace: Person) -> None:
    eve = room.person("@eve:example.org")
    card = await room.asks(eve)
    pill = f'<a href="https://matrix.to/#/{grace.user_id}">Grace</a>'
    await room.say(
        ada,
        f"!deny {card.id} ask Grace, @room",
        format="org.matrix.custom.html",
        formatted_body=f"!deny {card.id} ask {pill}, @room",
        **{"m.mentions": {"user_ids": [grace.user_id], "room": True}},
    )
    assert card.state == "denied"
    assert f"ask {grace.user_id}" in card.body
    assert all(is_harmless(said) for said in room.said)
    assert [said.mentions for said in room.said if said is not card.posted and said.mentions] == [[eve.user_id]]


@pytest.mark.parametrize("note", HARMFUL.values(), ids=HARMFUL)
async def test_so_is_what_is_said_with_a_wish(room: Room, ada: Person, eve: Person, note: str) -> None:
    quoted = note.replace('"', '\\"')
    card = await room.asks(eve, f'!register bob --note="{quoted}"')
    assert card.state == "pending"
    await room.say(ada, f"!deny {card.id}")
    assert all(is_harmless(said) for said in room.said)
    assert card.posted.mentions == [ada.user_id]


@pytest.mark.parametrize("line_break", ["\n", "\r", "\u2028", "\u2029", "\x85", "\x1e"])
async def test_a_reason_of_two_lines_is_refused_as_every_command_of_two(
    room: Room, ada: Person, eve: Person, line_break: str
) -> None:
    card = await room.asks(eve)
    await room.say(ada, f"!approve {card.id} fine{line_break}!deny {card.id}")
    assert room.last.about["error"] == "bad_argument"
    assert (card.state, card.edits) == ("pending", [])


@pytest.mark.parametrize("verb", ["approve", "deny"])
@pytest.mark.parametrize("text", ["x" * 60_000, "x " * 30_000, "\u05d0" * 20_000], ids=["a word", "words", "hebrew"])
async def test_sixty_kilobytes_are_no_reason(room: Room, ada: Person, eve: Person, verb: str, text: str) -> None:
    card = await room.asks(eve)
    typed = await room.say(ada, f"!{verb} {card.id} {text}")
    (answer,) = room.answers_to(typed)
    assert answer.about == {"v": 1, "kind": "error", "error": "bad_argument"}
    assert "2,000" in answer.body
    assert len(answer.body) < 1000
    assert (card.state, card.edits) == ("pending", [])


async def test_the_longest_reason_reaches_who_asked_whole_and_the_card_in_short(
    room: Room, ada: Person, eve: Person
) -> None:
    command = await room.say(eve, "!register bob")
    card = room.card_of(command)
    reason = "ö" * 2000
    await room.say(ada, f"!deny {card.id} {reason}")
    assert reason in room.answers_to(command)[-1].body
    assert (reason in card.body, "ööö…" in card.body) == (False, True)


async def test_many_long_notes_still_make_an_event_that_can_be_sent(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=60))
    crowd = [room.person(f"@{'crowd' * 20}{number}:example.org", level=50) for number in range(50)]
    card = await room.asks(room.person("@eve:example.org"))
    for who in crowd:
        await room.types(who, f"!approve {card.id} " + "\u05d0" * 2000)
    await room.settle()
    await room.say(crowd[0], f"!show {card.id}")
    for said in room.said:
        assert len(json.dumps(said.content)) < LARGEST_EVENT
    assert "50 of 60 approvals" in card.body
