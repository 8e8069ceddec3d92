"""The log tells what went wrong, never what must stay secret."""

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


def test_a_trace_is_in_the_log_and_the_values_in_it_are_not() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert "reference abc" in result.stdout
    assert "ValueError: broken" in result.stdout
    assert "Traceback" in result.stdout
    assert "horse" not in result.stdout + result.stderr.replace('call("correct horse")', "")
    assert "session ids" not in result.stdout
