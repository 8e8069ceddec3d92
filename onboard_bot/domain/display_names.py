"""Owns what a display name may be."""

import unicodedata

from onboard_bot.errors import ErrorCode, OnboardError

MAX_CHARACTERS = 256
# Marks that turn the reading direction of what follows around: they let a name disguise itself and its neighbours.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def parse_display_name(typed: str) -> str:
    """A display name as it will be stored, outer white space taken off.

    Synapse's registration endpoint has no limit of its own; its profile endpoint refuses more than 256 characters.

    Raises:
        OnboardError: `bad_argument` for one that is empty, too long, or holds control characters.
    """
    typed = typed.strip()
    # Normalising takes quadratic time on endless accents; composed, a character has seldom been more than four.
    name = unicodedata.normalize("NFC", typed) if len(typed) <= 4 * MAX_CHARACTERS else typed
    if not name:
        raise OnboardError(ErrorCode.BAD_ARGUMENT, "The display name is empty.")
    if len(name) > MAX_CHARACTERS:
        raise OnboardError(
            ErrorCode.BAD_ARGUMENT,
            f"The display name is too long: {len(name)} characters; at most {MAX_CHARACTERS} are allowed.",
        )
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _BIDI_CONTROLS for c in name):
        raise OnboardError(
            ErrorCode.BAD_ARGUMENT,
            "The display name holds control characters (a line break, say). Please type it again without them.",
        )
    return name
