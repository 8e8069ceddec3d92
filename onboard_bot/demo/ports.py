"""Owns choosing a port for what the demo, the tests and the benchmark start."""

import os
import socket
from itertools import count

# Below the ports that the system gives to outgoing connections (32768 and up on Linux): none of those can take one
# between our choosing and a server's listening, nor while a server is being restarted.
_FIRST, _SPREAD = 16_000, 8_000

_candidates = count(_FIRST + os.getpid() % _SPREAD)


def free_port() -> int:
    """A loopback port that nothing uses, and that this process gives out only once."""
    for port in _candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("counting has no end")
