"""The log tells what went wrong, never what must stay secret, and nobody else's words begin a line of it."""

import subprocess
import sys

PROGRAM = """
import logging
from onboard_bot import log
log.configure()
def call(password):
    raise ValueError("broken")
try:
    call("correct horse")
except ValueError:
    logging.getLogger("onboard_bot.test").exception("reference %s", "abc")
logging.getLogger("nio.crypto").warning("session ids and the like")
"""
REMOTE_WORDS = """
import logging
import structlog
from onboard_bot import log
log.configure()
remote = "no\\n2026-01-01T00:00:00Z [info] all is well\\r\\x1b[2J\\x9b1A\\u2028\\u202e\\udc80"
logging.getLogger("onboard_bot.test").warning("it says %s", remote)
logging.getLogger("onboard_bot.test").info("plain words, ä and ✨")
formatter = logging.getLogger().handlers[0].formatter
event = {"event": "an event", "why": "\\x1b[2J", "_record": None, "_from_structlog": False}
for processor in formatter.processors:
    event = processor(None, "info", event)
print(event)
"""


def output_of(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", program], capture_output=True, encoding="utf-8", check=True
    )
    assert "horse" not in result.stderr.replace('call("correct horse")', "")
    return result.stdout


def test_a_trace_is_in_the_log_and_the_values_in_it_are_not() -> None:
    output = output_of(PROGRAM)
    assert "reference abc" in output
    assert "\nTraceback (most recent call last):\n" in output
    assert "\nValueError: broken\n" in output
    assert "horse" not in output
    assert "session ids" not in output


def test_what_a_server_says_is_shown_on_one_line_and_plays_with_no_terminal() -> None:
    remote, plain, value = output_of(REMOTE_WORDS).removesuffix("\n").split("\n")
    assert "it says no\\n2026-01-01T00:00:00Z [info] all is well\\r\\x1b[2J\\x9b1A\\u2028\\u202e\\udc80" in remote
    assert "plain words, ä and ✨" in plain
    assert "why=\\x1b[2J" in value
    assert all(line.isprintable() for line in (remote, plain, value))
