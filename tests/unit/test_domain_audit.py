"""The chain of the audit log: every change of anything covered changes the hash."""

import json
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from onboard_bot.domain.audit import CHAIN_START, encode, link, personal_digest

facts = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.booleans() | st.none())
rows = st.fixed_dictionaries(
    {
        "seq": st.integers(1, 10**6),
        "at": st.floats(0, 4e9),
        "verb": st.text(max_size=8),
        "request_id": st.none() | st.text(max_size=5),
        "facts": facts.map(encode),
        "personal_digest": st.text("0123456789abcdef", min_size=64, max_size=64),
    }
)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(hashes, rows, hashes, rows)
def test_only_the_same_row_after_the_same_row_has_the_same_hash(
    before: str, row: dict[str, Any], other_before: str, other: dict[str, Any]
) -> None:
    same = (before, row) == (other_before, other)
    assert (link(before, **row) == link(other_before, **other)) is same


@given(rows, rows, st.sampled_from(["seq", "at", "verb", "request_id", "facts", "personal_digest"]))
def test_a_change_of_any_one_column_shows(row: dict[str, Any], other: dict[str, Any], column: str) -> None:
    assume(row[column] != other[column])
    assert link(CHAIN_START, **row) != link(CHAIN_START, **{**row, column: other[column]})


@given(facts, facts, st.binary(min_size=16, max_size=16))
def test_the_digest_knows_the_personal_values_apart(one: dict[str, Any], two: dict[str, Any], salt: bytes) -> None:
    assert (personal_digest(salt, one) == personal_digest(salt, two)) is (encode(one) == encode(two))


@given(facts, st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_without_the_salt_nobody_can_compare_digests(personal: dict[str, Any], salt: bytes, other: bytes) -> None:
    assume(salt != other)
    assert personal_digest(salt, personal) != personal_digest(other, personal)


@given(facts)
def test_the_same_values_have_the_same_text_in_any_order(values: dict[str, Any]) -> None:
    assert encode(values) == encode(dict(reversed(values.items())))
    assert json.loads(encode(values)) == values
    assert encode(None) == "{}"
