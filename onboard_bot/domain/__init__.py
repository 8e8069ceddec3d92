"""The rules: pure, synchronous, no I/O. Time, randomness and ids are arguments."""
