"""What all sieges share."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.hostile.siege import Fortress, Log, captured_log


@pytest.fixture(scope="session")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    """The bot before anybody throws anything."""
    built = asyncio.run(Fortress.build(tmp_path_factory.mktemp("fortress")))
    yield built
    built.close()


@pytest.fixture
def log() -> Iterator[Log]:
    """What the bot says to its operator."""
    with captured_log() as log:
        yield log
