"""What `check` says of the bot's own identity, and of people whose commands will not be obeyed."""

from typing import Any, cast

import pytest
from pydantic import SecretStr

from onboard_bot.check.findings import Level
from onboard_bot.check.identity import check_identity, judge_approvers, judge_identity
from onboard_bot.matrix.client_api import ClientApi
from onboard_bot.matrix.cross_signing import Identity, look_at_own, sign_own_device
from onboard_bot.matrix.own_seeds import SEEDS, OwnSeeds
from onboard_bot.matrix.session import Session
from onboard_bot.state_dir import StateDir
from tests.fakes.own_account import BOT, DEVICE, Device, OwnAccount, identity_of

OURS, OTHERS = identity_of(1), identity_of(2)
SESSION = Session(BOT, DEVICE, SecretStr("a token"))


async def judged(server: OwnAccount, current: Identity | None, pending: Identity | None = None) -> tuple[Level, str]:
    shown = await look_at_own(cast("ClientApi", server), BOT, DEVICE)
    finding = judge_identity(shown, current, pending, SESSION)
    return finding.level, f"{finding.key}: {finding.text}"


async def signed(device: Device) -> OwnAccount:
    server = OwnAccount(device)
    await sign_own_device(cast("ClientApi", server), device, OURS)
    return server


async def test_a_signed_device_is_well_also_with_a_reset_that_came_to_nothing() -> None:
    server = await signed(Device())
    for pending in (None, OTHERS):
        level, line = await judged(server, OURS, pending)
        assert level is Level.OK
        assert "signed by its own identity" in line


async def test_a_reset_that_the_server_took_is_well_once_it_signed_the_device() -> None:
    server = await signed(Device())
    assert (await judged(server, OTHERS, OURS))[0] is Level.OK


async def test_no_identity_yet_is_no_failure() -> None:
    level, line = await judged(OwnAccount(Device()), None)
    assert level is Level.OK
    assert "at the next start" in line


@pytest.mark.parametrize("current", [None, OTHERS])
async def test_another_identity_than_ours_fails_and_names_the_mend(current: Identity | None) -> None:
    level, line = await judged(await signed(Device()), current)
    assert level is Level.FAILED
    assert line.startswith("identity_mismatch: ")
    assert OURS.public("master") in line
    assert "“onboard-bot reset-identity”" in line


async def test_a_device_that_is_not_signed_fails() -> None:
    server = await signed(Device())
    del server.devices[DEVICE]["signatures"]
    level, line = await judged(server, OURS)
    assert level is Level.FAILED
    assert line.startswith(f"identity_mismatch: The bot's device {DEVICE} is not signed")


async def test_a_device_without_keys_yet_is_a_warning() -> None:
    server = await signed(Device())
    server.devices.clear()
    assert (await judged(server, OURS))[0] is Level.WARN


async def test_damaged_seeds_are_a_finding_and_not_in_it(tmp_path: Any) -> None:
    state = StateDir(tmp_path)
    (tmp_path / SEEDS).write_text('{"master": "hunter2"}')
    seeds = OwnSeeds(state, BOT, bytes)
    (finding,) = await check_identity(cast("ClientApi", OwnAccount(Device())), seeds, SESSION)
    assert (finding.level, finding.key) == (Level.FAILED, "state_unusable")
    assert "hunter2" not in finding.text


# People.


async def keys_of(server: OwnAccount) -> dict[str, Any]:
    return await server.keys_query([BOT])


async def test_somebody_with_a_signed_device_is_not_mentioned() -> None:
    assert judge_approvers([BOT], await keys_of(await signed(Device()))) == []


@pytest.mark.parametrize(
    ("has_identity", "words"), [(True, "has verified no device"), (False, "has no cross-signing identity")]
)
async def test_somebody_without_a_signed_device_is_warned_of(words: str, *, has_identity: bool) -> None:
    server = OwnAccount(Device())
    if has_identity:
        server.has(OURS)
    (finding,) = judge_approvers([BOT], await keys_of(server))
    assert (finding.level, finding.key) == (Level.WARN, "encryption.unsigned_devices")
    assert finding.text.startswith(f"{BOT} {words}: their commands will not be obeyed until")


async def test_somebody_whose_server_is_silent_is_another_matter() -> None:
    (finding,) = judge_approvers(["@bob:away.example.org"], {"device_keys": {}, "failures": {"away.example.org": {}}})
    assert finding.level is Level.WARN
    assert "does not say which devices @bob:away.example.org has" in finding.text


@pytest.mark.parametrize("answer", [{}, {"device_keys": 5}, {"device_keys": {BOT: []}, "master_keys": []}])
def test_nonsense_is_a_warning_and_never_a_trace(answer: dict[str, Any]) -> None:
    (finding,) = judge_approvers([BOT], answer)
    assert finding.level is Level.WARN
