"""What the keys do to the line that a visitor of the demo types."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.demo.line import Line

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
