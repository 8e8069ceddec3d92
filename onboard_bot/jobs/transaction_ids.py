"""Owns the transaction ids of what we send."""

import hashlib


class TransactionIds:
    """Derives ids from what a message is about, so that a repeat after a crash is the same event.

    Args:
        epoch: Random, of this state; a restored copy gets a new one and so never repeats an id.
    """

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch

    def about(self, key: str) -> str:
        """The id of the message that this job key names."""
        return hashlib.sha256(f"{self._epoch}\0{key}".encode()).hexdigest()[:40]
