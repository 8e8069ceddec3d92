"""What an answer looks like on the wire, whatever the text in it."""

import json
import unicodedata
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from onboard_bot.chat.messages import (
    MAX_BYTES,
    About,
    Bullets,
    Code,
    Inline,
    Kind,
    Link,
    Message,
    Paragraph,
    Pill,
    ReplyTo,
    Strong,
    render,
)
from onboard_bot.chat.replies import (
    StatusReport,
    account_created,
    credentials,
    failure,
    internal_failure,
    status,
)
from onboard_bot.errors import ErrorCode, OnboardError

KEY = "io.github.onboard_bot"
ANYTHING = st.text(st.characters(exclude_categories=()))
MARKUP = st.lists(
    st.sampled_from(
        ["<b>", "</p>", "<a href='https://matrix.to/#/@eve:x.org'>", "&lt;", "&", '"', "'", "@room", "@eve:x.org", "`"]
    )
).map("".join)
USER_TEXT = ANYTHING | MARKUP


class Page(HTMLParser):
    """What a client makes of a formatted body."""

    def __init__(self, formatted: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(formatted)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(content: dict[str, Any]) -> Page:
    return Page(content["formatted_body"])


def one(*inlines: Inline, **more: Any) -> dict[str, Any]:
    return render(Message((Paragraph(inlines),), **more))


def visible(text: str) -> str:
    """The characters of a text that are to be seen: by category, so that the test does not repeat the code."""
    return "".join(
        c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs") and c != "\ufffd"
    )


@given(USER_TEXT)
def test_user_text_is_shown_and_never_obeyed(text: str) -> None:
    content = one("Name: ", text, Strong(text), Code(text), mentions=("@ada:example.org",))
    shown = page(content)
    assert visible(shown.text) == visible("Name:" + text * 3)
    assert [tag for tag, _ in shown.tags] == ["strong", "code"]
    assert visible(content["body"]) == visible(f"Name:{text * 2}`{text}`")
    assert "@room" not in content["body"].lower()
    assert content["m.mentions"] == {"user_ids": ["@ada:example.org"]}
    json.dumps(content, ensure_ascii=False).encode()


@given(USER_TEXT, USER_TEXT)
def test_user_text_in_links_stays_in_its_place(text: str, address: str) -> None:
    shown = page(one(Pill("@" + address, text), Link(text, "https://" + address), Link(text, address)))
    assert [tag for tag, _ in shown.tags] == ["a", "a"]
    assert all(set(attributes) == {"href"} for _, attributes in shown.tags)
    assert shown.tags[0][1]["href"].startswith("https://matrix.to/#/@")  # type: ignore[union-attr] # it has a value


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "HTTPS"])
def test_a_link_to_anything_but_the_web_is_text(url: str) -> None:
    content = one(Link("here", url))
    assert (content["body"], content["formatted_body"]) == ("here", "here")


def test_a_pill_is_percent_encoded() -> None:
    content = one(Pill("@a/b?c:example.org", "Ada"))
    assert content["formatted_body"] == '<a href="https://matrix.to/#/@a%2Fb%3Fc:example.org">Ada</a>'
    assert content["body"] == "Ada"
    assert content["m.mentions"] == {}


@pytest.mark.parametrize("text", ["@room", "hello @ROOM!", "@Room"])
def test_nobody_can_make_the_bot_call_the_whole_room(text: str) -> None:
    assert "@room" not in one(text)["body"].lower()
    assert one(text)["m.mentions"] == {}


@pytest.mark.parametrize("text", ["שלום", "عدا", "abc \u202egpj.exe ש", "٣"])
def test_text_from_right_to_left_does_not_turn_its_neighbours(text: str) -> None:
    content = one("Name: ", text, " is ready.")
    for shown in (content["body"], content["formatted_body"]):
        assert shown.startswith("Name: \u2068")
        assert shown.endswith("\u2069 is ready.")
        assert "\u202e" not in shown


def test_text_cannot_leave_its_isolation_or_its_line() -> None:
    content = one("a\u2069b\u202ec\nPassword: `x`\r\nd")
    assert content["body"] == "abc Password: `x` d"


def test_both_bodies_come_from_one_tree() -> None:
    content = render(
        Message((Paragraph(("First & ", Strong("loud"))), Bullets((("one",), (Code("two"),))), Paragraph(("Last",))))
    )
    assert content == {
        "msgtype": "m.notice",
        "body": "First & loud\n• one\n• `two`\nLast",
        "format": "org.matrix.custom.html",
        "formatted_body": (
            "<p>First &amp; <strong>loud</strong></p><ul><li>one</li><li><code>two</code></li></ul><p>Last</p>"
        ),
        "m.mentions": {},
    }


def test_a_message_that_is_not_a_notice_says_so() -> None:
    assert one("hello", notice=False)["msgtype"] == "m.text"


def test_a_reply_names_what_it_answers_and_stays_in_the_thread() -> None:
    message = Message((Paragraph(("yes",)),))
    assert render(message, ReplyTo("$1"))["m.relates_to"] == {"m.in_reply_to": {"event_id": "$1"}}
    assert render(message, ReplyTo("$1", "$root"))["m.relates_to"] == {
        "rel_type": "m.thread",
        "event_id": "$root",
        "is_falling_back": False,
        "m.in_reply_to": {"event_id": "$1"},
    }
    assert "m.relates_to" not in render(message)


def test_only_what_applies_is_machine_readable() -> None:
    assert one("x", about=About(Kind.HELP))[KEY] == {"v": 1, "kind": "help"}
    about = About(Kind.LIST, items=({"kind": "error"},), user_ids=("@a:b.org",))
    assert one("x", about=about)[KEY] == {
        "v": 1,
        "kind": "list",
        "user_ids": ["@a:b.org"],
        "items": [{"kind": "error"}],
    }
    assert KEY not in one("x")


@given(st.text(st.characters(exclude_categories=()), min_size=1), st.integers(1, 5))
def test_a_long_text_is_shortened_until_the_event_fits(text: str, times: int) -> None:
    content = one("From: ", *[text * (50_000 // len(text))] * times)
    assert len(json.dumps(content)) <= MAX_BYTES
    assert content["body"].startswith("From: ")


def test_the_limit_leaves_room_for_encryption() -> None:
    frame = 1500  # of the encrypted event: ids, hashes, signatures, and the Megolm message around the text
    assert (MAX_BYTES + frame) * 4 / 3 < 65_536


def test_a_shortened_text_ends_with_an_ellipsis() -> None:
    assert one("x" * 100_000)["body"].endswith("x…")


def test_a_long_list_loses_its_end() -> None:
    items = tuple({"kind": "account", "user_id": f"@u{n}:example.org"} for n in range(5000))
    message = Message((Bullets(tuple((f"line {n}",) for n in range(5000))),), About(Kind.LIST, items=items))
    content = render(message)
    assert len(json.dumps(content)) <= MAX_BYTES
    assert content["body"].startswith("• line 0\n")
    assert content["body"].endswith("\n…")
    assert content[KEY]["items"][0] == items[0]


def test_an_account_that_was_made_is_announced_to_people_and_programs() -> None:
    message = account_created(
        "x7k", "@ada:example.org", "Ada <Lovelace>", admin=False, where_credentials_went="The password is on its way."
    )
    content = render(message, ReplyTo("$1"))
    assert content["body"] == "✅ @ada:example.org (Ada <Lovelace>) is ready. The password is on its way."
    assert content[KEY] == {"v": 1, "kind": "account", "id": "x7k", "state": "created", "user_id": "@ada:example.org"}
    assert "Ada &lt;Lovelace&gt;" in content["formatted_body"]
    admin = account_created("x7k", "@ada:example.org", None, admin=True, where_credentials_went="Look there.")
    assert render(admin)["body"] == "✅ @ada:example.org is ready, with server-admin rights. Look there."


def test_a_failure_is_said_in_its_own_words() -> None:
    sentence = "The name is taken.\nUsage: !register <name>"
    error = OnboardError(ErrorCode.USERNAME_TAKEN, sentence, request_id="x7k", state="failed")
    content = render(failure(error, user_id="@ada:example.org"))
    assert content["body"] == "The name is taken.\nUsage: !register <name>"
    assert content["formatted_body"] == "<p>The name is taken.</p><p>Usage: !register &lt;name&gt;</p>"
    assert content[KEY] == {
        "v": 1,
        "kind": "error",
        "id": "x7k",
        "state": "failed",
        "user_id": "@ada:example.org",
        "error": "username_taken",
    }
    assert render(failure(OnboardError(ErrorCode.NOT_FOUND, "No.")))[KEY] == {
        "v": 1,
        "kind": "error",
        "error": "not_found",
    }


def test_a_fault_of_ours_shows_only_its_reference() -> None:
    content = render(internal_failure("R-1234"))
    assert "R-1234" in content["body"]
    assert content[KEY] == {"v": 1, "kind": "error", "error": "internal"}


def test_the_password_is_the_only_thing_to_copy() -> None:
    password = "S3cret<Pass&Word"
    message = credentials("@ada:example.org", SecretStr(password), "https://matrix.example.org")
    content = render(message)
    assert content["body"].split("`")[1::2] == [password]
    assert content["formatted_body"].count("<code>") == 1
    assert page(content).text.count(password) == 1
    assert content[KEY] == {"v": 1, "kind": "credentials", "user_id": "@ada:example.org"}
    assert "https://matrix.example.org" in content["body"]
    assert "change the password" in content["body"]
    assert "24 hours" in content["body"]
    assert password not in repr(message)


def test_the_status_says_how_the_bot_is_doing() -> None:
    report = StatusReport(
        at=200_000,
        version="0.1.0",
        homeserver_url="http://127.0.0.1:8008",
        server_name="example.org",
        running_since=20_000,
        last_sync=199_997,
        open_jobs=0,
    )
    content = render(status(report))
    assert content["body"].splitlines() == [
        "onboard-bot 0.1.0. All is well.",
        "• Accounts are made on example.org (http://127.0.0.1:8008).",
        "• Running for 2 days, since 1970-01-01 05:33 UTC.",
        "• Last word from the homeserver: 3 s ago.",
        "• Nothing left to do.",
    ]
    assert content[KEY] == {"v": 1, "kind": "status"}


def test_the_status_names_what_is_wrong() -> None:
    report = StatusReport(60, "0.1.0", "http://x", "example.org", 0, None, 2, notes=("The secret was refused.",))
    body = render(status(report))["body"]
    assert "Please see below" in body
    assert "Running for 1 minute," in body
    assert "homeserver: not yet." in body
    assert "Still to do: 2." in body
    assert body.endswith("⚠️ The secret was refused.")
