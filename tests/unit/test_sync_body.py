"""Reading a raw sync body: whatever a server or a stranger puts into it, what comes out has the types it says."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.domain.identifiers import is_user_id
from onboard_bot.matrix.sync_body import Invitation, SyncBody

US = "@onboard:example.org"

KEYS = (
    "next_batch", "rooms", "join", "invite", "leave", "timeline", "events", "limited", "prev_batch", "state",
    "to_device", "invite_state", "event_id", "type", "state_key", "content", "membership", "sender", "is_direct",
)  # fmt: skip
WORDS = ("m.room.member", "invite", US, "!room:example.org", "$event", "s1", "")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS + WORDS), inner, max_size=6),
    max_leaves=30,
)


def body(**rooms: Any) -> SyncBody:
    return SyncBody(json.dumps({"next_batch": "s1", "rooms": rooms}))


def message(event_id: str) -> dict[str, Any]:
    return {"event_id": event_id, "type": "m.room.message", "sender": "@ada:example.org", "content": {}}


def invitation(**more: Any) -> dict[str, Any]:
    event = {
        "type": "m.room.member",
        "state_key": US,
        "sender": "@ada:example.org",
        "content": {"membership": "invite", "is_direct": True},
    }
    return {"invite_state": {"events": [{"type": "m.room.name"}, {**event, **more}]}}


@given(json_values)
def test_no_body_makes_reading_fail_but_one_that_is_no_sync_answer(value: Any) -> None:
    try:
        body = SyncBody(json.dumps(value))
    except ValueError:
        assert not (isinstance(value, dict) and isinstance(value.get("next_batch"), str))
        return
    assert isinstance(body.holds_anything, bool)
    for timeline in body.timelines():
        assert all(isinstance(event["event_id"], str) for event in timeline.events)
        assert isinstance(timeline.prev_batch, str | None)
    for invited in body.invitations(US):
        assert is_user_id(invited.inviter)
    assert all(isinstance(room_id, str) for room_id in body.left())


@given(st.dictionaries(st.sampled_from(["join", "invite", "leave"]), st.dictionaries(st.text(), json_values)))
def test_whatever_comes_out_of_a_body_it_is_known_to_hold_something(rooms: dict[str, Any]) -> None:
    read = body(**rooms)
    came_out = [*read.timelines(), *read.invitations(US), *read.left()]
    assert read.holds_anything or not came_out


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"next_batch": 5}', "<html>", '{"next_batch": "s1"'])
def test_what_is_no_sync_answer_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of JSON or of ours: the loop treats both alike
        SyncBody(text)


def test_a_timeline_tells_its_events_and_whether_some_are_missing() -> None:
    events = [message("$1"), "no event", {"type": "no id"}, message("$2")]
    timeline = {"events": events, "limited": True, "prev_batch": "p"}
    (read,) = body(join={"!room": {"timeline": timeline, "state": {"events": [{}]}}}).timelines()
    assert [event["event_id"] for event in read.events] == ["$1", "$2"]
    assert (read.room_id, read.limited, read.prev_batch, read.state_changed) == ("!room", True, "p", True)


@pytest.mark.parametrize("limited", ["yes", 1, None, {}])
def test_only_true_means_limited(limited: Any) -> None:
    (read,) = body(join={"!room": {"timeline": {"limited": limited}}}).timelines()
    assert read.limited is False


def test_an_invitation_to_us_names_who_invites() -> None:
    read = list(body(invite={"!room": invitation()}).invitations(US))
    assert read == [Invitation("!room", "@ada:example.org", is_direct=True)]


@pytest.mark.parametrize(
    "event",
    [
        {"state_key": "@other:example.org"},
        {"content": {"membership": "join"}},
        {"content": []},
        {"sender": 5},
        {"sender": ""},
        {"sender": "ada"},
        {"sender": "@ada"},
        {"sender": "@ada:example.org\n!register"},
        {"sender": "@" + "a" * 300 + ":example.org"},
        {"sender": "@\ud800:example.org"},
        {"type": "m.room.topic"},
    ],
)
def test_what_is_no_invitation_to_us_is_none(event: dict[str, Any]) -> None:
    assert list(body(invite={"!room": invitation(**event)}).invitations(US)) == []


def told(*events: dict[str, Any]) -> list[Invitation]:
    """What an invitation with these membership events says."""
    return list(body(invite={"!room": {"invite_state": {"events": list(events)}}}).invitations(US))


def ours(sender: str, membership: str = "invite", *, is_direct: bool = True) -> dict[str, Any]:
    content = {"membership": membership, "is_direct": is_direct}
    return {"type": "m.room.member", "state_key": US, "sender": sender, "content": content}


def test_the_inviter_is_who_our_own_server_names_last_whatever_the_others_made_stand_before_it() -> None:
    """The list is the inviting server's but for its end, where our server puts the invitation that it has checked."""
    other = {"type": "m.room.member", "state_key": "@eve:evil.org", "sender": "@eve:evil.org", "content": {}}
    real = ours("@eve:evil.org", is_direct=False)
    invited = [Invitation("!room", "@eve:evil.org", is_direct=False)]
    assert told(ours("@ada:example.org"), real) == invited
    assert told(ours("@ada:example.org"), real, other) == invited
    assert told(ours("@ada:example.org"), ours("@ada:example.org"), other, real) == invited


@pytest.mark.parametrize(
    "last",
    [ours("@eve:evil.org", "leave"), ours("@eve:evil.org", "ban"), ours("no user id"), ours("@eve:evil.org", "")],
)
def test_where_the_last_word_about_us_is_no_invitation_an_earlier_one_makes_none(last: dict[str, Any]) -> None:
    assert told(ours("@ada:example.org"), last) == []


def test_keys_alone_are_worth_keeping_and_counts_are_not() -> None:
    assert SyncBody('{"next_batch": "s", "to_device": {"events": [{}]}}').holds_anything
    assert not SyncBody('{"next_batch": "s", "device_one_time_keys_count": {"signed_curve25519": 5}}').holds_anything
    assert not SyncBody('{"next_batch": "s", "rooms": {"join": {}}}').holds_anything
    assert list(body(leave={"!gone": {}}).left()) == ["!gone"]
