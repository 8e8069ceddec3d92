"""The verb `check`: every problem at once, one line each, from the configuration to the rights in the admin room.

It looks and never changes anything: no account, no message, no file of the state, also beside a running bot.
"""

from onboard_bot.check.verb import check

__all__ = ["check"]
