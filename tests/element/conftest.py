"""What every Element here needs: a Node.js process. Where npm could not bring it, the tests are left out loudly."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.element.node import Node, node_binary, running_node

MISSING = (
    "Element is not installed: “make test” does that, and needs npm for it (on Debian and Ubuntu: apt install npm)"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    """One process for all Elements of a module."""
    binary = node_binary()
    if binary is None:
        if os.environ.get("ONBOARD_CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    async with running_node(binary) as running:
        yield running
