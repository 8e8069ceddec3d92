"""Three people in an encrypted room, and the requests that they decide: where the tests of votes begin."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onboard_bot.demo.synapse import RunningSynapse
from tests.e2e.bot_process import Launch
from tests.e2e.person import Person, somebody, unique
from tests.e2e.server_view import ServerView
from tests.element.client import Element
from tests.element.conversation import BETWEEN_BACKTICKS, Conversation, open_conversation
from tests.element.events import Event, Json
from tests.element.node import Node

YES, NO = "✅", "❌"
QUORUM_OF_TWO = {"always": True, "required": 2}
"""Whoever asks, two others have to agree."""


@dataclass
class Council:
    """Ada made the room and uses Element, Grace may vote and uses another client, Eve uses Element and may only ask."""

    talk: Conversation
    grace: Person
    eve: Element

    @property
    def ada(self) -> Element:
        return self.talk.ada

    @property
    def room_id(self) -> str:
        return self.talk.room_id

    async def asks(self, username: str | None = None, *, by: Element | None = None, words: str = "") -> "Ballot":
        """Somebody asks for an account; the request, once its card can be read."""
        name = username or unique("new")
        command = await (by or self.eve).say(self.room_id, f"!register {name} {words}")
        return await self.card_of(command, name, by=by)

    async def card_of(self, command: str, username: str, *, by: Element | None = None) -> "Ballot":
        """The request that somebody asked for with this command, once its card can be read."""
        card = await self.ada.reads((await self.ada.reply_to(command)).event_id)
        assert (card.sender, card.about.get("kind")) == (self.talk.bot_id, "request"), card
        return Ballot(self, by or self.eve, command, card.event_id, str(card.about["id"]), self.user_id(username))

    def user_id(self, username: str) -> str:
        return self.talk.view.user_id(username)

    async def refused(self, command: str) -> Event:
        """The one answer to a command, an error."""
        answer = await self.ada.reads((await self.ada.reply_to(command)).event_id)
        assert (answer.sender, answer.about.get("kind")) == (self.talk.bot_id, "error"), answer
        return answer

    async def said_since(self, event_id: str) -> list[Event]:
        """What the bot said and edited since an event, up to the answer to a question asked now."""
        last = await self.talk.all_said()
        await self.ada.sees(event_id)
        return [e for e in self.ada.said_by(self.talk.bot_id, self.room_id, after=event_id) if e != last]


@dataclass
class Ballot:
    """One request: its card as Ada's client shows it, and all that may happen to it."""

    council: Council
    asker: Element
    command: str
    card_id: str
    id: str
    user_id: str

    @property
    def card(self) -> Event:
        return self.council.ada.events[self.card_id]

    @property
    def state(self) -> str:
        return str(self.card.about_now.get("state"))

    async def shows(self, state: str, words: str = "", *, within: float = 20.0) -> Event:
        """The card, once it shows this to everybody who looks at it with Element."""
        for person in (self.council.ada, self.asker):
            await self._shown_to(person, state, words, within)
        card = self.card
        assert card.unmarked, card
        assert (card.about_now["kind"], card.about_now["id"]) == ("request", self.id)
        if card.edited_by is not None:
            edit = await self.council.ada.reads(card.edited_by)
            assert (edit.unmarked, edit.mentions) == (True, []), edit
            assert edit.about == card.about_now, "what clients read that know no edits"
        return card

    async def _shown_to(self, person: Element, state: str, words: str, within: float) -> None:
        def found() -> bool:
            card = person.events.get(self.card_id)
            return card is not None and card.about_now.get("state") == state and words in str(card.shown.get("body"))

        await person.until(found, within=within, why=f"“{state}” and “{words}” on the card of {self.id}")

    async def counts(self, approvals: int, *, needed: int = 2) -> Event:
        """The card, once it shows so many approvals, and no decision."""
        return await self.shows("pending", f"{approvals} of {needed} approvals")

    async def offers(self, *signs: str) -> None:
        """Waits until the bot put exactly these under the card."""
        bot = self.council.talk.bot_id
        await self.council.ada.until(
            lambda: {sign for sign, people in self.card.emojis.items() if bot in people} == set(signs),
            why=f"{signs} under the card of {self.id}",
        )

    async def tap(self, person: Element | Person, sign: str = YES) -> str:
        """Somebody taps on a sign under the card; the reaction's id."""
        room_id = self.council.room_id
        if isinstance(person, Element):
            return await person.react(room_id, self.card_id, sign)
        relation = {"rel_type": "m.annotation", "event_id": self.card_id, "key": sign}
        return await person.send(room_id, {"m.relates_to": relation}, "m.reaction")

    async def types(self, person: Element | Person, words: str) -> Event:
        """Somebody types a command about it, like `approve welcome`; the one answer, of which a copy is Ada's."""
        verb, _, rest = words.partition(" ")
        command = await person.say(self.council.room_id, f"!{verb} {self.id} {rest}")
        return await self.council.ada.reads((await self.council.ada.reply_to(command)).event_id)

    def replies(self) -> list[Event]:
        """What the bot said to the one who asked, the card first."""
        said = self.council.ada.said_by(self.council.talk.bot_id, self.council.room_id)
        return [e for e in said if e.in_reply_to == self.command and e.type != "m.reaction"]

    async def outcome(self, kind: str, **about: Any) -> Event:
        """What the one who asked was told in the end, in one message that mentions them."""
        asker = self.asker

        def found() -> Event | None:
            replies = (e for e in asker.events.values() if e.in_reply_to == self.command and e.sender != asker.user_id)
            return next((e for e in replies if e.about.get("kind") == kind and about.items() <= e.about.items()), None)

        told = await asker.until(found, why=f"{kind} {about} about {self.id}")
        assert told.unmarked, told
        assert (told.about.get("id"), told.mentions) == (self.id, [asker.user_id]), told
        return told

    async def brings_the_account(self, user_id: str | None = None, *, kind: str = "account") -> None:
        """It is made, everybody sees it, and the one who asked can sign in with what was sent to them."""
        made = user_id or self.user_id
        await self.shows("created", made)
        await self.outcome(kind, state="created", user_id=made)
        message = await self.council.talk.credentials(made, to=self.asker)
        (password,) = BETWEEN_BACKTICKS.findall(message.body)
        assert await self.council.talk.view.sign_in(made, password) == 200

    async def is_closed(self, state: str, *kinds: str) -> None:
        """Nothing else comes: the card shows it, and who asked had the card and these answers."""
        await self.shows(state)
        await self.council.talk.all_said()
        assert [e.about.get("kind") for e in self.replies()] == ["request", *kinds]
        assert (await self.council.talk.view.account(self.user_id) is not None) == (state == "created")


@asynccontextmanager
async def open_council(
    folder: Path,
    synapse: RunningSynapse,
    view: ServerView,
    node: Node,
    *,
    version: str | None,
    launch: Launch,
    url: str | None = None,
    approval: Json | None = None,
    checks: Iterable[str] = ("answered_once", "is_readable"),
    **config: Any,
) -> AsyncIterator[Council]:
    """A bot of its own, with the three in its admin room.

    Args:
        folder: For all of them.
        synapse: Where they live.
        view: Of it.
        node: What runs Element.
        version: Of the room, which Ada makes.
        launch: How the bot is started.
        url: Where the bot finds Synapse, if not directly.
        approval: That section of the configuration.
        checks: What is true at the end.
        config: Other sections.
    """
    async with (
        open_conversation(
            folder,
            synapse,
            view,
            node,
            launch=launch,
            url=url,
            made_by_ada=version,
            checks=checks,
            approval=QUORUM_OF_TWO if approval is None else approval,
            **config,
        ) as talk,
        nio_member(talk, "grace", folder, level=50) as grace,
        talk.member("eve") as eve,
    ):
        yield Council(talk, grace, eve)


@asynccontextmanager
async def nio_member(talk: Conversation, name: str, folder: Path, *, level: int | None) -> AsyncIterator[Person]:
    """Somebody in the room with a client of matrix-nio, on a device that they signed."""
    async with somebody(talk.synapse, name, folder) as person:
        await talk.ada.invite(talk.room_id, person.user_id)
        await person.invitation_from(talk.ada.user_id)
        await person.join(talk.room_id)
        if level is not None:
            await talk.ada.set_level(talk.room_id, person.user_id, level)
        yield person
