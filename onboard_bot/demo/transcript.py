"""Owns what is shown of several people's clients: each thing once, as one of them sees it."""

from collections.abc import Callable

from onboard_bot.demo.heard import Edited, Heard, Said, Tapped
from onboard_bot.demo.person import Invited, Person
from onboard_bot.demo.screen import Screen

_SIGNS_OF_A_CARD = 2


class Transcript:
    """What was heard, in one order.

    Args:
        screen: Where it is shown.
        narrator: Whose client every room is shown from; what they are not in is shown from that of whoever entered it.
    """

    def __init__(self, screen: Screen, narrator: str) -> None:
        self.card: Said | None = None
        """The last one that waits, or waited, for a tap."""
        self._screen = screen
        self._narrator = narrator
        self._shown_from: dict[str, str] = {}
        self._said: dict[str, Said] = {}
        self._offered: dict[str, list[str]] = {}

    def hears(self, name: str) -> Callable[[Heard], None]:
        """What somebody's client is to tell all that it hears.

        Args:
            name: Who that is.
        """

        def heard(what: Heard) -> None:
            if self._shown_from.get(what.room_id, self._narrator) == name:
                self._show(what)

        return heard

    async def enter(self, person: Person, invited: Invited) -> str:
        """Accepts an invitation; the room. Shown first: what waits in there is shown as soon as it can be read."""
        self._shown_from.setdefault(invited.room_id, person.name)
        title = f"the room “{invited.room_name}”" if invited.room_name else "a direct message"
        whose = "" if invited.room_name or person.name == self._narrator else f" to {person.name}"
        sealed = "encrypted" if invited.encrypted else "not encrypted"
        self._screen.enter(invited.room_id, f"{title[0].upper()}{title[1:]}{whose} · {sealed}")
        self._screen.happened(f"{invited.by} invites {person.name} to {title}; {person.name} accepts.")
        await person.accept(invited)
        return invited.room_id

    def _show(self, heard: Heard) -> None:
        match heard:
            case Said():
                self._said[heard.event_id] = heard
                self._screen.said(heard, self._said.get(heard.in_reply_to) if heard.in_reply_to else None)
            case Edited():
                self._said[heard.now.event_id] = heard.now
                self._screen.edited(heard)
            case Tapped() if heard.is_offered:
                self._offer(heard)
            case Tapped():
                self._screen.tapped(heard, heard.sign)

    def _offer(self, tapped: Tapped) -> None:
        """A card's author puts one sign after the other under it; that is one line."""
        signs = self._offered.setdefault(tapped.under.event_id, [])
        signs.append(tapped.sign)
        if len(signs) == _SIGNS_OF_A_CARD:
            self.card = tapped.under
            self._screen.tapped(tapped, " and ".join(signs))
