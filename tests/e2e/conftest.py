"""Bots at work on the real Synapses of `servers.py`, and the endpoint in both its forms."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from pydantic import SecretStr

from onboard_bot.demo.synapse import RunningSynapse
from onboard_bot.homeserver.port import NewAccount, SessionWish
from onboard_bot.homeserver.secret import SecretFile
from onboard_bot.homeserver.synapse import SharedSecretBackend
from tests.e2e.desk import Desk, open_desk
from tests.e2e.server_view import ServerView
from tests.fakes.endpoints import Endpoint, FakeEndpoint, RealEndpoint
from tests.fakes.synapse_endpoint import SynapseEndpoint


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
