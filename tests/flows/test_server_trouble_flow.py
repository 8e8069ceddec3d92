"""A homeserver that is away, cuts answers off, limits or refuses: nothing is lost and nothing is done twice."""

import asyncio
from typing import Any

import pytest

from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, UnreachableError
from tests.flows.room import Person, Room


def registrations(room: Room) -> list[Any]:
    return [call for call in room.endpoint.calls if call.method == "POST" and call.path.endswith("/register")]


def logins(room: Room) -> list[Any]:
    return [call for call in room.endpoint.calls if call.path.endswith("/login")]


async def all_is_well_once(room: Room, who: Person, command: str) -> None:
    """One account, one answer, one working password, and nothing left to do but to erase it."""
    assert list(room.accounts) == ["@bob:example.org"]
    (answer,) = room.answers_to(command)
    assert answer.about["state"] == "created"
    (credentials,) = room.direct(who)
    assert room.may_sign_in("@bob:example.org", credentials.body.split("`")[1])
    assert await room.open_jobs() == ["erase_credentials"]
    assert room.accounts["@bob:example.org"].sessions == {}


async def test_a_lost_answer_is_found_out_by_signing_in(room: Room, ada: Person) -> None:
    room.endpoint.lose_answer_once()
    command = await room.say(ada, "!register bob")
    await room.wait(5)
    await all_is_well_once(room, ada, command)
    assert len(logins(room)) == 1
    facts = [row[0] for row in await room.rows("SELECT facts FROM audit WHERE verb = 'account:created'")]
    assert facts == ['{"server_answer":"found by signing in"}']


async def test_an_account_is_found_although_the_second_try_meets_a_closed_endpoint(room: Room, ada: Person) -> None:
    room.endpoint.lose_answer_once()
    command = await room.say(ada, "!register bob")
    room.endpoint.mode = "disabled"
    await room.wait(5)
    await all_is_well_once(room, ada, command)


async def test_an_account_is_found_although_the_secret_was_changed_meanwhile(room: Room, ada: Person) -> None:
    room.endpoint.lose_answer_once()
    command = await room.say(ada, "!register bob")
    room.endpoint.shared_secret = "another one"
    await room.wait(5)
    await all_is_well_once(room, ada, command)


async def test_a_name_that_somebody_else_took_after_a_lost_answer_is_taken(room: Room, ada: Person) -> None:
    room.endpoint.fail_before_once(502)
    await room.say(ada, "!register bob")
    other = room.endpoint.add_account("bob", "their own password")
    await room.wait(5)
    assert (room.last.about["error"], room.last.about["state"]) == ("username_taken", "failed")
    assert room.direct(ada) == []
    assert other.password == "their own password"
    assert [row[0] for row in await room.rows("SELECT sealed_password FROM requests")] == [None]


async def test_a_call_that_had_no_effect_is_made_again(room: Room, ada: Person) -> None:
    room.endpoint.fail_before_once(502)
    command = await room.say(ada, "!register bob")
    await room.wait(5)
    await all_is_well_once(room, ada, command)
    assert logins(room) == []


@pytest.mark.parametrize("kind", ["502", "nothing listens"])
async def test_what_was_asked_while_the_server_was_down_is_done_when_it_is_back(
    room: Room, ada: Person, kind: str
) -> None:
    if kind == "502":
        room.endpoint.mode = "unreachable_502"
    else:
        await room.endpoint.stop()
    command = await room.say(ada, "!register bob")
    await room.wait(600)
    assert room.said == []
    await room.restart()
    if kind == "502":
        room.endpoint.mode = "ok"
    else:
        await room.endpoint.start()
    await room.wait(60)
    await all_is_well_once(room, ada, command)


@pytest.mark.parametrize("lost", [False, True], ids=["nothing was done", "the answer got lost"])
@pytest.mark.parametrize("kind", ["502", "nothing listens"])
async def test_a_server_that_stays_away_for_hours_makes_the_account_when_it_is_back(
    room: Room, ada: Person, kind: str, *, lost: bool
) -> None:
    if lost:
        room.endpoint.lose_answer_once()
        command = await room.say(ada, "!register bob")
    if kind == "502":
        room.endpoint.mode = "unreachable_502"
    else:
        await room.endpoint.stop()
    if not lost:
        command = await room.say(ada, "!register bob")
    for _ in range(8):  # with a few looks each, instead of one every minute
        await room.wait(60)
        room.clock.advance(3600)
    await room.wait(60)
    assert room.said == []
    assert await room.states() == ["creating"]
    if kind == "502":
        room.endpoint.mode = "ok"
    else:
        await room.endpoint.start()
    await room.wait(120)
    await all_is_well_once(room, ada, command)
    assert len(logins(room)) == lost


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("disabled", "endpoint_disabled"),
        ("hidden", "endpoint_hidden"),
        ("mas", "endpoint_replaced_by_mas"),
        ("wrong secret", "secret_rejected"),
        ("no secret file", "secret_unreadable"),
    ],
)
async def test_an_endpoint_that_makes_no_accounts_is_named_by_its_fault(
    room: Room, ada: Person, mode: Any, code: str
) -> None:
    if mode == "wrong secret":
        room.endpoint.shared_secret = "another one"
    elif mode == "no secret file":
        room.secret_file.unlink()
    else:
        room.endpoint.mode = mode
    command = await room.say(ada, "!register bob")
    await room.wait(8)
    (answer,) = room.answers_to(command)
    about = answer.about
    assert (about["kind"], about["error"], about["state"]) == ("error", code, "failed")
    assert about["user_id"] == "@bob:example.org"
    assert [(about["id"], code)] == [tuple(row) for row in await room.rows("SELECT id, error FROM requests")]
    assert room.endpoint.shared_secret not in answer.body
    assert await room.open_jobs() == []
    assert room.accounts == {}


async def test_a_changed_secret_file_is_read_again(room: Room, ada: Person) -> None:
    await room.say(ada, "!register first")
    room.endpoint.shared_secret = "rotated"
    room.secret_file.write_text("rotated")
    await room.say(ada, "!register second")
    assert room.last.about["state"] == "created"


@pytest.mark.parametrize("after", [False, True], ids=["without its effect", "with its effect"])
@pytest.mark.parametrize("call", ["send", "with_person"])
@pytest.mark.parametrize("times", [1, 4])
async def test_a_message_whose_sending_failed_is_said_once(
    room: Room, ada: Person, call: str, times: int, *, after: bool
) -> None:
    room.chat.fail_next(call, UnreachableError("cut off"), after=after, times=times)
    command = await room.say(ada, "!register bob")
    await room.wait(120)
    await all_is_well_once(room, ada, command)


async def test_a_rate_limit_is_waited_for_as_long_as_the_server_says(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", RateLimitedError("PUT send", 30.0), times=2)
    command = await room.say(ada, "!register bob")
    await room.wait(59)
    assert (room.said, room.direct(ada)) == ([], [])
    assert room.chat.calls.count("send") == 2
    await room.wait(2)
    await all_is_well_once(room, ada, command)


async def test_answers_keep_their_order_when_one_of_them_has_to_wait(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", UnreachableError("cut off"))
    first = await room.say(ada, "!help")
    second = await room.say(ada, "!status")
    await room.wait(60)
    assert [said.answers for said in room.said] == [first, second]


async def test_a_message_that_the_room_refuses_does_not_hold_the_next_one_up(room: Room, ada: Person) -> None:
    room.chat.fail_next("send", RefusedError(403, {"errcode": "M_FORBIDDEN"}))
    await room.say(ada, "!help")
    await room.say(ada, "!status")
    assert [said.about["kind"] for said in room.said] == ["status"]
    assert await room.open_jobs() == []


async def test_somebody_who_is_limited_does_not_hold_others_up(room: Room, ada: Person) -> None:
    grace = room.person("@grace:example.org", level=50)
    room.chat.fail_next("with_person", RateLimitedError("POST createRoom", 300.0))
    await room.say(ada, "!register bob")
    await room.say(grace, "!register carol")
    assert room.direct(ada) == []
    assert len(room.direct(grace)) == 1
    await room.wait(301)
    assert len(room.direct(ada)) == 1


async def test_an_endless_fault_of_an_effect_ends_after_ten_tries(
    room: Room, ada: Person, caplog: pytest.LogCaptureFixture
) -> None:
    room.chat.fail_next("send", ZeroDivisionError("a fault"), times=100)
    await room.say(ada, "!help")
    await room.wait(3600)
    assert await room.open_jobs() == []
    assert room.chat.calls.count("send") == 10
    assert "ZeroDivisionError: a fault" in caplog.text


async def test_a_password_that_cannot_be_opened_is_not_tried_for_ever(
    room: Room, ada: Person, caplog: pytest.LogCaptureFixture
) -> None:
    room.endpoint.mode = "unreachable_502"
    await room.say(ada, "!register bob")
    (room.state.path / "secrets.key").write_bytes(bytes(32))
    await room.restart()
    await room.wait(3600)
    assert await room.open_jobs() == []
    assert "the key file in the state directory is not the one" in caplog.text
    assert room.last.about["state"] == "unknown"


async def test_credentials_that_the_server_refuses_to_bring_are_told_of_once_and_tried_for_a_day(
    room: Room, ada: Person
) -> None:
    room.chat.fail_next("with_person", RefusedError(403, {"errcode": "M_FORBIDDEN"}), times=3)
    command = await room.say(ada, "!register bob")
    await room.wait(3600)
    created, refused = room.answers_to(command)
    assert created.about["state"] == "created"
    assert refused.about["error"] == "not_delivered"
    assert len(room.direct(ada)) == 1


async def test_credentials_that_cannot_be_brought_within_a_day_are_forgotten(room: Room, ada: Person) -> None:
    room.chat.fail_next("with_person", RefusedError(403, {"errcode": "M_FORBIDDEN"}), times=1000)
    await room.say(ada, "!register bob")
    await room.wait(25 * 3600)
    assert room.direct(ada) == []
    assert await room.rows("SELECT sealed_password FROM requests") == [(None,)]
    assert await room.open_jobs() == []


async def test_an_hourglass_that_comes_too_late_is_left_out_and_holds_nothing_up(room: Room, ada: Person) -> None:
    room.endpoint.mode = "unreachable_502"
    command = await room.types(ada, "!register bob")
    room.chat.fail_next("send", RateLimitedError("PUT send", 60))
    await room.wait(5)
    room.endpoint.mode = "ok"
    await room.wait(30)
    assert room.signs == []
    assert [answer.about["state"] for answer in room.answers_to(command)] == ["created"]


async def test_an_account_is_found_although_a_proxy_shows_its_own_page_meanwhile(room: Room, ada: Person) -> None:
    """As Traefik does while Synapse restarts: every path is a 404 without an error code."""
    room.endpoint.lose_answer_once()
    command = await room.say(ada, "!register bob")
    room.endpoint.mode = "hidden_all"
    await room.wait(60)
    assert await room.states() == ["creating"]
    room.endpoint.mode = "ok"
    await room.wait(120)
    await all_is_well_once(room, ada, command)


async def test_a_command_typed_while_the_server_restarts_behind_a_page_is_carried_out(room: Room, ada: Person) -> None:
    room.endpoint.mode = "hidden_all"
    command = await room.say(ada, "!register bob")
    await room.wait(2)
    room.endpoint.mode = "ok"
    await room.wait(30)
    await all_is_well_once(room, ada, command)


async def test_one_fault_after_a_long_outage_gives_nothing_up(room: Room, ada: Person) -> None:
    room.chat.fail_next("with_person", UnreachableError("cut off"), times=30)
    command = await room.say(ada, "!register bob")
    room.chat.fail_next("with_person", KeyError("a fault"))
    await room.wait(3600)
    await all_is_well_once(room, ada, command)


async def test_credentials_that_are_given_up_are_told_of(room: Room, ada: Person) -> None:
    room.chat.fail_next("with_person", KeyError("a fault"), times=10)
    command = await room.say(ada, "!register bob")
    await room.wait(3600)
    created, forgotten = room.answers_to(command)
    assert created.about["state"] == "created"
    assert (forgotten.about["error"], forgotten.content["m.mentions"]) == (
        "not_delivered",
        {"user_ids": [ada.user_id]},
    )
    assert await room.rows("SELECT sealed_password FROM requests") == [(None,)]


async def test_one_event_whose_sender_cannot_be_looked_up_does_not_silence_the_bot(room: Room, ada: Person) -> None:
    room.chat.fail_next("power_levels", RefusedError(400, {"errcode": "M_UNKNOWN"}), times=8)
    first, second = await room.types(ada, "!help"), await room.types(ada, "!status")
    async with room.running():
        for _ in range(12):
            await asyncio.sleep(0.02)
            room.passes(20)
        await room.until(lambda: len(room.said) == 2)
    (refused,), (answer,) = room.answers_to(first), room.answers_to(second)
    assert (refused.about["error"], answer.about["kind"]) == ("internal", "status")
