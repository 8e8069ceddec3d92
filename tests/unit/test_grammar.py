"""How a typed line becomes a command's values."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onboard_bot.chat.grammar import CommandSpec, Option, OptionKind, Param, Values, parse
from onboard_bot.chat.words import quote
from onboard_bot.errors import ErrorCode, OnboardError

MAKE = CommandSpec(
    "make",
    "Makes something.",
    read=dict,
    params=(Param("name", "Its name."), Param("title", "The rest.", required=False, tail=True)),
    options=(
        Option("admin", "A flag.", OptionKind.FLAG),
        Option("note", "A text."),
        Option("uses", "A number.", OptionKind.NUMBER),
        Option("expires", "A time.", OptionKind.DURATION),
        Option("type", "A choice.", OptionKind.CHOICE, ("bot", "support")),
    ),
)
PAIR = CommandSpec("pair", "Two words.", read=dict, params=(Param("one", "1."), Param("two", "2.", required=False)))
STATUS = CommandSpec("status", "Tells.", read=dict)


def number(word: str) -> int | None:
    if word == "13":
        raise OnboardError(ErrorCode.NOT_FOUND, "There is no 13.")
    return int(word) if word.isascii() and word.isdigit() and len(word) < 9 else None


ADD = CommandSpec(
    "add",
    "Adds numbers.",
    read=dict,
    params=(
        Param("number", "Which.", many=number),
        Param("note", "The rest.", required=False, tail=True),
    ),
    options=(Option("admin", "A flag.", OptionKind.FLAG),),
)
SUM = CommandSpec("sum", "Adds them as well.", read=dict, params=(Param("number", "Which.", many=number),))
LIST = CommandSpec(
    "list", "Lists.", read=dict, params=(Param("state", "Which.", required=False, choices=("open", "closed")),)
)
SPECS = (MAKE, PAIR, ADD, SUM, LIST, STATUS)

ANYTHING = st.text(st.characters(exclude_categories=()))
# Text in which something happens more often than in ordinary text.
PIECES = (
    *(
        "make",
        "pair",
        "add",
        "12",
        "13",
        ",",
        "status",
        "admin",
        "note",
        "uses",
        "expires",
        "type",
        "help",
        "bot",
        "7d",
        "ada",
    ),
    *('"', "“", "”", "„", "\\", " ", "\u00a0", "\n", "--", "—", "\u2013", "=", "'", "!"),
)
LINES = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


def values(line: str) -> Values:
    return parse(line, SPECS).values


def given_values(line: str) -> dict[str, Any]:
    return {name: value for name, value in values(line).items() if value not in (None, False)}


def refusal(line: str) -> ErrorCode | None:
    """The code of the error, if there is one; its sentence fits a screen whatever was typed."""
    try:
        parse(line, SPECS)
    except OnboardError as error:
        return error.code if len(error.sentence) < 500 else ErrorCode.INTERNAL
    return None


def complaint(line: str) -> str:
    with pytest.raises(OnboardError) as caught:
        parse(line, SPECS)
    assert caught.value.code == ErrorCode.BAD_ARGUMENT
    first, usage = caught.value.sentence.split("\n")
    assert usage.startswith("Usage: !")
    return first


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("make ada", {"name": "ada"}),
        ("make ada Ada Lovelace", {"name": "ada", "title": "Ada Lovelace"}),
        ("make ada Ada  King,\u00a0Countess", {"name": "ada", "title": "Ada  King,\u00a0Countess"}),
        ("make sean Sean O'Neill 'the' Great", {"name": "sean", "title": "Sean O'Neill 'the' Great"}),
        ('make ada "Ada Lovelace"', {"name": "ada", "title": "Ada Lovelace"}),
        ('make ada Ada "the Countess" Lovelace', {"name": "ada", "title": 'Ada "the Countess" Lovelace'}),
        ('make ada "Ada" "Lovelace"', {"name": "ada", "title": '"Ada" "Lovelace"'}),
        ('make ada 6" of rope', {"name": "ada", "title": '6" of rope'}),
        ('make ada "never closed', {"name": "ada", "title": '"never closed'}),
        ("make ada -- and so on", {"name": "ada", "title": "-- and so on"}),
        ("make ada ---", {"name": "ada", "title": "---"}),
        ('make "ada lovelace"', {"name": "ada lovelace"}),
        (r'make "a \"b\" \\ \c"', {"name": r'a "b" \ \c'}),
        ('make ""', {"name": ""}),
        ("  make \t ada \n ", {"name": "ada"}),
        ("MAKE ada", {"name": "ada"}),
    ],
)
def test_words_quotes_and_the_tail_are_read_as_they_were_meant(line: str, expected: Values) -> None:
    assert given_values(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("make --admin ada Ada Lovelace", {"name": "ada", "title": "Ada Lovelace", "admin": True}),
        ("make ada --admin Ada Lovelace", {"name": "ada", "title": "Ada Lovelace", "admin": True}),
        ("make ada Ada --admin Lovelace", {"name": "ada", "title": "Ada Lovelace", "admin": True}),
        ("make ada Ada \n--note x  Lovelace", {"name": "ada", "title": "Ada \nLovelace", "note": "x"}),
        ("make ada Ada Lovelace --admin", {"name": "ada", "title": "Ada Lovelace", "admin": True}),
        ("make ada Ada --Admin", {"name": "ada", "title": "Ada", "admin": True}),
        ("make ada --admin=false", {"name": "ada"}),
        ("make ada --admin=YES", {"name": "ada", "admin": True}),
        ("make ada --note=hello there", {"name": "ada", "title": "there", "note": "hello"}),
        ("make ada --note hello there", {"name": "ada", "title": "there", "note": "hello"}),
        ('make ada --note="hello there" Ada', {"name": "ada", "title": "Ada", "note": "hello there"}),
        ('make ada --note "hello there" Ada', {"name": "ada", "title": "Ada", "note": "hello there"}),
        ('make ada --note="--admin"', {"name": "ada", "note": "--admin"}),
        ('make ada "Ada --admin"', {"name": "ada", "title": "Ada --admin"}),
        ('make ada "Ada L" --admin', {"name": "ada", "title": "Ada L", "admin": True}),
        ("make ada --note=a=b", {"name": "ada", "note": "a=b"}),
        ("make ada --uses=3 --expires=7d", {"name": "ada", "uses": 3, "expires": 604800}),
        ("make ada --expires 90", {"name": "ada", "expires": 90}),
        ("make ada --type=Bot", {"name": "ada", "type": "bot"}),
    ],
)
def test_options_stand_anywhere(line: str, expected: Values) -> None:
    assert given_values(line) == expected


@pytest.mark.parametrize(
    ("line", "numbers", "note"),
    [
        ("add", (), None),
        ("add 1", (1,), None),
        ("add 1 2 it is so", (1, 2), "it is so"),
        ("add 1 2 it is 3", (1, 2), "it is 3"),
        ("add 1, 2", (1, 2), None),
        ("add 1,2", (1, 2), None),
        ("add 1 , 2 , it is", (1, 2), "it is"),
        ("add 1 2,so", (1,), "2,so"),
        ("add 1 so,13", (1,), "so,13"),
        ("add it is so", (), "it is so"),
        ('add 1 "2 is a word here"', (1,), "2 is a word here"),
        ('add 1 "2" it is', (1,), '"2" it is'),
        ("add 1 --admin 2 so", (1, 2), "so"),
        ("add 1 1", (1, 1), None),
    ],
)
def test_leading_words_that_fit_are_taken_and_the_rest_is_the_tail(
    line: str, numbers: tuple[int, ...], note: str | None
) -> None:
    assert (values(line)["number"], values(line)["note"]) == (numbers, note)


@given(
    st.lists(st.integers(0, 12), max_size=9),
    st.sampled_from([" ", ", ", ",", " , "]),
    st.sampled_from([None, "and so on"]),
)
def test_numbers_are_read_however_they_are_listed(numbers: list[int], between: str, tail: str | None) -> None:
    line = f"add {between.join(map(str, numbers))}{f' {tail}' if tail else ''}"
    assert values(line)["number"] == tuple(numbers)
    assert values(line)["note"] == tail


def test_without_a_tail_the_first_word_that_does_not_fit_is_too_many() -> None:
    assert values("sum 1 2")["number"] == (1, 2)
    assert complaint("sum 1 2 three") == "“three” is one word too many."


def test_a_word_may_refuse_the_whole_line() -> None:
    with pytest.raises(OnboardError, match=r"There is no 13\.") as caught:
        parse("add 1 13 so", SPECS)
    assert caught.value.code == ErrorCode.NOT_FOUND


def test_how_many_words_a_parameter_takes_shows_in_the_usage() -> None:
    assert ADD.usage("!") == "!add <number>… [note] [--admin]"
    assert LIST.usage("!") == "!list [state]"


@pytest.mark.parametrize(("line", "state"), [("list", None), ("list open", "open"), ("list CLOSED", "closed")])
def test_a_parameter_with_choices_takes_one_of_them(line: str, state: str | None) -> None:
    assert values(line)["state"] == state


@pytest.mark.parametrize(
    ("typed_on_a_phone", "meant"),
    [
        ("make ada “Ada Lovelace”", 'make ada "Ada Lovelace"'),
        ("make ada „Ada Lovelace“", 'make ada "Ada Lovelace"'),
        ("make ada ‟Ada Lovelace”", 'make ada "Ada Lovelace"'),
        ("make ada —admin", "make ada --admin"),
        ("make ada \u2013admin", "make ada --admin"),
        ("make ada —note=“so it is”", 'make ada --note="so it is"'),
        ("Make ada —Note hello ", "make ada --note hello"),
        ("make\u00a0ada\u00a0--admin\u00a0", "make ada --admin"),
    ],
)
def test_what_phones_do_is_undone(typed_on_a_phone: str, meant: str) -> None:
    assert parse(typed_on_a_phone, SPECS) == parse(meant, SPECS)


@pytest.mark.parametrize("text", ["Ada —she of the engine", "Ada — Lovelace", "Ada «the» Countess", "Ada \u20131815"])
def test_a_dash_before_any_other_word_is_punctuation(text: str) -> None:
    assert values(f"make ada {text}")["title"] == text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("make", "The name is missing."),
        ("make --admin", "The name is missing."),
        ("make ada --note", "--note needs a value."),
        ("make ada --note= hello", "--note needs a value."),
        ("make ada --note --admin", "--note needs a value."),
        ("make ada --note=a --note=b", "--note is given twice."),
        ("make ada --admin —admin", "--admin is given twice."),
        ("make ada --admin=perhaps", "--admin cannot be “perhaps”; it is true or false."),
        ("make ada --uses=many", "--uses cannot be “many”; it is a whole number."),
        ("make ada --uses=" + "9" * 5000, "--uses cannot be “" + "9" * 39 + "…”; it is a whole number."),
        ("make ada --expires=soon", "--expires cannot be “soon”; it is a time like 30m, 24h or 7d."),
        ("make ada --type=cat", "--type cannot be “cat”; it is one of: bot, support."),
        ("make ada --adnim", "There is no option --adnim; the nearest is --admin."),
        ("status --loud", "There is no option --loud of status."),
        ("pair a b c", "“c” is one word too many."),
        ("status now", "“now” is one word too many."),
        ("list ajar", "The state cannot be “ajar”; it is one of: open, closed."),
        ('make "ada', "The name opens a quotation mark and never closes it (white space must follow the closing one)."),
        (
            'make "ada"x',
            "The name opens a quotation mark and never closes it (white space must follow the closing one).",
        ),
        (
            'make ada --note="x',
            "The value of --note opens a quotation mark and never closes it (white space must follow the closing one).",
        ),
    ],
)
def test_a_bad_argument_is_named(line: str, words: str) -> None:
    assert complaint(line) == words


def test_the_usage_follows_the_complaint() -> None:
    with pytest.raises(OnboardError) as caught:
        parse("make", SPECS, prefix="%")
    assert caught.value.sentence == (
        "The name is missing.\n"
        "Usage: %make <name> [title] [--admin] [--note=…] [--uses=…] [--expires=…] [--type=bot|support]"
    )


@pytest.mark.parametrize(
    ("typed", "near"), [("mkae ada", "!make"), ("statsu", "!status"), ("Statuses?", "!status"), ("zzz", "!")]
)
def test_an_unknown_command_names_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(OnboardError) as caught:
        parse(typed, SPECS)
    assert caught.value.code == ErrorCode.UNKNOWN_COMMAND
    assert f"The nearest is {near}" in caught.value.sentence


@pytest.mark.parametrize("line", ["make --help", "make ada —help", "make --bogus --help --note", "make --help=yes"])
def test_help_on_any_command_means_help_for_it(line: str) -> None:
    parsed = parse(line, SPECS)
    assert (parsed.spec, parsed.help) == (MAKE, True)


def test_help_inside_quotes_is_text() -> None:
    assert values('make ada "see --help"')["title"] == "see --help"


@given(ANYTHING)
@example("\ud800")
@example('make "\\')
def test_no_text_breaks_the_parser(text: str) -> None:
    for line in (text, f"make {text}", f"make ada --note={text}", f"add {text}"):
        assert refusal(line) in (None, ErrorCode.UNKNOWN_COMMAND, ErrorCode.BAD_ARGUMENT)


@given(LINES)
def test_no_line_of_the_grammars_own_pieces_breaks_it(line: str) -> None:
    for text in (line, f"make ada {line}", f"add 7 {line}"):
        assert refusal(text) in (None, ErrorCode.UNKNOWN_COMMAND, ErrorCode.BAD_ARGUMENT, ErrorCode.NOT_FOUND)


@given(ANYTHING | LINES)
def test_a_quoted_value_is_read_back_in_any_place(value: str) -> None:
    quoted = quote(value)
    assert values(f"make {quoted} Ada")["name"] == value
    assert values(f"make ada {quoted}")["title"] == value
    assert values(f"make ada --admin {quoted} --uses 1")["title"] == value
    assert values(f"make ada --note={quoted} Ada")["note"] == value
    assert values(f"make ada --note {quoted} Ada")["note"] == value


@pytest.mark.parametrize(
    "piece",
    [
        '"',
        '" ',
        '"a ',
        '"a"b ',
        '\\"',
        '"\\ ',
        "--",
        "--x ",
        "—x ",
        " ",
        "a ",
        '--note="',
        "“ ”",
        '=" ',
        "--note a ",
        "1 ",
        "1,",
        ",",
    ],
)
def test_a_very_long_line_is_read_at_once(piece: str) -> None:
    for command in ("make ada ", "add 1 "):
        line = command + piece * (100_000 // len(piece))
        start = time.perf_counter()
        assert refusal(line) is not ErrorCode.INTERNAL
        assert time.perf_counter() - start < 1


def test_a_very_long_command_name_is_refused_at_once() -> None:
    start = time.perf_counter()
    with pytest.raises(OnboardError) as caught:
        parse("make" * 25_000, SPECS)
    assert len(caught.value.sentence) < 200
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "build",
    [
        lambda: CommandSpec("Make", "", dict),
        lambda: CommandSpec("make", "", dict, options=(Option("help", "."),)),
        lambda: CommandSpec("make", "", dict, options=(Option("a", "."), Option("a", "."))),
        lambda: CommandSpec("make", "", dict, params=(Param("a", ".", tail=True), Param("b", "."))),
        lambda: CommandSpec("make", "", dict, params=(Param("a", ".", required=False), Param("b", "."))),
    ],
    ids=["upper case", "an option help", "an option twice", "a tail before the end", "optional before required"],
)
def test_a_spec_that_could_not_be_typed_is_refused(build: Callable[[], CommandSpec]) -> None:
    with pytest.raises(ValueError, match=r"names are|used twice|only the last|follows"):
        build()
