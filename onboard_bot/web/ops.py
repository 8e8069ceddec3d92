"""Owns the health pages for operators, on a listener of their own."""

from aiohttp import web

from onboard_bot.clock import Clock
from onboard_bot.health import Health


def ops_app(health: Health, clock: Clock) -> web.Application:
    """`/healthz`: the process lives. `/readyz`: it can work, else 503 and why not."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def readyz(_request: web.Request) -> web.Response:
        missing = health.missing(clock.now())
        answer = {
            "ready": not missing,
            "missing": missing,
            "waiting_for": health.waiting_for,
            "identity": health.identity,
        }
        return web.json_response(answer, status=503 if missing else 200)

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


async def listen(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Serves until the runner is cleaned up.

    Raises:
        OSError: The address is not to be had.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
