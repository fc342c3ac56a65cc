"""The process's own port: /healthz, /readyz and /metrics. Answers from what the process knows, asks nobody."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import generate_latest

from overspill_operator.adapters.telemetry import REGISTRY


async def serve(port: int, unhealthy: Callable[[], str], unready: Callable[[], str]) -> web.AppRunner:
    """Listen on ``port``; ``unhealthy`` and ``unready`` say what is wrong, or nothing. ``cleanup`` the runner."""

    async def healthz(_request: web.Request) -> web.Response:
        return _answer(unhealthy())

    async def readyz(_request: web.Request) -> web.Response:
        return _answer(unready())

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(REGISTRY), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, None, port).start()
    return runner


def _answer(wrong: str) -> web.Response:
    return web.Response(status=503 if wrong else 200, text=f"{wrong or 'ok'}\n")
