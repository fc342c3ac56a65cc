"""The world of these tests: engines, a gateway, and the folder in which tests write routes and endpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from overspill_api.keys import key_hash
from real_engine.environments import ENGINE
from real_engine.processes import MODEL, Engine, GatewayProcess, wait_until

PEPPER = b"pepper"
KEY = "osk-abcdefghij12-" + "S" * 40
NAMESPACE = "ns"
INPUT_NANO_USD, OUTPUT_NANO_USD = 1000, 3000
"""Price of a token where an engine plays a hosted API."""


class World:
    """Engines and a gateway on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.routes = folder / "routes"
        self.routes.mkdir()
        self.model = folder / "model"
        subprocess.run([sys.executable, str(ENGINE / "tiny_model.py"), str(self.model)], check=True)
        self._engines: list[Engine] = []
        self._spares: list[Engine] = []
        self._services: dict[str, list[dict[str, Any]]] = {}
        self._write_consumer()
        self.gateway = GatewayProcess(self.routes, folder, PEPPER)

    # -- engines -----------------------------------------------------------------------------------------------

    def start_engines(self, count: int) -> None:
        """Begin to start engines; ``engine`` waits for them."""
        for _ in range(count):
            one = Engine(f"vllm-{len(self._engines)}", self.model, self.folder)
            self._engines.append(one)
            self._spares.append(one)

    def engine(self) -> Engine:
        """An engine that serves and that nobody has been given yet."""
        if not self._spares:
            self.start_engines(1)
        return self._spares.pop(0).wait_until_ready()

    def lend(self) -> Engine:
        """An engine that serves, to be used and not killed: the next who asks for an engine gets it."""
        if not self._spares:
            self.start_engines(1)
        return self._spares[0].wait_until_ready()

    def close(self) -> None:
        """End what was started."""
        for process in (self.gateway, *self._engines):
            process.popen.terminate()
        for process in (self.gateway, *self._engines):
            process.end()

    # -- routes ------------------------------------------------------------------------------------------------

    def route(self, name: str, engines: Sequence[Engine], **changes: Any) -> str:
        """Give the gateway a route over these engines, and wait until it can serve; its model's name."""
        document = {
            "namespace": NAMESPACE,
            "name": name,
            "uid": f"uid-{name}",
            "generation": 1,
            "model": name,
            "local": {"service": f"{name}-engine", "port": 8000, "served_model": MODEL},
            "overflow": {"on_cold_start": "Hold", "hold_timeout_seconds": 10},
        }
        self._write(f"route.{name}.json", document | changes)
        self.endpoints(name, engines)
        headers = {"authorization": f"Bearer {KEY}"}

        def known() -> bool:
            return f'"{name}"' in httpx.get(f"{self.gateway.url}/v1/models", headers=headers, timeout=5).text

        wait_until(f"the gateway knows {name}", known, 15)
        return name

    def hosted_route(self, name: str, engine: Engine, **changes: Any) -> str:
        """A route without replicas of its own, to which this engine is a hosted API with a price."""
        api = {
            "name": "vllm", "base_url": f"{engine.url}/v1", "model": MODEL, "api_key": "sk-vllm", "price_version": "v1",
            "input_nano_usd_per_million": INPUT_NANO_USD * 10**6,
            "output_nano_usd_per_million": OUTPUT_NANO_USD * 10**6,
        }  # fmt: skip
        return self.route(name, [], local=None, overflow={"on_cold_start": "Hosted"}, hosted=[api], **changes)

    def endpoints(self, route: str, engines: Sequence[Engine]) -> None:
        """Say which engines a route has, and wait until the gateway uses just these."""
        self._services[f"{NAMESPACE}/{route}-engine"] = [
            {"address": "127.0.0.1", "port": one.port, "pod": one.name, "uid": one.name, "ready": True}
            for one in engines
        ]
        self._write("endpoints.json", self._services)
        key = f"{NAMESPACE}/{route}"

        def known() -> bool:
            return self.gateway.metric("overspill_endpoints_usable", route=key) == len(engines)

        wait_until(f"the gateway uses {len(engines)} engines for {route}", known, 15)

    def _write_consumer(self) -> None:
        keys = [{"id": KEY.split("-")[1], "hash": key_hash(PEPPER, KEY)}]
        document = {
            "namespace": NAMESPACE, "name": "me", "uid": "u", "generation": 1, "keys": keys, "routes": ["ns/*"],
        }  # fmt: skip
        self._write("consumer.me.json", document)

    def _write(self, name: str, document: Any) -> None:
        new = self.routes / f"{name}.new"
        new.write_text(json.dumps(document))
        new.rename(self.routes / name)
