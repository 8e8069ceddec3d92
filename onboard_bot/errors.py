"""Owns the closed list of error codes, and the one exception whose words reach a person.

An `OnboardError` is meant to be read: a sentence that says what is wrong and what mends it. Every other exception is a
fault of ours; it is logged with its trace under a reference number, and a person sees only that number.
The codes are part of the machine-readable content (`io.github.onboard_bot`, key `error`) and of what `check` prints.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """What can be wrong, in the words other programs may rely on. `docs/errors.md` is generated from this list."""

    BAD_ARGUMENT = "bad_argument"
    UNKNOWN_COMMAND = "unknown_command"
    NOT_PERMITTED = "not_permitted"
    NOT_FOUND = "not_found"
    ALREADY_DECIDED = "already_decided"
    DUPLICATE_REQUEST = "duplicate_request"
    USERNAME_INVALID = "username_invalid"
    USERNAME_RESERVED = "username_reserved"
    USERNAME_TAKEN = "username_taken"
    HOMESERVER_UNREACHABLE = "homeserver_unreachable"
    HOMESERVER_REFUSED = "homeserver_refused"
    ENDPOINT_HIDDEN = "endpoint_hidden"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_REPLACED_BY_MAS = "endpoint_replaced_by_mas"
    SECRET_REJECTED = "secret_rejected"  # noqa: S105 - an error code, not a secret
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - the same
    RATE_LIMITED = "rate_limited"
    ROOM_UNUSABLE = "room_unusable"
    STATE_LOST = "state_lost"
    STATE_IN_USE = "state_in_use"
    STATE_UNUSABLE = "state_unusable"
    SESSION_REVOKED = "session_revoked"
    DEVICE_NOT_SIGNED = "device_not_signed"
    IDENTITY_MISMATCH = "identity_mismatch"
    IDENTITY_CHANGED = "identity_changed"
    NOT_READABLE = "not_readable"
    NOT_DELIVERED = "not_delivered"
    INTERNAL = "internal"


MEANINGS: dict[ErrorCode, str] = {
    ErrorCode.BAD_ARGUMENT: "An argument of the command is missing, unknown or not allowed; the reply names it.",
    ErrorCode.UNKNOWN_COMMAND: "There is no such command; the reply names the nearest one.",
    ErrorCode.NOT_PERMITTED: "The person who asked may not do this here, or the configuration forbids it.",
    ErrorCode.NOT_FOUND: "There is no request, invite or account of that name.",
    ErrorCode.ALREADY_DECIDED: "The request was decided before this vote.",
    ErrorCode.DUPLICATE_REQUEST: "Another open request asks for the same username; its id is in the reply.",
    ErrorCode.USERNAME_INVALID: "Matrix does not allow this username, or it belongs to another server.",
    ErrorCode.USERNAME_RESERVED: "The operator, or an application service of the homeserver, keeps this name.",
    ErrorCode.USERNAME_TAKEN: "The homeserver has, or had, an account of this name; names are never given out twice.",
    ErrorCode.HOMESERVER_UNREACHABLE: "Nothing at the configured address answers like a Matrix homeserver.",
    ErrorCode.HOMESERVER_REFUSED: "The homeserver or a module on it (a spam checker, say) refused the account.",
    ErrorCode.ENDPOINT_HIDDEN: "The homeserver answers, but something before it hides /_synapse/admin.",
    ErrorCode.ENDPOINT_DISABLED: "The homeserver has no registration_shared_secret configured.",
    ErrorCode.ENDPOINT_REPLACED_BY_MAS: "Accounts are managed by the Matrix Authentication Service, not by Synapse.",
    ErrorCode.SECRET_REJECTED: "The shared secret in our file is not the one that the homeserver uses.",
    ErrorCode.SECRET_UNREADABLE: "The shared secret's file can no longer be read.",
    ErrorCode.RATE_LIMITED: "The homeserver limits the bot; it goes on by itself when the limit allows.",
    ErrorCode.ROOM_UNUSABLE: "A configured room cannot be used: not there, not joined, or the bot lacks rights in it.",
    ErrorCode.STATE_LOST: "The bot's account exists, but the state that knew its password is gone.",
    ErrorCode.STATE_IN_USE: "Another process holds the state directory.",
    ErrorCode.STATE_UNUSABLE: "The state directory is not writable, damaged, or newer than this program.",
    ErrorCode.SESSION_REVOKED: "Somebody signed the bot's session out.",
    ErrorCode.DEVICE_NOT_SIGNED: "The command came from a device that its owner has not verified.",
    ErrorCode.IDENTITY_CHANGED: "Somebody has another cross-signing identity than before; an approver accepts it.",
    ErrorCode.IDENTITY_MISMATCH: "The homeserver shows another identity, or other keys, of the bot than the bot has.",
    ErrorCode.NOT_READABLE: "A message's key did not reach the bot; its sender is asked to type it again.",
    ErrorCode.NOT_DELIVERED: "Credentials could not be brought to the person who asked yet; the bot keeps trying.",
    ErrorCode.INTERNAL: "A fault of the bot; the reference number in the reply finds the trace in the log.",
}


ABOUT_THE_NAME = frozenset({ErrorCode.USERNAME_TAKEN, ErrorCode.USERNAME_INVALID, ErrorCode.USERNAME_RESERVED})
"""What another username mends."""


class OnboardError(Exception):
    """Something a person caused or can mend. `str(error)` is the sentence they read.

    Args:
        code: What other programs see.
        sentence: What is wrong, and what to do about it. Never holds a secret.
        request_id: The request that this is about, where there is one.
        state: Where that request stands.
    """

    def __init__(
        self, code: ErrorCode, sentence: str, *, request_id: str | None = None, state: str | None = None
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.request_id = request_id
        self.state = state


class UnusableError(Exception):
    """Ends `run` with exit status 2: the configuration asks for what the machine or the room does not allow.

    Args:
        key: `section.key`.
        sentence: Why not, and the mend.
    """

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(sentence)
        self.key = key
        self.sentence = sentence


class FatalError(OnboardError):
    """Ends `run` with exit status 1: going on would make it worse (design, section 3, "Command line")."""
