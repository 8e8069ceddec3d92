"""What is refused, and that each refusal says which rule and leaves nothing behind."""

import pytest

from tests.flows.conftest import OpenRoom
from tests.flows.room import Person, Room


async def nothing_was_made(room: Room) -> bool:
    requests = await room.rows("SELECT 1 FROM requests")
    return not requests and not room.accounts and not room.passwords and not await room.open_jobs()


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ('!register "bob smith"', "username_invalid", "bob smith"),
        ("!register bob!", "username_invalid", "bob!"),
        ("!register jürgen", "username_invalid", "jürgen"),
        ("!register \N{KELVIN SIGN}arl", "username_invalid", "without accents"),
        ("!register b\u043eb", "username_invalid", "letters a to z"),
        ("!register _bob", "username_invalid", "underscore"),
        ("!register 12345", "username_invalid", "digits"),
        ('!register ""', "username_invalid", "empty"),
        ("!register " + "b" * 250, "username_invalid", "too long"),
        ("!register @bob:elsewhere.org", "username_invalid", "example.org"),
        ("!register root", "username_reserved", "root"),
        ("!register ROOT", "username_reserved", "root"),
        ("!register bob " + "x" * 257, "bad_argument", "256"),
        ("!register bob Bob\tthe\x07bell", "bad_argument", "control characters"),
        ("!register bob --rooms=nowhere", "bad_argument", "nowhere"),
        ("!register bob --type=king", "bad_argument", "king"),
        ("!register bob --wizard", "bad_argument", "--wizard"),
        ("!register", "bad_argument", "username"),
        ('!register "bob', "bad_argument", "Usage"),
    ],
)
async def test_a_wish_that_cannot_be_is_refused_by_its_rule(
    room: Room, ada: Person, line: str, code: str, says: str
) -> None:
    command = await room.say(ada, line)
    (answer,) = room.answers_to(command)
    assert (answer.about["kind"], answer.about["error"]) == ("error", code)
    assert says in answer.body
    assert await nothing_was_made(room)


async def test_a_bad_argument_is_named_together_with_the_usage(room: Room, ada: Person) -> None:
    for line in ("!register bob --wizard", "!register bob --rooms=nowhere", "!register"):
        await room.say(ada, line)
        assert "Usage: !register <username>" in room.last.body


@pytest.mark.parametrize("wanted", ["Bob", "@bob", "@Bob:example.org", "@bob:EXAMPLE.org", "BOB"])
async def test_upper_case_and_whole_user_ids_are_understood(room: Room, ada: Person, wanted: str) -> None:
    await room.say(ada, f"!register {wanted}")
    assert list(room.accounts) == ["@bob:example.org"]
    assert room.last.about["user_id"] == "@bob:example.org"


async def test_a_pill_is_understood_as_the_user_it_leads_to(room: Room, ada: Person) -> None:
    html = '!register <a href="https://matrix.to/#/@bob:example.org">Bob from the pub</a>'
    await room.say(ada, "!register Bob from the pub", format="org.matrix.custom.html", formatted_body=html)
    assert list(room.accounts) == ["@bob:example.org"]


async def test_what_phones_do_to_text_is_undone(room: Room, ada: Person) -> None:
    await room.say(ada, "!Register bob \u201cBob the Builder\u201d \u2014type=bot  ")
    account = room.accounts["@bob:example.org"]
    assert (account.display_name, account.user_type) == ("Bob the Builder", "bot")


async def test_a_display_name_of_256_characters_fits(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob " + "ö" * 256)
    assert room.accounts["@bob:example.org"].display_name == "ö" * 256


async def test_a_name_that_is_taken_is_answered_with_username_taken(room: Room, ada: Person) -> None:
    before = room.endpoint.add_account("bob")
    await room.say(ada, "!register bob")
    assert (room.last.about["error"], room.last.about["state"]) == ("username_taken", "failed")
    assert "bob" in room.last.body
    assert room.direct(ada) == []
    assert room.accounts == {"@bob:example.org": before}
    assert await room.open_jobs() == []


async def test_a_name_of_a_bridge_is_reserved(room: Room, ada: Person) -> None:
    await room.say(ada, "!register irc-bob")
    assert room.last.about["error"] == "username_reserved"


async def test_a_spam_checker_may_refuse(room: Room, ada: Person) -> None:
    await room.say(ada, "!register spammer")
    assert room.last.about["error"] == "homeserver_refused"


async def test_a_known_room_set_is_accepted(open_room: OpenRoom) -> None:
    room = await open_room(room_sets=("staff",))
    await room.say(room.person("@ada:example.org", level=50), "!register bob --rooms=staff")
    assert list(room.accounts) == ["@bob:example.org"]


async def test_server_admin_rights_are_refused_where_they_are_switched_off(room: Room, ada: Person) -> None:
    await room.say(ada, "!register bob --admin")
    assert room.last.about["error"] == "not_permitted"
    assert "accounts.allow_admin" in room.last.body
    assert await nothing_was_made(room)


async def test_a_second_open_request_for_a_name_gets_the_id_of_the_first(room: Room, ada: Person) -> None:
    grace = room.person("@grace:example.org", level=50)
    room.endpoint.mode = "unreachable_502"
    await room.say(ada, "!register bob")
    assert room.said == []
    second = await room.say(grace, "!register BOB")
    (refusal,) = room.answers_to(second)
    room.endpoint.mode = "ok"
    await room.wait(60)
    first = room.last
    assert (refusal.about["error"], refusal.about["id"]) == ("duplicate_request", first.about["id"])
    assert first.about["id"] in refusal.body
    assert first.about["state"] == "created"
    assert (len(room.direct(ada)), room.direct(grace)) == (1, [])


async def test_a_name_that_failed_may_be_asked_for_again(room: Room, ada: Person) -> None:
    room.endpoint.mode = "disabled"
    await room.say(ada, "!register bob")
    room.endpoint.mode = "ok"
    await room.say(ada, "!register bob")
    assert [said.about["state"] for said in room.said] == ["failed", "created"]


async def test_an_unknown_command_is_answered_with_the_nearest_one(room: Room, ada: Person) -> None:
    await room.say(ada, "!regster bob")
    assert room.last.about["error"] == "unknown_command"
    assert "!register" in room.last.body
    assert await nothing_was_made(room)


async def test_help_lists_what_can_be_typed(room: Room, ada: Person) -> None:
    await room.say(ada, "!help")
    assert room.last.about == {"v": 1, "kind": "help"}
    for command in ("!register <username>", "!status", "!help"):
        assert command in room.last.body
    await room.say(ada, "!help register")
    assert "--note" in room.last.body


async def test_status_tells_how_the_bot_is_doing(room: Room, ada: Person) -> None:
    await room.say(ada, "!status")
    assert room.last.about == {"v": 1, "kind": "status"}
    assert "example.org" in room.last.body


async def test_a_fault_of_ours_is_answered_with_the_number_that_finds_its_trace_in_the_log(
    room: Room, ada: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_tx: object) -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr(room.life.dispatch._obeying, "_status", broken)
    await room.say(ada, "!status")
    assert room.last.about == {"v": 1, "kind": "error", "error": "internal"}
    (record,) = [record for record in caplog.records if record.exc_info]
    reference = record.getMessage().split()[1].rstrip(":")
    assert reference in room.last.body
    assert "ZeroDivisionError: deep inside" in caplog.text
    assert "ZeroDivision" not in str(room.last.content)
    assert "deep inside" not in str(room.last.content)
    monkeypatch.undo()
    await room.say(ada, "!register bob")
    assert "@bob:example.org" in room.accounts
