"""Owns how a request's states are drawn: where each stands, and what is written beside each arrow between them.

The states and arrows themselves come from the table of transitions; what only one of the two knows is an error.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import dist

from onboard_bot.domain.requests import OPEN, TRANSITIONS, State

Point = tuple[float, float]
Step = tuple[State, State]


@dataclass(frozen=True, slots=True)
class Arrow:
    """How one step is drawn. Places are columns and rows of the grid of `PLACES`.

    Args:
        label: What leads from one state to the other; what is typed or configured stands between backticks.
        start: Where on the edge of the first box it begins, from (-1, -1) to (1, 1).
        end: The same of the second box.
        label_at: The middle of the label.
        corners: Where it turns on its way.
    """

    label: str
    start: Point
    end: Point
    label_at: Point
    corners: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Entrance:
    """How a request comes into being in a state: an arrow from nowhere, the same way as `Arrow`."""

    label: str
    begin: Point
    end: Point
    label_at: Point


class IncompletePictureError(ValueError):
    """The table of transitions and this picture do not know the same; each line names one thing, and the mend."""


_TOP, _BOTTOM, _LEFT, _RIGHT = (0, -1), (0, 1), (-1, 0), (1, 0)

PLACES: dict[State, Point] = {
    State.DENIED: (0, 0),
    State.CANCELLED: (1, 0),
    State.PENDING: (0, 1),
    State.APPROVED: (2, 1),
    State.CREATING: (3, 1),
    State.CREATED: (4, 1),
    State.EXPIRED: (1, 2),
    State.FAILED: (2, 2),
    State.UNKNOWN: (3, 2),
}

ENTRANCES: dict[State, Entrance] = {
    State.PENDING: Entrance("`!register`\nto be decided", (-0.54, 1), _LEFT, (-0.81, 1)),
    State.APPROVED: Entrance("`!register`\nat once", (2, 0.4), _TOP, (2, 0.21)),
}

ARROWS: dict[Step, Arrow] = {
    (State.PENDING, State.APPROVED): Arrow("votes for it", _RIGHT, _LEFT, (1, 0.9)),
    (State.PENDING, State.DENIED): Arrow("votes\nagainst it", (-0.25, -1), (-0.25, 1), (-0.33, 0.5)),
    (State.DENIED, State.PENDING): Arrow("`!reopen`", (0.25, 1), (0.25, -1), (0.27, 0.42)),
    (State.PENDING, State.CANCELLED): Arrow("`!cancel`", (0.8, -1), (-0.4, 1), (0.77, 0.54)),
    (State.PENDING, State.EXPIRED): Arrow("`expires_after`", (0.8, 1), (-0.4, -1), (0.82, 1.42)),
    (State.APPROVED, State.CREATING): Arrow("begun", _RIGHT, _LEFT, (2.5, 0.9)),
    (State.APPROVED, State.CANCELLED): Arrow("`!cancel`", (-0.8, -1), (0.4, 1), (1.23, 0.54)),
    (State.APPROVED, State.EXPIRED): Arrow("link not\nused", (-0.8, 1), (0.4, -1), (1.27, 1.4)),
    (State.APPROVED, State.FAILED): Arrow("gave up", (-0.25, 1), (-0.25, -1), (1.74, 1.54)),
    (State.FAILED, State.APPROVED): Arrow("`!approve`", (0.25, -1), (0.25, 1), (2.28, 1.42)),
    (State.CREATING, State.CREATED): Arrow("made", _RIGHT, _LEFT, (3.5, 0.9)),
    (State.CREATING, State.FAILED): Arrow("refused", (-0.5, 1), (0.8, -1), (2.76, 1.54)),
    (State.CREATING, State.UNKNOWN): Arrow("answer lost", _BOTTOM, _TOP, (3.27, 1.5)),
    (State.UNKNOWN, State.CREATED): Arrow("it was made", _RIGHT, _BOTTOM, (3.64, 1.9), ((4, 2),)),
    (State.UNKNOWN, State.FAILED): Arrow("it was not", _LEFT, _RIGHT, (2.5, 2.11)),
    (State.FAILED, State.PENDING): Arrow("`!approve --username`", _BOTTOM, _BOTTOM, (1, 2.41), ((2, 2.5), (0, 2.5))),
}

_COLUMN, _ROW = 184, 124
_FIRST: Point = (206, 60)
_WIDTH, _HEIGHT = 1018, 440
_HALF_BOX: Point = (54, 21)
_TURN = 14
_LINE = 16
_LEGEND_Y = 410
_TO_BASELINE = 4.5

# Kinds of states: what the colour means, and where that is written.
_LEGEND = {
    "open": ("under way: nobody else gets the name", 150),
    "again": ("can still go on", 466),
    "made": ("the account is there", 620),
    "over": ("over", 812),
}

# Each rule that has a colour, in light and in dark. No custom properties: not everything that shows SVG knows them.
_COLOURS = (
    (".paper", "fill", "#fdfcfa", "#1c2027"),
    (".paper", "stroke", "#d8d4cc", "#3a414c"),
    ("text", "fill", "#24292f", "#e8e6e1"),
    (".box", "stroke", "#6a737d", "#9aa4b0"),
    (".way", "stroke", "#6a737d", "#9aa4b0"),
    (".head", "fill", "#6a737d", "#9aa4b0"),
    (".open", "fill", "#dcebfb", "#1e3f63"),
    (".again", "fill", "#fdeecb", "#55431a"),
    (".over", "fill", "#e9e7e3", "#373b42"),
    (".made", "fill", "#d7f0da", "#1f4a2a"),
)
_SHAPES = """\
text { font: 13px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; text-anchor: middle; }
.name { font-size: 15px; font-weight: 600; }
.legend { text-anchor: start; }
.typed { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12px; }
.way { fill: none; stroke-width: 1.5; }"""

_SIZE = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
_TIP = """\
<marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" \
orient="auto"><path class="head" d="M0 0.5 8 4 0 7.5z"/></marker>"""


def picture(transitions: Mapping[State, Iterable[State]] = TRANSITIONS) -> str:
    """The states and steps of a table as an SVG document; the same table always gives the same text.

    Raises:
        IncompletePictureError: Something in the table cannot be drawn, or something is drawn that it does not have.
    """
    table = {state: sorted(following) for state, following in transitions.items()}
    steps = [(state, then) for state, following in table.items() for then in following]
    _must_fit(steps, {*table, *(then for _, then in steps)})
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {_SIZE} role="img" aria-labelledby="title desc">',
        "<!-- Written by docs/generate.py; do not edit. -->",
        '<title id="title">The states of a request</title>',
        f'<desc id="desc">{escape(_told(table))}</desc>',
        f"<style>\n{_style()}\n</style>",
        _TIP,
        f'<rect class="paper" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="14"/>',
        *(_way(_at(each.begin), (), _edge(state, each.end)) for state, each in ENTRANCES.items()),
        *(_step(*step, ARROWS[step]) for step in steps),
        *(_box(state, _kind(state, following)) for state, following in table.items()),
        *(_label(drawn.label, drawn.label_at) for drawn in ENTRANCES.values()),
        *(_label(ARROWS[step].label, ARROWS[step].label_at) for step in steps),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _must_fit(steps: Iterable[Step], states: Iterable[State]) -> None:
    mend = "in docs/states_picture.py"
    known = set(steps)
    problems = [
        f"The state {state} has no place in the picture; give it one {mend}." for state in {*states} - {*PLACES}
    ]
    problems += [f"{a} → {b} has no label in the picture; write one {mend}." for a, b in known - {*ARROWS}]
    problems += [
        f"{a} → {b} is drawn, but the table of transitions does not have it; take it out {mend}."
        for a, b in {*ARROWS} - known
    ]
    if problems:
        raise IncompletePictureError("\n".join(sorted(problems)))


def _told(table: Mapping[State, Iterable[State]]) -> str:
    """The picture for people who hear it."""
    ways = []
    for state, following in table.items():
        then = ", ".join(f"{each} ({_spoken(ARROWS[state, each].label)})" for each in following)
        ways.append(f"{state} becomes {then}." if then else f"{state} is final.")
    return " ".join(ways)


def _spoken(label: str) -> str:
    return label.replace("`", "").replace("\n", " ")


def _kind(state: State, following: Iterable[State]) -> str:
    if state is State.CREATED:
        return "made"
    if state in OPEN:
        return "open"
    return "again" if following else "over"


def _style() -> str:
    light = "\n".join(f"{rule} {{ {what}: {colour}; }}" for rule, what, colour, _ in _COLOURS)
    dark = "\n".join(f"  {rule} {{ {what}: {colour}; }}" for rule, what, _, colour in _COLOURS)
    return f"{_SHAPES}\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


def _at(place: Point) -> Point:
    return _FIRST[0] + place[0] * _COLUMN, _FIRST[1] + place[1] * _ROW


def _edge(state: State, where: Point) -> Point:
    x, y = _at(PLACES[state])
    return x + where[0] * _HALF_BOX[0], y + where[1] * _HALF_BOX[1]


def _step(state: State, then: State, arrow: Arrow) -> str:
    return _way(_edge(state, arrow.start), tuple(map(_at, arrow.corners)), _edge(then, arrow.end))


def _way(start: Point, corners: Sequence[Point], end: Point) -> str:
    """A line with an arrow's head, round at its corners."""
    points = [start, *corners, end]
    path = f"M{_written(start)}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        path += f" L{_written(_towards(corner, before))} Q{_written(corner)} {_written(_towards(corner, after))}"
    return f'<path class="way" marker-end="url(#tip)" d="{path} L{_written(end)}"/>'


def _towards(corner: Point, other: Point) -> Point:
    """Where the bend of a corner begins."""
    part = _TURN / dist(corner, other)
    return corner[0] + (other[0] - corner[0]) * part, corner[1] + (other[1] - corner[1]) * part


def _box(state: State, kind: str) -> str:
    (left, top), (right, bottom) = _edge(state, (-1, -1)), _edge(state, (1, 1))
    size = f'width="{_number(right - left)}" height="{_number(bottom - top)}"'
    box = f'<rect class="box {kind}" x="{_number(left)}" y="{_number(top)}" {size} rx="10"/>'
    x, y = _at(PLACES[state])
    return f'{box}\n<text class="name" x="{_number(x)}" y="{_number(y + _TO_BASELINE)}">{state}</text>'


def _label(label: str, place: Point) -> str:
    x, y = _at(place)
    lines = label.split("\n")
    first = y + _TO_BASELINE - (len(lines) - 1) * _LINE / 2
    return "\n".join(
        f'<text x="{_number(x)}" y="{_number(first + row * _LINE)}">{_typed(line)}</text>'
        for row, line in enumerate(lines)
    )


def _typed(text: str) -> str:
    """What stands between backticks looks like something typed."""
    return re.sub(r"`([^`]*)`", r'<tspan class="typed">\1</tspan>', escape(text))


def _legend() -> Iterator[str]:
    for kind, (meaning, x) in _LEGEND.items():
        yield f'<rect class="box {kind}" x="{x}" y="{_LEGEND_Y - 7}" width="22" height="14" rx="4"/>'
        yield f'<text class="legend" x="{x + 30}" y="{_LEGEND_Y + _TO_BASELINE}">{meaning}</text>'


def _written(point: Point) -> str:
    return f"{_number(point[0])},{_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
