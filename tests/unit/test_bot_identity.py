"""Which seeds count is the server's answer, whoever was killed; nothing is replaced but on the operator's word."""

import asyncio
import json
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from onboard_bot.errors import ErrorCode, FatalError, OnboardError
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import USAGES, Identity, upload_identity
from onboard_bot.matrix.machine import Machine
from onboard_bot.matrix.own_identity import OwnIdentity, OwnStanding
from onboard_bot.matrix.own_seeds import PENDING, SEEDS, OwnSeeds
from onboard_bot.matrix.signed_json import is_signed_by
from onboard_bot.onboarding.ports import RateLimitedError, RefusedError, TokenRejectedError, UnreachableError
from onboard_bot.state_dir import StateDir
from onboard_bot.store.trouble import StoreUnavailableError
from tests.fakes.own_account import BOT, DEVICE, PASSWORD, Device, OwnAccount, identity_of

OTHERS = identity_of(9)


class Killed(BaseException):
    """Nothing that follows happens."""


@dataclass
class Place:
    """A state directory, a device and a server."""

    state: StateDir
    device: Device = field(default_factory=Device)
    made: int = 0
    recorded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = OwnAccount(self.device)

    @property
    def api(self) -> ClientApi:
        return cast("ClientApi", self.server)

    @property
    def seeds(self) -> OwnSeeds:
        return OwnSeeds(self.state, BOT, self._entropy)

    def _entropy(self, length: int) -> bytes:
        self.made += 1
        return bytes([self.made]) * length

    async def look(self) -> OwnStanding:
        """What a start of the bot does."""
        machine, password = cast("Machine", self.device), SecretStr(PASSWORD)
        return await OwnIdentity(self.api, machine, self.seeds, lambda: password, self._record).look()

    async def reset(self) -> None:
        """What `reset-identity` does to the server, up to the point where the server has it."""
        identity = self.seeds.pending() or self.seeds.make_pending()
        await upload_identity(self.api, identity, DEVICE, SecretStr(PASSWORD), replacing=True)

    async def _record(self, identity: Identity) -> None:
        assert self.file(PENDING) is not None, "told before it counts"
        self.recorded.append(identity.public("master"))

    def file(self, name: str) -> dict[str, Any] | None:
        path = self.state.path / name
        return json.loads(path.read_text()) if path.exists() else None

    def is_good(self) -> bool:
        """The seeds on the disk made what the server has, and it signs the device."""
        identity = self.seeds.current()
        return (
            identity is not None
            and self.server.master_key == identity.public("master")
            and is_signed_by(self.server.devices[DEVICE], BOT, identity.public("self_signing"))
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    state = StateDir(tmp_path / "state")
    state.prepare()
    return Place(state)


async def test_the_first_seeds_are_on_the_disk_for_us_alone_before_the_server_hears_of_them(place: Place) -> None:
    seen: list[dict[str, Any] | None] = []

    def look_at_the_disk(call: str) -> None:
        if call == "device_signing_upload":
            seen.append(place.file(SEEDS))
            assert stat.filemode((place.state.path / SEEDS).stat().st_mode) == "-rw-------"

    place.server.before = look_at_the_disk
    assert await place.look() == OwnStanding(str(place.server.master_key))
    assert place.is_good()
    assert seen == [place.file(SEEDS)]


async def test_a_later_start_keeps_the_identity_and_asks_once(place: Place) -> None:
    first = await place.look()
    place.server.calls.clear()
    assert await place.look() == first
    assert place.server.calls == ["keys_query"]
    assert place.made == len(USAGES)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_first_start_that_is_killed_at_any_call_leaves_one_identity_in_the_end(place: Place, when: str) -> None:
    identities = set()
    for number in range(1, 20):
        calls = 0

        def kill(_call: str, number: int = number) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                raise Killed

        setattr(place.server, when, kill)
        try:
            await place.look()
        except Killed:
            place.server.before = place.server.after = lambda _: None
            await place.look()
            assert place.is_good()
            identities.add(place.server.master_key)
            # The next one begins anew on the server, with what is on the disk.
            place.server.keys.clear()
            del place.server.devices[DEVICE]["signatures"]
        else:
            break
    assert number > 4
    assert len(identities) == 1


async def test_seeds_that_cannot_be_stored_make_no_identity(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StoreUnavailableError("the disk is full")

    monkeypatch.setattr(StateDir, "write_json", full)
    with pytest.raises(StoreUnavailableError):
        await place.look()
    assert place.server.keys == {}


# Somebody else's identity.


async def test_a_foreign_identity_is_told_and_not_replaced(place: Place) -> None:
    await place.look()
    before = place.file(SEEDS)
    place.server.has(OTHERS)
    standing = await place.look()
    assert standing.trouble is not None
    assert standing.trouble.code is ErrorCode.IDENTITY_MISMATCH
    assert "onboard-bot reset-identity" in standing.trouble.sentence
    assert OTHERS.public("master") in standing.trouble.sentence
    assert standing.about == OTHERS.public("master")
    assert place.server.master_key == OTHERS.public("master")
    assert place.file(SEEDS) == before


async def test_where_the_seeds_are_gone_no_new_ones_are_made(place: Place) -> None:
    await place.look()
    there = place.server.master_key
    place.state.remove(SEEDS)
    standing = await place.look()
    assert standing.master_key is None
    assert standing.trouble is not None
    assert standing.trouble.code is ErrorCode.IDENTITY_MISMATCH
    assert "seeds are not in" in standing.trouble.sentence
    assert place.server.master_key == there
    assert place.file(SEEDS) is None
    assert place.made == len(USAGES)


async def test_another_key_for_our_device_is_told_and_not_signed(place: Place) -> None:
    place.server.devices[DEVICE]["keys"][f"ed25519:{DEVICE}"] = "E" * 43
    standing = await place.look()
    assert standing.trouble is not None
    assert standing.trouble.code is ErrorCode.IDENTITY_MISMATCH
    assert standing.about == DEVICE
    assert "signatures_upload" not in place.server.calls


@pytest.mark.parametrize("call", ["device_signing_upload", "signatures_upload"])
async def test_a_refusal_leaves_the_bot_unsigned_with_a_word(place: Place, call: str) -> None:
    def refuse(name: str) -> None:
        if name == call:
            raise RefusedError(400, {"errcode": "M_INVALID_PARAM"})

    place.server.before = refuse
    standing = await place.look()
    assert standing.trouble is not None
    assert standing.trouble.code is ErrorCode.HOMESERVER_REFUSED
    assert "400 M_INVALID_PARAM" in standing.trouble.sentence
    place.server.before = lambda _: None
    assert (await place.look()).trouble is None
    assert place.is_good()


@pytest.mark.parametrize("call", ["keys_query", "device_signing_upload", "signatures_upload"])
@pytest.mark.parametrize(
    "error", [UnreachableError("502"), RateLimitedError("x", 1), TokenRejectedError(401, {"soft_logout": True})]
)
async def test_what_passes_is_for_who_called(place: Place, call: str, error: Exception) -> None:
    def fail(name: str) -> None:
        if name == call:
            raise error

    place.server.before = fail
    with pytest.raises(type(error)):
        await place.look()
    place.server.before = lambda _: None
    await place.look()
    assert place.is_good()


# A reset.


async def test_a_reset_counts_once_the_server_has_it(place: Place) -> None:
    await place.look()
    old = place.server.master_key
    await place.reset()
    assert (await place.look()).trouble is None
    assert place.is_good()
    assert place.server.master_key != old
    assert place.recorded == [place.server.master_key]
    assert place.file(PENDING) is None
    assert stat.filemode((place.state.path / SEEDS).stat().st_mode) == "-rw-------"


async def test_a_reset_that_the_server_has_not_taken_changes_nothing_and_is_kept_for_the_next(place: Place) -> None:
    await place.look()
    old = place.server.master_key
    place.seeds.make_pending()
    kept = place.file(PENDING)
    assert (await place.look()).trouble is None
    assert place.server.master_key == old
    assert place.file(PENDING) == kept  # its upload may still be on its way
    await place.reset()
    await place.look()
    assert place.file(SEEDS) == kept
    assert place.is_good()


@pytest.mark.parametrize("seeds", ["there", "gone"])
async def test_a_reset_ends_the_trouble_with_a_foreign_identity(place: Place, seeds: str) -> None:
    await place.look()
    place.server.has(OTHERS)
    if seeds == "gone":
        place.state.remove(SEEDS)
    assert (await place.look()).trouble is not None
    await place.reset()
    assert (await place.look()).trouble is None
    assert place.is_good()


async def test_pending_seeds_are_better_than_none_where_the_server_has_nothing(place: Place) -> None:
    place.seeds.make_pending()
    pending = place.file(PENDING)
    assert (await place.look()).trouble is None
    assert place.file(SEEDS) == pending
    assert place.is_good()


async def test_the_reset_is_recorded_before_its_seeds_take_their_place(place: Place) -> None:
    """A kill in between records it once more, which is for the record to see; never not at all."""
    await place.look()
    await place.reset()
    place.server.before = lambda _: None

    async def killed(_: Identity) -> None:
        raise Killed

    machine = cast("Machine", place.device)
    with pytest.raises(Killed):
        await OwnIdentity(place.api, machine, place.seeds, lambda: None, killed).look()
    assert place.file(PENDING) is not None
    await place.look()
    assert place.is_good()


# The files.


async def test_two_processes_are_at_work_on_the_seeds_one_after_the_other(place: Place) -> None:
    order = []

    async def work(name: str) -> None:
        async with place.seeds.held():
            order.append(f"{name} begins")
            await asyncio.sleep(0.05)
            order.append(f"{name} ends")

    await asyncio.gather(work("one"), work("two"))
    assert order[0].split()[0] == order[1].split()[0]
    async with place.seeds.held():
        with pytest.raises(OnboardError) as held:
            async with place.seeds.held(wait=0.01):
                raise AssertionError("both")
    assert held.value.code is ErrorCode.STATE_IN_USE


def not_json(values: dict[str, str]) -> str:
    return json.dumps(values)[:-9]


def short_seed(values: dict[str, str]) -> str:
    return json.dumps(values | {"master": "AAAA"})


def of_others(values: dict[str, str]) -> str:
    return json.dumps(values | {"user_id": "@other:example.org"})


@pytest.mark.parametrize("damage", [not_json, short_seed, of_others])
async def test_damaged_seeds_are_told_and_shown_to_nobody(
    place: Place, damage: Callable[[dict[str, str]], str]
) -> None:
    await place.look()
    values = place.file(SEEDS)
    assert values is not None
    (place.state.path / SEEDS).write_text(damage(values))
    with pytest.raises(FatalError) as damaged:
        await place.look()
    assert damaged.value.code is ErrorCode.STATE_UNUSABLE
    assert values["self_signing"] not in str(damaged.value)
    assert "“onboard-bot reset-identity”" in str(damaged.value)
    await place.reset()
    place.seeds.let_pending_count()
    assert (await place.look()).trouble is None
