"""Real Synapses for the whole run, bots at work on them, and the endpoint in both its forms."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import yaml
from pydantic import SecretStr

from onboard_bot.demo.synapse import RunningSynapse, SynapseSettings, running_synapse
from onboard_bot.homeserver.port import NewAccount, SessionWish
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from tests.e2e.bot_process import Launch, forking
from tests.e2e.desk import Desk, open_desk
from tests.e2e.server_view import ServerView
from tests.fakes.endpoints import Endpoint, FakeEndpoint, RealEndpoint
from tests.fakes.synapse_endpoint import SynapseEndpoint

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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(
    homeserver: RunningSynapse, homeserver_view: ServerView, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    """A bot at work in the admin room that it made, in both room versions."""
    async with open_desk(tmp_path_factory.mktemp("desk"), homeserver, homeserver_view) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def synapse_admin_token(synapse: RunningSynapse) -> SecretStr:
    """The token of a server admin of the real Synapse, to look into it."""
    async with aiohttp.ClientSession() as http:
        backend = SharedSecretBackend(http, synapse.url, SecretFile(synapse.secret_file))
        root = NewAccount("root", SecretStr("root's password"), admin=True, session=SessionWish("ROOT", "tests"))
        created = await backend.create(root)
        assert created.session is not None
        return created.session.access_token


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections of this test."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[SynapseEndpoint]:
    """The fake, fresh."""
    async with SynapseEndpoint() as endpoint:
        yield endpoint


@pytest_asyncio.fixture(params=["fake", "synapse"])
async def endpoint(
    request: pytest.FixtureRequest,
    fake: SynapseEndpoint,
    synapse: RunningSynapse,
    synapse_admin_token: SecretStr,
    http: aiohttp.ClientSession,
) -> Endpoint:
    """The fake, then the real one: what is true of one has to be true of the other."""
    return FakeEndpoint(fake) if request.param == "fake" else RealEndpoint(synapse, http, synapse_admin_token)


@pytest.fixture
def secret_file(tmp_path: Path, endpoint: Endpoint) -> Path:
    """A plain file with the endpoint's secret."""
    path = tmp_path / "secret"
    path.write_text(endpoint.shared_secret + "\n")
    return path


@pytest.fixture
def backend(http: aiohttp.ClientSession, endpoint: Endpoint, secret_file: Path) -> SharedSecretBackend:
    """Ours, with the right secret."""
    return SharedSecretBackend(http, endpoint.url, SecretFile(secret_file))
