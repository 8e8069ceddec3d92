"""A proxy that passes everything on, and cuts the connection where a test wants an answer to be lost.

The request has reached the server, and the server has answered, before anything is cut: the effect is certain.
"""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class CuttingProxy:
    """`async with CuttingProxy(url) as proxy:` forwards `proxy.url` to `url`."""

    def __init__(self, url: str) -> None:
        upstream = urlsplit(url)
        assert upstream.hostname is not None
        assert upstream.port is not None
        self._host, self._upstream_port = upstream.hostname, upstream.port
        self._pass: int | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""
        self.cuts = 0

    def cut_next_post(self, *, after_bytes: int = 0) -> None:
        """The answer to the next POST is cut off after so many bytes."""
        self._pass = after_bytes

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        server, to_server = await asyncio.open_connection(self._host, self._upstream_port)
        cut_after: int | None = None

        async def upwards() -> None:
            nonlocal cut_after
            while data := await client.read(65536):
                if data.startswith(b"POST ") and self._pass is not None:
                    cut_after, self._pass = self._pass, None
                to_server.write(data)
                await to_server.drain()

        async def downwards() -> None:
            while data := await server.read(65536):
                if cut_after is not None:
                    self.cuts += 1
                    to_client.write(data[:cut_after])
                    return
                to_client.write(data)
                await to_client.drain()

        pumps = [asyncio.create_task(upwards()), asyncio.create_task(downwards())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the end of the proxy; the streams' own callback would report it as an error
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            to_server.close()
            to_client.close()
            self._connections.discard(task)
