"""Whatever a server or a stranger throws at the bot: it stays up, obeys none of it, and goes on obeying the admin.

The whole runs by `make hostile`, with another seed each time; `HOSTILE_SEED=… make hostile` repeats one.
"""

import asyncio
import os
import secrets
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.hostile import weapons
from tests.hostile.server import Body
from tests.hostile.siege import ADA, EVE, Fortress, Log, Siege, besieged

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

SAMPLE = 8
"""Sieges of each kind in `make test`."""

Attack = Callable[[Siege, Any], Awaitable[None]]


@dataclass
class Tally:
    """What was thrown so far, and what came of it."""

    seed: int = field(default_factory=lambda: int(os.environ.get("HOSTILE_SEED") or secrets.randbelow(2**32)))
    figures: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def note(self, kind: str, siege: Siege) -> None:
        """One siege is over."""
        figures = self.figures[kind]
        figures["sieges"] += 1
        figures["bodies"] += siege.bodies
        figures["events"] += siege.events
        figures["evil"] += len(siege.obeyed - set(siege.honest))
        figures["honest"] += len(siege.honest)
        figures["obeyed"] += len(siege.obeyed & set(siege.honest))
        figures["uncertain"] += len(siege.refused)

    def __str__(self) -> str:
        return "\n".join(
            f"{kind}: {of['bodies']} bodies with {of['events']} events in {of['sieges']} sieges, {of['evil']} obeyed;"
            f" of {of['honest']} commands of the admin in between {of['obeyed']} obeyed"
            + (f", {of['uncertain']} answered with an error" if of["uncertain"] else "")
            for kind, of in self.figures.items()
        )


@pytest.fixture(scope="module")
def tally(*, long: bool) -> Iterator[Tally]:
    """Printed at the end of the long form."""
    tally = Tally()
    yield tally
    if long:
        print(f"\nhostile input, seed {tally.seed}:\n{tally}")


@dataclass
class Attacker:
    """Lays one siege after the other."""

    fortress: Fortress
    log: Log
    long: bool
    tally: Tally

    def throw(self, kind: str, weapon: st.SearchStrategy[Any], attack: Attack, *, whole: int) -> None:
        """Many sieges of one kind, each begun afresh; after each the admin is obeyed."""

        async def lay(thrown: Any) -> None:
            async with besieged(self.fortress, self.log) as siege:
                await attack(siege, thrown)
                await siege.obeys_the_admin()
                self.tally.note(kind, siege)

        @settings(
            max_examples=whole if self.long else SAMPLE,
            derandomize=not self.long,
            # A siege takes a tenth of a second; to make a failing one smaller takes hundreds of them.
            phases=[Phase.generate],
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(weapon)
        def sieges_of_this_kind(thrown: Any) -> None:
            asyncio.run(lay(thrown))

        (seed(self.tally.seed)(sieges_of_this_kind) if self.long else sieges_of_this_kind)()


@pytest.fixture
def attacker(fortress: Fortress, log: Log, tally: Tally, *, long: bool) -> Attacker:
    """Somebody who does not give up."""
    return Attacker(fortress, log, long, tally)


def test_bodies_of_any_shape_are_got_over(attacker: Attacker) -> None:
    async def attack(siege: Siege, thrown: tuple[list[Any], list[str]]) -> None:
        syncs, siege.server.pages = thrown
        await siege.throw(*(Body(s) if isinstance(s, str) else weapons.body_of(s, siege) for s in syncs))

    bodies = st.lists(weapons.bent_syncs | weapons.bent_syncs | weapons.no_syncs, min_size=3, max_size=10)
    attacker.throw("malformed bodies", st.tuples(bodies, st.lists(weapons.pages, max_size=3)), attack, whole=250)


def test_forged_and_malformed_ciphertexts_are_not_believed(attacker: Attacker) -> None:
    async def attack(siege: Siege, thrown: list[Any]) -> None:
        await siege.throw(siege.body(siege.honest_command()))
        await siege.throw(*(weapons.body_of(weapons.forge(sync, siege), siege) for sync in thrown))

    attacker.throw("forged ciphertexts", st.lists(weapons.crypto_syncs, min_size=2, max_size=8), attack, whole=250)


def test_wrong_answers_delay_the_admin_at_most(attacker: Attacker) -> None:
    async def attack(siege: Siege, thrown: tuple[list[Any], list[Any], list[str]]) -> None:
        syncs, siege.server.wrong, siege.server.pages = thrown
        bodies = [weapons.body_of(sync, siege) for sync in syncs]
        await siege.throw(*bodies, siege.body(siege.honest_command(certain=False)))
        siege.server.wrong.clear()
        await siege.settle()

    weapon = st.tuples(
        st.lists(weapons.occasions, max_size=4),
        st.lists(weapons.wrong_answers, max_size=25),
        st.lists(weapons.pages, max_size=3),
    )
    attacker.throw("wrong answers", weapon, attack, whole=150)


def test_no_words_of_a_stranger_are_obeyed_or_become_markup(attacker: Attacker) -> None:
    async def attack(siege: Siege, thrown: list[tuple[bool, Any]]) -> None:
        events = [
            {
                "event_id": f"$words{n}",
                "sender": EVE,
                "type": "m.room.encrypted" if encrypted else "m.room.message",
                "content": siege.fortress.eve.says(siege.room_id, content) if encrypted else content,
            }
            for n, (encrypted, content) in enumerate(thrown)
        ]
        await siege.throw(siege.body(*events))

    words = st.lists(st.tuples(st.booleans(), weapons.orders | weapons.contents), min_size=6, max_size=30)
    attacker.throw("words without power", words, attack, whole=120)


async def test_a_flood_is_swallowed_and_leaves_little_behind(fortress: Fortress, log: Log, tally: Tally) -> None:
    async with besieged(fortress, log) as siege:
        eve = fortress.eve.says(siege.room_id, {"msgtype": "m.text", "body": "chatter"})
        flood = []
        for n in range(1250):
            about = {"sender": EVE, "origin_server_ts": n}
            unknown = {**eve, "session_id": f"nobody's{n}"}
            chatter = {"msgtype": "m.text", "body": "@room " * 20 + f"{ADA} !register evil"}
            flood += [
                {**about, "event_id": f"$unknown{n}", "type": "m.room.encrypted", "content": unknown},
                {**about, "event_id": f"$replayed{n}", "type": "m.room.encrypted", "content": eve},
                {**about, "event_id": f"$chatter{n}", "type": "m.room.message", "content": chatter},
                {**about, "event_id": f"$state{n}", "type": "m.room.power_levels", "state_key": "", "content": {}},
            ]
        await siege.throw(siege.body(*flood))
        await siege.obeys_the_admin()
        async with siege.store.reading() as tx:
            assert len(await tx.undecrypted.all()) <= 50
        assert siege.log_written < 4000
        tally.note("a flood of 5000 events in one body", siege)


async def test_a_huge_body_is_swallowed(fortress: Fortress, log: Log, tally: Tally, *, long: bool) -> None:
    async with besieged(fortress, log) as siege:
        size, times = (60_000, 900) if long else (60_000, 20)
        huge = [
            {
                "event_id": f"$huge{n}",
                "sender": EVE,
                "type": "m.room.message",
                "content": {"msgtype": "m.text", "body": ("!register " if n % 100 == 0 else "") + "e" * size},
            }
            for n in range(times)
        ]
        await siege.throw(siege.body(*huge, {**huge[0], "event_id": "$one", "x": "e" * (5_000_000 if long else 9)}))
        await siege.obeys_the_admin()
        tally.note(f"one body of {size * times // 1_000_000} MB", siege)
