"""Owns the part of the demo where somebody asks for an account and the room decides."""

from collections.abc import Awaitable, Callable

from onboard_bot.chat.messages import Kind
from onboard_bot.chat.reactions import APPROVE_SIGN
from onboard_bot.demo.cast import Cast
from onboard_bot.demo.transcript import Transcript
from onboard_bot.domain.requests import State

ASKED = '!register bob Bob --note="plays the bassoon"'


async def ask_and_decide(cast: Cast, transcript: Transcript, pause: Callable[[], Awaitable[None]]) -> None:
    """From the question to the credentials.

    Args:
        cast: The two who are in the room.
        transcript: Where it is shown.
        pause: For somebody who reads along.

    Raises:
        NothingCameError: Something did not come in time.
    """
    admin, guest, room = cast.admin, cast.guest, cast.room
    asked = await guest.say(room, ASKED)
    card = (await admin.reply_to(asked, kind=Kind.REQUEST)).event_id
    await admin.once(lambda: transcript.card is not None and transcript.card.event_id == card, "the signs of a card")
    await pause()
    await admin.tap(admin.said[card], APPROVE_SIGN)
    # Each in its own time: what is shown stays in one room until all of it has come.
    await admin.once(lambda: admin.said[card].state == State.CREATED, "the card of an account that was made")
    await admin.reply_to(asked, kind=Kind.ACCOUNT)
    invited = await guest.invitation(but={room})
    await pause()
    direct = await transcript.enter(guest, invited)
    await guest.message(kind=Kind.CREDENTIALS, room_id=direct)
