"""What a request looks like in the room, in every state and whatever people wrote."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.chat.cards import as_edit, card, expiry
from onboard_bot.chat.messages import MAX_BYTES, About, Kind, Message, Paragraph, ReplyTo, render
from onboard_bot.chat.moments import span
from onboard_bot.domain.approvals import Choice
from onboard_bot.domain.requests import AccountType, State
from onboard_bot.errors import ErrorCode
from tests.unit.requests_seen import DAY, KEY, about, body, seen, vote, votes

CAROL = vote("carol", note="known from the workshop", after=1)
DAVE = vote("dave", Choice.DENY, "who is that?", after=2)
HARMFUL = (
    "<b>",
    "</p>",
    "@room",
    "`",
    "\u202e",
    "\u2069",
    "\n",
    "שלום",
    "@eve:x.org",
    "😀",
    "&",
    '"',
    "\x00",
    "\ud800",
)
USER_TEXT = st.text(st.characters(exclude_categories=())) | st.lists(st.sampled_from(HARMFUL)).map("".join)


class Tags(HTMLParser):
    """The tags of a formatted body."""

    def __init__(self, formatted: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(formatted)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base's name
        self.found.append(tag)


def test_a_card_says_who_asks_for_what_and_how_to_decide() -> None:
    assert body(card(seen(), mentions=())) == [
        "🗳️ Request 2k4fa: ada (Ada Lovelace)",
        "• Asked for by @bob:example.org",
        "• Why: joins the engine group",
        "• Votes: 0 of 2 approvals",
        "• Expires: 2026-01-08 00:00 UTC",
        "To decide: ✅ or ❌ below, or `!approve 2k4fa [note]` / `!deny 2k4fa [reason]`",
    ]


def test_programs_see_the_request_and_only_those_who_decide_are_mentioned() -> None:
    content = render(card(seen(), mentions=("@carol:example.org",)), ReplyTo("$asked"))
    assert content[KEY] == {
        "v": 1,
        "kind": "request",
        "id": "2k4fa",
        "state": "pending",
        "user_id": "@ada:example.org",
    }
    assert content["m.mentions"] == {"user_ids": ["@carol:example.org"]}
    assert "<strong>2k4fa</strong>" in content["formatted_body"]
    assert '<a href="https://matrix.to/#/@bob:example.org">@bob:example.org</a>' in content["formatted_body"]


def test_votes_are_counted_and_named_with_what_was_said() -> None:
    tally = votes(DAVE, CAROL, needed=3, missing=(("teachers", 1), ("parents", 2)))
    assert body(card(seen(tally=tally), mentions=()))[3:6] == [
        "• Votes: 1 of 3 approvals, 1 denial; still missing: 1 of teachers, 2 of parents",
        "• ✅ @carol:example.org: “known from the workshop”",
        "• ❌ @dave:example.org: “who is that?”",
    ]
    assert "0 of 1 approval" in "\n".join(body(card(seen(tally=votes(needed=1)), mentions=())))


def test_where_one_denial_is_not_enough_the_card_says_how_many_are() -> None:
    none_yet, one = votes(deny=2), votes(DAVE, needed=3, deny=2)
    assert body(card(seen(tally=none_yet), mentions=()))[3] == "• Votes: 0 of 2 approvals, 0 of 2 denials"
    assert body(card(seen(tally=one), mentions=()))[3] == "• Votes: 0 of 3 approvals, 1 of 2 denials"


def test_what_is_out_of_the_ordinary_shows() -> None:
    view = seen(account_type=AccountType.BOT, room_sets=("staff", "labs"), voucher="@eve:example.org", note=None)
    assert body(card(view, mentions=()))[1:4] == [
        "• Asked for by @bob:example.org, invited by @eve:example.org",
        "• Type: bot",
        "• Rooms: staff, labs",
    ]


def test_admin_rights_are_told_loudly_and_decided_by_typing() -> None:
    content = render(card(seen(admin=True), mentions=()))
    assert "<strong>⚠️ With SERVER-ADMIN RIGHTS" in content["formatted_body"]
    *_, how = content["body"].splitlines()
    assert how.startswith("To decide, please type: `!approve 2k4fa [note]` / `!deny 2k4fa [reason]`. Reactions do not")
    assert "✅" not in content["body"]


def test_the_configured_prefix_is_shown() -> None:
    assert "`%approve 2k4fa [note]`" in body(card(seen(prefix="%"), mentions=()))[-1]


@pytest.mark.parametrize(
    ("deciders", "needed", "said"),
    [
        (0, 1, "it takes 1 approval, and nobody here may vote on it."),
        (1, 2, "it takes 2 approvals, and only 1 person here may vote on it."),
        (2, 3, "it takes 3 approvals, and only 2 people here may vote on it."),
    ],
)
def test_where_too_few_can_decide_the_card_says_so_and_what_mends_it(deciders: int, needed: int, said: str) -> None:
    warning = body(card(seen(tally=votes(needed=needed), deciders=deciders), mentions=()))[-2]
    assert warning.startswith("⚠️ This cannot be approved yet: ")
    assert said in warning
    assert "approval.power_level" in warning
    assert "approval.required)" in warning
    admin = body(card(seen(admin=True, tally=votes(needed=needed), deciders=deciders), mentions=()))[-2]
    assert "approval.required_for_admin)" in admin


@pytest.mark.parametrize("deciders", [None, 2, 3])
def test_where_enough_can_decide_or_nobody_looked_there_is_no_warning(deciders: int | None) -> None:
    assert "⚠️" not in "".join(body(card(seen(tally=votes(needed=2), deciders=deciders), mentions=())))


@pytest.mark.parametrize(
    ("state", "first"),
    [
        (State.APPROVED, "✅ Request 2k4fa: ada (Ada Lovelace) is approved; the account is being made."),
        (State.CREATING, "✅ Request 2k4fa: ada (Ada Lovelace) is approved; the account is being made."),
        (State.CREATED, "✅ Request 2k4fa: ada (Ada Lovelace) is created: @ada:example.org"),
        (State.DENIED, "❌ Request 2k4fa: ada (Ada Lovelace) is denied by @dave:example.org: “who is that?”"),
        (State.CANCELLED, "↩️ Request 2k4fa: ada (Ada Lovelace) is cancelled."),
        (State.EXPIRED, "🕑 Request 2k4fa: ada (Ada Lovelace) has expired: it was not decided in time."),
        (State.FAILED, "⚠️ Request 2k4fa: ada (Ada Lovelace) could not be created."),
    ],
)
def test_the_first_line_tells_the_outcome_and_the_rest_what_led_to_it(state: State, first: str) -> None:
    error = ErrorCode.USERNAME_TAKEN if state is State.FAILED else None
    message = card(seen(state, votes(CAROL, DAVE), error=error, deciders=0), mentions=())
    lines = body(message)
    assert lines[0] == first
    assert "• Asked for by @bob:example.org" in lines
    assert "• ✅ @carol:example.org: “known from the workshop”" in lines
    assert "".join(lines).count("who is that?") == 1
    assert not any(word in line for line in lines for word in ("To decide", "Votes:", "Expires:", "cannot be"))
    assert about(message)["state"] == state
    assert about(message).get("error") == error


def test_only_what_failed_has_an_error() -> None:
    assert "error" not in about(card(seen(State.CREATED, error="homeserver_unreachable"), mentions=()))


def test_several_denials_are_all_told() -> None:
    erin = vote("erin", Choice.DENY, "nor do I", after=3)
    lines = body(card(seen(State.DENIED, votes(DAVE, erin)), mentions=()))
    assert lines[0].endswith(" is denied by @dave:example.org: “who is that?” and 1 other")
    assert lines[-1] == "• ❌ @erin:example.org: “nor do I”"


def test_a_denial_whose_votes_are_gone_is_one_all_the_same() -> None:
    assert body(card(seen(State.DENIED), mentions=()))[0].endswith("(Ada Lovelace) is denied")


def test_a_name_that_cannot_be_had_is_mended_with_another_one() -> None:
    lines = body(card(seen(State.FAILED, error="username_taken"), mentions=()))
    assert lines[1].startswith("The username ada is taken")
    assert lines[2] == "An approver can correct it: `!approve 2k4fa --username=…` (a new name is voted on anew)."


@pytest.mark.parametrize("error", ["homeserver_refused", "no_such_code", None])
def test_what_failed_otherwise_is_tried_again(error: str | None) -> None:
    lines = body(card(seen(State.FAILED, error=error), mentions=()))
    assert lines[1].startswith("The ")
    assert lines[2] == "When that is mended, an approver can have it tried again: `!approve 2k4fa`"


def test_where_nobody_knows_the_card_says_how_to_find_out() -> None:
    first, second, *_ = body(card(seen(State.UNKNOWN), mentions=()))
    assert first.startswith("⚠️ Request 2k4fa: ada (Ada Lovelace): I asked the homeserver")
    assert second.endswith("ask me for the name again: `!register ada`")


def test_long_notes_and_many_votes_leave_a_card_readable() -> None:
    many = [vote(f"voter{n}", note="why " * 500, after=n) for n in range(22)]
    lines = body(card(seen(tally=votes(*many, needed=30), note="because " * 250), mentions=()))
    named = [line for line in lines if line.startswith("• ✅")]
    assert len(named) == 10
    assert named[0].startswith("• ✅ @voter0:example.org: “why why ")
    assert named[0].endswith("…”")
    assert max(map(len, lines)) < 300
    assert "• and 12 more (`!show 2k4fa`)" in lines


@given(USER_TEXT, USER_TEXT, USER_TEXT, st.sampled_from(State))
def test_what_people_wrote_stays_in_its_place(note: str, name: str, reason: str, state: State) -> None:
    tally = votes(vote("carol", note=reason), vote("dave", Choice.DENY, reason))
    view = seen(state, tally, note=note, display_name=name)
    content = render(card(view, mentions=()))
    plain = render(card(seen(state, votes(vote("carol", note="x"), vote("dave", Choice.DENY, "x"))), mentions=()))
    assert set(Tags(content["formatted_body"]).found) == set(Tags(plain["formatted_body"]).found)
    assert Tags(content["formatted_body"]).found.count("a") == Tags(plain["formatted_body"]).found.count("a")
    assert "@room" not in content["body"].lower()
    assert content["m.mentions"] == {}
    assert "\x00" not in content["body"]
    assert content["body"].splitlines()[0].startswith(plain["body"][:10])
    json.dumps(content, ensure_ascii=False).encode()


@given(
    st.sampled_from(["x", "é", "😀", "'", "<", "\\", "ש"]),
    st.integers(0, 12),
    st.sampled_from(State),
    st.sampled_from([0, 100]),
)
def test_a_card_and_its_edit_fit_whatever_was_written(character: str, count: int, state: State, mentioned: int) -> None:
    long = character * 2000
    cast = [vote(f"v{n}", Choice.DENY if n % 2 else Choice.APPROVE, long, after=n) for n in range(count)]
    view = seen(state, votes(*cast), note=long, display_name=character * 256)
    mentions = tuple(f"@somebody{n}:example.org" for n in range(mentioned))
    content = render(card(view, mentions=mentions), ReplyTo("$asked", "$root"))
    edit = as_edit(content, "$card")
    assert len(json.dumps(edit)) <= MAX_BYTES
    assert content["body"].splitlines()[-1] != "…"
    assert edit["body"] == f"* {content['body']}"
    assert edit["formatted_body"] == f"* {content['formatted_body']}"
    assert edit["m.new_content"]["body"] == content["body"]
    assert edit["m.new_content"]["formatted_body"] == content["formatted_body"]
    assert edit[KEY] == edit["m.new_content"][KEY] == content[KEY]


def test_an_edit_replaces_the_card_and_pings_nobody() -> None:
    content = render(card(seen(), mentions=("@carol:example.org",)), ReplyTo("$asked"))
    edit = as_edit(content, "$card")
    new = {key: value for key, value in content.items() if key != "m.relates_to"}
    assert edit == {
        "msgtype": "m.notice",
        "body": "* " + content["body"],
        "format": "org.matrix.custom.html",
        "formatted_body": "* " + content["formatted_body"],
        "m.mentions": {},
        KEY: content[KEY],
        "m.new_content": new,
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$card"},
    }
    assert content["m.relates_to"] == {"m.in_reply_to": {"event_id": "$asked"}}


@pytest.mark.parametrize(("text", "times"), [("x" * 8000, 2), ("x" * 1000, 20), ("é" * 500, 7), ("😀" * 500, 3)])
def test_an_edit_that_is_too_large_says_less_first_at_the_top(text: str, times: int) -> None:
    content = render(Message((Paragraph((text,)),) * times, About(Kind.REQUEST, id="2k4fa")))
    assert 2 * len(json.dumps(content)) > MAX_BYTES
    before = json.loads(json.dumps(content))
    edit = as_edit(content, "$card")
    assert len(json.dumps(edit)) <= MAX_BYTES
    assert edit["body"].startswith("* ")
    assert len(edit["body"]) <= len(edit["m.new_content"]["body"]) + len("* ")
    assert "formatted_body" not in edit
    assert edit["m.new_content"] == content == before


def test_only_then_an_edit_says_less_than_what_it_replaces() -> None:
    content = render(Message((Paragraph(("y" * 10_900,)), Paragraph(("x" * 10_900,))), About(Kind.REQUEST, id="2k4fa")))
    content["formatted_body"] += "x" * (MAX_BYTES - len(json.dumps(content)))
    edit = as_edit(content, "$card")
    assert len(json.dumps(edit)) <= MAX_BYTES
    assert "formatted_body" not in edit["m.new_content"]
    assert edit["m.new_content"]["body"].startswith("yyy")
    assert edit["m.new_content"][KEY] == edit[KEY] == {"v": 1, "kind": "request", "id": "2k4fa"}


def as_told(seconds: float) -> str:
    return expiry(seen(expires_at=seen().at + seconds)).partition("UTC, ")[2]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (7 * DAY - 5, "in 7 days"),
        (7 * DAY - 60, "in 6 days"),
        (DAY, "in 1 day"),
        (23.9 * 3600, "in 23 hours"),
        (90, "in 2 minutes"),
        (5, "in 5 s"),
        (0, "now"),
        (-DAY, "now"),
    ],
)
def test_how_long_there_is_left_is_told_as_people_say_it(seconds: float, told: str) -> None:
    assert as_told(seconds) == told


def test_a_card_names_the_date_of_its_end_which_stays_true_for_as_long_as_it_hangs_there() -> None:
    (line,) = [line for line in body(card(seen(), mentions=())) if line.startswith("• Expires: ")]
    assert line == "• Expires: 2026-01-08 00:00 UTC"


def test_a_request_that_never_ends_tells_no_end() -> None:
    assert not any("Expires" in line for line in body(card(seen(expires_at=None), mentions=())))


@given(st.floats(0, 10 * 365 * DAY))
def test_a_length_of_time_is_told_in_whole_units(seconds: float) -> None:
    amount, unit = span(seconds).split(" ")
    size = {"s": 1, "minute": 60, "hour": 3600, "day": DAY}[unit.removesuffix("s") or "s"]
    assert int(amount) * size <= seconds + 30
    assert seconds < (int(amount) + 1) * size + 30
    assert (unit in ("minute", "hour", "day")) == (amount == "1" and unit != "s")


def test_a_card_is_the_same_for_the_same_request() -> None:
    view = seen(tally=votes(CAROL, DAVE))
    assert card(view, mentions=()) == card(replace(view), mentions=())
