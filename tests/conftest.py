"""Two lengths of one test: the short one runs in every `make test`, the long one by a make target of its own."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` runs the whole of what `make test` takes a sample of."""
    parser.addoption("--long", action="store_true", help="the whole instead of a sample; see the Makefile")


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether this is the long run, which prints its figures for docs/reliability.md."""
    return bool(pytestconfig.getoption("--long"))
