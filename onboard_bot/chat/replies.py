"""Owns the words of the bot's answers. Pure: what is said follows from what is passed in."""

from dataclasses import dataclass

from pydantic import SecretStr

from onboard_bot.chat.messages import (
    About,
    Block,
    Bullets,
    Code,
    Inline,
    Key,
    Kind,
    Link,
    Message,
    Paragraph,
    Pill,
    Strong,
)
from onboard_bot.chat.moments import span, to_the_minute
from onboard_bot.clock import Timestamp
from onboard_bot.domain.requests import State
from onboard_bot.domain.withheld import Withheld
from onboard_bot.errors import MEANINGS, ErrorCode, OnboardError


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """What a person compares with what their client shows of the bot; all of it public.

    Args:
        device_id: Of the bot's device.
        fingerprint: That device's Ed25519 key.
        master_key: Of the bot's identity; None where its seeds are gone.
    """

    device_id: str
    fingerprint: str
    master_key: str | None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """How the bot is doing at one moment.

    Args:
        at: The moment.
        version: Of the bot.
        homeserver_url: Where it talks to the homeserver.
        server_name: The part behind the colon of the accounts that it makes.
        running_since: When this process started.
        last_sync: When the homeserver last answered a sync; None if it has not yet.
        open_jobs: What it still has to do.
        keys: Of its device and identity.
        notes: Sentences about what is not as it should be.
    """

    at: Timestamp
    version: str
    homeserver_url: str
    server_name: str
    running_since: Timestamp
    last_sync: Timestamp | None
    open_jobs: int
    keys: OwnKeys | None = None
    notes: tuple[str, ...] = ()


def account_created(
    request_id: str,
    user_id: str,
    display_name: str | None,
    *,
    admin: bool,
    where_credentials_went: str,
    mentions: tuple[str, ...] = (),
) -> Message:
    """The answer to a registration that went through.

    Args:
        request_id: The request.
        user_id: The account.
        display_name: What others see, if it was given.
        admin: Whether the account has server-admin rights.
        where_credentials_went: A whole sentence.
        mentions: Whoever waited for it.
    """
    line: list[Inline] = ["✅ ", Pill(user_id, user_id)]
    if display_name is not None:
        line += [" (", display_name, ")"]
    line.append(" is ready, with server-admin rights. " if admin else " is ready. ")
    line.append(where_credentials_went)
    about = About(Kind.ACCOUNT, id=request_id, state=State.CREATED, user_id=user_id)
    return Message((Paragraph(tuple(line)),), about, mentions)


def failure(error: OnboardError, *, user_id: str | None = None, mentions: tuple[str, ...] = ()) -> Message:
    """The answer to what could not be done: the error's own sentence, line by line.

    Args:
        error: What is wrong and what mends it.
        user_id: The account that it was about.
        mentions: Whoever waited for it.
    """
    lines = tuple(Paragraph((line,)) for line in error.sentence.splitlines() if line.strip())
    about = About(Kind.ERROR, id=error.request_id, state=error.state, user_id=user_id, error=error.code)
    return Message(lines, about, mentions)


def internal_failure(reference: str, *, about: About | None = None, mentions: tuple[str, ...] = ()) -> Message:
    """The answer when the fault is ours.

    Args:
        reference: Finds the trace in the log.
        about: What programs see, where it is about a request.
        mentions: Whoever waited for it.
    """
    words: tuple[Inline, ...] = (
        "Something went wrong inside me; it is not your fault. Please give the reference number ",
        Strong(reference),
        " to whoever runs this bot: it finds the details in my log.",
    )
    return Message((Paragraph(words),), about or About(Kind.ERROR, error=ErrorCode.INTERNAL), mentions)


def account_unknown(request_id: str, user_id: str, mentions: tuple[str, ...] = ()) -> Message:
    """The answer when nobody can say whether the account was made.

    Args:
        request_id: The request.
        user_id: The account, if it exists.
        mentions: Whoever waited for it.
    """
    rest = (
        ", and I could not find out what came of it: the account may or may not exist. To find out, ask me for this"
        " name again: I make the account if there is none, and tell if the name is taken. If it is, a server"
        " administrator can set a new password for it."
    )
    words: tuple[Inline, ...] = ("I asked the homeserver to make ", Strong(user_id), rest)
    about = About(
        Kind.ERROR, id=request_id, state=State.UNKNOWN, user_id=user_id, error=ErrorCode.HOMESERVER_UNREACHABLE
    )
    return Message((Paragraph(words),), about, mentions)


def not_readable(sender: str, reason: Withheld | None, *, more: int) -> Message:
    """What somebody is told whose message could not be read.

    Args:
        sender: Who they are.
        reason: Why their device keeps the key from us, if it said so.
        more: How many other messages of theirs it is about.
    """
    what = f"this message and {more} more of yours" if more else "this message"
    line = f"🔒 I cannot read {what}: {_NOT_READABLE[reason]}"
    return Message((Paragraph((line,)),), About(Kind.ERROR, error=ErrorCode.NOT_READABLE), mentions=(sender,))


_TYPE_AGAIN = "If it was meant for me, please type it again."
_NOT_READABLE: dict[Withheld | None, str] = {
    None: f"its key has not reached me. {_TYPE_AGAIN}",
    Withheld.BLACKLISTED: "your app keeps its keys from my device because it is blocked there. If it was meant for me,"
    " please unblock my device, then type it again.",
    Withheld.UNVERIFIED: "your app gives keys to verified devices only, and takes mine for unverified. If it was meant"
    " for me, please verify me (or allow unverified devices in this room's settings), then type it again.",
    Withheld.UNAUTHORISED: "your app says that I may not have its key; perhaps it does not know yet that I am in this"
    f" room. {_TYPE_AGAIN}",
    Withheld.UNAVAILABLE: f"your app does not have its key any more. {_TYPE_AGAIN}",
    Withheld.NO_OLM: "your app found no secure channel to my device. I have opened a new one from my side. If it was"
    " meant for me, please type it again.",
    Withheld.OTHER: f"your app keeps its key from me, for a reason that I do not know. {_TYPE_AGAIN}",
}


def why_failed(code: ErrorCode, username: str) -> str:
    """Why an account could not be made, and what mends it."""
    reason = _REASONS.get(code, f"The account could not be made ({MEANINGS[code]})")
    return reason.format(username=username)


_REASONS = {
    ErrorCode.USERNAME_TAKEN: "The username {username} is taken: there is, or was, such an account. Please choose"
    " another one.",
    ErrorCode.USERNAME_INVALID: "The homeserver does not allow the username {username}. Please choose another one.",
    ErrorCode.USERNAME_RESERVED: "The username {username} belongs to an application service of the homeserver. Please"
    " choose another one.",
    ErrorCode.HOMESERVER_REFUSED: "The homeserver refused to make {username}; its log says why (a spam checker, say).",
    ErrorCode.SECRET_REJECTED: "The homeserver does not accept the shared secret. If it was changed, the homeserver may"
    " not have been restarted since; the operator can run “onboard-bot check”.",
    ErrorCode.SECRET_UNREADABLE: "I cannot read the shared secret's file any more; the operator can run “onboard-bot"
    " check”.",
    ErrorCode.ENDPOINT_DISABLED: "The homeserver's registration_shared_secret is not set; the operator has to set it.",
    ErrorCode.ENDPOINT_HIDDEN: "Something before the homeserver hides its registration endpoint; the operator has to"
    " give me the internal address as homeserver.url.",
    ErrorCode.ENDPOINT_REPLACED_BY_MAS: "The homeserver leaves its accounts to the Matrix Authentication Service; I"
    " cannot make accounts there yet.",
}


def credentials(user_id: str, password: SecretStr, server_name: str) -> Message:
    """The message that brings a password: the only text between backticks, and the only `code`.

    Args:
        user_id: The new account.
        password: Shown once, here.
        server_name: What a client asks for as the homeserver.
    """
    blocks = (
        Paragraph(("🔑 The account ", Strong(user_id), " is ready to sign in.")),
        Bullets((("Username: ", user_id), ("Homeserver: ", server_name), ("Password: ", Code(password)))),
        Paragraph(("Please pass this on safely, and change the password after the first sign-in.",)),
        Paragraph(("I remove this message after 24 hours.",)),
    )
    return Message(blocks, About(Kind.CREDENTIALS, user_id=user_id))


def credentials_wait(request_id: str, user_id: str, requester: str, *, unreadable: bool) -> Message:
    """What the room is told, once, when a password cannot be brought to the person who asked.

    Args:
        request_id: The request.
        user_id: The new account.
        requester: Who should get the password.
        unreadable: Whether it is that nobody could read the message; else the homeserver refuses it.
    """
    why = (
        " has no verified device that could read it. I send it as soon as there is one."
        if unreadable
        else " does not get it: the homeserver refuses the direct message (they may block invitations). I keep trying"
        " for 24 hours."
    )
    words: tuple[Inline, ...] = (
        "⚠️ The password of ",
        Strong(user_id),
        " waits: ",
        Pill(requester, requester),
        why,
    )
    about = About(Kind.ERROR, id=request_id, state=State.CREATED, user_id=user_id, error=ErrorCode.NOT_DELIVERED)
    return Message((Paragraph(words),), about, mentions=(requester,))


def credentials_lost(request_id: str, user_id: str, requester: str) -> Message:
    """What the room is told when a password is given up.

    Args:
        request_id: The request.
        user_id: The new account.
        requester: Who should have got the password.
    """
    words: tuple[Inline, ...] = (
        "⚠️ The password of ",
        Strong(user_id),
        " could not be brought to ",
        Pill(requester, requester),
        ", and I have forgotten it. The account is there; a server administrator can set a new password for it.",
    )
    about = About(Kind.ERROR, id=request_id, state=State.CREATED, user_id=user_id, error=ErrorCode.NOT_DELIVERED)
    return Message((Paragraph(words),), about, mentions=(requester,))


def status(report: StatusReport) -> Message:
    """The answer to `!status`."""
    synced = "not yet" if report.last_sync is None else f"{span(report.at - report.last_sync)} ago"
    facts: tuple[tuple[Inline, ...], ...] = (
        (f"Accounts are made on {report.server_name} (", _address(report.homeserver_url), ")."),
        (f"Running for {span(report.at - report.running_since)}, since {to_the_minute(report.running_since)}.",),
        (f"Last word from the homeserver: {synced}.",),
        (f"Still to do: {report.open_jobs}." if report.open_jobs else "Nothing left to do.",),
    )
    if report.keys is not None:
        facts += _to_compare(report.keys)
    mood = "Please see below." if report.notes else "All is well."
    blocks: list[Block] = [Paragraph((Strong(f"onboard-bot {report.version}"), f". {mood}")), Bullets(facts)]
    blocks += [Paragraph(("⚠️ ", note)) for note in report.notes]
    return Message(tuple(blocks), About(Kind.STATUS))


def not_encrypted() -> Message:
    """What an admin room is told, once, in which everybody on the way can read and write."""
    words = (
        "⚠️ This room is not encrypted. The homeserver can read what is said here, and could change what is typed before"
        " it reaches me. To turn encryption on, open the room's settings, “Security & Privacy”, and switch “Encrypted”"
        " on; it cannot be switched off again."
    )
    return Message((Paragraph((words,)),), About(Kind.STATUS))


def _to_compare(keys: OwnKeys) -> tuple[tuple[Inline, ...], ...]:
    master_key: Inline = "lost" if keys.master_key is None else Key(keys.master_key)
    return (
        (f"My device: {keys.device_id}",),
        ("Its fingerprint: ", Key(keys.fingerprint)),
        ("My identity's master key: ", master_key),
    )


def _address(url: str) -> Link:
    return Link(url, url)
