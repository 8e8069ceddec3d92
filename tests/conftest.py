"""What every kind of test shares: the two lengths of a test, and a database as a first start makes it.

The short form of a test runs in every `make test`, the long one by a make target of its own.
"""

from pathlib import Path

import pytest

from onboard_bot.store.schema import bring_up_to_date

pytest_plugins = ["tests.e2e.servers"]  # one real Synapse, whichever folders' tests a run holds


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs the whole of what `make test` takes a sample of."""
    parser.addoption("--long", action="store_true", help="the whole instead of a sample; see the Makefile")


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether this is the long run, which prints its figures for docs/reliability.md."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, to be copied: the migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "onboard.db"
    bring_up_to_date(path)
    return path
