"""The gateway under test with everything on: keys, limits, admission, budget, metrics, accounting, ledger.

Two models through one process: ``bench`` has a replica (and a hosted API for what it can't serve in time);
``bench-hosted`` has only a hosted API with a price and a budget, so that each request holds money and settles it.
Limits and budget are so high that they are kept count of and never reached.
"""

import json
from pathlib import Path
from typing import Any, Final

from bench.gateway.peer_settings import MODEL
from overspill_api.keys import key_hash

HOSTED_MODEL: Final = "bench-hosted"
KEY: Final = "osk-bench0000001-0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
PEPPER: Final = "the benchmark's own"
PLENTY: Final = 1_000_000_000
NANO_USD: Final = 1_000_000_000


def write(folder: Path, engine: str) -> None:
    """Write the folder that the gateway reads."""
    folder.mkdir()
    local = {"service": "engine", "port": 8000, "served_model": MODEL}
    documents = {
        "route.local.json": _route(MODEL, engine, local=local),
        "route.hosted.json": _route(HOSTED_MODEL, engine),
        "consumer.bench.json": {
            "namespace": "ns",
            "name": "bench",
            "uid": "uid-bench",
            "generation": 1,
            "keys": [{"id": KEY.split("-")[1], "hash": key_hash(PEPPER.encode(), KEY)}],
            "routes": ["ns/*"],
            "limits": {"requests_per_minute": PLENTY, "tokens_per_minute": PLENTY},
        },
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=1))
    host, _, port = engine.rpartition(":")
    endpoint = {"address": host, "port": int(port), "pod": "engine-0", "ready": True}
    (folder / "endpoints.json").write_text(json.dumps({"ns/engine": [endpoint]}))


def _route(model: str, engine: str, **fields: Any) -> dict[str, Any]:
    return {
        "namespace": "ns",
        "name": model,
        "uid": f"uid-{model}",
        "generation": 1,
        "model": model,
        "hosted": [
            {
                "name": "api",
                "base_url": f"http://{engine}/hosted/v1",
                "model": MODEL,
                "api_key": "sk-hosted",
                "input_nano_usd_per_million": 150_000_000,
                "cached_input_nano_usd_per_million": 75_000_000,
                "output_nano_usd_per_million": 600_000_000,
                "price_version": "bench",
                "requests_per_minute": PLENTY,
                "tokens_per_minute": PLENTY,
                "concurrency": PLENTY,
                "context_tokens": 128_000,
            }
        ],
        "overflow": {"on_cold_start": "Hosted", "time_to_first_token_seconds": 2.0},
        "timeouts": {"idle_seconds": 60.0},
        "per_consumer": {"requests_per_minute": PLENTY, "tokens_per_minute": PLENTY},
        "budget": {"limit_nano_usd": 1_000_000 * NANO_USD, "period": "Month"},
        **fields,
    }


def command_line(python: str, port: int, admin_port: int, folder: Path, ledger: Path) -> list[str]:
    """The gateway as its image starts it, with a ledger on disk."""
    line = [python, "-m", "overspill_gateway.main", "--listen", f"127.0.0.1:{port}"]
    return [*line, "--admin-listen", f"127.0.0.1:{admin_port}", "--folder", str(folder), "--ledger", str(ledger)]
