"""The Synapse that the demo and the tests start: its port, its end, its words when it does not start."""

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import aiohttp
import pytest

from onboard_bot.demo.synapse import RunningSynapse, SynapseDidNotStart, SynapseSettings, running_synapse

STARTS_ONE_AND_WAITS = """
import asyncio, sys
from pathlib import Path
from onboard_bot.demo.synapse import running_synapse

async def main():
    async with running_synapse(Path(sys.argv[1])) as synapse:
        print(synapse.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def answers(url: str) -> bool:
    async with aiohttp.ClientSession() as http:
        try:
            async with http.get(f"{url}/_matrix/client/versions") as answer:
                return answer.ok
        except aiohttp.ClientConnectorError:
            return False


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended and that nobody has collected yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_it_comes_back_on_the_same_port_and_is_gone_in_the_end(tmp_path: Path) -> None:
    async with running_synapse(tmp_path / "synapse", SynapseSettings(bcrypt_rounds=4)) as synapse:
        url, pid = synapse.url, synapse.pid
        assert stat.S_IMODE(os.stat(synapse.secret_file).st_mode) == 0o600  # noqa: PTH116 - a look at a file
        await synapse.kill()
        assert not await answers(url)
        await synapse.start()
        assert await answers(url)
        assert synapse.pid != pid
    assert not await answers(url)


async def test_one_that_does_not_start_says_why(tmp_path: Path) -> None:
    synapse = RunningSynapse(tmp_path, SynapseSettings(extra={"server_name": "not a name!"}), sys.executable)
    with pytest.raises(SynapseDidNotStart, match=r"(?s)ended with status 1.*not a name!"):
        await synapse.start()
    assert synapse.pid is None


async def test_it_does_not_outlive_the_one_who_started_it(tmp_path: Path) -> None:
    starter = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STARTS_ONE_AND_WAITS, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert starter.stdout is not None
    pid = int(await starter.stdout.readline())
    assert is_alive(pid)
    starter.send_signal(signal.SIGKILL)
    await starter.wait()
    for _ in range(50):
        if not is_alive(pid):
            return
        await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("Synapse outlived its starter")
