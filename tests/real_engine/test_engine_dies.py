"""vLLM killed in the middle of streams: an honest end by default, and where the route says so the rest from another."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from real_engine.processes import Engine, wait_until
from real_engine.world import KEY, World

pytestmark = pytest.mark.timeout(240)
TOKENS = 1500
READ_BEFORE = 40
# Told to end, vLLM sometimes says nothing more on streams that it leaves open: the gateway's idle timer ends them.
TIMEOUTS = {"idle_seconds": 3}
# The greedy answer depends on every token before it, so that a lost or doubled one would be seen.
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me of the sea"}],
    "max_tokens": TOKENS,
    "temperature": 0,
    "repetition_penalty": 1.3,
    "ignore_eos": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}


@dataclass
class Stream:
    """One streamed chat as its client saw it."""

    response: httpx.Response
    lines: list[str] = field(default_factory=list)
    """Its data lines."""

    def __post_init__(self) -> None:
        self._source = self.response.iter_lines()

    def read(self, count: int | None = None) -> Stream:
        """Read so many events, or all."""
        for line in self._source:
            if line.startswith("data: "):
                self.lines.append(line.removeprefix("data: "))
                if count is not None and len(self.lines) >= count:
                    break
        return self

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The events that are JSON."""
        return [json.loads(line) for line in self.lines if line != "[DONE]"]

    @property
    def text(self) -> str:
        """What the model said."""
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", [])]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def usage(self) -> list[dict[str, Any]]:
        """What usage was told."""
        return [chunk["usage"] for chunk in self.chunks if chunk.get("usage")]

    @property
    def served_by(self) -> str:
        """Who began it."""
        return self.response.headers["x-overspill-served-by"]


@dataclass
class Asker:
    """Asks the gateway for streams."""

    http: httpx.Client
    url: str

    def stream(self, model: str) -> Stream:
        """A stream that has begun."""
        request = self.http.build_request(
            "POST", f"{self.url}/v1/chat/completions", json={"model": model, **ASKED},
            headers={"authorization": f"Bearer {KEY}"},
        )  # fmt: skip
        response = self.http.send(request, stream=True)
        assert response.status_code == 200, response.read()
        return Stream(response)


@pytest.fixture(scope="module")
def undisturbed(world: World, engine: Engine) -> Stream:
    """The same answer, from an engine that lives."""
    with httpx.Client(timeout=30) as http:
        return Asker(http, world.gateway.url).stream(world.route("undisturbed", [engine])).read()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_streams_end_honestly_or_go_on(world: World, engine: Engine, undisturbed: Stream, kill: signal.Signals) -> None:
    """One death, two streams: without onStreamFailure an error and no [DONE]; with Continue the very same answer."""
    victim = world.engine()
    broken_route = world.route(f"broken-{kill.name.lower()}", [victim], timeouts=TIMEOUTS)
    continued_route = world.route(
        f"continued-{kill.name.lower()}", [victim], on_stream_failure="Continue", timeouts=TIMEOUTS
    )
    with httpx.Client(timeout=30) as http:
        asker = Asker(http, world.gateway.url)
        broken = asker.stream(broken_route).read(READ_BEFORE)
        continued = asker.stream(continued_route).read(READ_BEFORE)
        world.endpoints(continued_route, [victim, engine])
        assert broken.served_by == continued.served_by == f"local/{victim.name}"
        assert victim.running == 2

        victim.popen.send_signal(kill)
        broken.read()
        continued.read()
    victim.end()

    assert "[DONE]" not in broken.lines
    assert broken.chunks[-1]["error"]["code"] == "stream_interrupted"
    assert undisturbed.text.startswith(broken.text)
    assert broken.text != undisturbed.text

    assert continued.lines[-1] == "[DONE]"
    assert continued.text == undisturbed.text
    assert [usage["completion_tokens"] for usage in continued.usage] == [TOKENS]
    assert len({chunk["id"] for chunk in continued.chunks}) == 1
    assert len({chunk["created"] for chunk in continued.chunks}) == 1
    marks = [chunk["overspill"] for chunk in continued.chunks if "overspill" in chunk]
    assert "overspill" in continued.chunks[-1]
    assert [mark["continued"][0]["served_by"] for mark in marks] == [f"local/{engine.name}"] * len(marks)
    assert 0 < marks[0]["continued"][0]["after_tokens"] < TOKENS
    wait_until("nothing is left", lambda: world.gateway.metric("overspill_exchanges") == 0, 2)
