"""Owns what a request's id is: short, unambiguous when somebody reads it aloud, and never a word."""

from onboard_bot.domain.passwords import Choose

# No letter that sounds or looks like another one of them: b/d/p/t/v/c/e/g/z rhyme, m/n and f/s are confused, i/l/o/0/1
# look alike. Of 15 symbols, 5 make 726,607 ids with a digit in them; the store refuses one that was used before.
ALPHABET = "2346789afhkmrwx"
LENGTH = 5


def generate_request_id(choose: Choose) -> str:
    """A candidate; whether it was used before is the store's knowledge."""
    while True:
        candidate = "".join(choose(ALPHABET) for _ in range(LENGTH))
        if not candidate.isalpha():  # so that no word of a note looks like an id
            return candidate


def read_request_id(typed: str) -> str | None:
    """The id that somebody typed, in whatever case; None where it can be none."""
    candidate = typed.lower()
    is_plain = typed.isascii() and len(typed) == LENGTH  # some letters of other alphabets become ours in lower case
    fits = is_plain and set(candidate) <= set(ALPHABET) and not candidate.isalpha()
    return candidate if fits else None
