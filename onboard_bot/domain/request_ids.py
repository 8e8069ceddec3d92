"""Owns how a request's id is made: short, and unambiguous when somebody reads it aloud."""

from onboard_bot.domain.passwords import Choose

# No letter that sounds or looks like another one of them: b/d/p/t/v/c/e/g/z rhyme, m/n and f/s are confused, i/l/o/0/1
# look alike. 15 symbols: 5 of them make 759,375 ids; the store refuses one that was used before.
ALPHABET = "2346789afhkmrwx"
LENGTH = 5


def generate_request_id(choose: Choose) -> str:
    """A candidate; whether it was used before is the store's knowledge."""
    return "".join(choose(ALPHABET) for _ in range(LENGTH))
