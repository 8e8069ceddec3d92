"""Owns choosing a port for what the demo, the tests and the benchmark start."""

import os
import socket
from itertools import count

# Below the ports that the system gives to outgoing connections (32768 and up on Linux): none of those can take one
# between our choosing and a server's listening, nor while a server is being restarted.
_FIRST, _SPREAD = 16_000, 8_000

_candidates = count(_FIRST + os.getpid() % _SPREAD)


def free_port() -> int:
    """A loopback port that nothing uses, and that no other process like this one gets from here while this one lives.

    What claims it is the UDP port of the same number, held to the end: TCP stays free for who is to listen there.
    """
    for port in _candidates:
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        claim.detach()  # stays open until this process ends
        return port
    raise AssertionError("counting has no end")
