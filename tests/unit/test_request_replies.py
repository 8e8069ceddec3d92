"""The words about requests beside their cards, and what programs see of them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.chat import request_replies
from onboard_bot.chat.messages import MAX_BYTES, Kind, Message, render
from onboard_bot.chat.request_replies import HistoryLine, history_line
from onboard_bot.domain.approvals import Choice
from onboard_bot.domain.audit import Recorded, Verb
from onboard_bot.domain.requests import Card, State
from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.onboarding.decision import decided_before
from tests.unit.requests_seen import DAY, NOW, REQUEST, about, body, seen, vote, votes

CAROL = vote("carol", note="known from the workshop", after=1)
DAVE = vote("dave", Choice.DENY, "who is that?", after=2)
BOB = "@bob:example.org"
ONE = {"id": "2k4fa", "user_id": "@ada:example.org"}
CARD = Card("!admins:example.org", "$card")


def line(verb: str, facts: dict[str, Any] | None = None, personal: dict[str, Any] | None = None) -> str:
    told = history_line(Recorded(1, NOW, verb, "2k4fa", facts or {}, personal if personal is not None else {}))
    return told.words if told.who is None else f"{told.who} {told.words}"


@pytest.mark.parametrize(
    ("state", "choice", "said"),
    [
        (
            State.PENDING,
            Choice.APPROVE,
            "✅ Noted for ada (request 2k4fa): 1 of 2 approvals, 1 denial; still missing: 1 of staff.",
        ),
        (
            State.PENDING,
            Choice.DENY,
            "❌ Noted for ada (request 2k4fa): 1 of 2 approvals, 1 denial; still missing: 1 of staff.",
        ),
        (
            State.APPROVED,
            Choice.APPROVE,
            "✅ That decides it: ada (request 2k4fa) is approved, and the account is being made.",
        ),
        (State.DENIED, Choice.DENY, "❌ That decides it: ada (request 2k4fa) is denied."),
    ],
)
def test_a_typed_vote_is_answered_with_what_it_did(state: State, choice: Choice, said: str) -> None:
    message = request_replies.voted(seen(state, votes(CAROL, DAVE, missing=(("staff", 1),))), choice)
    assert body(message) == [said]
    assert about(message) == {"v": 1, "kind": "request", "state": state, **ONE}
    assert message.mentions == ()


def test_whose_approval_was_for_another_name_is_named_and_asked_again() -> None:
    message = request_replies.voted(seen(tally=votes(CAROL)), Choice.APPROVE, dropped=(BOB, "@dave:example.org"))
    (said,) = body(message)
    assert said == (
        "✅ Noted for ada (request 2k4fa): 1 of 2 approvals. The name is another one now, so what @bob:example.org,"
        " @dave:example.org said to the old one does not count."
    )
    assert message.mentions == (BOB, "@dave:example.org")


def test_a_request_that_was_cancelled_or_reopened_says_so() -> None:
    message = request_replies.cancelled(seen(State.CANCELLED))
    assert body(message) == ["↩️ ada (request 2k4fa) is cancelled; no account is made."]
    assert about(message) == {"v": 1, "kind": "request", "state": "cancelled", **ONE}
    message = request_replies.reopened(seen())
    (said,) = body(message)
    assert said == (
        "🗳️ ada (request 2k4fa) is open again: votes are cast anew, and it takes 2 approvals."
        " It expires 2026-01-08 00:00 UTC, in 7 days."
    )
    assert about(message) == {"v": 1, "kind": "request", "state": "pending", **ONE}


def test_several_answers_are_one_list_with_a_line_each() -> None:
    voted = request_replies.voted(seen(tally=votes(CAROL)), Choice.APPROVE)
    decided = decided_before(seen(State.DENIED, id="7mr3x").request)
    gone = OnboardError(ErrorCode.NOT_FOUND, "There is no\nrequest 99999.")
    message = request_replies.several([("2k4fa", voted), ("7mr3x", decided), ("99999", gone)])
    assert body(message) == [
        "• ✅ Noted for ada (request 2k4fa): 1 of 2 approvals.",
        "• ⚠️ 7mr3x: Request 7mr3x for ada was denied before.",
        "• ⚠️ 99999: There is no request 99999.",
    ]
    assert about(message) == {
        "v": 1,
        "kind": "list",
        "items": [
            {"kind": "request", "state": "pending", **ONE},
            {"kind": "error", "id": "7mr3x", "state": "denied", "error": "already_decided"},
            {"kind": "error", "id": "99999", "error": "not_found"},
        ],
    }


def test_a_message_of_several_lines_becomes_one_and_mentions_whom_it_mentioned() -> None:
    denied = request_replies.denied(seen(State.DENIED, votes(DAVE)), (BOB,))
    message = request_replies.several([("2k4fa", denied), ("2k4fa", denied)])
    assert body(message) == ["• ❌ ada (request 2k4fa) was denied. @dave:example.org: “who is that?”"] * 2
    assert message.mentions == (BOB,)


@pytest.mark.parametrize("count", [100, 2000])
def test_an_answer_about_very_many_requests_fits(count: int) -> None:
    error = OnboardError(ErrorCode.NOT_FOUND, "There is no request 99999.")
    content = render(request_replies.several([("99999", error)] * count))
    assert len(json.dumps(content)) <= MAX_BYTES
    assert len(content["body"].splitlines()) >= 100


def test_who_was_denied_is_told_why() -> None:
    erin = vote("erin", Choice.DENY, after=3)
    message = request_replies.denied(seen(State.DENIED, votes(CAROL, DAVE, erin)), (BOB,))
    assert body(message) == ["❌ ada (request 2k4fa) was denied.", "• @dave:example.org: “who is that?”"]
    assert about(message) == {"v": 1, "kind": "status", "state": "denied", **ONE}
    assert render(message)["m.mentions"] == {"user_ids": [BOB]}
    assert body(request_replies.denied(seen(State.DENIED), (BOB,))) == ["❌ ada (request 2k4fa) was denied."]


def test_who_was_denied_is_not_told_what_was_said_silently() -> None:
    silent = replace(DAVE, silent=True)
    aloud = vote("erin", Choice.DENY, "no room left", after=3)
    message = request_replies.denied(seen(State.DENIED, votes(silent, aloud)), (BOB,))
    assert body(message) == ["❌ ada (request 2k4fa) was denied.", "• @erin:example.org: “no room left”"]


def test_a_reason_is_told_in_full() -> None:
    reason = "because " * 249 + "so it is"
    (_, told) = body(request_replies.denied(seen(State.DENIED, votes(vote("dave", Choice.DENY, reason))), (BOB,)))
    assert told == f"• @dave:example.org: “{reason}”"


def test_whose_request_expired_is_told_how_to_ask_again() -> None:
    message = request_replies.expired(seen(State.EXPIRED, prefix="%"), (BOB,))
    assert body(message) == [
        "🕑 ada (request 2k4fa) has expired: it was not decided in time. To ask again: `%register ada`"
    ]
    assert about(message) == {"v": 1, "kind": "status", "state": "expired", **ONE}
    assert render(message)["m.mentions"] == {"user_ids": [BOB]}


def test_a_reminder_says_what_is_missing_until_when_and_where_to_decide() -> None:
    view = seen(tally=votes(CAROL), at=NOW + DAY, card=CARD)
    message = request_replies.reminder(view, ("@dave:example.org",))
    waits, how = body(message)
    assert waits == (
        "⏰ ada (request 2k4fa) still waits for a decision; @bob:example.org asked 1 day ago. Votes: 1 of 2 approvals."
        " It expires 2026-01-08 00:00 UTC, in 6 days."
    )
    assert how == "To decide: ✅ or ❌ under its card, or `!approve 2k4fa [note]` / `!deny 2k4fa [reason]`"
    assert about(message) == {"v": 1, "kind": "status", "state": "pending", **ONE}
    assert render(message)["m.mentions"] == {"user_ids": ["@dave:example.org"]}


def test_a_reminder_of_an_admin_account_asks_for_typed_votes() -> None:
    *_, how = body(request_replies.reminder(seen(admin=True, card=CARD), ()))
    assert how.startswith("To decide, please type:")


def test_a_reminder_of_a_request_without_a_card_says_how_to_get_it() -> None:
    *_, how = body(request_replies.reminder(seen(prefix="%"), ()))
    assert how == "To decide: `%approve 2k4fa` or `%deny 2k4fa`; `%show 2k4fa` posts its card."


def test_the_details_are_the_card_in_full_and_every_step_with_its_time() -> None:
    note = "because " * 249 + "so it is"
    history = [
        HistoryLine(NOW, BOB, "asked for ada"),
        HistoryLine(NOW + 3661, None, "expired undecided"),
    ]
    message = request_replies.details(seen(tally=votes(CAROL), note=note, card=CARD), history)
    assert body(message) == [
        "🗳️ Request 2k4fa: ada (Ada Lovelace)",
        "• Asked for by @bob:example.org",
        f"• Why: {note}",
        "• Asked: 2026-01-01 00:00:00 UTC",
        "• Votes: 1 of 2 approvals",
        "• Expires: 2026-01-08 00:00 UTC, in 7 days",
        "To decide: ✅ or ❌ under its card, or `!approve 2k4fa [note]` / `!deny 2k4fa [reason]`",
        "What happened:",
        "• 2026-01-01 00:00:00 UTC: @bob:example.org asked for ada",
        "• 2026-01-01 01:01:01 UTC: expired undecided",
    ]
    assert about(message) == {"v": 1, "kind": "request", "state": "pending", **ONE}


def test_the_details_of_what_failed_say_what_mends_it() -> None:
    message = request_replies.details(seen(State.FAILED, error="username_taken"), [])
    assert "`!approve 2k4fa --username=…`" in "\n".join(body(message))
    assert "Votes:" not in "\n".join(body(message))
    assert about(message)["error"] == "username_taken"


@pytest.mark.parametrize("count", [10, 11, 50, 51, 220])
def test_of_a_long_history_its_beginning_and_its_end_are_told_and_how_much_is_left_out(count: int) -> None:
    history = [HistoryLine(NOW, BOB, f"step {n}") for n in range(count)]
    lines = body(request_replies.details(seen(), history))
    steps = lines[lines.index("What happened:") + 1 :]
    told = [int(line.rpartition(" ")[2]) for line in steps if "step" in line]
    left_out = [line for line in steps if "step" not in line]
    assert told == ([*range(10), *range(count - 40, count)] if count > 50 else [*range(count)])
    more = f"• … and {count - 50} more; “onboard-bot audit export” has them all"
    assert left_out == ([more] if count > 50 else [])


def test_the_details_of_a_request_with_a_very_long_history_fit() -> None:
    history = [HistoryLine(NOW + n, BOB, "voted for it (typed): “" + "why " * 500 + "”") for n in range(200)]
    content = render(request_replies.details(seen(), history))
    assert len(json.dumps(content)) <= MAX_BYTES
    assert content["body"].startswith("🗳️ Request 2k4fa")


@pytest.mark.parametrize(
    ("verb", "facts", "personal", "told"),
    [
        (
            "request:made",
            {"admin": False, "type": None},
            {"requester": BOB, "username": "ada", "display_name": "Ada Lovelace", "note": "by post"},
            "@bob:example.org asked for ada (Ada Lovelace): “by post”",
        ),
        (
            "request:made",
            {"admin": True, "type": "bot"},
            {"requester": BOB, "username": "ada", "display_name": None, "note": None},
            "@bob:example.org asked for ada, with server-admin rights, of the type bot",
        ),
        ("request:approved", {"rule": "power_level"}, {"by": BOB}, f"{BOB} may decide alone: approved at once"),
        ("request:approved", {"rule": "votes", "approvals": 2, "needed": 2}, {}, "approved: 2 of 2 approvals"),
        ("request:approved", {"rule": "again"}, {"by": BOB}, f"{BOB} had it tried again"),
        ("request:denied", {"denials": 2, "silent": False}, {}, "denied, with 2 against it"),
        ("request:denied", {"denials": 1, "silent": True}, {}, "denied, with 1 against it; who asked was not told"),
        ("request:cancelled", {}, {"by": BOB}, f"{BOB} cancelled it"),
        ("request:expired", {}, {}, "expired undecided"),
        ("request:reminded", {}, {}, "those who had not voted were reminded"),
        ("request:reopened", {}, {"by": BOB}, f"{BOB} took the denial back; votes began anew"),
        (
            "request:renamed",
            {},
            {"by": BOB, "username": "ada2", "instead_of": "ada"},
            f"{BOB} corrected the username: ada2 instead of ada; approvals of that one do not count",
        ),
        (
            "vote:cast",
            {"choice": "approve", "how": "typed"},
            {"by": BOB, "note": "fine"},
            f"{BOB} voted for it (typed): “fine”",
        ),
        ("vote:cast", {"choice": "deny", "how": "reaction"}, {"by": BOB}, f"{BOB} voted against it (a reaction)"),
        (
            "vote:cast",
            {"choice": "deny", "how": "typed", "silent": True},
            {"by": BOB, "note": "no"},
            f"{BOB} voted against it, silently (typed): “no”",
        ),
        ("vote:taken_back", {}, {"by": BOB}, f"{BOB} took the vote back"),
        ("vote:regrouped", {"groups": ["a", "b"]}, {"by": BOB}, f"{BOB} counts for: a, b"),
        ("vote:regrouped", {}, {"by": BOB}, f"{BOB} counts for no group any more"),
        ("vote:lapsed", {}, {"by": BOB}, f"{BOB} may not vote any more: their vote does not count"),
        ("vote:restored", {}, {"by": BOB}, f"{BOB} may vote again: their vote counts"),
        ("account:creating", {}, {"username": "ada"}, "the homeserver was asked to make ada"),
        (
            "account:created",
            {"server_answer": "created"},
            {"user_id": "@ada:example.org"},
            "the homeserver made @ada:example.org",
        ),
        (
            "account:created",
            {"server_answer": "found by signing in"},
            {"user_id": "@ada:example.org"},
            "the homeserver made @ada:example.org (found by signing in)",
        ),
        (
            "account:failed",
            {"server_answer": "username_taken"},
            {"username": "ada"},
            "ada could not be made: username_taken",
        ),
        (
            "account:unknown",
            {},
            {"username": "ada"},
            "whether the homeserver made ada could not be found out",
        ),
        ("credentials:sent", {}, {"to": BOB}, "the credentials were sent to @bob:example.org"),
        ("credentials:erased", {}, {}, "the credentials were erased"),
        ("something:new", {"a": 1}, {"b": 2}, "something:new"),
    ],
)
def test_every_step_is_told_in_words(verb: str, facts: dict[str, Any], personal: dict[str, Any], told: str) -> None:
    assert line(verb, facts, personal) == told


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb.startswith(("request:", "vote:", "account:", "cred"))])
def test_every_verb_about_a_request_has_words_even_when_who_it_was_is_erased(verb: Verb) -> None:
    told = history_line(Recorded(1, NOW, verb, "2k4fa", {}, None))
    assert told.who is None
    assert told.words.endswith(" (personal details erased)")
    assert not told.words.startswith(verb)
    assert "None" not in told.words


@given(
    st.sampled_from(Verb),
    *[
        st.none()
        | st.dictionaries(st.sampled_from(["by", "note", "choice", "how", "rule", "to"]), st.text() | st.none())
    ]
    * 2,
)
def test_no_row_breaks_the_history(verb: Verb, facts: dict[str, Any] | None, personal: dict[str, Any] | None) -> None:
    told = history_line(Recorded(1, NOW, verb, "2k4fa", facts or {}, personal))
    render(request_replies.details(seen(), [told]))


def listed(count: int, state: State | None = State.PENDING, number: int = 1, of: int = 1) -> Message:
    requests = [(replace(REQUEST, id=f"2k4f{n}"), "@ada:example.org") for n in range(count)]
    return request_replies.page(
        requests, state=state, number=number, of=of, total=count + 25 * (of - 1), at=NOW + DAY, prefix="!"
    )


def test_a_page_lists_requests_with_their_askers_and_ends() -> None:
    message = listed(2)
    assert body(message) == [
        "2 pending requests:",
        "• 2k4f0 ada (Ada Lovelace), asked for by @bob:example.org 1 day ago; pending, expires 2026-01-08 00:00 UTC",
        "• 2k4f1 ada (Ada Lovelace), asked for by @bob:example.org 1 day ago; pending, expires 2026-01-08 00:00 UTC",
    ]
    assert about(message) == {
        "v": 1,
        "kind": "list",
        "items": [
            {"kind": "request", "id": "2k4f0", "state": "pending", "user_id": "@ada:example.org"},
            {"kind": "request", "id": "2k4f1", "state": "pending", "user_id": "@ada:example.org"},
        ],
    }
    assert message.mentions == ()


def test_a_page_says_how_to_see_the_next() -> None:
    first, *_, last = body(listed(1, of=3))
    assert first == "51 pending requests, page 1 of 3:"
    assert last == "The next page: `!requests pending --page=2`"
    assert body(listed(1, None, number=2, of=3))[-1] == "The next page: `!requests --page=3`"
    assert "The next page" not in body(listed(1, number=3, of=3))[-1]


def test_a_page_of_what_is_decided_names_the_state() -> None:
    request = replace(REQUEST, state=State.FAILED, wish=replace(REQUEST.wish, admin=True))
    requests = [(request, "@ada:example.org")]
    at = NOW + DAY
    message = request_replies.page(requests, state=State.FAILED, number=1, of=1, total=1, at=at, prefix="!")
    assert body(message) == [
        "1 failed request:",
        "• 2k4fa ada (Ada Lovelace), asked for by @bob:example.org 1 day ago; ⚠️ server-admin rights; failed",
    ]


@pytest.mark.parametrize(
    ("state", "said"), [(None, "There are no open requests."), (State.DENIED, "There are no denied requests.")]
)
def test_where_there_is_nothing_a_page_says_so(state: State | None, said: str) -> None:
    message = listed(0, state)
    assert body(message) == [said]
    assert about(message) == {"v": 1, "kind": Kind.LIST, "items": []}


@given(st.text(st.characters(exclude_categories=())) | st.sampled_from(["<b>@room</b>", "`!deny x`", "\u202eש"]))
def test_what_people_wrote_stays_text(text: str) -> None:
    tally = votes(vote("carol", note=text), vote("dave", Choice.DENY, text))
    made = Recorded(1, NOW, Verb.REQUEST_MADE, "2k4fa", {}, {"requester": BOB, "username": "ada", "note": text})
    view = seen(State.DENIED, tally, display_name=text, note=text)
    for message in (
        request_replies.denied(view, (BOB,)),
        request_replies.details(view, [history_line(made)]),
        request_replies.page([(view.request, "@ada:e.org")], state=None, number=1, of=1, total=1, at=NOW, prefix="!"),
    ):
        content = render(message)
        assert "@room" not in content["body"].lower()
        assert "<b>" not in content["formatted_body"]
        assert "\u202e" not in content["body"]
        assert content["m.mentions"] == ({"user_ids": [BOB]} if message.mentions else {})
        json.dumps(content, ensure_ascii=False).encode()
