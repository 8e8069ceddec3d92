"""Real Synapses for the whole run, what they know, and quick starts of the bot: for every folder that needs them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from onboard_bot.demo.synapse import RunningSynapse, SynapseSettings, running_synapse
from tests.e2e.bot_process import Launch, forking
from tests.e2e.server_view import ServerView

# What it takes to provoke the two refusals that only others than Synapse itself give.
BRIDGE = {
    "id": "bridge",
    "url": None,
    "as_token": "as token of the tests",
    "hs_token": "hs token of the tests",
    "sender_localpart": "bridge-bot",
    "namespaces": {"users": [{"exclusive": True, "regex": "@irc-.*"}], "rooms": [], "aliases": []},
}
SPAM_CHECKER = """
from synapse.module_api import ModuleApi
from synapse.spam_checker_api import RegistrationBehaviour

class RefuseSpammers:
    def __init__(self, config, api: ModuleApi):
        api.register_spam_checker_callbacks(check_registration_for_spam=self.check)

    @staticmethod
    def parse_config(config):
        return config

    async def check(self, threepid, username, request_info, auth_provider_id=None):
        return RegistrationBehaviour.DENY if username.startswith("spammer") else RegistrationBehaviour.ALLOW
"""


@asynccontextmanager
async def tolerant_synapse(folder: Path, room_version: str | None = None) -> AsyncIterator[RunningSynapse]:
    """A real Synapse for many tests: no rate limits, cheap passwords, a bridge and a spam checker."""
    (folder / "bridge.yaml").write_text(yaml.safe_dump(BRIDGE))
    (folder / "refuse_spammers.py").write_text(SPAM_CHECKER)
    settings = SynapseSettings(
        rate_limits=False,
        bcrypt_rounds=4,
        default_room_version=room_version,
        extra={
            "app_service_config_files": [str(folder / "bridge.yaml")],
            "modules": [{"module": "refuse_spammers.RefuseSpammers"}],
        },
    )
    async with running_synapse(folder, settings) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def synapse(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningSynapse]:
    """One real Synapse for the whole run; its rooms are of version 12, as a new Synapse's are."""
    async with tolerant_synapse(tmp_path_factory.mktemp("synapse")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def synapse_11(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningSynapse]:
    """One more, whose rooms are of version 11."""
    async with tolerant_synapse(tmp_path_factory.mktemp("synapse11"), "11") as running:
        yield running


@pytest.fixture(scope="session", params=["12", "11"])
def homeserver(request: pytest.FixtureRequest) -> RunningSynapse:
    """Each of the two, for what has to be true in both room versions."""
    running: RunningSynapse = request.getfixturevalue("synapse" if request.param == "12" else "synapse_11")
    return running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def view(synapse: RunningSynapse) -> ServerView:
    """What the first of them knows."""
    return await ServerView.of(synapse)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def homeserver_view(homeserver: RunningSynapse) -> ServerView:
    """What each of them knows."""
    return await ServerView.of(homeserver)


@pytest.fixture(scope="session")
def quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """Starts the bot without importing it anew, where a test is about something else than its start."""
    with forking(tmp_path_factory.mktemp("ends")) as launch:
        yield launch
