"""Who stands where in a room: by its state alone, whatever shape strangers gave it."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.domain.roles import Role, read_power_levels, role_in_room

CREATOR, ADA, BOB = "@creator:example.org", "@ada:example.org", "@bob:example.org"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
LEVEL_KEYS = ("users", "users_default", "events", "events_default", "state_default", "invite")


def create(version: str = "11", **content: Any) -> dict[str, Any]:
    return {"type": "m.room.create", "sender": CREATOR, "content": {"room_version": version, **content}}


@pytest.mark.parametrize(("version", "above"), [("1", False), ("11", False), ("12", True), ("13", True), ("x", False)])
def test_from_version_12_on_the_creator_is_above_all_levels(version: str, *, above: bool) -> None:
    levels = read_power_levels(create(version), {"users": {ADA: 100}})
    assert levels.of(CREATOR) == (math.inf if above else 0)
    assert levels.of(ADA) == 100


def test_additional_creators_of_a_version_12_room_are_above_all_levels() -> None:
    levels = read_power_levels(create("12", additional_creators=[BOB, 5]), {})
    assert levels.of(BOB) == math.inf
    assert read_power_levels(create("11", additional_creators=[BOB]), {}).of(BOB) == 0


def test_a_room_without_levels_belongs_to_its_creator() -> None:
    levels = read_power_levels(create("11"), None)
    assert (levels.of(CREATOR), levels.of(ADA)) == (100, 0)


def test_who_is_not_listed_has_the_default() -> None:
    levels = read_power_levels(create(), {"users": {ADA: 50}, "users_default": 10})
    assert (levels.of(ADA), levels.of(BOB)) == (50, 10)


@pytest.mark.parametrize(
    ("level", "read"), [("100", 100), (" 7 ", 7), (-5, -5), (True, 0), (1.5, 0), (None, 0), ("high", 0), ([100], 0)]
)
def test_levels_of_old_rooms_may_be_text_and_nonsense_gives_nobody_power(level: Any, read: int) -> None:
    assert read_power_levels(create("6"), {"users": {ADA: level}}).of(ADA) == read


@given(
    st.dictionaries(st.sampled_from(LEVEL_KEYS), json_values),
    st.sampled_from(["1", "10", "11", "12", "org.example"]),
)
def test_no_content_of_power_levels_makes_reading_fail(content: dict[str, Any], version: str) -> None:
    levels = read_power_levels(create(version), content)
    assert not math.isnan(levels.of(ADA))
    levels.may_send(ADA, "m.room.message")
    levels.may_send(ADA, "m.room.topic", state=True)


def test_sending_needs_the_level_of_the_event_type() -> None:
    levels = read_power_levels(create(), {"users": {ADA: 50}, "events": {"m.reaction": 60}, "events_default": 50})
    assert levels.may_send(ADA, "m.room.message")
    assert not levels.may_send(ADA, "m.reaction")
    assert not levels.may_send(BOB, "m.room.message")
    assert levels.may_send(ADA, "m.room.topic", state=True)


@given(
    membership=st.sampled_from(["join", "invite", "leave", "ban", "knock", ""]),
    level=st.integers() | st.just(math.inf),
    approver_level=st.integers(-100, 100),
)
def test_only_who_is_joined_has_a_role_and_only_the_level_makes_an_approver(
    membership: str, level: float, approver_level: int
) -> None:
    role = role_in_room(membership=membership, level=level, approver_level=approver_level)
    assert (role is Role.STRANGER) == (membership != "join")
    assert (role is Role.APPROVER) == (membership == "join" and level >= approver_level)


def test_each_role_may_do_all_that_the_one_before_may() -> None:
    assert Role.STRANGER < Role.REQUESTER < Role.APPROVER
