"""What the sieges found, each by itself: the bot as it was before lost commands, stood still, or grew without end."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from nio.crypto import OutboundGroupSession

from onboard_bot.domain.display_names import parse_display_name
from onboard_bot.domain.roles import creators_stand_above, read_power_levels
from onboard_bot.errors import OnboardError
from onboard_bot.matrix import device_keys, given_keys
from onboard_bot.matrix.json_text import read_json
from onboard_bot.matrix.machine import Machine
from onboard_bot.onboarding.ports import UnreachableError
from onboard_bot.store.undecrypted import ALTOGETHER, OF_ONE_PERSON, KeptEvent
from tests.hostile import weapons
from tests.hostile.raw import Json, text_of
from tests.hostile.server import Body, WrongAnswer
from tests.hostile.siege import ADA, BOT, EVE, MALLORY, MEGOLM, Device, Fortress, Log, Siege, besieged


@pytest.fixture
async def siege(fortress: Fortress, log: Log) -> AsyncIterator[Siege]:
    """One that a test lays by hand."""
    async with besieged(fortress, log) as siege:
        yield siege


def words(n: int | str, **more: Any) -> Json:
    """Something that Eve says in clear text."""
    content = {"msgtype": "m.text", "body": "hello"}
    return {"event_id": f"$words{n}", "sender": EVE, "type": "m.room.message", "content": content, **more}


# What Python cannot read


@pytest.mark.parametrize("mark", ["@@deep list@@", "@@deep object@@", "@@many digits@@", "@@rather deep@@"])
@pytest.mark.parametrize("place", ["content", "unsigned", "to the device", "in an invitation"])
async def test_an_event_that_python_cannot_read_costs_nobody_else_their_words(
    siege: Siege, mark: str, place: str
) -> None:
    evil = words(1, **{place: {"x": mark}})
    more: Json = {}
    if place == "to the device":
        more["to_device"] = {"events": [{"type": "m.room.encrypted", "sender": MALLORY, "content": {"x": mark}}]}
    bodies = siege.body(evil, siege.honest_command(), **more)
    if place == "in an invitation":
        invitation = {"!evil": {"invite_state": {"events": [{"type": "m.room.name", "content": mark}]}}}
        token = siege.new_token()
        join = {siege.room_id: {"timeline": {"events": [siege.honest_command()]}}}
        text = text_of({"next_batch": token, "rooms": {"join": join, "invite": invitation}})
        bodies = Body(text, token)
        siege.honest.remove("honest0")
    await siege.throw(bodies)
    await siege.check()


@pytest.mark.parametrize("call", ["GET members", "GET state"])
async def test_a_room_of_which_somebody_keeps_something_unreadable_can_be_looked_at(siege: Siege, call: str) -> None:
    evil = {"type": "m.room.member", "state_key": EVE, "content": {"membership": "join", "x": "@@deep list@@"}}
    events = [evil, *siege.server.rooms.rooms[siege.room_id].events()]
    answer = text_of({"chunk": events} if call == "GET members" else events)
    siege.server.wrong = [WrongAnswer(call, 200, answer)]
    await siege.obeys_the_admin()
    assert siege.server.asked[call] <= {"GET members": 2, "GET state": 1}[call]  # the direct room has members, too


@given(weapons.anything)
def test_what_can_be_read_is_read_as_python_does(value: Any) -> None:
    text = json.dumps(value)
    assert read_json(text) == json.loads(text)
    deep = read_json(f'{{"before": {text}, "deep": {"[" * 9999 + "]" * 9999}, "after": {text}}}')
    assert deep["before"] == deep["after"] == json.loads(text)


@pytest.mark.parametrize("text", ["[" * 9999, "[" * 9999 + "}" * 9999, '{"a": ' + "9" * 5000, "]" * 9999, '"' * 9])
def test_what_is_no_json_stays_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(text)


async def test_halves_of_characters_in_ids_stop_nobody(siege: Siege) -> None:
    half = "@@half a character@@"
    evil = [words(1, event_id=half), words(2, sender=half), words(3, sender="@" + "x" * 300), words(4, sender="")]
    unread = {"algorithm": MEGOLM, "session_id": half, "ciphertext": "x"}
    evil.append({**words(5), "type": "m.room.encrypted", "content": unread})
    join = {half: {"timeline": {"events": [words(6)]}}}
    await siege.throw(siege.body(*evil, siege.honest_command(), rooms_too=join))
    await siege.check()


# History


async def test_a_page_that_somebody_filled_with_unusable_events_hides_nothing_before_it(siege: Siege) -> None:
    deep = words("deep", content={"x": "@@rather deep@@"})
    siege.server.pages = [
        text_of({"chunk": [deep] * 100, "end": "t1"}),
        text_of({"chunk": [], "end": "t2"}),
        text_of({"chunk": [siege.honest_command()]}),
    ]
    await siege.throw(siege.body(timeline={"limited": True, "prev_batch": "t0"}))
    await siege.check()


@pytest.mark.parametrize("chunk", [[words(1)], []])
@pytest.mark.parametrize("end", ["@@page@@", "t1"])
async def test_a_history_without_an_end_is_given_up(siege: Siege, chunk: list[Json], end: str) -> None:
    siege.server.pages = [text_of({"chunk": chunk, "end": end})]
    await siege.throw(siege.body(siege.honest_command(), timeline={"limited": True, "prev_batch": "t0"}))
    await siege.check()
    assert siege.server.asked["GET messages"] <= 1000


async def test_a_server_that_says_the_same_again_and_again_is_not_asked_in_a_circle(siege: Siege) -> None:
    before = siege.clock.now()
    siege.server.tell([Body(text_of({"next_batch": "s0", "rooms": {"join": {"!x": {}}}}))] * 3)
    await siege.server.nothing_more.wait()
    assert siege.clock.now() - before >= 0.9 * siege.server.asked["GET sync"]


# Keys


@pytest.mark.parametrize("count", [-(10**6), -(10**30), True, "many", None, 10**30])
def test_a_server_cannot_have_us_make_keys_without_end(tmp_path: Path, count: object) -> None:
    machine = Machine(BOT, "BOT", tmp_path, b"k" * 32)
    machine.keys_to_upload()
    machine.keys_uploaded({"one_time_key_counts": {"signed_curve25519": 50}})
    machine.receive({"device_one_time_keys_count": {"signed_curve25519": count}})
    body = machine.keys_to_upload() or {}
    assert len(body.get("one_time_keys", {})) <= 50
    machine.close()


@pytest.mark.parametrize("counts", [None, [], "x", {"signed_curve25519": "x"}, {"signed_curve25519": None}])
async def test_an_answer_that_is_none_does_not_pass_for_a_taken_upload(tmp_path: Path, counts: object) -> None:
    machine = Machine(BOT, "BOT", tmp_path, b"k" * 32)
    body = machine.keys_to_upload()
    assert body is not None
    with pytest.raises(UnreachableError):
        machine.keys_uploaded({"one_time_key_counts": counts})
    again = machine.keys_to_upload()
    assert again is not None
    assert again["device_keys"] == body["device_keys"]
    machine.close()


@pytest.mark.parametrize("odd", [{"algorithms": "\ud83d"}, {"algorithms": float("nan")}, {"unsigned": "x"}])
async def test_one_device_with_odd_keys_keeps_nobody_in_the_room_from_reading(siege: Siege, odd: Json) -> None:
    eve = siege.server.keys.devices[EVE]
    eve["PHONE"] = {**eve["PHONE"], **odd}
    await siege.throw(siege.body(device_lists={"changed": [ADA, EVE]}))
    await siege.obeys_the_admin()


async def test_nobody_is_served_on_more_devices_than_a_person_can_have(
    siege: Siege, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_keys, "OF_ONE_PERSON", 3)
    many = {}
    for n in range(5):
        (tmp_path / str(n)).mkdir()
        device = Machine(EVE, f"D{n}", tmp_path / str(n), b"k" * 32)
        many[f"D{n}"] = (device.keys_to_upload() or {})["device_keys"]
        device.close()
    asked_at = siege.machine.about_to_ask()
    siege.machine.learn_devices({"device_keys": {EVE: many}}, [EVE], asked_at=asked_at, first={})
    assert len(siege.machine.devices_of([EVE])) == 3


# Who says what in whose name


def encrypted(content: Json, sender: str, n: int | str = 1) -> Json:
    """An encrypted event."""
    return {"type": "m.room.encrypted", "event_id": f"$forged{n}", "sender": sender, "content": content}


async def test_nobody_speaks_for_the_admin_with_a_key_of_their_own(siege: Siege) -> None:
    evil = siege.fortress.eve.says(siege.room_id, {"msgtype": "m.text", "body": "!register evil"})
    without_hint = {key: value for key, value in evil.items() if key not in ("sender_key", "device_id")}
    lying = {**evil, "sender_key": siege.fortress.ada.identity["curve25519"]}
    forged = [encrypted(content, ADA, n) for n, content in enumerate((evil, without_hint, lying))]
    await siege.throw(siege.body(*forged))
    await siege.obeys_the_admin()
    assert siege.backend.asked_for == ["honest0"]


@pytest.mark.parametrize("devices_known", [True, False])
async def test_whoever_repeats_the_admins_words_first_does_not_make_them_a_replay(
    siege: Siege, *, devices_known: bool
) -> None:
    if not devices_known:
        siege.machine._olm.device_store._entries.clear()
    said = siege.honest_command()
    await siege.throw(siege.body({**said, "event_id": "$repeated", "sender": EVE}, said))
    await siege.check()


class Session:
    """A new Megolm session of the admin's."""

    def __init__(self, siege: Siege) -> None:
        self._siege = siege
        self._session = OutboundGroupSession()
        self._session.mark_as_shared()
        self._key = str(self._session.session_key)

    def given_by(self, giver: Device, *, nth: int = 0) -> Json:
        """The to-device event by which somebody who has the key gives it to the bot."""
        content = {"algorithm": MEGOLM, "room_id": self._siege.room_id} | {
            "session_id": self._session.id,
            "session_key": self._key,
        }
        fortress = self._siege.fortress
        payload = fortress.olm_payload(giver, "m.room_key", content)
        return fortress.to_device(giver, json.dumps(payload).encode(), nth=nth)

    def command(self) -> Json:
        """What the admin says with it."""
        event = self._siege.honest_command()
        content = {"msgtype": "m.text", "body": f"!register {event['event_id'][1:]}"}
        payload = {"type": "m.room.message", "room_id": self._siege.room_id, "content": content}
        ciphertext = self._session.encrypt(json.dumps(payload))
        return {**event, "content": {**event["content"], "session_id": self._session.id, "ciphertext": ciphertext}}


@pytest.mark.parametrize("hint", [True, False], ids=["with sender_key", "without"])
async def test_whoever_passes_the_admins_key_on_as_their_own_hides_nothing_also_after_a_restart(
    siege: Siege, *, hint: bool
) -> None:
    session = Session(siege)
    given = [session.given_by(giver) for giver in (siege.fortress.eve, siege.fortress.ada)]
    await siege.throw(siege.body(to_device={"events": given}))
    for _ in range(2):
        said = session.command()
        if not hint:
            del said["content"]["sender_key"]
        await siege.throw(siege.body(said))
        await siege.check()
        siege.machine._disk._in_memory = None  # it is read from the disk again


async def test_a_key_from_somebody_of_whose_devices_nothing_is_known_yet_is_good(siege: Siege) -> None:
    siege.machine._olm.device_store._entries.clear()
    await siege.obeys_the_admin()


async def test_who_is_named_inside_a_ciphertext_said_nothing(siege: Siege) -> None:
    content = {"msgtype": "m.text", "body": "!register evil"}
    payload = {"type": "m.room.message", "room_id": siege.room_id, "content": content, "sender": ADA}
    evil = siege.fortress.eve.megolm(siege.room_id, json.dumps(payload).encode())
    await siege.throw(siege.body(encrypted(evil, EVE)))
    await siege.obeys_the_admin()


# What strangers leave behind


def unread(sender: str, n: int) -> KeptEvent:
    """An event whose key is not there."""
    event = {"event_id": f"${sender}{n}", "sender": sender, "content": {"session_id": "s"}}
    return KeptEvent("!room", sender, event)


async def test_of_nobody_too_many_unreadable_events_are_kept(siege: Siege) -> None:
    async with siege.store.transaction() as tx:
        kept = [await tx.undecrypted.keep(unread(EVE, n), now=n) for n in range(OF_ONE_PERSON + 10)]
        assert kept == [True] * OF_ONE_PERSON + [False] * 10
        assert await tx.undecrypted.keep(unread(EVE, 0), now=0)
        assert await tx.undecrypted.keep(unread(ADA, 0), now=0)
        assert not await tx.undecrypted.keep(
            KeptEvent("!room", MALLORY, {**unread(MALLORY, 0).event, "x": "x" * 100_000}), now=0
        )


async def test_a_crowd_does_not_crowd_out_whoever_has_few_unreadable_events(siege: Siege) -> None:
    async with siege.store.transaction() as tx:
        for n in range(ALTOGETHER):
            assert await tx.undecrypted.keep(unread(f"@crowd{n % 20}:evil.example", n), now=n)
    async with siege.store.transaction() as tx:
        for n in range(10):
            assert await tx.undecrypted.keep(unread(ADA, n), now=ALTOGETHER)
        kept = await tx.undecrypted.all()
        assert len(kept) == ALTOGETHER
        assert [event.sender for event in kept].count(ADA) == 10


async def test_an_event_whose_key_comes_late_is_obeyed_although_others_threw_many_unreadable_ones(
    siege: Siege,
) -> None:
    session = Session(siege)
    eve = siege.fortress.eve.says(siege.room_id, {})
    flood = [encrypted({**eve, "session_id": f"none{n}"}, EVE, n) for n in range(300)]
    await siege.throw(siege.body(*flood[:200], session.command(), *flood[200:]))
    await siege.throw(siege.body(to_device={"events": [session.given_by(siege.fortress.ada)]}))
    await siege.check()


async def test_keys_of_strangers_are_forgotten_in_the_end_and_the_admins_are_not(
    siege: Siege, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("UNUSED", "OF_STRANGERS"):
        monkeypatch.setattr(given_keys, limit, 5)
    await siege.obeys_the_admin()
    given = [Session(siege).given_by(siege.fortress.eve, nth=n) for n in range(20)]
    for n in range(0, 20, 4):
        await siege.throw(siege.body(to_device={"events": given[n : n + 4]}))
    olm = siege.machine._olm
    assert sum(1 for _ in olm.inbound_group_store) <= 5 + 3
    assert all(held for held in olm.session_store.values())
    siege.machine._disk._in_memory = None
    await siege.obeys_the_admin()


async def test_no_room_is_made_for_every_key_that_somebody_names(siege: Siege) -> None:
    held = len(siege.machine._olm.session_store.values())
    real = siege.fortress.to_device(siege.fortress.eve, b"{}")
    named = [{**real, "content": {**real["content"], "sender_key": f"{n:043}"}} for n in range(50)]
    await siege.throw(siege.body(to_device={"events": named}))
    assert len(siege.machine._olm.session_store.values()) == held


async def test_a_flood_of_one_kind_is_one_line_of_the_log(siege: Siege, log: Log) -> None:
    log.take()
    eve = siege.fortress.eve.says(siege.room_id, {})
    await siege.throw(siege.body(*(encrypted({**eve, "session_id": "none"}, EVE, n) for n in range(300))))
    assert len(log.take().splitlines()) <= 3


# Answers about rooms


@pytest.mark.parametrize("wrong", [{"sender": 5}, {"content": []}, {"content": None}, {"state_key": "x"}])
async def test_a_senseless_creation_is_not_remembered(siege: Siege, wrong: Json) -> None:
    state = siege.server.rooms.rooms[siege.room_id].events()
    senseless = [event | wrong if event["type"] == "m.room.create" else event for event in state]
    siege.server.wrong = [WrongAnswer("GET state", 200, text_of(senseless))]
    with pytest.raises(UnreachableError):
        await siege.matrix.rooms.power_levels(siege.room_id)
    await siege.obeys_the_admin()


@pytest.mark.parametrize("content", [[], "x", {"room_version": 12, "additional_creators": 5}, {"room_version": "²"}])
def test_levels_can_be_read_beside_any_creation(content: Any) -> None:
    assert read_power_levels({"sender": ADA, "content": content}, {}).of(EVE) == 0


@pytest.mark.parametrize("version", ["²", "9" * 5000, "\uff11\uff12", "", "org.example"])
def test_odd_room_versions_are_old_ones(version: str) -> None:
    assert not creators_stand_above(version)


def test_endless_accents_take_no_time() -> None:
    started = time.monotonic()
    with pytest.raises(OnboardError):
        parse_display_name("a" + "\u0315\u0300" * 30_000)
    assert time.monotonic() - started < 0.2
