"""Looking and deciding in bulk: `!show`, `!requests`, and several ids in one line."""

from onboard_bot.domain.approvals import ApprovalRules
from onboard_bot.onboarding.ports import RateLimitedError
from tests.flows.conftest import OpenRoom
from tests.flows.room import Person, Room

HOUR = 3600.0


# One request


async def test_show_tells_every_vote_note_and_time(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(required=2, deny=2))
    ada, grace, heidi, eve = room.people(ada=100, grace=50, heidi=50, eve=0)
    card = await room.asks(eve, "!register bob Bob the Builder --note=plumber")
    await room.wait(HOUR)
    reaction = await card.tap(ada)
    await room.remove(ada, reaction)
    await room.wait(HOUR)
    await room.say(grace, f"!deny {card.id} who is that?")
    await room.wait(1)
    await room.say(heidi, f"!approve {card.id} I know them")
    await card.tap(grace, "👍")
    about = await room.answer(eve, f"!show {card.id}")
    assert about.about == {
        "v": 1,
        "kind": "request",
        "id": card.id,
        "state": "created",
        "user_id": "@bob:example.org",
    }
    lines = [line.removeprefix("• ") for line in about.body.splitlines()]
    steps = lines[lines.index("What happened:") + 1 :]
    assert steps[:9] == [
        "2027-01-15 08:00:00 UTC: @eve:example.org asked for bob (Bob the Builder): “plumber”",
        "2027-01-15 09:00:00 UTC: @ada:example.org voted for it (a reaction)",
        "2027-01-15 09:00:00 UTC: @ada:example.org took the vote back",
        "2027-01-15 10:00:00 UTC: @grace:example.org voted against it (typed): “who is that?”",
        "2027-01-15 10:00:01 UTC: @heidi:example.org voted for it (typed): “I know them”",
        "2027-01-15 10:00:01 UTC: @grace:example.org voted for it (a reaction)",
        "2027-01-15 10:00:01 UTC: approved: 2 of 2 approvals",
        "2027-01-15 10:00:01 UTC: the homeserver was asked to make bob",
        "2027-01-15 10:00:01 UTC: the homeserver made @bob:example.org",
    ]


async def test_show_is_in_the_words_of_the_record_and_follows_it(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await room.say(ada, f"!deny {card.id} no")
    shown = await room.answer(ada, f"!show {card.id}")
    record = await room.rows("SELECT verb FROM audit WHERE request_id IS NOT NULL ORDER BY seq")
    assert [row.verb for row in record] == ["request:made", "vote:cast", "request:denied"]
    assert shown.body.count(" UTC: ") == len(record)


async def test_show_pings_nobody(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    await card.tap(ada)
    assert (await room.answer(ada, f"!show {card.id}")).mentions == []


async def test_show_does_not_post_a_card_twice(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    shown = await room.answer(ada, f"!show {card.id}")
    assert "What happened:" in shown.body
    await card.tap(ada)
    assert (card.state, shown.about["state"]) == ("created", "pending")


async def test_show_posts_the_card_of_a_request_that_was_merged_into_a_list(room: Room, ada: Person) -> None:
    eve, dave = room.people(eve=0, dave=0)
    room.chat.fail_next("send", RateLimitedError("send", 5.0))
    for who, name in ((eve, "bob"), (dave, "carol")):
        await room.types(who, f"!register {name}")
    await room.wait(30)
    (merged,) = room.said
    assert [item["state"] for item in merged.about["items"]] == ["pending", "pending"]
    assert merged.mentions == [ada.user_id]
    assert room.signs == []
    await room.react(ada, merged.event_id, "✅")
    assert await room.states() == ["pending", "pending"]
    bob, carol = (item["id"] for item in merged.about["items"])
    card = room.card_of(await room.say(eve, f"!show {bob}"))
    assert card.posted.mentions == [ada.user_id]
    assert room.signs == ["✅", "❌"]
    await card.tap(ada)
    await room.say(ada, f"!approve {carol}")
    assert (card.state, sorted(room.accounts)) == ("created", ["@bob:example.org", "@carol:example.org"])


# Many


async def test_requests_lists_those_that_are_open_page_by_page(room: Room, ada: Person, eve: Person) -> None:
    assert "no open requests" in (await room.answer(eve, "!requests")).body
    commands = [await room.types(eve, f"!register bob{number}") for number in range(26)]
    await room.settle()
    cards = [room.card_of(command) for command in commands]
    await cards[0].tap(ada)
    await room.wait(HOUR)
    latest = await room.asks(eve, "!register carol")
    first = await room.answer(eve, "!requests")
    assert first.about["kind"] == "list"
    assert {item["id"] for item in first.about["items"]} == {card.id for card in cards[1:]}
    assert "26 open requests, page 1 of 2" in first.body
    assert "`!requests --page=2`" in first.body
    assert first.mentions == []
    second = await room.answer(eve, "!requests --page=2")
    assert [item["id"] for item in second.about["items"]] == [latest.id]
    assert "--page=3" not in second.body
    assert (await room.answer(eve, "!requests --page=3")).about["error"] == "bad_argument"


async def test_requests_of_one_state(room: Room, ada: Person, eve: Person) -> None:
    commands = [await room.types(eve, f"!register b{number}") for number in range(5)]
    await room.settle()
    cards = [room.card_of(command) for command in commands]
    room.endpoint.add_account("b3")
    for card, verb in zip(cards, ("approve", "deny", "cancel", "approve"), strict=False):
        await room.types(ada, f"!{verb} {card.id}")
    await room.settle()
    assert [card.state for card in cards] == ["created", "denied", "cancelled", "failed", "pending"]
    for state, request_id in ((card.state, card.id) for card in cards):
        answer = await room.answer(eve, f"!requests {state}")
        assert [(item["id"], item["state"]) for item in answer.about["items"]] == [(request_id, state)]
    assert (await room.answer(eve, "!requests lost")).about["error"] == "bad_argument"


async def test_several_are_decided_in_one_answer(room: Room, ada: Person, eve: Person) -> None:
    cards = [await room.asks(eve, f"!register bob{number}") for number in range(3)]
    before = len(room.posted)
    answer = await room.answer(ada, f"!approve {cards[0].id}, {cards[1].id} {cards[2].id} welcome all")
    assert answer.about["kind"] == "list"
    assert [(item["kind"], item["id"], item["state"]) for item in answer.about["items"]] == [
        ("request", card.id, "approved") for card in cards
    ]
    assert all(card.state == "created" and "welcome all" in card.body for card in cards)
    assert len(room.posted) == before + 1 + len(cards)  # and each who asked hears of theirs


async def test_what_hinders_one_of_them_does_not_hinder_the_others(open_room: OpenRoom) -> None:
    room = await open_room(approval=ApprovalRules(always=True))
    ada, grace, eve = room.people(ada=100, grace=50, eve=0)
    own = await room.asks(ada, "!register own")
    done = await room.asks(eve, "!register done")
    await done.tap(grace)
    new = await room.asks(eve, "!register new")
    answer = await room.answer(ada, f"!approve {own.id} {done.id} 2k4fa {new.id.upper()}")
    found = [(item["kind"], item["id"], item.get("state"), item.get("error")) for item in answer.about["items"]]
    assert found == [
        ("error", own.id, "pending", "not_permitted"),
        ("error", done.id, "created", "already_decided"),
        ("error", "2k4fa", None, "not_found"),
        ("request", new.id, "approved", None),
    ]
    assert (own.state, new.state) == ("pending", "created")


async def test_several_are_denied_silently(room: Room, ada: Person, eve: Person) -> None:
    cards = [await room.asks(eve, f"!register bob{number}") for number in range(2)]
    await room.say(ada, f"!deny {cards[0].id} {cards[1].id} --silent")
    assert [card.state for card in cards] == ["denied", "denied"]
    assert len(room.posted) == len(cards) + 1


async def test_the_same_id_twice_is_one_vote(room: Room, ada: Person, eve: Person) -> None:
    card = await room.asks(eve)
    answer = await room.answer(ada, f"!approve {card.id} {card.id.upper()}")
    assert (answer.about["kind"], card.state) == ("request", "created")


async def test_one_new_name_cannot_be_for_several(room: Room, ada: Person, eve: Person) -> None:
    cards = [await room.asks(eve, f"!register bob{number}") for number in range(2)]
    answer = await room.answer(ada, f"!approve {cards[0].id} {cards[1].id} --username=carol")
    assert answer.about["error"] == "bad_argument"
    assert room.accounts == {}
