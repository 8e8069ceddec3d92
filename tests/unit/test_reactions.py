"""Which reactions are votes, whatever a client makes of the sign."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.chat.reactions import APPROVE_SIGN, DENY_SIGN, Reaction, read_reaction
from onboard_bot.domain.approvals import Choice

SKIN_TONES = [chr(code) for code in range(0x1F3FB, 0x1F3FF + 1)]
SELECTORS = ["\ufe0e", "\ufe0f"]
SIGNS = {"✅": Choice.APPROVE, "👍": Choice.APPROVE, "❌": Choice.DENY, "👎": Choice.DENY}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["rel_type", "event_id", "key", "m.relates_to"]) | st.text(), inner)
    ),
    max_leaves=8,
)


def reaction(key: object = "✅", **more: Any) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$card", "key": key, **more}}


@pytest.mark.parametrize(("sign", "choice"), SIGNS.items())
@pytest.mark.parametrize("around", ["", " ", "\n\u00a0"])
@pytest.mark.parametrize("marks", ["", *SKIN_TONES, *SELECTORS, SKIN_TONES[0] + SELECTORS[1], SELECTORS[1] * 2])
def test_a_sign_is_a_vote_in_any_skin_tone_and_with_any_selector(
    sign: str, choice: Choice, around: str, marks: str
) -> None:
    assert read_reaction(reaction(around + sign + marks + around)) == Reaction("$card", choice)


def test_the_signs_under_a_card_are_votes() -> None:
    assert read_reaction(reaction(APPROVE_SIGN)) == Reaction("$card", Choice.APPROVE)
    assert read_reaction(reaction(DENY_SIGN)) == Reaction("$card", Choice.DENY)


@pytest.mark.parametrize(
    "key",
    [
        *("", " ", "👀", "☑️", "✔️", "❎", "✖️", "+1", ":thumbsup:", "yes", "approve"),
        *(
            "✅✅",
            "✅❌",
            "✅ yes",
            "x✅",
            "\ufe0f",
            SKIN_TONES[0],
            "\ufe0f✅",
            "✅\u200d👍",
            "✅" * 20_000,
            " " * 60_000 + "✅",
        ),
        *(None, True, 1, ["✅"], {"✅": "✅"}),
    ],
)
def test_everything_else_is_nothing(key: object) -> None:
    assert read_reaction(reaction(key)) is None


@pytest.mark.parametrize(
    "content",
    [
        None,
        "✅",
        [],
        {},
        {"m.relates_to": None},
        {"m.relates_to": ["m.annotation"]},
        {"m.relates_to": {"event_id": "$card", "key": "✅"}},
        reaction(rel_type="m.reference"),
        reaction(rel_type=["m.annotation"]),
        reaction(event_id=None),
        reaction(event_id="card"),
        reaction(event_id="$é"),
        reaction(event_id="$" + "a" * 300),
        reaction(event_id="$a\nb"),
    ],
)
def test_a_reaction_to_nothing_is_nothing(content: object) -> None:
    assert read_reaction(content) is None


@given(JSON | JSON.map(lambda relation: {"m.relates_to": relation}) | JSON.map(reaction))
def test_no_content_breaks_it(content: object) -> None:
    assert read_reaction(content) is None or isinstance(read_reaction(content), Reaction)


@given(st.text(), st.sampled_from(["", *SIGNS]), st.text())
def test_a_sign_among_other_text_is_nothing(before: str, sign: str, after: str) -> None:
    marks = {*SKIN_TONES, *SELECTORS}
    expected = SIGNS.get("".join(c for c in (before + sign + after).strip() if c not in marks))
    found = read_reaction(reaction(before + sign + after))
    assert found is None or found.choice is expected


@pytest.mark.parametrize("piece", [" ", "\ufe0f", "✅", "🏽", "✅ "])
def test_a_very_long_key_costs_nothing(piece: str) -> None:
    content = reaction("✅" + piece * 60_000)
    start = time.perf_counter()
    assert read_reaction(content) is None
    assert time.perf_counter() - start < 0.1
