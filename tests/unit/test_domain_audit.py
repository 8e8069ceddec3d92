"""The chain of the audit log: every change of anything covered changes the hash."""

import json
from dataclasses import replace
from functools import reduce
from itertools import zip_longest
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from onboard_bot.domain.audit import (
    CHAIN_START,
    Break,
    Chain,
    Head,
    Misfit,
    Row,
    decode,
    encode,
    link,
    personal_digest,
)

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


def chained(entries: list[dict[str, Any]]) -> list[Row]:
    """The rows that a bot writes."""
    rows: list[Row] = []
    for place, entry in enumerate(entries, 1):
        salt, personal = bytes(16), {"n": place}
        values = entry | {"seq": place, "personal_digest": personal_digest(salt, personal)}
        hash_ = link(rows[-1].hash if rows else CHAIN_START, **values)
        rows.append(Row(**values, personal=encode(personal), salt=salt, hash=hash_))
    return rows


def head_of(written: list[Row]) -> Head:
    return Head(written[-1].seq, written[-1].hash)


def looked_at(found: list[Row], head: Head | None) -> Break | None:
    return reduce(Chain.then, found, Chain()).ended(head).broken


logs = st.lists(rows, min_size=1, max_size=6).map(chained)


@given(logs)
def test_what_a_bot_wrote_fits_also_where_people_were_erased(written: list[Row]) -> None:
    assert looked_at([], None) is None
    assert looked_at(written, head_of(written)) is None
    assert looked_at([replace(row, personal=None, salt=None) for row in written], head_of(written)) is None


@given(logs, st.data())
def test_whatever_is_done_to_the_rows_the_first_place_where_it_shows_is_named(
    written: list[Row], data: st.DataObject
) -> None:
    places = st.integers(0, len(written) - 1)
    found = list(written)
    for _ in range(data.draw(st.integers(1, 3))):
        if not found:
            break
        one, other = (data.draw(places) % len(found) for _ in range(2))
        match data.draw(st.sampled_from(["remove", "cut off", "swap", "repeat", "change", "erase in part"])):
            case "remove":
                del found[one]
            case "cut off":
                del found[one:]
            case "swap":  # with or without their numbers
                found[one], found[other] = found[other], found[one]
            case "repeat":
                found.insert(one, replace(found[other]))
            case "change":
                column = data.draw(st.sampled_from(["at", "verb", "request_id", "facts", "personal_digest", "hash"]))
                found[one] = replace(found[one], **{column: getattr(found[other], column)})
            case "erase in part":
                found[one] = replace(found[one], personal=None)
    if data.draw(st.booleans()):
        found = [replace(row, seq=place) for place, row in enumerate(found, 1)]
    found = sorted(found, key=lambda row: row.seq)
    first = next((n for n, pair in enumerate(zip_longest(written, found), 1) if pair[0] != pair[1]), None)
    broken = looked_at(found, head_of(written))
    assert (broken and broken.place) == first


@given(logs, logs)
def test_a_log_written_anew_fits_and_its_head_does_not(written: list[Row], other: list[Row]) -> None:
    assume(written[-1].hash != other[-1].hash)
    assert looked_at(other, head_of(other)) is None
    broken = looked_at(other, head_of(written))
    assert broken is not None
    expected = {True: Misfit.CUT_OFF, False: Misfit.ADDED}[len(written) > len(other)]
    assert broken.misfit is (Misfit.WRITTEN_ANEW if len(written) == len(other) else expected)


@given(logs)
def test_a_log_without_a_head_may_have_lost_its_end(written: list[Row]) -> None:
    assert looked_at(written, None) == Break(len(written) + 1, Misfit.NO_HEAD)
    assert looked_at([], head_of(written)) == Break(1, Misfit.CUT_OFF)


@given(facts)
def test_what_was_encoded_is_read_and_nothing_else(values: dict[str, Any]) -> None:
    assert decode(encode(values)) == values
    for text in (f" {encode(values)}", "no JSON", "[]", "null", '{"a":1,"a":2}', "[" * 100_000, '"\\ud800"'):
        assert decode(text) is None
