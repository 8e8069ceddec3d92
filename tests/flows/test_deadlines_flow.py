"""What time does to a pending request: one reminder and its end, each at its time and once, whatever the clock does."""

from collections.abc import Awaitable, Callable

import pytest

from onboard_bot.chat.messages import CONTENT_KEY
from onboard_bot.clock_jump import PAUSE
from onboard_bot.domain.approvals import ApprovalRules
from onboard_bot.onboarding.effects import JobKind
from onboard_bot.onboarding.ports import RateLimitedError
from tests.fakes.chat import Said
from tests.flows.conftest import OpenRoom
from tests.flows.room import Card, Person, Room

MINUTE, HOUR, DAY, YEAR = 60.0, 3600.0, 86_400.0, 365 * 86_400.0
REMINDED_AFTER, ENDS_AFTER = DAY, 7 * DAY
PEOPLE = {"ada": 100, "grace": 50, "eve": 0}
LIMITED = RateLimitedError("PUT send", 5.0)


@pytest.fixture
def grace(room: Room) -> Person:
    """Somebody else who may decide."""
    return room.person("@grace:example.org", level=50)


@pytest.fixture
def eve(room: Room) -> Person:
    """Somebody who may only ask."""
    return room.person("@eve:example.org")


def reminders(card: Card) -> list[Said]:
    """What was said under the card: a reminder is a reply to it."""
    return [said for said in card.room.answers_to(card.posted.event_id) if said.about["kind"] == "status"]


def told(card: Card) -> list[Said]:
    """What the one who asked was told beside the card."""
    return [said for said in card.room.answers_to(str(card.posted.answers)) if said.about["kind"] != "request"]


async def rows_of(room: Room, verb: str) -> int:
    """How often something stands in the audit log."""
    return len(await room.rows(f"SELECT 1 FROM audit WHERE verb = '{verb}'"))  # noqa: S608 - the verbs of these tests


# The reminder


async def test_those_who_have_not_voted_are_reminded_at_their_time_and_not_before(
    room: Room, ada: Person, grace: Person, eve: Person
) -> None:
    card = await room.asks(eve)
    await room.wait(REMINDED_AFTER - 1)
    assert reminders(card) == []
    await room.wait(1)
    (reminder,) = reminders(card)
    assert reminder.content[CONTENT_KEY] == {
        "v": 1,
        "kind": "status",
        "id": card.id,
        "state": "pending",
        "user_id": "@bob:example.org",
    }
    assert reminder.mentions == [ada.user_id, grace.user_id]
    assert reminder.content["msgtype"] == "m.text"  # clients ring for no notice
    for word in ("bob", card.id, eve.user_id, "1 day"):
        assert word in reminder.body
    await room.wait(ENDS_AFTER - REMINDED_AFTER - 1)
    assert len(reminders(card)) == 1


async def test_who_has_voted_is_not_reminded_nor_who_may_not_vote(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=3, deny=2, always=True))
    names = {"ada": 100, "grace": 50, "alan": 50, "linus": 50, "barbara": 50, "eve": 0}
    ada, grace, alan, linus, barbara, eve = (
        room.person(f"@{name}:example.org", level) for name, level in names.items()
    )
    card = await room.asks(barbara)  # an approver, who may not decide on what she asks for herself
    await card.tap(ada)
    await room.say(grace, f"!deny {card.id}")
    await room.remove(linus, await card.tap(linus))
    await card.tap(eve)
    await room.wait(REMINDED_AFTER)
    (reminder,) = reminders(card)
    assert reminder.mentions == sorted((alan.user_id, linus.user_id))


async def test_in_a_thread_the_reminder_stands_in_the_thread(room: Room, ada: Person, eve: Person) -> None:
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": "$root"}}
    card = room.card_of(await room.say(eve, "!register bob", **thread))
    await room.wait(REMINDED_AFTER)
    (reminder,) = reminders(card)
    assert reminder.mentions == [ada.user_id]
    assert reminder.content["m.relates_to"] | {"is_falling_back": False} == {
        "rel_type": "m.thread",
        "event_id": "$root",
        "is_falling_back": False,
        "m.in_reply_to": {"event_id": card.posted.event_id},
    }


@pytest.mark.parametrize("after", [HOUR, 2 * HOUR, 0.0], ids=["at the end", "after it", "never"])
async def test_where_a_reminder_would_come_too_late_there_is_none(open_room: OpenRoom, after: float) -> None:
    room = await open_room(approval=ApprovalRules(expires_after=HOUR, remind_after=after))
    room.person("@ada:example.org", level=100)
    card = await room.asks(room.person("@eve:example.org"))
    await room.wait(3 * HOUR)
    assert (reminders(card), card.state) == ([], "expired")


async def test_nobody_is_reminded_where_everybody_has_voted(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=3))
    people = [room.person(f"@{name}:example.org", level=50) for name in ("ada", "grace")]
    card = await room.asks(room.person("@eve:example.org"))
    for person in people:
        await card.tap(person)
    await room.wait(REMINDED_AFTER)
    assert (reminders(card), card.state) == ([], "pending")
    assert await rows_of(room, "request:reminded") == 0
    assert JobKind.ANSWER not in await room.open_jobs()


async def test_nobody_is_reminded_where_nobody_may_vote(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    await room.wait(REMINDED_AFTER)
    assert reminders(card) == []


async def test_of_reminders_that_come_together_only_those_are_said_that_remind_somebody(
    open_room: OpenRoom,
) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, eve = room.person("@ada:example.org", 100), room.person("@eve:example.org")
    cards = [await room.asks(eve, f"!register bob{number}") for number in range(4)]
    await cards[0].tap(ada)
    await cards[2].tap(ada)
    room.chat.fail_next("send", LIMITED)
    await room.wait(REMINDED_AFTER + 6)
    (listed,) = [said for said in room.posted if said.about["kind"] == "list"]
    assert listed.about["items"] == [
        {
            "kind": "status",
            "id": card.id,
            "state": "pending",
            "user_id": f"@bob{number}:example.org",
            "event_id": card.posted.event_id,
        }
        for number, card in enumerate(cards)
        if number in (1, 3)
    ]
    assert listed.mentions == [ada.user_id]
    assert await rows_of(room, "request:reminded") == 2


DECISIONS: dict[str, Callable[[Room, Card, Person, Person], Awaitable[str]]] = {
    "approved": lambda _, card, ada, __: card.tap(ada),
    "denied": lambda _, card, ada, __: card.tap(ada, "❌"),
    "cancelled": lambda room, card, _, eve: room.say(eve, f"!cancel {card.id}"),
}


@pytest.mark.parametrize("decide", DECISIONS.values(), ids=list(DECISIONS))
async def test_after_a_decision_nobody_is_reminded_and_nothing_expires(
    room: Room, ada: Person, eve: Person, decide: Callable[[Room, Card, Person, Person], Awaitable[str]]
) -> None:
    card = await room.asks(eve)
    await decide(room, card, ada, eve)
    state, said = card.state, len(room.said)
    assert set(await room.open_jobs()) <= {JobKind.ERASE_CREDENTIALS}
    await room.wait(ENDS_AFTER + 1)
    assert (card.state, len(room.said)) == (state, said)


async def test_a_reminder_that_the_server_held_back_is_not_said_after_the_decision(
    room: Room, ada: Person, eve: Person
) -> None:
    card = await room.asks(eve)
    room.chat.fail_next("send", RateLimitedError("PUT send", 60.0))
    await room.wait(REMINDED_AFTER)
    await card.tap(ada)
    await room.wait(120)
    assert (reminders(card), card.state) == ([], "created")
    assert await rows_of(room, "request:reminded") == 0


async def test_what_waits_with_a_reminder_that_comes_to_nothing_is_said_all_the_same(
    room: Room, ada: Person, eve: Person
) -> None:
    card = await room.asks(eve)
    room.chat.fail_next("send", LIMITED, times=2)
    await room.wait(REMINDED_AFTER)
    command = await room.say(ada, "!status")
    await room.wait(5)
    assert await room.rows("SELECT key FROM jobs WHERE state = 'attached'") == [(f"answer:{command}",)]
    await room.say(ada, f"!deny {card.id} --silent")
    await room.wait(MINUTE)
    items = [item["event_id"] for said in room.posted for item in said.about.get("items", ())]
    assert command in items
    assert (reminders(card), card.state) == ([], "denied")
    assert await room.rows("SELECT key FROM jobs WHERE finished_at IS NULL") == []


# The end


async def test_what_nobody_decides_expires_at_its_time_and_not_before(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.wait(ENDS_AFTER - 1)
    assert (card.state, told(card)) == ("pending", [])
    await room.wait(1)
    assert card.state == "expired"
    assert await room.states() == ["expired"]
    (said,) = told(card)
    assert said.content[CONTENT_KEY] == {
        "v": 1,
        "kind": "status",
        "id": card.id,
        "state": "expired",
        "user_id": "@bob:example.org",
    }
    assert said.mentions == [eve.user_id]
    assert card.shown.mentions == []
    assert ada.user_id not in said.body
    await room.wait(ENDS_AFTER)
    assert len(told(card)) == 1
    assert await rows_of(room, "request:expired") == 1
    assert await room.open_jobs() == []
    assert room.accounts == {}


async def test_the_name_of_an_expired_request_is_free_again(room: Room, ada: Person, eve: Person) -> None:
    first = await room.asks(eve)
    await room.wait(ENDS_AFTER)
    again = await room.asks(eve)
    assert again.id != first.id
    await again.tap(ada)
    assert (first.state, again.state) == ("expired", "created")
    assert list(room.accounts) == ["@bob:example.org"]


async def test_a_vote_that_came_too_late_is_told_so(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.wait(ENDS_AFTER)
    (answer,) = room.answers_to(await room.say(ada, f"!approve {card.id}"))
    assert (answer.about["error"], answer.about["state"]) == ("already_decided", "expired")
    assert room.accounts == {}


async def test_a_vote_that_nobody_has_looked_at_yet_comes_before_the_end(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.types(ada, f"!approve {card.id}")  # while the bot is away, say
    room.clock.advance(ENDS_AFTER)
    await room.life.runner.run_due()
    assert await room.states() == ["pending"]
    await room.settle()
    assert card.state == "created"


async def test_an_inbox_that_never_empties_keeps_nothing_open(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.types(ada, "good morning")
    room.clock.advance(ENDS_AFTER)
    for _ in range(5):
        await room.life.runner.run_due()
        room.clock.advance(1)
    assert card.state == "expired"


# Restarts


@pytest.mark.usefixtures("ada")
async def test_both_survive_restarts(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    for _ in range(14):
        await room.wait(DAY / 2)
        await room.restart()
    await room.settle()
    assert len(reminders(card)) == 1
    assert (card.state, len(told(card))) == ("expired", 1)


@pytest.mark.usefixtures("ada")
async def test_a_bot_that_was_off_past_the_reminder_reminds_at_once(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    room.clock.advance(2 * DAY)
    await room.restart()
    await room.settle()
    assert len(reminders(card)) == 1
    assert card.state == "pending"


@pytest.mark.usefixtures("ada")
async def test_a_bot_that_was_off_past_the_end_expires_at_once_and_reminds_nobody(room: Room, eve: Person) -> None:
    card = await room.asks(eve)
    room.clock.advance(ENDS_AFTER)
    await room.restart()
    await room.settle()
    assert (card.state, len(told(card))) == ("expired", 1)
    assert reminders(card) == []
    assert await rows_of(room, "request:reminded") == 0


@pytest.mark.parametrize("moment", [REMINDED_AFTER, ENDS_AFTER], ids=["reminder", "end"])
async def test_killed_at_any_step_each_comes_once(open_room: OpenRoom, moment: float) -> None:
    last, steps = 0, 1
    while last <= steps:
        room = await open_room()
        room.person("@ada:example.org", level=100)
        card = await room.asks(room.person("@eve:example.org"))
        await room.wait(moment - 1)
        room.life.fate.steps.clear()
        room.life.fate.dies_at = last or None
        await room.wait(1)
        if last == 0:
            steps = len(room.life.fate.steps)
            assert {"before commit", "after commit", "before send", "after send"} <= set(room.life.fate.steps)
        else:
            assert room.life.fate.died.is_set(), f"there was no step {last}"
            await room.restart()
            await room.wait(120)
        ended = moment == ENDS_AFTER
        assert len(reminders(card)) == await rows_of(room, "request:reminded") == 1
        assert len(told(card)) == await rows_of(room, "request:expired") == int(ended)
        assert card.state == ("expired" if ended else "pending")
        assert len(card.edits) == int(ended)
        last += 1


# Another round


async def test_a_reopened_request_has_a_new_end_and_a_new_reminder(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.wait(2 * DAY)
    await card.tap(ada, "❌")
    await room.wait(DAY)
    await room.say(ada, f"!reopen {card.id}")
    assert (card.state, len(reminders(card))) == ("pending", 1)
    await room.wait(REMINDED_AFTER - 1)
    assert len(reminders(card)) == 1
    await room.wait(1)
    assert [reminder.mentions for reminder in reminders(card)] == [[ada.user_id]] * 2
    await room.wait(ENDS_AFTER - REMINDED_AFTER - 1)
    assert card.state == "pending"
    await room.wait(1)
    assert card.state == "expired"
    assert [said.about["state"] for said in told(card)] == ["denied", "expired"]


async def test_another_name_while_it_is_pending_moves_neither(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, eve = (room.person(f"@{name}:example.org", level) for name, level in PEOPLE.items())
    card = await room.asks(eve)
    await card.tap(grace)
    await room.wait(DAY / 2)
    await room.say(ada, f"!approve {card.id} --username=carol")
    await room.wait(DAY / 2)
    (reminder,) = reminders(card)
    assert reminder.about["user_id"] == "@carol:example.org"
    assert reminder.mentions == [grace.user_id]  # her vote was about the other name
    await room.wait(ENDS_AFTER - DAY)
    assert (card.state, len(reminders(card))) == ("expired", 1)


async def test_what_failed_and_is_asked_for_under_another_name_has_a_new_end(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2))
    ada, grace, eve = (room.person(f"@{name}:example.org", level) for name, level in PEOPLE.items())
    await room.say(ada, "!register bob")
    card = await room.asks(eve)
    await room.wait(2 * DAY)
    await card.tap(ada)
    await card.tap(grace)
    assert (card.state, len(reminders(card))) == ("failed", 1)
    await room.wait(DAY)
    await room.say(ada, f"!approve {card.id} --username=carol")
    await room.wait(REMINDED_AFTER)
    assert [reminder.mentions for reminder in reminders(card)] == [[ada.user_id, grace.user_id], [grace.user_id]]
    await room.wait(ENDS_AFTER - REMINDED_AFTER - 1)
    assert card.state == "pending"
    await room.wait(1)
    assert card.state == "expired"


# A clock that jumps


@pytest.mark.parametrize("jump", [2 * HOUR, YEAR], ids=["two hours", "a year"])
async def test_after_a_jump_nothing_expires_for_ten_minutes_and_then_what_is_due(
    open_room: OpenRoom, jump: float
) -> None:
    room = await open_room(approval=ApprovalRules(expires_after=3 * HOUR, remind_after=1.5 * HOUR))
    ada, eve = room.person("@ada:example.org", level=100), room.person("@eve:example.org")
    old = await room.asks(eve, "!register bob")
    await room.wait(1.25 * HOUR)
    young = await room.asks(eve, "!register carol")
    await room.wait(MINUTE)
    room.clock.jump(jump)
    for _ in range(int(PAUSE) - 1):
        await room.wait(1)
    assert (old.state, young.state) == ("pending", "pending")
    assert reminders(old) + reminders(young) == []
    await room.wait(1)
    by_the_clock = "expired" if jump == YEAR else "pending"
    assert (old.state, young.state) == ("expired", by_the_clock)
    assert reminders(old) == []
    assert [one.mentions for one in reminders(young)] == ([] if jump == YEAR else [[ada.user_id]])
    await room.wait(1.5 * HOUR)
    assert young.state == "expired"


@pytest.mark.usefixtures("ada")
async def test_a_jump_that_is_set_right_makes_nothing_come_early_or_late(room: Room, eve: Person) -> None:
    cards = [await room.asks(eve, f"!register bob{number}") for number in range(3)]
    await room.wait(HOUR)
    room.clock.jump(YEAR)
    for _ in range(5):
        await room.wait(MINUTE)
    room.clock.jump(-YEAR)
    await room.wait(REMINDED_AFTER - HOUR - 5 * MINUTE - 1)
    assert [(card.state, reminders(card)) for card in cards] == [("pending", [])] * 3
    await room.wait(1)
    assert [(card.state, len(reminders(card))) for card in cards] == [("pending", 1)] * 3
    await room.wait(ENDS_AFTER - REMINDED_AFTER - 1)
    assert [card.state for card in cards] == ["pending"] * 3
    await room.wait(1)
    assert [card.state for card in cards] == ["expired"] * 3


@pytest.mark.usefixtures("ada")
async def test_a_jump_between_the_look_for_jobs_and_their_beginning_moves_nothing(
    room: Room, eve: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = await room.asks(eve)
    runner = room.life.runner
    resting = runner._resting
    looks = iter(["before the jump"])
    monkeypatch.setattr(runner, "_resting", lambda: () if next(looks, None) else resting())
    room.clock.jump(YEAR)
    await room.settle()
    assert (card.state, reminders(card)) == ("pending", [])
    room.clock.jump(-YEAR)
    await room.wait(REMINDED_AFTER - 1)
    assert (card.state, reminders(card)) == ("pending", [])
    await room.wait(1)
    assert (card.state, len(reminders(card))) == ("pending", 1)
    await room.wait(ENDS_AFTER - REMINDED_AFTER - 1)
    assert card.state == "pending"
    await room.wait(1)
    assert card.state == "expired"


@pytest.mark.parametrize("restart", [False, True], ids=["it runs", "it is started again"])
async def test_what_was_written_while_the_clock_was_ahead_does_not_wait_until_it_is_there_again(
    room: Room, ada: Person, eve: Person, *, restart: bool
) -> None:
    card = await room.asks(eve)
    room.clock.jump(YEAR)
    room.chat.fail_next("send", LIMITED)
    put_off = await room.say(ada, "!status")
    behind = await room.types(ada, "!help")
    await room.life.dispatch.run_open()
    room.clock.jump(-YEAR)
    if restart:
        await room.restart()
    await room.wait(MINUTE)
    assert [said.answers for said in room.posted[1:]] == [put_off, behind]
    await card.tap(ada)
    assert card.state == "created"
    assert len(room.direct(eve)) == 1
    await room.wait(DAY)
    (credentials,) = room.direct(eve)
    assert credentials.removed_because is not None
    assert await room.open_jobs() == []


async def test_set_back_by_two_hours_everything_comes_when_the_clock_says_so(
    room: Room, ada: Person, eve: Person
) -> None:
    card = await room.asks(eve)
    await room.wait(HOUR)
    room.clock.jump(-2 * HOUR)
    await room.wait(REMINDED_AFTER + HOUR - 1)
    assert reminders(card) == []
    await room.wait(1)
    assert [reminder.mentions for reminder in reminders(card)] == [[ada.user_id]]
    await room.wait(ENDS_AFTER - REMINDED_AFTER - 1)
    assert card.state == "pending"
    await room.wait(1)
    assert card.state == "expired"


async def test_votes_decide_while_nothing_may_expire(room: Room, ada: Person, eve: Person) -> None:
    cards = [await room.asks(eve, f"!register bob{number}") for number in range(3)]
    room.clock.jump(YEAR)
    await room.wait(1)
    await cards[0].tap(ada)
    await room.say(ada, f"!deny {cards[1].id}")
    assert [card.state for card in cards] == ["created", "denied", "pending"]
    await room.wait(PAUSE)
    assert [card.state for card in cards] == ["created", "denied", "expired"]
