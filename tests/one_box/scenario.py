"""The main job on one machine as steps, each a function that returns what a person should know of it.

A step raises (AssertionError, GaveUpError, RefusedError, OSError) when what it is about does not happen.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from one_box import process_table
from one_box.client import FAILURES, Answer, Client, Load, RefusedError, wait_until
from one_box.serving import HOSTED_KEY, HostedStandin, Serve, engines

ROUTE = "hello"
CAPPED = "capped"
ENGINE_SECONDS = 240.0
"""The longest that is waited for vLLM, its environment included, which is some 5 GB of downloads."""

DOCUMENTS = """\
# The route of `make try`. The same file works on a cluster: there, `source` is a model in the profile's image.
apiVersion: overspill.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {route}}}
spec:
  selfHosted:
    source: file://{model}
    profile: cpu
  scaling: {{minReplicas: 0, maxReplicas: 1, idleAfter: 10s}}
  hosted:
    - name: standin
      baseURL: http://127.0.0.1:{hosted_port}/v1
      model: gpt-4o-mini
      credentials: {{secretName: hosted}}
      price: {{input: "0.15", output: "0.60"}}
---
# Only a hosted API, and money for two answers a day.
apiVersion: overspill.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {capped}}}
spec:
  hosted:
    - name: standin
      baseURL: http://127.0.0.1:{hosted_port}/v1
      model: gpt-4o-mini
      credentials: {{secretName: hosted}}
      price: {{input: "0", output: "1000"}}
  budget: {{limit: "0.01", period: Day}}
---
apiVersion: v1
kind: Secret
metadata: {{name: hosted}}
stringData: {{api-key: {key}}}
"""
CAPPED_TOKENS = 5
"""Tokens of one answer, half of what the budget has money for."""


def documents(model: Path, hosted_port: int) -> str:
    """What `overspill serve` is given."""
    return DOCUMENTS.format(route=ROUTE, capped=CAPPED, model=model, hosted_port=hosted_port, key=HOSTED_KEY)


@dataclass
class World:
    """What the steps hand on."""

    start: Callable[[], Serve]
    """Starts `overspill serve`, once it is installed."""
    hosted: HostedStandin
    """What plays the hosted API."""
    model: Path
    """The tiny model's folder."""
    began: float
    """When all of it began, on the clock of time.monotonic."""
    say: Callable[[str], None] = lambda _: None
    """Told of what is going on inside a step."""
    served: list[Serve] = field(default_factory=list)
    """The process, once it was started."""
    asked_at: float = 0.0
    """When the cold request was sent."""
    first_own_token: float = 0.0
    """From the beginning to the first token of the engine's own, in seconds."""

    @property
    def serve(self) -> Serve:
        """`overspill serve`."""
        return self.served[-1]

    @property
    def client(self) -> Client:
        """Who asks it."""
        return self.serve.client


def start(world: World) -> str:
    """1. `overspill serve` listens."""
    world.served.append(world.start())
    world.serve.wait_until_listening()
    status, models = world.client.get("/v1/models")
    assert status == 200, (status, models)
    assert f'"{ROUTE}"' in models, models
    assert not engines(world.model), "no engine runs before somebody asks"
    return f"listens {time.monotonic() - world.began:.1f} s after the beginning; no engine runs"


def spill(world: World) -> str:
    """2. The first request is answered by the hosted API at once, for no engine runs."""
    world.asked_at = time.monotonic()
    answer = world.client.ask(ROUTE)
    assert answer.served_by == "hosted/standin", answer
    assert world.hosted.requests > 0
    return f"served-by {answer.served_by} ({answer.reason}), streamed in {answer.seconds:.2f} s"


def cap(world: World) -> str:
    """3. A budget's cap is reached: refused, and the hosted API is not asked."""
    answered = 0
    refusal = ""
    for _ in range(5):
        try:
            world.client.ask(CAPPED, tokens=CAPPED_TOKENS)
            answered += 1
        except RefusedError as error:
            refusal = str(error)
            break
    assert answered, refusal
    assert "budget_exhausted" in refusal, refusal
    asked = world.hosted.requests
    try:
        world.client.ask(CAPPED, tokens=CAPPED_TOKENS)
    except RefusedError:
        assert world.hosted.requests == asked
    else:
        raise AssertionError("a request was answered after the budget was spent")
    return f"{answered} answered, the next refused: {refusal[:3]} budget_exhausted"


def wake(world: World) -> str:
    """4. The first request has started the engine; when it answers, requests go to it."""
    last = [""]

    def is_own() -> bool:
        world.serve.check_runs()
        answer = world.client.ask(ROUTE, tokens=4)
        last[0] = answer.served_by
        return answer.served_by.startswith("local/")

    wait_until("the engine answers", is_own, ENGINE_SECONDS, pause_seconds=0.25)
    found = engines(world.model)
    assert found, "an engine answers that is not among this machine's processes"
    resident = sum(one.resident_bytes for one in found) / 2**30
    return (
        f"the engine answers {time.monotonic() - world.asked_at:.1f} s after the first request; "
        f"{resident:.1f} GiB of memory"
    )


def own_answer(world: World) -> str:
    """5. The engine's own answer, streamed."""
    asked = time.monotonic()
    answer: Answer = world.client.ask(ROUTE, tokens=32)
    assert answer.served_by.startswith("local/"), answer
    assert answer.pieces > 1, answer
    world.first_own_token = asked + answer.first_token_seconds - world.began
    world.say(f"it says: {answer.text.strip()[:100]}")
    return f"served-by {answer.served_by}, {answer.pieces} pieces, the first after {answer.first_token_seconds:.2f} s"


def kill_engine(world: World) -> str:
    """6. The engine is killed while it is asked all the time: no request fails, and it comes back."""
    with Load(world.client, ROUTE) as load:
        load.wait_for(5)
        victims = engines(world.model)
        assert victims
        for victim in victims:
            process_table.kill(victim)
        killed = time.monotonic()
        wait_until("requests go to the hosted API", lambda: load.last_served_by.startswith("hosted/"), 15)
        wait_until("requests come back to the engine", lambda: load.last_served_by.startswith("local/"), ENGINE_SECONDS)
        back = time.monotonic() - killed
    assert not load.failures, load.failures
    counts = Counter(served.split("/")[0] for served in load.served_by)
    return (
        f"{len(load.served_by)} requests, 0 failed ({counts['local']} by the engine, {counts['hosted']} hosted); "
        f"the engine is back after {back:.1f} s"
    )


def zero(world: World) -> str:
    """7. Nobody asks: the engine ends."""
    began = time.monotonic()
    wait_until("the engine's processes are gone", lambda: not engines(world.model), 60)
    return f"nobody asks: no engine runs {time.monotonic() - began:.1f} s later (idleAfter 10s)"


def end(world: World) -> str:
    """8. `overspill serve` ends, and leaves nothing running."""
    began = time.monotonic()
    code = world.serve.end()
    assert code == 0, (code, world.serve.tail())
    try:
        world.client.get("/v1/models")
    except FAILURES:
        pass
    else:
        raise AssertionError("something still listens on its port")
    assert not engines(world.model)
    return f"ended after {time.monotonic() - began:.1f} s; nothing is left"


Step = Callable[[World], str]
STEPS: tuple[tuple[str, Step], ...] = (
    ("overspill serve", start),
    ("spill while cold", spill),
    ("budget's cap reached", cap),
    ("wake", wake),
    ("own answer, streamed", own_answer),
    ("engine killed, nobody notices", kill_engine),
    ("idle, back to zero", zero),
    ("serve ends", end),
)
