"""The ids of requests: spoken and typed back by people, and never taken for a word of a note."""

import itertools
import math
import secrets
import string
import unicodedata
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onboard_bot.domain.request_ids import ALPHABET, LENGTH, generate_request_id, read_request_id

DIGITS = [symbol for symbol in ALPHABET if symbol.isdigit()]
LETTERS = [symbol for symbol in ALPHABET if symbol.isalpha()]

symbols = st.sampled_from(ALPHABET)
ids = st.lists(symbols, min_size=LENGTH, max_size=LENGTH).map("".join).filter(lambda typed: not typed.isalpha())


def drawn(data: st.DataObject) -> str:
    return generate_request_id(lambda choices: data.draw(st.sampled_from(choices)))


@given(st.data())
def test_an_id_is_read_back_in_whatever_case_somebody_types_it(data: st.DataObject) -> None:
    made = drawn(data)
    typed = "".join(data.draw(st.sampled_from([symbol, symbol.upper()])) for symbol in made)
    assert read_request_id(typed) == made == made.lower()


@given(st.data())
def test_an_id_has_five_symbols_of_the_alphabet_and_a_digit_among_them(data: st.DataObject) -> None:
    made = drawn(data)
    assert len(made) == 5
    assert set(made) <= set(ALPHABET)
    assert any(symbol in string.digits for symbol in made)


def test_no_symbol_is_taken_for_another() -> None:
    """Two of one row look or sound alike."""
    for alike in ("0o", "1il", "bdptvcegz", "mn", "fs", "5s", "2z", "uv", "vw"):
        assert len(set(alike) & set(ALPHABET)) <= 1, alike
    assert len(set(ALPHABET)) == len(ALPHABET)
    assert not set(ALPHABET) & set("01ilo" + "bdptvcegz")


def choose_in_turn(told: Sequence[str]) -> Iterator[str]:
    yield from itertools.chain.from_iterable(told)


def test_letters_alone_are_thrown_away_and_drawn_anew() -> None:
    told = choose_in_turn(["marks", "kraft", "hawk4"])
    assert generate_request_id(lambda _: next(told)) == "hawk4"
    assert next(told, None) is None


def test_every_symbol_is_used_and_none_is_fixed_to_its_place() -> None:
    made = [generate_request_id(secrets.choice) for _ in range(2000)]
    for place in zip(*made, strict=True):
        assert set(place) == set(ALPHABET)
    assert len(set(made)) > 1950


def test_there_are_as_many_ids_as_the_module_says() -> None:
    assert len(ALPHABET) ** LENGTH - len(LETTERS) ** LENGTH == 726_607
    assert math.log2(726_607) > 19


@given(st.text(st.sampled_from(string.ascii_letters), max_size=8))
@example("hawks")
@example("MARKA")
def test_no_word_is_an_id(word: str) -> None:
    assert read_request_id(word) is None


@pytest.mark.parametrize("word", ["hammr", "karma", "mark", "harx", "rahma", "markw", "please", "no", "thanks", ""])
def test_no_word_of_a_note_is_an_id(word: str) -> None:
    assert read_request_id(word) is None
    assert read_request_id(word.title()) is None


@given(ids, symbols)
def test_one_symbol_more_or_less_is_no_id(typed: str, more: str) -> None:
    assert read_request_id(typed + more) is None
    assert read_request_id(more + typed) is None
    for place in range(LENGTH):
        assert read_request_id(typed[:place] + typed[place + 1 :]) is None


@given(
    ids,
    st.sampled_from(
        ["#", "!", "@", "$", "id:", "`", "'", '"', ".", ",", ":", " ", "\n", "\t", "\0", "\u200b", "\u202e"]
    ),
)
def test_what_is_put_around_an_id_does_not_belong_to_it(typed: str, around: str) -> None:
    assert read_request_id(around + typed) is None
    assert read_request_id(typed + around) is None
    assert read_request_id(typed[1:] + around[:1]) is None


@given(ids, st.integers(0, LENGTH - 1), st.characters(exclude_characters=ALPHABET + ALPHABET.upper()))
@example("2fhk4", 3, "\N{KELVIN SIGN}")
@example("2fhk4", 3, "\N{CYRILLIC SMALL LETTER KA}")
@example("2xhk4", 1, "\N{CYRILLIC SMALL LETTER HA}")
@example("2ahk4", 1, "\N{CYRILLIC SMALL LETTER A}")
@example("2fhk4", 0, "\N{FULLWIDTH DIGIT TWO}")
@example("2fhk4", 0, "\N{ARABIC-INDIC DIGIT TWO}")
@example("2fhk4", 0, "\N{SUPERSCRIPT TWO}")
@example("2fhk4", 0, "\N{MATHEMATICAL BOLD DIGIT TWO}")
@example("2fhk4", 1, "\N{FULLWIDTH LATIN SMALL LETTER F}")
@example("2fhk4", 1, "\N{LATIN SMALL LIGATURE FF}")
@example("2fhk4", 0, "0")
@example("2fhk4", 1, "\N{LATIN SMALL LETTER LONG S}")
def test_a_symbol_that_only_looks_like_one_of_ours_makes_no_id(typed: str, place: int, symbol: str) -> None:
    assert read_request_id(typed[:place] + symbol + typed[place + 1 :]) is None


def test_no_other_letter_of_the_world_is_ours_in_another_case() -> None:
    ours = set(ALPHABET) | set(ALPHABET.upper())
    for code in range(0x110000):
        symbol = chr(code)
        if symbol not in ours and unicodedata.category(symbol) != "Cs":
            assert read_request_id(f"2{symbol}346") is None, unicodedata.name(symbol, hex(code))


@given(st.text(max_size=12))
def test_whatever_is_typed_an_id_that_is_read_is_one_that_could_be_made(typed: str) -> None:
    read = read_request_id(typed)
    if read is not None:
        assert read == typed.lower()
        symbols = iter(read)
        assert generate_request_id(lambda _: next(symbols)) == read
