"""Owns what the figures mean: the numbers of one run, their percentiles, and the table that is printed."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

AIM_RATIO = 1.15
AIM_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from a command's typing to the instant at which its answer could be read, taken by turns."""

    rounds: int
    bot: Sequence[float]
    floor: Sequence[float]

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return statistics.median(self.bot) / statistics.median(self.floor)

    @property
    def bots_own(self) -> float:
        """The median of what the bot took longer than the floor measured right after it."""
        return statistics.median(bot - floor for bot, floor in zip(self.bot, self.floor, strict=True))


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the bot takes of the machine; memory in MiB, times in seconds."""

    idle: float
    accounts: int
    after_accounts: float
    accounts_took: float
    warm_starts: Sequence[float]
    starts_by_age: Mapping[int, Sequence[float]]


def latency_table(measured: Iterable[Latencies]) -> str:
    """Command typed → answer readable, per cost of a password."""
    rows = [("bcrypt", "who answers", "n", "p50 ms", "p95 ms", "bot / floor", "bot - floor")]
    for these in measured:
        aim = f" (aim {AIM_RATIO})" if these.rounds == AIM_ROUNDS else ""
        difference = f"{_ms(these.bots_own)} ms"
        rows.append((str(these.rounds), "bot", *_percentiles(these.bot), f"{these.ratio:.2f}{aim}", difference))
        rows.append((str(these.rounds), "floor", *_percentiles(these.floor), "", ""))
    return _table(rows)


def footprint_table(footprint: Footprint) -> str:
    """Memory, throughput and start."""
    pace = footprint.accounts / footprint.accounts_took
    starts = ", ".join(f"{seconds:.2f}" for seconds in footprint.warm_starts)
    rows = [
        ("what", "measured"),
        ("resident memory, idle", f"{footprint.idle:.1f} MiB"),
        (f"resident memory, after {footprint.accounts} accounts", f"{footprint.after_accounts:.1f} MiB"),
        (f"the {footprint.accounts} accounts, credentials delivered", f"{footprint.accounts_took:.1f} s, {pace:.1f}/s"),
        ("process start to ready, warm state", f"{statistics.median(footprint.warm_starts):.2f} s (of {starts})"),
        *(
            (f"the same with {number:,} finished requests", f"{statistics.median(seconds):.2f} s")
            for number, seconds in footprint.starts_by_age.items()
        ),
    ]
    return _table(rows)


def _percentiles(seconds: Sequence[float]) -> tuple[str, str, str]:
    p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    return str(len(seconds)), _ms(statistics.median(seconds)), _ms(p95)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
