"""Owns the words about devices and identities: why somebody is not obeyed, and what mends it."""

from onboard_bot.chat.messages import About, Bullets, Code, Inline, Key, Kind, Message, Paragraph, Pill, Strong
from onboard_bot.domain.devices import Standing
from onboard_bot.errors import ErrorCode

_WHY = {
    Standing.UNSIGNED: " I did nothing: this came from a device that you have not verified, and anybody who holds your"
    " homeserver could add such a device. Verify it with another device of yours or with your recovery key (in Element:"
    " Settings, Encryption); if it is your only one, set up recovery there. Then type it again.",
    Standing.CHANGED: " I did nothing: your cross-signing identity is another one than before. Ask another approver in"
    " this room to make sure that it is really you, and to type {prefix}trust {user}; where there is none, the operator"
    " runs “onboard-bot trust {user}” at the machine. Then type it again.",
    Standing.FOREIGN: " I did nothing: this came from none of the devices that your homeserver names now. If it was"
    " you, please type it again with one of them.",
    Standing.CLEAR: " I did nothing: this came in clear text into an encrypted room, where anybody who holds the"
    " homeserver could have written it. Type it again with a client that encrypts.",
    Standing.UNKNOWN: " I did nothing: your homeserver does not tell me about your devices at the moment, so I cannot"
    " see whether this was you. Please type it again in a few minutes.",
}


def turned_away(standing: Standing, user_id: str, *, prefix: str) -> Message:
    """What somebody reads whose command is not obeyed because of the device that it came from; repeats nothing of it.

    Args:
        standing: Of the device; one that is not obeyed.
        user_id: The sender.
        prefix: Of commands.
    """
    code = ErrorCode.HOMESERVER_UNREACHABLE if standing is Standing.UNKNOWN else ErrorCode.DEVICE_NOT_SIGNED
    why = _WHY[standing].format(prefix=prefix, user=user_id)
    line: tuple[Inline, ...] = ("🔒 ", Pill(user_id, user_id), ",", why)
    return Message((Paragraph(line),), About(Kind.ERROR, user_id=user_id, error=code), mentions=(user_id,))


def identity_changed(user_id: str, *, before: str, now: str, prefix: str) -> Message:
    """What the admin room reads when somebody's identity is another one.

    Args:
        user_id: Whose.
        before: The master key that counts.
        now: The one that the homeserver names.
        prefix: Of commands.
    """
    what: tuple[Inline, ...] = ("⚠️ ", Pill(user_id, user_id), " has another cross-signing identity than before.")
    keys: tuple[tuple[Inline, ...], ...] = (("Before: ", Key(before)), ("Now: ", Key(now)))
    until = (
        "Their devices get no keys from me, and I obey none of them, until another approver accepts it. Ask them, not"
        " in this room, whether they reset it themselves, and compare the key. If it is theirs: "
    )
    mend: tuple[Inline, ...] = (
        until,
        Strong(f"{prefix}trust {user_id}"),
        "; where there is no other approver, ",
        Code(f"onboard-bot trust {user_id}"),
        " at the machine. If they know nothing of it, somebody else may be speaking in their name.",
    )
    about = About(Kind.ERROR, user_id=user_id, error=ErrorCode.IDENTITY_CHANGED)
    return Message((Paragraph(what), Bullets(keys), Paragraph(mend)), about)


def identity_accepted(user_id: str, master_key: str) -> Message:
    """The answer to `!trust`.

    Args:
        user_id: Whose identity counts now.
        master_key: Which one that is, to be compared.
    """
    line: tuple[Inline, ...] = (
        "✅ The identity of ",
        Pill(user_id, user_id),
        " with the master key ",
        Key(master_key),
        " counts from now on. What they typed before has to be typed again.",
    )
    return Message((Paragraph(line),), About(Kind.STATUS, user_id=user_id))
