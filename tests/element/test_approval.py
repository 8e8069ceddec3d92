"""Three people decide in encrypted rooms of both versions, two of them with Element: what each of them sees of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from pydantic import SecretStr

from onboard_bot.demo.synapse import RunningSynapse
from onboard_bot.homeserver.port import NewAccount
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from tests.e2e.bot_process import Launch
from tests.e2e.person import unique
from tests.e2e.server_view import ServerView
from tests.element.council import NO, QUORUM_OF_TWO, YES, Council, nio_member, open_council
from tests.element.node import Node

pytestmark = pytest.mark.asyncio(loop_scope="module")

POWER_LEVELS = ("m.room.power_levels", "")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["11", "12"])
async def council(
    request: pytest.FixtureRequest,
    synapse: RunningSynapse,
    view: ServerView,
    node: Node,
    tmp_path_factory: pytest.TempPathFactory,
    quickly: Launch,
) -> AsyncIterator[Council]:
    """Whoever asks, two others have to agree, or one to object."""
    async with open_council(
        tmp_path_factory.mktemp("council"),
        synapse,
        view,
        node,
        version=request.param,
        launch=quickly,
        approval=QUORUM_OF_TWO,
        accounts={"allow_admin": True},
    ) as opened:
        yield opened


async def test_the_card_is_readable_asks_who_may_decide_and_bears_the_signs(council: Council) -> None:
    ada, eve, name = council.ada, council.eve, unique("new")
    ballot = await council.asks(name, words='New Person --note="a friend of the house"')
    card = await ballot.shows("pending", "0 of 2 approvals")
    assert card.in_reply_to == ballot.command
    assert card.about == {"v": 1, "kind": "request", "id": ballot.id, "state": "pending", "user_id": ballot.user_id}
    for words in (name, "New Person", "a friend of the house", eve.user_id, ballot.id, "!approve", "!deny"):
        assert words in card.body
    assert set(card.mentions) == {ada.user_id, council.grace.user_id}
    await ballot.offers(YES, NO)
    assert (await ballot.types(eve, "cancel")).about["state"] == "cancelled"
    await ballot.is_closed("cancelled")


async def test_two_of_two_make_an_account_one_by_a_tap_and_one_by_a_word_in_the_thread(council: Council) -> None:
    ada, grace = council.ada, council.grace
    ballot = await council.asks()
    since = await ballot.tap(ada)
    card = await ballot.counts(1)
    assert ada.user_id in card.shown["body"]
    assert [e.event_id for e in await council.said_since(since) if e.type != "m.reaction"] == [card.edited_by]

    vote = await grace.say(
        council.room_id,
        "!approve she is expected",
        **{
            "m.relates_to": {
                "rel_type": "m.thread",
                "event_id": ballot.card_id,
                "is_falling_back": True,
                "m.in_reply_to": {"event_id": ballot.card_id},
            }
        },
    )
    answer = await council.talk.answer_to(vote)
    assert (answer.about["kind"], answer.about["id"], answer.thread) == ("request", ballot.id, ballot.card_id)
    await ballot.brings_the_account()
    assert "she is expected" in ballot.card.shown["body"]
    await ballot.is_closed("created", "account")


async def test_a_tap_after_the_decision_is_answered_once(council: Council) -> None:
    ballot = await council.asks()
    await ballot.tap(council.grace, NO)
    await ballot.shows("denied")
    since = await ballot.tap(council.ada, YES)
    await ballot.tap(council.ada, "👍")
    (told,) = await council.said_since(since)
    assert (told.about["error"], told.about["id"], told.in_reply_to) == ("already_decided", ballot.id, ballot.card_id)
    assert (told.mentions, told.unmarked) == ([council.ada.user_id], True)
    assert ballot.state == "denied"


async def test_one_objection_stops_it_and_the_reason_is_told(council: Council) -> None:
    ballot = await council.asks()
    await ballot.tap(council.ada, "👍🏽")
    await ballot.counts(1)
    answer = await ballot.types(council.grace, "deny we have never met them")
    assert (answer.about["kind"], answer.about["state"]) == ("request", "denied")
    told = await ballot.outcome("status", state="denied")
    assert "we have never met them" in told.body
    await ballot.is_closed("denied", "status")


async def test_a_silent_denial_is_shown_on_the_card_alone(council: Council) -> None:
    ballot = await council.asks()
    await ballot.types(council.ada, "deny --silent")
    await ballot.is_closed("denied")


async def test_a_vote_that_is_taken_away_is_none_whether_tapped_or_typed(council: Council) -> None:
    ada, ballot = council.ada, await council.asks()
    tap = await ballot.tap(ada)
    await ballot.counts(1)
    await ada.redact(council.room_id, tap)
    await ballot.counts(0)
    vote = await ada.say_in_thread(council.room_id, ballot.card_id, "!approve")
    await council.talk.answer_to(vote)
    await ballot.counts(1)
    await ada.redact(council.room_id, vote)
    await ballot.counts(0)
    await ballot.tap(council.grace)
    card = await ballot.counts(1)
    assert council.grace.user_id in card.shown["body"]
    assert ada.user_id not in card.shown["body"]
    await ballot.tap(ada)
    await ballot.brings_the_account()
    await ballot.is_closed("created", "account")


async def test_nobody_decides_on_a_request_of_their_own(council: Council) -> None:
    ada, ballot = council.ada, await council.asks(by=council.ada)
    assert ballot.card.mentions == [council.grace.user_id]
    assert (await ballot.types(ada, "approve")).about["error"] == "not_permitted"
    since = await ballot.tap(ada)
    assert [e for e in await council.said_since(since) if e.type == "m.room.message"] == []
    await ballot.tap(council.grace)
    await ballot.counts(1)
    await ballot.types(ada, "cancel")
    await ballot.is_closed("cancelled")


async def test_nobody_without_the_level_decides(council: Council) -> None:
    ballot = await council.asks(by=council.ada)
    assert (await ballot.types(council.eve, "approve")).about["error"] == "not_permitted"
    since = await ballot.tap(council.eve)
    await ballot.tap(council.eve, NO)
    assert await council.said_since(since) == []
    await ballot.types(council.grace, "deny")
    await ballot.is_closed("denied", "status")


async def test_who_made_the_room_votes_whether_or_not_the_room_lists_them(council: Council) -> None:
    """From version 12 on the power of who made a room stands nowhere."""
    ada = council.ada
    version = (await council.talk.view.room(council.room_id))["version"]
    levels = (await council.talk.view.state(council.room_id))[POWER_LEVELS]["users"]
    assert (ada.user_id in levels) == (version == "11")
    ballot = await council.asks()
    vote = await ada.say_in_reply(council.room_id, ballot.card_id, "!approve")
    answer = await council.talk.answer_to(vote)
    assert (answer.about["id"], answer.about["state"]) == (ballot.id, "pending")
    await ballot.counts(1)
    await ballot.types(council.eve, "cancel")


async def test_a_vote_counts_only_while_its_voter_has_the_level(council: Council) -> None:
    ada, grace, ballot = council.ada, council.grace, await council.asks()
    await ballot.tap(grace)
    await ballot.counts(1)
    await ada.set_level(council.room_id, grace.user_id, 0)
    await ballot.counts(0)
    await ballot.tap(ada)
    await ballot.counts(1)
    await ada.set_level(council.room_id, grace.user_id, 50)  # with that there are two
    await ballot.brings_the_account()
    await ballot.is_closed("created", "account")


async def test_the_vote_of_somebody_who_left_does_not_count(council: Council, tmp_path: Path) -> None:
    ballot = await council.asks()
    async with nio_member(council.talk, "mary", tmp_path, level=50) as mary:
        await ballot.tap(mary)
        await ballot.counts(1)
        await mary.leave(council.room_id)
        await ballot.counts(0)
    await ballot.tap(council.ada)
    await ballot.counts(1)
    await ballot.types(council.eve, "cancel")
    await ballot.is_closed("cancelled")


async def test_only_typed_words_make_a_server_admin(council: Council) -> None:
    ballot = await council.asks(words="--admin")
    card = await ballot.shows("pending", "0 of 2 approvals")
    assert "SERVER-ADMIN RIGHTS" in card.body
    assert "Reactions do not count" in card.body
    since = await ballot.tap(council.ada)
    await ballot.tap(council.grace)
    assert await council.said_since(since) == []
    await ballot.offers()
    assert (await ballot.types(council.ada, "approve")).about["state"] == "pending"
    await ballot.counts(1)
    assert (await ballot.types(council.grace, "approve")).about["state"] == "approved"
    await ballot.brings_the_account()
    account = await council.talk.view.account(ballot.user_id)
    assert account is not None
    assert account["admin"]


async def test_a_vote_from_a_device_that_its_owner_did_not_sign_is_none(council: Council) -> None:
    ballot = await council.asks()
    async with council.talk.second_device() as device:
        vote = await device.say(council.room_id, f"!approve {ballot.id}")
        refused = await device.reply_to(vote)
    assert (refused.about["error"], refused.encrypted) == ("device_not_signed", False)
    assert ballot.id not in refused.body
    await ballot.tap(council.grace)
    await ballot.counts(1)
    await ballot.types(council.ada, "deny")


async def test_a_second_request_for_a_name_is_refused_with_the_id_of_the_first(council: Council) -> None:
    name = unique("twice")
    ballot = await council.asks(name)
    again = await council.refused(await council.eve.say(council.room_id, f"!register {name.upper()}"))
    assert (again.about["error"], again.about["id"]) == ("duplicate_request", ballot.id)
    await ballot.types(council.eve, "cancel")
    anew = await council.asks(name)
    assert anew.id != ballot.id
    await anew.types(council.ada, "deny")


async def test_a_name_that_was_taken_meanwhile_is_corrected_by_an_approver_and_voted_on_anew(council: Council) -> None:
    ada, grace = council.ada, council.grace
    ballot = await council.asks()
    await somebody_else_takes(ballot.user_id, council.talk.synapse)
    tap = await ballot.tap(grace)
    await ballot.counts(1)
    await ballot.tap(ada)
    await ballot.shows("failed", "--username=")
    await ballot.outcome("error", error="username_taken", state="failed")
    assert (await ballot.types(ada, "approve")).about["error"] == "bad_argument"

    other = unique("other")
    assert (await ballot.types(ada, f"approve --username={other}")).about["state"] == "pending"
    card = await ballot.counts(1)
    assert card.about_now["user_id"] == council.user_id(other)
    # A client lets its person tap again once they have taken their first tap away.
    await grace.ask("PUT", f"rooms/{council.room_id}/redact/{tap}/{unique('again')}", {})
    await ballot.tap(grace)
    await ballot.brings_the_account(council.user_id(other))
    assert [e.about["kind"] for e in ballot.replies()] == ["request", "error", "account"]


async def somebody_else_takes(user_id: str, synapse: RunningSynapse) -> None:
    """An account of this name is made without the bot."""
    async with aiohttp.ClientSession() as http:
        backend = SharedSecretBackend(http, synapse.url, SecretFile(synapse.secret_file))
        await backend.create(NewAccount(user_id[1:].partition(":")[0], SecretStr("a password of somebody else")))
