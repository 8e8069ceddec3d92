"""The bot ends and starts at every step of a decision, and while a request's time runs out: everything happens once."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from onboard_bot.clock import SystemClock
from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import Launch
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView
from tests.element.council import NO, QUORUM_OF_TWO, YES, Ballot, Council, open_council
from tests.element.events import Event
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()
EXPIRES, REMINDS = 6.0, 3.0
ACTED_ON_WITHIN = 10.0
"""Design, section 3: durations are acted on within 10 s of their time."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["11", "12"])
async def council(
    request: pytest.FixtureRequest,
    synapse: RunningSynapse,
    view: ServerView,
    node: Node,
    tmp_path_factory: pytest.TempPathFactory,
    quickly: Launch,
) -> AsyncIterator[Council]:
    """Whoever asks, two others have to agree."""
    folder = tmp_path_factory.mktemp("council")
    async with open_council(folder, synapse, view, node, version=request.param, launch=quickly) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["11", "12"])
async def hasty(
    request: pytest.FixtureRequest,
    synapse: RunningSynapse,
    view: ServerView,
    node: Node,
    tmp_path_factory: pytest.TempPathFactory,
    quickly: Launch,
) -> AsyncIterator[Council]:
    """The same, and they have seconds."""
    in_seconds = {"expires_after": f"{EXPIRES:.0f}s", "remind_after": f"{REMINDS:.0f}s"}
    async with open_council(
        tmp_path_factory.mktemp("hasty"),
        synapse,
        view,
        node,
        version=request.param,
        launch=quickly,
        approval=QUORUM_OF_TWO | in_seconds,
    ) as opened:
        yield opened


@pytest.mark.parametrize("first", ["stop", "kill"])
async def test_the_bot_may_end_at_every_step_of_a_decision(council: Council, first: str) -> None:
    """What moves it on comes just before the bot ends, or meanwhile."""
    bot, room_id, name = council.talk.bot, council.room_id, unique("step")
    endings = itertools.cycle([bot.stop, bot.kill] if first == "stop" else [bot.kill, bot.stop])

    async def restart() -> None:
        await next(endings)()
        await bot.start()

    command = await council.eve.say(room_id, f"!register {name}")
    await restart()
    ballot = await council.card_of(command, name)
    await restart()
    await ballot.offers(YES, NO)
    await ballot.tap(council.ada)
    await restart()
    await ballot.counts(1)
    await next(endings)()
    vote = await council.grace.say(room_id, f"!approve {ballot.id}")
    await bot.start()
    assert (await council.talk.answer_to(vote)).about["state"] == "approved"
    await restart()
    await ballot.shows("created")
    await restart()
    await ballot.brings_the_account()
    await ballot.is_closed("created", "account")
    assert sorted(sign.relation["key"] for sign in signs_of_the_bot(ballot)) == sorted([YES, NO])


async def test_what_is_done_while_the_bot_is_away_counts_when_it_comes_back(council: Council) -> None:
    ada, grace, bot = council.ada, council.grace, council.talk.bot
    decided, taken_away = await council.asks(), await council.asks()
    await bot.stop()
    for ballot in (decided, taken_away):
        tap = await ballot.tap(ada)
        await ballot.tap(grace)
    await ada.redact(council.room_id, tap)
    await bot.start()
    await decided.brings_the_account()
    await decided.is_closed("created", "account")
    await taken_away.counts(1)

    await bot.kill()
    await ada.set_level(council.room_id, grace.user_id, 0)
    await bot.start()
    await taken_away.counts(0)
    await bot.stop()
    await ada.set_level(council.room_id, grace.user_id, 50)
    await bot.start()
    await taken_away.counts(1)
    await taken_away.types(ada, "deny")


async def test_what_nobody_decides_is_reminded_of_once_and_ends_in_time(hasty: Council) -> None:
    """The first of the two over a restart."""
    first = await hasty.asks()
    await first.types(hasty.ada, "approve")
    reminder = await reminder_of(first)
    assert (reminder.mentions, reminder.unmarked) == ([hasty.grace.user_id], True)
    await hasty.talk.bot.kill()
    await hasty.talk.bot.start()
    second = await hasty.asks()
    assert set((await reminder_of(second)).mentions) == {hasty.ada.user_id, hasty.grace.user_id}
    for ballot in (first, second):
        told = await ballot.outcome("status", state="expired")
        asked = hasty.ada.events[ballot.command].at
        assert asked + EXPIRES <= told.at <= ballot.card.at + EXPIRES + ACTED_ON_WITHIN
        await ballot.is_closed("expired", "status")
        assert reminders_of(ballot) == [await reminder_of(ballot)]
    since = await first.tap(hasty.grace)
    assert [said.about["error"] for said in await hasty.said_since(since)] == ["already_decided"]


async def test_what_ends_while_the_bot_is_away_ends_when_it_comes_back_without_a_reminder(hasty: Council) -> None:
    ballot = await hasty.asks()
    await hasty.talk.bot.kill()
    await ballot.tap(hasty.ada)
    await asyncio.sleep(max(0.0, ballot.card.at + EXPIRES - CLOCK.now()))  # that is what happens meanwhile
    await hasty.talk.bot.start()
    started = CLOCK.now()
    told = await ballot.outcome("status", state="expired")
    assert told.at <= started + ACTED_ON_WITHIN
    await ballot.is_closed("expired", "status")
    assert reminders_of(ballot) == []
    name = ballot.user_id[1:].partition(":")[0]
    again = await hasty.asks(name)  # nothing holds the name any more
    await again.types(hasty.eve, "cancel")


def signs_of_the_bot(ballot: Ballot) -> list[Event]:
    """Each that it ever put under the card."""
    said = ballot.council.ada.said_by(ballot.council.talk.bot_id, ballot.council.room_id)
    return [e for e in said if e.type == "m.reaction" and e.relation["event_id"] == ballot.card_id]


def reminders_of(ballot: Ballot) -> list[Event]:
    """What the bot said in reply to the card, without having been asked."""
    said = ballot.council.ada.said_by(ballot.council.talk.bot_id, ballot.council.room_id)
    return [e for e in said if e.in_reply_to == ballot.card_id and e.about.get("kind") == "status"]


async def reminder_of(ballot: Ballot) -> Event:
    """Waits for it."""
    (reminder,) = await ballot.council.ada.until(lambda: reminders_of(ballot), why=f"a reminder of {ballot.id}")
    assert (reminder.about["id"], reminder.about["state"]) == (ballot.id, "pending")
    return reminder
