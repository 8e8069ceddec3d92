"""Which messages are for the bot, and what was typed in them."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboard_bot.chat.incoming import BotNames, TypedCommand, read_command

BOT = BotNames("@onboard:example.org", "Onboarding")
PILL = '<a href="https://matrix.to/#/@onboard:example.org">Onboarding</a>'
ADA = '<a href="https://matrix.to/#/@ada:example.org">Ada Lovelace</a>'


def read(content: object) -> TypedCommand | None:
    return read_command(content, prefix="!", bot=BOT)


def message(body: str, **more: Any) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body, **more}


def formatted(html: str, body: str = "Onboarding: something", **more: Any) -> dict[str, Any]:
    return message(body, format="org.matrix.custom.html", formatted_body=html, **more)


def text(content: dict[str, Any]) -> str | None:
    command = read(content)
    return command.text if command else None


@pytest.mark.parametrize(
    "body",
    [
        "!register ada",
        "  !register ada \n",
        "@onboard: register ada",
        "@onboard register ada",
        "@onboard, register ada",
        "@onboard:example.org register ada",
        "@onboard:example.org: register ada",
        "@onboard:example.org:register ada",
        "Onboarding: register ada",
        "Onboarding, register ada",
        "onboarding register ada",
        "ONBOARDING : register ada",
        "Onboarding: !register ada",
        "@onboard !register ada",
    ],
)
def test_prefix_and_every_mention_address_the_bot(body: str) -> None:
    assert text(message(body)) == "register ada"


@pytest.mark.parametrize(
    "body",
    [
        "register ada",
        "so I typed !register ada",
        "!!!",
        "!",
        "! hm",
        "!1",
        "> !register ada",
        "> <@eve:example.org> !register ada",
        "```\n!register ada\n```",
        "@onboard:elsewhere.org register ada",
        "@onboard:example.org:8448 register ada",
        "@onboarder: register ada",
        "Onboarding's register ada",
        "Onboarding: 👍",
        "please ask Onboarding: register ada",
        "",
    ],
)
def test_everything_else_is_ignored(body: str) -> None:
    assert read(message(body)) is None


@pytest.mark.parametrize("body", ["@onboard", "@onboard:example.org:", "Onboarding", "Onboarding:", "@onboard: !"])
def test_a_mention_with_nothing_behind_it_asks_for_help(body: str) -> None:
    assert text(message(body)) == "help"


@pytest.mark.parametrize(
    ("body", "surely"),
    [("Onboarding is slow today", False), ("Onboarding: status", True), ("@onboard status", True), ("!status", True)],
)
def test_talk_about_the_bot_is_told_from_talk_to_it(body: str, *, surely: bool) -> None:
    command = read(message(body))
    assert command is not None
    assert command.surely is surely


@pytest.mark.parametrize("msgtype", ["m.notice", "m.emote", "m.image", "m.file", None, 1, ["m.text"]])
def test_only_text_is_a_command(msgtype: object) -> None:
    assert read({"msgtype": msgtype, "body": "!help"}) is None


@pytest.mark.parametrize(
    "edit",
    [
        {"m.new_content": {"msgtype": "m.text", "body": "!help"}},
        {"m.relates_to": {"rel_type": "m.replace", "event_id": "$1"}},
    ],
)
def test_an_edit_is_no_command(edit: dict[str, Any]) -> None:
    assert read(message("!help", **edit)) is None


@pytest.mark.parametrize(
    "html",
    [
        f"{PILL}: register ada",
        f"{PILL} register ada",
        f"<p>{PILL}: register ada</p>",
        '<a href="https://matrix.to/#/%40onboard%3Aexample.org">whatever</a> register ada',
        '<a href="https://matrix.to/#/@onboard:example.org?via=example.org">whatever</a>&nbsp;register ada',
    ],
)
def test_a_leading_pill_addresses_the_bot(html: str) -> None:
    assert text(formatted(html)) == "register ada"


def test_a_pill_of_somebody_else_does_not() -> None:
    assert read(formatted(f"{ADA}: register bob", "Onboarding: register bob")) is None


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (f"!register {ADA}", "register @ada:example.org"),
        (f"!register {ADA} Ada &amp; Co", "register @ada:example.org Ada & Co"),
        (f'!register bob --note="ask {ADA}"', 'register bob --note="ask @ada:example.org"'),
        (f"!register {ADA}<br>second", "register @ada:example.org\nsecond"),
        (f"<p>!register {ADA}</p><p>second</p>", "register @ada:example.org\nsecond"),
        ('!register <a href="https://matrix.to/#/@a%2Fb:example.org">x</a>', "register @a/b:example.org"),
        (f'!register {ADA} <a href="https://matrix.to/#/!r:example.org">Lab</a>', "register @ada:example.org Lab"),
        ('!register <a href="https://matrix.to/#/@%00">Ada</a>', "register Ada"),
    ],
)
def test_pills_become_user_ids(html: str, expected: str) -> None:
    assert text(formatted(html, "!register Ada Lovelace")) == expected


def test_without_a_pill_the_plain_body_counts() -> None:
    assert text(formatted("<p>!status</p>", "!help <b>")) == "help <b>"


def test_a_quotation_is_not_obeyed_in_either_body() -> None:
    assert read(formatted(f"<blockquote>{PILL}: register ada</blockquote>", "> Onboarding: register ada")) is None
    assert read(formatted(f"<blockquote>{PILL}: register ada</blockquote>yes", "> …\n\nyes")) is None


REPLY = {"m.relates_to": {"m.in_reply_to": {"event_id": "$card"}}}


def test_what_a_reply_repeats_is_left_out() -> None:
    body = f"> <@eve:example.org> !register eve\n> second\n\n!register {'ada'}"
    assert read(message(body, **REPLY)) == TypedCommand("register ada", in_reply_to="$card")
    html = f"<mx-reply><blockquote>{ADA} !register eve</blockquote></mx-reply>!register ada"
    assert read(formatted(html, body, **REPLY)) == TypedCommand("register ada", in_reply_to="$card")


def test_a_reply_whose_own_text_is_a_quotation_is_ignored() -> None:
    assert read(message("> !register eve", **REPLY)) is None
    assert read(message("> <@eve:example.org> !register eve", **REPLY)) is None
    assert read(message("> they said\n\n!register eve", **REPLY)) is None


def test_a_fallback_without_a_reply_is_a_quotation() -> None:
    assert read(message("> <@eve:example.org> hello\n\n!register ada")) is None


def test_thread_and_reply_are_told_apart() -> None:
    thread = {"rel_type": "m.thread", "event_id": "$root", "m.in_reply_to": {"event_id": "$last"}}
    falling_back = message("!help", **{"m.relates_to": thread | {"is_falling_back": True}})
    assert read(falling_back) == TypedCommand("help", thread_root="$root")
    deliberate = message("!help", **{"m.relates_to": thread | {"is_falling_back": False}})
    assert read(deliberate) == TypedCommand("help", thread_root="$root", in_reply_to="$last")


@pytest.mark.parametrize("forged", [None, 1, {}, "", "no dollar", "$a b\n", "$ö", "$" + "x" * 300])
def test_an_event_id_that_is_none_is_not_passed_on(forged: object) -> None:
    relation = {"rel_type": "m.thread", "event_id": forged, "m.in_reply_to": {"event_id": forged}}
    assert read(message("!help", **{"m.relates_to": relation})) == TypedCommand("help")


def test_halves_of_characters_do_not_get_further() -> None:
    assert text(message("!register \ud800")) == "register \ufffd"


def test_html_that_cannot_be_read_leaves_the_plain_body() -> None:
    assert text(formatted(f"{PILL} <![foo[", "Onboarding: status")) == "status"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
HTML = st.lists(
    st.sampled_from(
        [PILL, ADA, "<", ">", "!register ", "</a>", "<mx-reply>", "</mx-reply>", "<br>", "<!", "&", "<![x["]
    )
    | st.text(max_size=5),
    max_size=12,
).map("".join)
CONTENT = st.fixed_dictionaries(
    {"msgtype": st.just("m.text") | JSON, "body": st.text().map(lambda text: f"!a{text}") | JSON},
    optional={
        "format": st.just("org.matrix.custom.html") | JSON,
        "formatted_body": HTML | JSON,
        "m.new_content": JSON,
        "m.relates_to": JSON
        | st.fixed_dictionaries(
            {}, optional={"rel_type": JSON | st.just("m.thread"), "event_id": JSON, "m.in_reply_to": JSON}
        ),
    },
)


@given(CONTENT | JSON)
def test_no_content_breaks_the_reader(content: object) -> None:
    command = read(content)
    assert command is None or command.text[0].isalpha()


@given(HTML)
def test_no_html_breaks_the_reader(html: str) -> None:
    read(formatted(html))


@pytest.mark.parametrize("piece", ["<a ", "<a b='", "<!--", "<", "</", "<?", "<blockquote>", "&", "> "])
def test_hostile_content_is_read_at_once(piece: str) -> None:
    start = time.perf_counter()
    for size in (5_900, 60_000):
        long = (piece * size)[: size - len(PILL)]
        read(formatted(PILL + long, "> <@a:b>" + long, **REPLY))
    assert time.perf_counter() - start < 1
