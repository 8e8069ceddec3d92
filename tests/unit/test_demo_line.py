"""The line that a visitor of the demo types: what the keys do to it, whose it is, and what is shown of what comes."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.chat.messages import CONTENT_KEY
from onboard_bot.demo.heard import Edited, Event, Heard, Said, Tapped, read
from onboard_bot.demo.line import Line
from onboard_bot.demo.turn import is_sign, spoken

UP, DOWN, RIGHT, LEFT = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("abc", "abc"),
        ("äöü 🔒", "äöü 🔒"),
        ("abc\x7f\x08d", "ad"),
        ("\x7f", ""),
        (f"ac{LEFT}b", "abc"),
        (f"ac{LEFT}{LEFT}{LEFT}b{RIGHT}{RIGHT}{RIGHT}d", "bacd"),
        ("bc\x01a\x05d", "abcd"),
        ("bc\x1b[Ha\x1bOFd", "abcd"),
        ("abc\x01\x1b[3~", "bc"),
        ("abc\x02\x02\x0b", "a"),
        ("abc\x02\x15", "c"),
        ("one two  \x17three", "one three"),
        ("a\x1b[200~b\x1b[15~c\x07", "abc"),  # sequences and controls that mean nothing here
        ("first\rsecond\r" + UP, "second"),
        ("first\rsecond\r" + UP + UP + UP, "first"),
        ("first\rsecond\r" + UP + UP + DOWN + DOWN, ""),
        ("first\r \r" + UP, "first"),
    ],
)
def test_keys_do_what_they_do_in_a_shell(keys: str, line: str) -> None:
    editor = Line()
    list(editor.type(keys))
    assert editor.text == line


def test_return_finishes_a_line_in_each_of_its_spellings() -> None:
    editor = Line()
    assert list(editor.type("one\rtwo\nthree\r\nfour")) == ["one", "two", "three"]
    assert editor.text == "four"


def test_ctrl_d_ends_it_only_on_an_empty_line() -> None:
    editor = Line()
    list(editor.type("ab\x01\x04"))
    assert (editor.text, editor.ended) == ("b", False)
    assert list(editor.type("\x04\x04never\r")) == []
    assert editor.ended


@given(st.text(st.sampled_from("aä🔒 \x1b[OAD3~\x7f\x01\x0b\r\n"), max_size=40), st.integers(1, 5))
def test_it_does_not_matter_how_the_keys_are_cut_into_pieces(keys: str, size: int) -> None:
    whole, pieces = Line(), Line()
    finished = list(whole.type(keys))
    in_pieces = [line for start in range(0, len(keys), size) for line in pieces.type(keys[start : start + size])]
    assert (finished, whole.text, whole.cursor) == (in_pieces, pieces.text, pieces.cursor)
    assert 0 <= whole.cursor <= len(whole.text)


# Whose it is


@pytest.mark.parametrize(
    ("line", "who", "words"),
    [
        ("!status", "admin", "!status"),
        ("  !status", "admin", "  !status"),
        ("grace: !register eve", "grace", "!register eve"),
        ("Grace :!register eve", "grace", "!register eve"),
        ("grace:", "grace", ""),
        ("admin: hello", "admin", "hello"),
        ("barbara: hello", "admin", "barbara: hello"),
        ("!register grace: x", "admin", "!register grace: x"),
        ("grace", "admin", "grace"),
        ("", "admin", ""),
    ],
)
def test_a_line_is_the_admins_unless_it_begins_with_another_name(line: str, who: str, words: str) -> None:
    assert spoken(line, ("admin", "grace")) == (who, words)


@pytest.mark.parametrize("words", ["✅", " ❌ ", "👍🏽", "👎"])
def test_a_sign_alone_is_a_tap(words: str) -> None:
    assert is_sign(words)


@pytest.mark.parametrize("words", ["✅ bob", "✅✅", "!approve 2k4fa", "🎉", ""])
def test_anything_else_is_said(words: str) -> None:
    assert not is_sign(words)


# What is shown of what comes

CARD = Said(
    *("!room", "$card", "@bot:x", "Bot", 0.0, "Request\n• Votes: 0 of 2", "$asked", "request"),
    encrypted=True,
    request_id="2k4fa",
    state="pending",
)


def heard(event_type: str, content: dict[str, Any], sender: str = "@bot:x") -> Heard | None:
    event = Event("!room", "$new", sender, "Bot", 9.0, event_type, content, encrypted=True)
    return read(event, {CARD.event_id: CARD})


def edit(body: str, **about: Any) -> dict[str, Any]:
    new = {"body": body, CONTENT_KEY: {"kind": "request", "id": "2k4fa"} | about}
    relation = {"rel_type": "m.replace", "event_id": CARD.event_id}
    return new | {"body": f"* {body}", "m.new_content": new, "m.relates_to": relation}


def tap(**changed: Any) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": "m.annotation", "event_id": CARD.event_id, "key": "✅"} | changed}


def test_a_message_is_read_with_what_it_answers_and_what_the_bot_says_of_it() -> None:
    content = {
        "body": CARD.body,
        "m.relates_to": {"m.in_reply_to": {"event_id": "$asked"}},
        CONTENT_KEY: {"v": 1, "kind": "request", "id": "2k4fa", "state": "pending"},
    }
    assert heard("m.room.message", content) == replace(CARD, event_id="$new", at=9.0)


def test_an_edit_is_the_message_as_it_reads_now() -> None:
    edited = heard("m.room.message", edit("Request\n• Votes: 1 of 2", state="pending"))
    assert edited == Edited(CARD, replace(CARD, body="Request\n• Votes: 1 of 2"), 9.0)


@pytest.mark.parametrize(
    ("body", "news"),
    [
        ("Request\n• Votes: 1 of 2", "• Votes: 1 of 2"),
        ("Request is created\n• ✅ ada", "Request is created"),
        (CARD.body, "Request"),
        ("", ""),
    ],
)
def test_of_an_edit_the_first_new_line_is_shown(body: str, news: str) -> None:
    edited = heard("m.room.message", edit(body))
    assert isinstance(edited, Edited)
    assert edited.news == news


@pytest.mark.parametrize(("sender", "offered"), [("@bot:x", True), ("@ada:x", False)])
def test_a_sign_is_offered_by_the_author_of_a_card_and_tapped_by_others(sender: str, offered: bool) -> None:  # noqa: FBT001 - a case of the table
    tapped = heard("m.reaction", tap(), sender)
    assert tapped == Tapped(CARD, sender, "Bot", 9.0, "✅")
    assert tapped.is_offered is offered


@pytest.mark.parametrize(
    ("event_type", "content", "sender"),
    [
        ("m.reaction", tap(event_id="$unread"), "@ada:x"),
        ("m.reaction", tap(rel_type="m.reference"), "@ada:x"),
        ("m.reaction", tap(key=["✅"]), "@ada:x"),
        ("m.reaction", {}, "@ada:x"),
        ("m.reaction", {"m.relates_to": "$card"}, "@ada:x"),
        ("m.room.message", edit("Request is created"), "@ada:x"),  # somebody else's message
        ("m.room.message", edit("Request is created") | {"m.new_content": "Request"}, "@bot:x"),
        ("m.room.encryption", {"body": "no message"}, "@bot:x"),
    ],
)
def test_what_a_client_does_not_show_is_nothing(event_type: str, content: dict[str, Any], sender: str) -> None:
    assert heard(event_type, content, sender) is None
