"""Owns what the answers of the endpoint mean: tables from status, error code and words to a meaning, and its sentence.

Pure. The status alone says little (Synapse's wrong MAC is a 403 M_UNKNOWN, a spam checker's refusal a 429), so a rule
may look at all three; the first rule that fits decides. Synapse's rows are measured, those of Dendrite and tuwunel read
in their sources.
"""

import json
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from onboard_bot.errors import ErrorCode, OnboardError
from onboard_bot.retry_after import asked_wait

MAX_WORDS = 200
MIN_HIDDEN = 4


class Meaning(Enum):
    """What an answer tells us."""

    DONE = auto()
    NONCE_GONE = auto()
    SECRET_WRONG = auto()
    DISABLED = auto()
    PATH_UNKNOWN = auto()
    """Synapse says this under MAS, and so may a worker or a proxy: whether Synapse tells its version decides."""
    REPLACED = auto()
    HIDDEN = auto()
    NAME_INVALID = auto()
    NAME_RESERVED = auto()
    NAME_TAKEN = auto()
    PASSWORD_WRONG = auto()
    TOKEN_UNKNOWN = auto()
    DENIED = auto()
    REFUSED = auto()
    LIMITED = auto()
    BROKEN = auto()
    """The server, or a proxy before it, failed: whether a POST took effect is unknown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, taken apart.

    Args:
        status: Of HTTP.
        body: The JSON object; None where there was none, or it was cut off for its size. May hold an access token.
        retry_after: How long to wait, in seconds, where the answer says so.
    """

    status: int
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    retry_after: float | None = None

    def text(self, key: str) -> str | None:
        """A value of the body, where it is a string with something in it."""
        value = None if self.body is None else self.body.get(key)
        return value if isinstance(value, str) and value else None

    @property
    def errcode(self) -> str | None:
        """Matrix's error code."""
        return self.text("errcode")

    @property
    def error(self) -> str:
        """The server's own words."""
        return self.text("error") or ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: what is None fits everything; `errcode` and `words` are patterns that have to fit as a whole."""

    meaning: Meaning
    statuses: Container[int] | None = None
    errcode: str | None = None
    words: str | None = None

    def fits(self, answer: Answer) -> bool:
        """Whether this row is about the answer."""
        return (
            (self.statuses is None or answer.status in self.statuses)
            and (self.errcode is None or re.fullmatch(self.errcode, answer.errcode or "") is not None)
            and (self.words is None or re.fullmatch(self.words, answer.error, re.IGNORECASE | re.DOTALL) is not None)
        )


_OK = range(200, 300)
_CLIENT_ERROR = range(400, 500)
_SERVER_ERROR = range(500, 600)
_SWITCHED_OFF = Rule(Meaning.DISABLED, range(400, 600), words=r".*registration is (not enabled|disabled).*")

NONCE_RULES = (
    Rule(Meaning.DONE, _OK),
    Rule(Meaning.LIMITED, errcode="M_LIMIT_EXCEEDED"),
    Rule(Meaning.LIMITED, (429,)),
    _SWITCHED_OFF,
    Rule(Meaning.BROKEN, _SERVER_ERROR),
    Rule(Meaning.PATH_UNKNOWN, (404,), "M_UNRECOGNIZED"),
    Rule(Meaning.HIDDEN),
)

REGISTER_RULES = (
    Rule(Meaning.DONE, _OK),
    Rule(Meaning.LIMITED, errcode="M_LIMIT_EXCEEDED"),
    Rule(Meaning.NONCE_GONE, _CLIENT_ERROR, words=r"unrecognised nonce"),
    Rule(Meaning.NONCE_GONE, _CLIENT_ERROR, "M_INVALID_PARAM", r".*\bnonce\b.*"),  # tuwunel
    Rule(Meaning.NONCE_GONE, words=r"incorrect or expired nonce.*"),  # Dendrite, where its 500 lets the words through
    Rule(Meaning.SECRET_WRONG, _CLIENT_ERROR, words=r"HMAC incorrect"),
    Rule(Meaning.SECRET_WRONG, _CLIENT_ERROR, "M_FORBIDDEN", r"bad mac|HMAC check failed\.?"),  # Dendrite, tuwunel
    _SWITCHED_OFF,
    Rule(Meaning.PATH_UNKNOWN, (404,), "M_UNRECOGNIZED"),
    Rule(Meaning.NAME_INVALID, _CLIENT_ERROR, "M_INVALID_USERNAME"),
    Rule(Meaning.NAME_INVALID, _CLIENT_ERROR, "M_UNKNOWN", r"Invalid username"),
    Rule(Meaning.NAME_RESERVED, _CLIENT_ERROR, "M_EXCLUSIVE"),
    Rule(Meaning.NAME_TAKEN, _CLIENT_ERROR, "M_USER_IN_USE"),
    Rule(Meaning.DENIED, (429,), "M_UNKNOWN"),  # "Rate limited", says the spam checker: a refusal, not a limit
    Rule(Meaning.LIMITED, (429,)),  # of a proxy: it never reached the server
    Rule(Meaning.BROKEN, _SERVER_ERROR),
    Rule(Meaning.REFUSED, _CLIENT_ERROR, r".+"),
    Rule(Meaning.HIDDEN),
)

LOGIN_RULES = (
    Rule(Meaning.DONE, _OK),
    Rule(Meaning.LIMITED, errcode="M_LIMIT_EXCEEDED"),
    Rule(Meaning.LIMITED, (429,)),
    Rule(Meaning.PASSWORD_WRONG, (403,), "M_FORBIDDEN"),
    Rule(Meaning.PASSWORD_WRONG, (403,), "M_USER_DEACTIVATED"),
    Rule(Meaning.REFUSED, _CLIENT_ERROR, r".+"),
    Rule(Meaning.BROKEN),  # a proxy's page, say, while the server is being restarted
)

LOGOUT_RULES = (
    Rule(Meaning.DONE, _OK),
    Rule(Meaning.LIMITED, errcode="M_LIMIT_EXCEEDED"),
    Rule(Meaning.LIMITED, (429,)),
    Rule(Meaning.TOKEN_UNKNOWN, (401,), "M_UNKNOWN_TOKEN"),
    Rule(Meaning.REFUSED, _CLIENT_ERROR, r".+"),
    Rule(Meaning.BROKEN),
)

_CODES: dict[Meaning, ErrorCode] = {
    Meaning.SECRET_WRONG: ErrorCode.SECRET_REJECTED,
    Meaning.DISABLED: ErrorCode.ENDPOINT_DISABLED,
    Meaning.REPLACED: ErrorCode.ENDPOINT_REPLACED_BY_MAS,
    Meaning.HIDDEN: ErrorCode.ENDPOINT_HIDDEN,
    Meaning.NAME_INVALID: ErrorCode.USERNAME_INVALID,
    Meaning.NAME_RESERVED: ErrorCode.USERNAME_RESERVED,
    Meaning.NAME_TAKEN: ErrorCode.USERNAME_TAKEN,
    Meaning.DENIED: ErrorCode.HOMESERVER_REFUSED,
    Meaning.REFUSED: ErrorCode.HOMESERVER_REFUSED,
}
_SENTENCES: dict[Meaning, str] = {
    Meaning.SECRET_WRONG: (
        "The homeserver does not accept the shared secret in {secret_file}. Compare it with the homeserver's own; if "
        "it was changed, the homeserver may not have been restarted since: Synapse reads it only when it starts."
    ),
    Meaning.DISABLED: (
        "The homeserver at {url} has no shared secret configured. Set registration_shared_secret_path in its "
        "homeserver.yaml and restart it."
    ),
    Meaning.REPLACED: (
        "Synapse answers at {url}, but without /_synapse/admin/v1/register: the Matrix Authentication Service manages "
        "its accounts, which this bot cannot use yet. Choose a homeserver that keeps its accounts itself."
    ),
    Meaning.HIDDEN: (
        "At {url} something hides /_synapse/admin/v1/register (status {status}, and no answer of Synapse's main "
        "process). Let homeserver.url name that one's internal listener, usually http://127.0.0.1:8008."
    ),
    Meaning.NAME_INVALID: "The homeserver does not allow the username {localpart}: {words}.",
    Meaning.NAME_RESERVED: (
        "The homeserver keeps the name {localpart} for an application service (a bridge, say). Please choose another."
    ),
    Meaning.NAME_TAKEN: (
        "The name {localpart} is taken: the homeserver has, or had, an account of it. Please choose another one."
    ),
    Meaning.DENIED: ("A module of the homeserver (a spam checker, say) refused the account {localpart}: {words}."),
    Meaning.REFUSED: "The homeserver refused the account {localpart} (status {status}): {words}.",
}


def read_answer(status: int, retry_after: str | None, content: bytes, date: str | None = None) -> Answer:
    """Take an answer apart; a body that is not a JSON object counts as none."""
    body: Any
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        body = None
    return Answer(status, body, asked_wait(body, retry_after, date))


def meaning_of(rules: Iterable[Rule], answer: Answer) -> Meaning:
    """What the first rule that fits says; every table ends with one that always does."""
    return next(rule.meaning for rule in rules if rule.fits(answer))


def refusal(
    meaning: Meaning, answer: Answer, *, url: str, secret_file: str, localpart: str, hidden: Iterable[str] = ()
) -> OnboardError:
    """The error that a person reads.

    Args:
        meaning: A definite refusal.
        answer: Its status and words go into the sentence.
        url: Of the homeserver.
        secret_file: Its path.
        localpart: Whose account it was to be.
        hidden: What must not come back in the server's words: the password.
    """
    words = server_words(answer, hidden)
    sentence = _SENTENCES[meaning].format(
        url=url, secret_file=secret_file, localpart=localpart, status=answer.status, words=words
    )
    return OnboardError(_CODES[meaning], sentence)


def server_words(answer: Answer, hidden: Iterable[str] = ()) -> str:
    """The server's words as a quotation: one line, shortened, and without what must stay hidden."""
    words = answer.error
    for secret in hidden:
        if len(secret) >= MIN_HIDDEN:  # shorter ones would blank out half of any sentence, and so give themselves away
            words = words.replace(secret, "…")
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    if not words:
        return "it gave no reason"
    if len(words) > MAX_WORDS:
        words = words[: MAX_WORDS - 1] + "…"
    return f"“{words}”"
