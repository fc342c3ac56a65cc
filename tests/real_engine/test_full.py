"""VLLM's own bound: an engine that refuses what it can't begin in time is full, and not broken."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from overspill_api.profile import Profile
from overspill_operator.core.vllm_bounds import bound_arguments
from real_engine.processes import Engine
from real_engine.world import KEY, World

pytestmark = pytest.mark.timeout(240)
ASKERS = 12
AT_ONCE = 2
"""Requests that the engine takes; its batch is half of that, as the bound is two batches."""


def test_what_it_refuses_spills_and_it_goes_on_serving(world: World) -> None:
    """All requests are answered, by both; the engine says full and is neither ejected nor said to fail."""
    profile = Profile(image="vllm/vllm-openai:v0.32.0", prompt_tokens_per_second=1000)
    bounds = bound_arguments(profile, 30.0, [f"--max-num-seqs={AT_ONCE // 2}"])
    small = Engine("vllm-small", world.model, world.folder, [*bounds, f"--max-num-seqs={AT_ONCE // 2}"])
    try:
        small.wait_until_ready()
        spare = world.lend()
        api = {
            "name": "api", "base_url": f"{spare.url}/v1", "model": "tiny", "api_key": "sk-vllm", "price_version": "v1",
            "input_nano_usd_per_million": 1, "output_nano_usd_per_million": 1,
        }  # fmt: skip
        overflow = {"on_cold_start": "Hold", "time_to_first_token_seconds": 30.0}
        model = world.route("full", [small], hosted=[api], overflow=overflow)

        def ask(_: int) -> tuple[int, str]:
            body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 64}
            answer = httpx.post(
                f"{world.gateway.url}/v1/chat/completions", content=json.dumps(body), timeout=120,
                headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"},
            )  # fmt: skip
            return answer.status_code, answer.headers["x-overspill-served-by"].partition("/")[0]

        with ThreadPoolExecutor(ASKERS) as pool:
            served = list(pool.map(ask, range(5 * ASKERS)))

        assert {status for status, _ in served} == {200}
        assert {kind for _, kind in served} == {"local", "hosted"}
        assert small.metric("vllm:admission_rejections_total") > 0
        key = "ns/full"
        assert world.gateway.metric("overspill_attempt_failures_total", route=key, kind="full") > 0
        assert world.gateway.metric("overspill_endpoints_usable", route=key) == 1
    finally:
        small.popen.terminate()
        small.end()
