"""Owns the last part of the demo: the visitor types, as whoever they like to be."""

from collections.abc import Iterable
from contextlib import aclosing
from typing import NoReturn

from onboard_bot.chat.reactions import read_reaction
from onboard_bot.demo.beside import unless
from onboard_bot.demo.cast import ADMIN, Cast
from onboard_bot.demo.person import Person
from onboard_bot.demo.prompt import Prompt
from onboard_bot.demo.screen import Screen
from onboard_bot.demo.transcript import Transcript
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, UnreachableError

_LAST_WORDS = ("exit", "quit")


class Turn:
    """The visitor's turn.

    Args:
        screen: Where they type, and read what comes of it.
        transcript: Knows the card that a sign is for.
        cast: Whom they can be.
    """

    def __init__(self, screen: Screen, transcript: Transcript, cast: Cast) -> None:
        self._screen = screen
        self._transcript = transcript
        self._room = cast.room
        self._people = {person.name: person for person in (cast.admin, cast.guest)}

    async def take(self) -> None:
        """Until they have seen enough."""
        screen = self._screen
        screen.prompt = Prompt(f"{ADMIN}> ", screen.fit, redraws=screen.can_redraw)
        accepting = (self._accept_all(person) for person in self._people.values())
        try:
            await unless(self._type(screen.prompt), *accepting)
        finally:
            screen.prompt = None

    async def _type(self, prompt: Prompt) -> None:
        async with aclosing(prompt.lines()) as lines:
            async for line in lines:
                if line.strip() in _LAST_WORDS:
                    return
                name, words = spoken(line, self._people)
                if not words.strip():
                    continue
                try:
                    await self._say(self._people[name], words)
                except (RefusedError, UnreachableError, RateLimitedError) as error:
                    self._screen.happened(f"That could not be sent: {error}")

    async def _say(self, person: Person, words: str) -> None:
        card = self._transcript.card
        if card is not None and is_sign(words):
            await person.tap(card, words.strip())
        else:
            await person.say(self._room, words)

    async def _accept_all(self, person: Person) -> NoReturn:
        while True:
            await self._transcript.enter(person, await person.invitation(within=None))


def spoken(line: str, names: Iterable[str]) -> tuple[str, str]:
    """Who says a line, and what they say: the admin, unless it begins with somebody else's name and a colon."""
    name, colon, words = line.partition(":")
    if colon and (name := name.strip().lower()) in names:
        return name, words.strip()
    return ADMIN, line


def is_sign(words: str) -> bool:
    """Whether a line is nothing but ✅, ❌ or what else is a vote under a card."""
    return read_reaction({"m.relates_to": {"rel_type": "m.annotation", "event_id": "$card", "key": words}}) is not None
