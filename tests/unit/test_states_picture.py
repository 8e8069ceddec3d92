"""The picture of a request's states shows the table of transitions: all of it, and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from docs.states_picture import ARROWS, IncompletePictureError, picture
from onboard_bot.domain.requests import TRANSITIONS, State

DOCS = Path(__file__).resolve().parents[2] / "docs"
SVG = "{http://www.w3.org/2000/svg}"
STEPS = [(state, then) for state, following in TRANSITIONS.items() for then in following]

Edges = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@pytest.fixture
def drawn() -> ET.Element:
    return ET.fromstring((DOCS / "request-states.svg").read_text(encoding="utf-8"))  # noqa: S314 - a file of ours


def test_each_state_is_one_box_and_each_step_one_arrow(drawn: ET.Element) -> None:
    names = [text.text or "" for text in drawn.iter(f"{SVG}text") if text.get("class") == "name"]
    ways = [path.get("d") for path in drawn.iter(f"{SVG}path") if path.get("class") == "way"]

    assert sorted(names) == sorted(State)
    assert len(set(ways)) == len(STEPS) + 2  # two lead in from nowhere: to be decided, and at once


@pytest.mark.parametrize("step", sorted(STEPS), ids=" to ".join)
def test_each_step_is_written_in_the_picture_and_told_to_whoever_hears_it(
    step: tuple[State, State], drawn: ET.Element
) -> None:
    lines = ARROWS[step].label.replace("`", "").split("\n")
    told = dict(sentence.split(" becomes ") for sentence in _heard(drawn).split(". ") if " becomes " in sentence)

    assert {"".join(text.itertext()) for text in drawn.iter(f"{SVG}text")} >= set(lines)
    assert f"{step[1]} ({' '.join(lines)})" in told[step[0]]


def test_whoever_hears_the_picture_is_told_where_it_ends(drawn: ET.Element) -> None:
    final = {state for state, following in TRANSITIONS.items() if not following}
    assert {state for state in State if f"{state} is final." in _heard(drawn)} == final


def _heard(drawn: ET.Element) -> str:
    return drawn.findtext(f"{SVG}desc") or ""


def test_nothing_that_is_written_touches_a_box_another_line_or_the_frame(drawn: ET.Element) -> None:
    width, height = float(drawn.get("width", 0)), float(drawn.get("height", 0))
    taken = [_edges(box) for box in drawn.iter(f"{SVG}rect") if (box.get("class") or "").startswith("box")]

    for text in drawn.iter(f"{SVG}text"):
        if text.get("class") is None:
            label = _room_of(text)
            assert 0 < label[0] < label[2] < width
            assert 0 < label[1] < label[3] < height
            assert not [other for other in taken if _overlap(label, other)], "".join(text.itertext())
            taken.append(label)


def _edges(box: ET.Element) -> Edges:
    x, y, width, height = (float(box.get(name, 0)) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def _room_of(text: ET.Element) -> Edges:
    """What a line takes in a wide typeface, which nobody here can measure."""
    x, y, half = float(text.get("x", 0)), float(text.get("y", 0)), len("".join(text.itertext())) * 3.6
    return x - half, y - 11, x + half, y + 4


def _overlap(one: Edges, other: Edges) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_a_step_without_a_label_is_named() -> None:
    with pytest.raises(IncompletePictureError, match=r"^created → pending has no label in the picture; write one"):
        picture({**TRANSITIONS, State.CREATED: frozenset({State.PENDING})})


def test_a_label_without_a_step_is_named() -> None:
    with pytest.raises(IncompletePictureError, match=r"^denied → pending is drawn, but the table .* does not have it"):
        picture({**TRANSITIONS, State.DENIED: frozenset()})


def test_the_generator_ends_with_all_that_is_missing(tmp_path: Path) -> None:
    for script in DOCS.glob("*.py"):
        shutil.copy(script, tmp_path)
    with (tmp_path / "states_picture.py").open("a", encoding="utf-8") as drawing:
        drawing.write("\n\ndel PLACES[State.EXPIRED]\ndel ARROWS[State.FAILED, State.PENDING]\n")
    command = [sys.executable, str(tmp_path / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "The state expired has no place in the picture; give it one in docs/states_picture.py.",
        "failed → pending has no label in the picture; write one in docs/states_picture.py.",
    ]


def test_the_order_of_the_table_changes_nothing() -> None:
    other_order = {state: sorted(following, reverse=True) for state, following in TRANSITIONS.items()}
    assert picture(other_order) == picture(TRANSITIONS)
