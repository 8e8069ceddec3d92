"""How lengths of time are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.config.values import Rate, format_duration, parse_rate, parse_retention
from onboard_bot.domain.durations import parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("0s", 0),
        ("5s", 5),
        ("10m", 600),
        ("24h", 86_400),
        ("7d", 604_800),
        ("1y", 31_536_000),
        ("1.5h", 5_400),
        (" 5s ", 5),
        (90, 90),
        (0.5, 0.5),
        ("91", 91),
    ],
)
def test_a_duration_is_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "5 s", "s", "-5s", "1h30m", "5w", "5S", "\N{ARABIC-INDIC DIGIT FIVE}s", "1e3", "1:30", "forever"]
)
def test_what_is_no_duration_is_refused_with_the_form(written: str) -> None:
    with pytest.raises(ValueError, match="5s, 10m, 24h, 7d, 1y"):
        parse_duration(written)


@pytest.mark.parametrize("written", [None, True, [], {}, b"5s"])
def test_another_type_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(written)


@pytest.mark.parametrize("written", [-1, float("inf"), float("nan"), "101y", 10**400, "9" * 400 + "y"])
def test_what_never_ends_or_goes_back_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="between 0s and 100y"):
        parse_duration(written)


@given(st.integers(0, 3_153_600_000) | st.integers(0, 10_000).map(lambda n: n / 4))
def test_what_is_written_is_read_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text() | st.integers() | st.floats())
def test_any_value_gives_seconds_or_a_sentence(written: object) -> None:
    try:
        outcome = f"must be {parse_duration(written)}"
    except ValueError as error:
        outcome = str(error)
    assert outcome.startswith("must be ")
    assert not outcome.startswith("must be -")


def test_forever_is_none_and_nothing_else_is() -> None:
    assert parse_retention("forever") is None
    assert format_duration(None) == "forever"
    assert parse_retention("1y") == parse_duration("365d")
    for written in (None, "Forever", "", "never"):
        with pytest.raises(ValueError, match="or forever"):
            parse_retention(written)


def test_a_rate_is_a_count_in_a_time() -> None:
    assert parse_rate("3/1d") == Rate(3, 86_400)
    assert str(parse_rate("10/24h")) == "10/1d"


@pytest.mark.parametrize("written", ["3", "3/", "/1d", "0/1d", "3/0s", "-1/1d", "3/1d/1d", 5, None])
def test_what_is_no_rate_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"3/1d|must be a duration"):
        parse_rate(written)
